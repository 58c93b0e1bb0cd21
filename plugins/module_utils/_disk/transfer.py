# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Base disks from one pool of the host to another: cloned where the file systems allow it, else copied; verified."""

from __future__ import annotations

import os
import typing as t

from .._base_format.chunk_list import ChunkHasher, ChunkList
from .._base_format.file_digest import FileDigest
from .._errors import FleetError
from . import errors, file_io, references, sparse_copy, verification
from .base import Base
from .errors import DigestMismatch
from .room import Room
from .store import Store


def copy_file(
    source: int,
    path: str,
    size: int,
    room: Room,
    consume: t.Callable[[memoryview], t.Any] | None = None,
    try_clone: bool = True,
) -> str:
    """A new file with the content of an open one; "reflink" or "copy" tells how.

    :param room: of the pool in which the new file lies.
    :param consume: sees all bytes in order, also those of a reflink (which are read for it).
    """
    destination = _create(path)
    try:
        if try_clone and sparse_copy.clone(source, destination):
            if consume is not None:
                sparse_copy.read_all(destination, size, consume)
            return "reflink"
        with room.promise(data_bytes(source, size), f"A copy to {path}", [path]):
            sparse_copy.copy_sparse(source, destination, size, consume)
        return "copy"
    finally:
        os.close(destination)


def copy_digested(store: Store, source: int, path: str, size: int, try_clone: bool = True) -> tuple[str, FileDigest]:
    """The same for a file that is to be published: its digest comes along, of what was read back behind the copying."""
    destination = _create(path)
    digest = store.file_digest(path, chunk_list=True)
    try:
        try:
            if try_clone and sparse_copy.clone(source, destination):
                how = "reflink"
            else:
                how = "copy"
                with store.room.promise(data_bytes(source, size), f"A copy to {path}", [path]):
                    sparse_copy.copy_sparse(source, destination, size, written=digest.advance)
        finally:
            with digest.own_close():
                os.close(destination)
        digest.finish()
    except BaseException:  # an interrupt must not leave the descriptor open either
        digest.close()
        raise
    return how, digest


def data_bytes(descriptor: int, size: int) -> int:
    """What a copy writes at most: holes stay holes."""
    return sum(end - start for start, end in sparse_copy.data_ranges(descriptor, size))


def _create(path: str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def hash_open(descriptor: int) -> tuple[str, ChunkList]:
    """Digest and chunk list of an open file; its holes cost no reading."""
    hasher = ChunkHasher()
    sparse_copy.read_all(descriptor, os.fstat(descriptor).st_size, hasher.update)
    return hasher.finish()


def verify(base: Base, store: Store | None = None) -> str:
    """Read the whole base; what is wrong with it, empty when it is what its digest says.

    :param store: where to note that it is right.
    """
    damage = _verify(base)
    if store is not None and not damage:
        record = store.record_path(base.sha256)
        file_io.ensure_directory(os.path.dirname(record))  # and nothing else of the store: this is a look at it
        verification.remember(record, base.path)
    return damage


def _verify(base: Base) -> str:
    try:
        descriptor = file_io.open_regular(base.path)
        try:
            found, chunks = hash_open(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"its file cannot be read: {error.strerror}"
    if found != base.sha256:
        return f"its file has the digest {found}"
    if chunks.sha256 != base.metadata["chunks_sha256"]:
        return "its chunk list does not belong to its file"
    try:
        stored = file_io.read_file(base.chunks_path)
    except OSError as error:
        return f"its chunk list cannot be read: {error.strerror}"
    return "" if stored == chunks.to_bytes() else "its stored chunk list is damaged"


def missing_in(base: Base, target: Store) -> list[str]:
    """Which bases of the chain the other pool lacks, root first."""
    return [sha256 for sha256 in base.chain if target.find(sha256) is None]


def clone_base(base: Base, source: Store, target: Store, wanted: t.Sequence[references.Reference], wait_s: float) -> Base:
    """Bring a base and what its chain lacks into another pool of this host. References are written first.

    A source that turns out damaged is a DigestMismatch, and nothing of it is kept. :raises FleetError: it is there no more.
    """
    written = target.refer(base.sha256, wanted)
    try:
        for sha256 in missing_in(base, target):
            original = source.find(sha256)
            if original is not None:
                _clone_one(original, target, wait_s)
        copied = target.find(base.sha256)
        if copied is None:
            raise FleetError(
                f"The base disk {base.sha256} was removed from pool {source.pool} while it was copied; run again.", sha256=base.sha256
            )
    except BaseException:  # an interrupt must not leave references to nothing either
        if target.find(base.sha256) is None:
            target.unrefer(base.sha256, written)
        raise
    return copied


def _clone_one(original: Base, target: Store, wait_s: float) -> None:
    with target.partial(original.sha256, wait_s) as partial:
        if target.find(original.sha256) is not None:
            partial.discard()
            return
        for path in (partial.disk, partial.map):
            file_io.remove_file(path)
        try:
            descriptor = file_io.open_regular(original.path)
            try:
                _how, digest = copy_digested(target, descriptor, partial.disk, os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)
            found = digest.finish()
            if found != original.sha256:
                raise DigestMismatch(f"The base disk {original.path} is damaged: it", original.sha256, found)
            partial.publish(original.metadata, digest.chunks.to_bytes(), digest)
        except OSError as error:
            partial.discard()
            full = errors.no_space(error, f"Copying the base disk {original.sha256}", target.pool_path)
            raise full or error
        except BaseException:  # an interrupt must not leave the partial either
            partial.discard()
            raise
