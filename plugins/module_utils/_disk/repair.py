# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Mending damaged base disks. The disk's own bytes decide: where they have the digest that they are known by, everything
beside them can be made again; where they do not, the base disk comes from another pool, or does not count any more.
"""

from __future__ import annotations

import os
import re
import stat
import time
import typing as t

from .._base_format.chunk_list import CHUNK_BYTES, ChunkList, chunk_count
from .._base_format.file_digest import FileChanging, FileDigest
from .._errors import FleetError
from . import attributes, file_io, file_trees, image_header, in_use, removal, transfer, verification
from .base import FORMAT, Base, metadata_problem
from .store import Store, map_bytes

#: What was done about a base disk, as sentences say it.
SENTENCES = {
    "none": "",
    "waits": "",
    "restored": "bring base disk {sha256}, a parent of others, back into pool {pool} from pool {other}",
    "completed": "rebuild {files} of base disk {sha256} in pool {pool} from its disk",
    "replaced": "replace base disk {sha256} in pool {pool} by the copy in pool {other}",
    "removed": "remove the damaged base disk {sha256}, which nothing needs, from pool {pool}",
    "set_aside": "set aside the damaged base disk {sha256} in pool {pool}: the next deployment that needs it fetches it again",
}
_PARENT = re.compile(r"\.\./([0-9a-f]{64})/disk\Z")


class Repair(t.NamedTuple):
    """``action`` is a key of SENTENCES, ``damage`` what was wrong. ``already``: an earlier run has done it."""

    sha256: str
    pool: str
    action: str
    damage: str
    files: tuple[str, ...] = ()
    other: str = ""
    already: bool = False

    def sentence(self) -> str:
        values = {**self._asdict(), "files": " and ".join(self.files)}
        return SENTENCES[self.action].format(**values)


def repair(stores: t.Mapping[str, Store], pool: str, sha256: str, check_mode: bool, wait_s: float = 3600.0) -> Repair:
    """Look at one base disk, read it, and mend what can be mended."""
    store = stores[pool]
    directory = store.base_directory(sha256)
    if not os.path.lexists(directory):
        return Repair(sha256, pool, "none", "")
    state = _state(directory)
    base = store.find(sha256, changed=True, alone=True)
    damage = transfer.verify(base, None if check_mode else store) if base is not None else store.problem(sha256)
    if not damage:
        return _with_parents(stores, store, sha256, check_mode, wait_s)
    digest = _digest_of(store, sha256)
    if digest is not None:
        files = _to_write(store, sha256, digest.chunks)
        if not check_mode:
            _complete(stores, store, sha256, digest, files)
        return Repair(sha256, pool, "completed", damage, tuple(files))
    original = _sound_copy(stores, store, sha256)
    if original is not None:
        if not check_mode:
            _replace(original, stores[original.pool], store, wait_s)
        return Repair(sha256, pool, "replaced", damage, other=original.pool)
    if check_mode:
        needed = removal.needed_by(stores, pool, sha256)
        return Repair(sha256, pool, "set_aside" if needed else "removed", damage, already=bool(needed) and base is None)
    return _put_away(stores, store, base, Repair(sha256, pool, "set_aside", damage, already=base is None), state)


def _put_away(stores: t.Mapping[str, Store], store: Store, base: Base | None, told: Repair, state: tuple[int, ...]) -> Repair:
    """
    :param told: the answer if something needs the base. No pool of the host has its bytes: without its chunk list it does not count, and
        an import or a relay replaces it.
    :param state: of the disk before it was read.
    """
    directory = store.base_directory(told.sha256)
    with store.changing():  # a disk over the base is made under the same lock
        if _state(directory) != state:
            return told._replace(action="none", damage="", already=False)  # another run has brought it back, or has removed it
        if not removal.needed_by(stores, store.pool, told.sha256):
            in_use.refuse_entry(directory, "removed")
            store.remove(told.sha256)
            return told._replace(action="removed", already=False)
        if base is not None:
            file_io.remove_file(base.chunks_path)
            file_io.sync_directory(directory)
    return told


def _state(directory: str) -> tuple[int, ...]:
    """What tells a disk from one that another run has put in its place; empty where there is none."""
    try:
        status = os.lstat(os.path.join(directory, "disk"))
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _with_parents(stores: t.Mapping[str, Store], store: Store, sha256: str, check_mode: bool, wait_s: float) -> Repair:
    """A base that is right itself. What its parents lack is mended with them; one that is gone comes back from another pool."""
    trouble = store.trouble(sha256, changed=True)
    if trouble.parent is None:
        return Repair(sha256, store.pool, "none", "")
    if not os.path.lexists(store.base_directory(trouble.parent)):
        original = _sound_copy(stores, store, trouble.parent)
        if original is not None:
            if not check_mode:
                transfer.clone_base(original, stores[original.pool], store, (), wait_s)
            return Repair(trouble.parent, store.pool, "restored", trouble.text, other=original.pool)
    return Repair(sha256, store.pool, "waits", trouble.text)


def resumable(store: Store, sha256: str, check_mode: bool) -> bool:
    """Put a copy of a damaged disk where the relay looks for what an interrupted run has received: it verifies each chunk of it, and
    fetches the wrong ones only. Whether there was something to do.

    :raises FleetError: the disk cannot be read, or the pool has no room for two of it; a relay fetches all of it then.
    """
    disk = os.path.join(store.base_directory(sha256), "disk")
    place = store.partial_directory(sha256)
    if store.find(sha256) is not None or not os.path.isfile(disk) or os.path.lexists(os.path.join(place, "map")):
        return False
    if check_mode:
        return True
    with store.partial(sha256) as partial:
        try:
            source = file_io.open_regular(disk)
            try:
                size = os.fstat(source).st_size
                file_io.remove_file(partial.disk)
                transfer.copy_file(source, partial.disk, size, store.room)
            finally:
                os.close(source)
            # It does not say in which boot it was written, so that none of its chunks is believed.
            file_io.replace_file(partial.map, map_bytes(chunk_count(size, CHUNK_BYTES), verified=True), attributes.BASE_MODE)
        except BaseException as error:  # an interrupt must not leave half a copy either
            partial.discard()
            if isinstance(error, OSError):
                raise FleetError(f"{disk} cannot be copied: {error.strerror}.", path=disk) from error
            raise
    return True


def _digest_of(store: Store, sha256: str) -> FileDigest | None:
    """Of the disk when its bytes have the digest; None when they have not, or there is no disk, or it cannot be read."""
    directory = store.base_directory(sha256)
    try:
        if not stat.S_ISDIR(os.lstat(directory).st_mode):
            return None
        digest = store.file_digest(os.path.join(directory, "disk"), chunk_list=True)
        return digest if digest.finish() == sha256 else None
    except (OSError, FileChanging):
        return None


def _to_write(store: Store, sha256: str, chunks: ChunkList) -> list[str]:
    directory = store.base_directory(sha256)
    files = []
    try:
        listed = file_io.read_file(os.path.join(directory, "chunks"))
    except (OSError, FleetError):
        listed = b""
    if listed != chunks.to_bytes():
        files.append("chunks")
    if _record(store, sha256, chunks) is None:
        files.append("base.json")
    return files


def _record(store: Store, sha256: str, chunks: ChunkList) -> dict[str, t.Any] | None:
    """What base.json says, when it is sound and fits the disk."""
    try:
        record = file_io.read_json(os.path.join(store.base_directory(sha256), "base.json"))
    except (OSError, FleetError):
        return None
    return record if _fits(record, sha256, chunks) else None


def _fits(record: t.Any, sha256: str, chunks: ChunkList) -> bool:
    if metadata_problem(record, sha256):
        return False
    return (record["size_bytes"], record["chunks_sha256"]) == (chunks.size_bytes, chunks.sha256)


def _complete(stores: t.Mapping[str, Store], store: Store, sha256: str, digest: FileDigest, files: t.Sequence[str]) -> None:
    directory, chunks = store.base_directory(sha256), digest.chunks
    with store.changing():
        if "base.json" in files:
            others = (_record(other, sha256, chunks) for other in stores.values() if other is not store)
            record = next(filter(None, others), None) or _new_record(directory, sha256, chunks)
            path = os.path.join(directory, "base.json")
            file_trees.remove_tree_or_file(path)
            file_io.replace_file(path, file_io.json_bytes(record), attributes.BASE_MODE)
        if "chunks" in files:
            path = os.path.join(directory, "chunks")
            file_trees.remove_tree_or_file(path)
            file_io.replace_file(path, chunks.to_bytes(), attributes.BASE_MODE)
        disk = os.path.join(directory, "disk")
        attributes.protect(disk)
        # Now that nobody can write it any more: nobody has since it was read.
        if not digest.is_of(disk) or digest.finish() != sha256:
            raise FleetError(
                f"The base disk {sha256} in pool {store.pool} was changed while it was mended; end what writes to it, and run again.",
                sha256=sha256,
            )
        store.prepare()
        verification.remember(store.record_path(sha256), disk)
        file_io.sync_directory(directory)
    trouble = store.trouble(sha256)
    if trouble.text and trouble.parent is None:
        raise FleetError(
            f"The base disk {sha256} in pool {store.pool} is still not usable: {trouble.text}; remove it, or import it again.",
            sha256=sha256,
        )


def _new_record(directory: str, sha256: str, chunks: ChunkList) -> dict[str, t.Any]:
    """From the disk alone; where it came from is lost."""
    path = os.path.join(directory, "disk")
    image_format, virtual_size, parent = "raw", chunks.size_bytes, None
    try:
        header = image_header.read_qcow2(path)
    except image_header.HeaderError:
        header = None
    if header is not None and header.backing is not None:
        match = _PARENT.match(header.backing)
        if match is None:
            raise FleetError(f"{path} names a parent outside of the store; its record cannot be made again.", path=path)
        parent = match.group(1)
    if header is not None:
        image_format, virtual_size = "qcow2", header.virtual_size_bytes
    return {
        "format": FORMAT,
        "sha256": sha256,
        "source_sha256": sha256,
        "size_bytes": chunks.size_bytes,
        "virtual_size_bytes": virtual_size,
        "image_format": image_format,
        "parent": parent,
        "chunk_bytes": CHUNK_BYTES,
        "chunks_sha256": chunks.sha256,
        "imported_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "imported_from": {"kind": "repair", "name": path, "image_format": image_format},
        "signatures": [],
    }


def _sound_copy(stores: t.Mapping[str, Store], damaged: Store, sha256: str) -> Base | None:
    for store in stores.values():
        if os.path.realpath(store.pool_path) == os.path.realpath(damaged.pool_path):
            continue
        base = store.find(sha256)
        if base is not None and not transfer.verify(base):
            return base
    return None


def _replace(original: Base, source: Store, target: Store, wait_s: float) -> None:
    directory = target.base_directory(original.sha256)
    with target.changing():
        # From here on it is no usable base, so that the copy takes its place.
        if stat.S_ISDIR(os.lstat(directory).st_mode):
            file_trees.remove_tree_or_file(os.path.join(directory, "chunks"))
    transfer.clone_base(original, source, target, target.references(original.sha256), wait_s)
