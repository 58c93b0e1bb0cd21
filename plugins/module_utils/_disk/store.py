# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The base store of one pool: base disks by digest, the partial ones on their way, and what refers to them.

    <pool>/bases/<sha256>/{disk, base.json, chunks}
    <pool>/bases/.partial/<sha256>/{disk, map, chunks, lock}
    <pool>/bases/.refs/<sha256>/*.json
    <pool>/bases/.verified/<sha256>

A base appears by one rename when everything in it is on disk, and disappears by one rename before it is deleted.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import struct
import time
import typing as t

from .._base_format.chunk_list import Listed, digest_of, list_bytes, parts
from .._base_format.file_digest import FileChanging, FileDigest
from .._errors import FleetError
from .._names import check_sha256, is_sha256
from . import access, attributes, file_io, file_trees, filesystem, in_place, last_use, lock, references, verification
from .base import METADATA_KEYS, Base, metadata_problem, only_of_others, record_problem
from .errors import LockLost, NameTaken, UnsafePath, WrongDigest
from .references import Reference
from .room import RESERVE_PERCENT, Promise, Room
from .runner import Runner

CHUNK_BYTES = 256 * 1024
MAP_MAGIC = b"BCMAP001"
MAP_HEADER_BYTES = len(MAP_MAGIC) + 8


class Trouble(t.NamedTuple):
    """Why a base cannot be used: ``text``, empty when it can. ``parent`` is the one of its parents that the text is about, None when
    the base itself is damaged."""

    text: str = ""
    parent: str | None = None


class Store:
    """The base store of one pool.

    :param pool_path: absolute path of the pool; it need not exist for reading.
    :param runner: kept for callers that pass it along; the store itself runs no program.
    :param pool: the pool's name, as results show it.
    :param reserve_percent: so much of its file system stays free; see ``room``.
    :param neighbours: the paths of all pools of the host.
    """

    def __init__(
        self,
        pool_path: str,
        runner: Runner | None = None,
        pool: str = "",
        reserve_percent: float = RESERVE_PERCENT,
        neighbours: t.Iterable[str] = (),
    ) -> None:
        self.pool_path = pool_path
        self.runner = runner
        self.pool = pool
        self.directory = os.path.join(pool_path, "bases")
        self.room = Room(pool_path, pool, reserve_percent, neighbours)

    # -- places

    def base_directory(self, sha256: str) -> str:
        return os.path.join(self.directory, check_sha256("sha256", sha256))

    def partial_directory(self, sha256: str) -> str:
        return os.path.join(self.directory, ".partial", check_sha256("sha256", sha256))

    def references_directory(self, sha256: str) -> str:
        return os.path.join(self.directory, ".refs", check_sha256("sha256", sha256))

    def record_path(self, sha256: str) -> str:
        """Of when the base was compared with its name."""
        return os.path.join(self.directory, ".verified", check_sha256("sha256", sha256))

    def prepare(self) -> None:
        """Make the store's directories. The pool itself must exist: making it would hide a missing mount."""
        if not os.path.isdir(self.pool_path):
            raise FleetError(
                f"The pool {self.pool or self.pool_path} does not exist on this host: {self.pool_path} is not a directory; "
                "create or mount it, or correct the option pools.",
                pool=self.pool,
                path=self.pool_path,
            )
        made = file_io.ensure_directory(self.directory)
        if not made:
            access.let_pass(self.directory)
        for name in (".partial", ".refs", ".verified"):
            made = file_io.ensure_directory(os.path.join(self.directory, name)) or made
        lock.note_other_hosts(self.pool_path)
        if made:
            file_io.sync_directory(self.directory)
            file_io.sync_directory(self.pool_path)

    def changing(self, wait_s: float = 60.0, shared: bool = False) -> lock.Lock:
        """Held while references change or bases are removed; shared while disks are based on a base."""
        self.prepare()
        path = os.path.join(self.directory, ".lock")
        return lock.take(path, f"The base store of pool {self.pool or self.pool_path}", wait_s, shared=shared)

    def file_digest(self, path: str, chunk_list: bool = False) -> FileDigest:
        """The digest of a file in this pool, see there. :raises OSError:"""
        return FileDigest(path, chunk_list, local=not filesystem.is_network(self.pool_path))

    # -- looking

    def ids(self) -> list[str]:
        """Digests of the directories of bases, whole or not."""
        return [name for name in file_io.names_in(self.directory) if is_sha256(name)]

    def bases(self) -> list[Base]:
        return [base for base in (self.find(sha256) for sha256 in self.ids()) if base is not None]

    def find(self, sha256: str, changed: bool = False, alone: bool = False) -> Base | None:
        """The base with this digest, from its metadata, size and time of change; nothing is read or hashed.

        :param changed: also when somebody has written to the file, or to a parent's, since it was verified: to verify it again.
        :param alone: whatever its parents are: to look at the base itself. Its chain is empty if they cannot be used.
        """
        metadata, problem = self._metadata(sha256, changed)
        if problem:
            return None
        chain, trouble = self._chain(metadata, changed)
        if trouble.text and not alone:
            return None
        return Base(
            metadata=metadata,
            pool=self.pool,
            directory=self.base_directory(sha256),
            chain=chain,
            references=tuple(self.references(sha256)),
            verified_at=(self._recorded(sha256) or {}).get("at"),
        )

    def problem(self, sha256: str) -> str:
        """Why the base with this digest is not usable; empty when it is, or when there is none."""
        return self.trouble(sha256).text

    def trouble(self, sha256: str, changed: bool = False) -> Trouble:
        """The same, and whether it is a parent's.

        :param changed: as ``find`` takes it.
        """
        if not os.path.lexists(self.base_directory(sha256)):
            return Trouble()
        metadata, problem = self._metadata(sha256, changed)
        return Trouble(problem) if problem else self._chain(metadata, changed)[1]

    def find_by_source(self, sha256: str) -> Base | None:
        """The base whose file or whose source, as it was given at import, has this digest."""
        base = self.find(sha256)
        if base is not None:
            return base
        for candidate in self.ids():
            metadata, problem = self._metadata(candidate)
            if not problem and metadata["source_sha256"] == sha256:
                base = self.find(candidate)
                if base is not None:
                    return base
        return None

    def find_by_name(self, tenant: str, name: str, version: str) -> Base | None:
        wanted = references.name_of(tenant, name, version)
        for sha256 in self.ids():
            if os.path.lexists(os.path.join(self.references_directory(sha256), wanted.file_name())):
                base = self.find(sha256)
                if base is not None:
                    return base
        return None

    def references(self, sha256: str) -> list[Reference]:
        return references.read(self.references_directory(sha256))

    def is_foreign(self, sha256: str, tenant: str | None) -> bool:
        """Whether only other tenants need the base, whole or not."""
        return only_of_others(self.references(sha256), tenant)

    def referred_ids(self) -> list[str]:
        """Digests that references were written for, whether the base is there or not."""
        return [name for name in file_io.names_in(os.path.join(self.directory, ".refs")) if is_sha256(name)]

    def children(self, sha256: str) -> list[str]:
        """Digests of bases whose parent this is, damaged ones included."""
        return self.families().get(sha256, [])

    def families(self) -> dict[str, list[str]]:
        """Digests of children by that of their parent, damaged ones included. Every base's metadata are read."""
        found: dict[str, list[str]] = {}
        for candidate in self.ids():
            try:
                parent = file_io.read_value(os.path.join(self.base_directory(candidate), "base.json")).get("parent")
            except (OSError, FleetError):
                continue
            if parent is not None and isinstance(parent.raw, str):
                found.setdefault(parent.raw, []).append(candidate)
        return found

    def _recorded(self, sha256: str) -> dict[str, t.Any] | None:
        return verification.recorded(self.record_path(sha256))

    def _metadata(self, sha256: str, changed: bool = False) -> tuple[dict[str, t.Any], str]:
        """What base.json says, and why the base cannot be used: what is damaged, or which of its files is missing."""
        directory = self.base_directory(sha256)
        try:
            if not stat.S_ISDIR(os.lstat(directory).st_mode):
                return {}, "its directory is a symbolic link or a file"
            metadata = file_io.read_json(os.path.join(directory, "base.json"))
            problem = metadata_problem(metadata, sha256)
            if problem:
                return {}, problem
            wanted = {"disk": metadata["size_bytes"], "chunks": list_bytes(metadata["size_bytes"], metadata["chunk_bytes"])}
            for name, size_bytes in wanted.items():
                status = os.lstat(os.path.join(directory, name))
                if not stat.S_ISREG(status.st_mode):
                    return {}, f"{name} is not a regular file"
                if status.st_size != size_bytes:
                    return {}, f"{name} has {status.st_size} bytes instead of {size_bytes}"
                if name == "disk" and not changed:
                    problem = verification.problem(self._recorded(sha256), status)
                    if problem:
                        return {}, problem
        except FileNotFoundError as error:
            return {}, f"{os.path.basename(error.filename or 'a file')} is missing"
        except OSError as error:
            return {}, f"it cannot be read: {error.strerror}"
        except FleetError as error:
            return {}, f"base.json cannot be read: {error.message}"
        return {key: metadata.get(key) for key in METADATA_KEYS}, ""

    def _chain(self, metadata: t.Mapping[str, t.Any], changed: bool = False) -> tuple[tuple[str, ...], Trouble]:
        """Digests root first, itself last; a chain with a gap or a loop is a problem."""
        chain = [t.cast(str, metadata["sha256"])]
        while metadata["parent"] is not None:
            parent = t.cast(str, metadata["parent"])
            if parent in chain:
                return (), Trouble("its chain of parents is a loop")
            metadata, problem = self._metadata(parent, changed)
            if problem:
                return (), Trouble(f"its parent {parent} is not usable: {problem}", parent)
            chain.append(parent)
        return tuple(reversed(chain)), Trouble()

    # -- references

    def check_name_free(self, tenant: str, name: str, version: str, sha256: str) -> None:
        """NameTaken when the name stands for other bytes in this pool."""
        found = self.find_by_name(tenant, name, version)
        if found is not None and found.sha256 != sha256:
            raise NameTaken(tenant, name, version, self.pool, found.sha256, sha256)

    def template(self, sha256: str, name: Reference) -> str | None:
        """The template that a name of the base stands for, as text. :raises FleetError: it cannot be understood."""
        return references.template_of(self.references_directory(sha256), name)

    def refer(self, sha256: str, wanted: t.Iterable[Reference], template: str | None = None) -> list[Reference]:
        """Write references, before or after the base appears; those that were new.

        :param template: what names among them stand for besides.
        """
        self.prepare()
        directory = self.references_directory(sha256)
        return [item for item in wanted if references.write(directory, item, template if item.kind == "name" else None)]

    def unrefer(self, sha256: str, unwanted: t.Iterable[Reference]) -> list[Reference]:
        """Remove references; those that were there."""
        return [item for item in unwanted if references.remove(self.references_directory(sha256), item)]

    # -- partial bases

    def partial(self, sha256: str, wait_s: float = 0.0) -> Partial:
        """The one writer's hold on a base that is on its way, made when there is none.

        :raises StoreBusy: another process writes it; ``fields.pid`` names it.
        """
        self.prepare()
        directory = self.partial_directory(sha256)
        deadline = time.monotonic() + wait_s
        while True:
            file_io.ensure_directory(directory)
            try:
                left = max(0.0, deadline - time.monotonic())
                held = lock.take(os.path.join(directory, "lock"), f"The base disk {sha256}", left)
            except FileNotFoundError:
                continue  # published or discarded between the two steps
            try:
                return Partial(self, sha256, directory, held)
            except BaseException:  # an interrupt must not leave the lock held either
                held.close()
                raise

    def partials(self) -> list[dict[str, t.Any]]:
        """[{"sha256","bytes_verified","size_bytes","allocated_bytes","in_use"}] as info modules show it; nothing is locked
        for longer than an instant."""
        directory = os.path.join(self.directory, ".partial")
        found = []
        for name in filter(is_sha256, file_io.names_in(directory)):
            place = os.path.join(directory, name)
            disk = os.path.join(place, "disk")
            try:
                size, allocated = os.lstat(disk).st_size, file_io.allocated_bytes(disk)
            except OSError:
                size = allocated = 0
            verified = _verified_chunks(os.path.join(place, "map"))
            found.append(
                {
                    "sha256": name,
                    "bytes_verified": min(verified * CHUNK_BYTES, size),
                    "size_bytes": size,
                    "allocated_bytes": allocated,
                    "in_use": lock.is_held(os.path.join(place, "lock")),
                }
            )
        return found

    # -- removal

    def remove(self, sha256: str) -> None:
        """Delete a base and then its references. The caller holds ``changing()`` and knows that nobody needs it."""
        directory = self.base_directory(sha256)
        doomed = os.path.join(self.directory, f".removed-{sha256}-{file_io.unique()}")
        os.rename(directory, doomed)
        file_io.sync_directory(self.directory)
        file_trees.remove_tree_or_file(doomed)
        file_trees.remove_tree_or_file(self.references_directory(sha256))
        file_trees.remove_tree_or_file(self.record_path(sha256))
        file_trees.remove_tree_or_file(last_use.stamp_path(self.directory, sha256))
        file_io.sync_directory(self.directory)

    def sweep(self) -> None:
        """Finish removals that a crash cut off. The caller holds ``changing()``."""
        for name in os.listdir(self.directory):
            if name.startswith(".removed-"):
                file_trees.remove_tree_or_file(os.path.join(self.directory, name))


def map_bytes(count: int, verified: bool = False) -> bytes:
    """A whole map file of ``count`` chunks."""
    return MAP_MAGIC + struct.pack(">Q", count) + (b"\1" if verified else b"\0") * count


def _verified_chunks(path: str) -> int:
    try:
        descriptor = file_io.open_regular(path)
    except (OSError, FleetError):
        return 0
    try:
        if os.fstat(descriptor).st_size <= MAP_HEADER_BYTES:
            return 0
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as view:
            return view[MAP_HEADER_BYTES:].count(1) if view[: len(MAP_MAGIC)] == MAP_MAGIC else 0
    finally:
        os.close(descriptor)


def stores_of(pools: t.Mapping[str, str], runner: Runner | None = None, reserve_percent: float = RESERVE_PERCENT) -> dict[str, Store]:
    """The stores of all pools of a host, by the pool's name."""
    return {name: Store(path, runner, name, reserve_percent, pools.values()) for name, path in pools.items()}


class Partial:
    """A base that is on its way, held by its one writer through an flock.

    Write to the files ``disk`` and ``map``; then ``publish``, ``discard``, or ``close`` to keep them for a resume.
    """

    def __init__(self, store: Store, sha256: str, directory: str, held: lock.Lock) -> None:
        self.store = store
        self.sha256 = sha256
        self.directory = directory
        self.disk = os.path.join(directory, "disk")
        self.map = os.path.join(directory, "map")
        self._lock = held
        self._digest: FileDigest | None = None
        self._promise: Promise | None = None
        for path in (self.disk, self.map):
            file_trees.own_file_or_none(path)

    def promise(self, size: int) -> None:
        """Room for the whole disk, until this hold ends. :raises NoSpace:"""
        if self._promise is None:
            self._promise = self.store.room.begin(f"The base disk {self.sha256}", [self.disk])
        self._promise.cover(size)

    def digest(self) -> FileDigest:
        """Of ``disk``, from now on; whoever writes the file may keep it up to date. ``publish`` finishes it."""
        if self._digest is None:
            os.close(os.open(self.disk, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._digest = self.store.file_digest(self.disk)
        return self._digest

    def publish(self, metadata: t.Mapping[str, t.Any], chunks: Listed, digest: FileDigest | None = None) -> Base:
        """Make it a base. When the base is there already, this one is discarded and that one returned.

        The only way into the store: whatever the caller says of the bytes, they are read back from the file, as far as
        the digest has not seen them. The caller has ended its write access to the file.

        :param digest: of the file that is ``disk`` now, when it is not the one that ``digest`` gave.
        :raises WrongDigest: the file is not what its name says; it is kept as it was, to be mended or discarded.
        """
        there = self.store.find(self.sha256)
        if there is not None:
            if digest is not None:
                digest.close()  # network storage keeps what is open
            self.discard()
            return there
        if metadata.get("parent") is None:
            return self._publish(metadata, chunks, digest)
        with self.store.changing(shared=True):  # so that the parent is not removed in between
            return self._publish(metadata, chunks, digest)

    def _publish(self, metadata: t.Mapping[str, t.Any], chunks: Listed, digest: FileDigest | None) -> Base:
        self._lock.check()
        self._check(metadata, chunks)
        file_io.replace_file(os.path.join(self.directory, "chunks"), parts(chunks), attributes.BASE_MODE)
        file_io.replace_file(os.path.join(self.directory, "base.json"), file_io.json_bytes(dict(metadata)), attributes.BASE_MODE)
        # In this order: from here on nobody can open it for writing any more. Then the digest waits for those that still
        # have it open, and reads again what they may have changed. What it has seen is what the rename publishes.
        attributes.protect(self.disk)
        try:
            self._compare(digest)
            self._compare_record(metadata)
        except BaseException:  # an interrupt must not leave a partial that no run can write either
            attributes.set_immutable(self.disk, False)
            os.chmod(self.disk, 0o600)
            raise
        verification.remember(self.store.record_path(self.sha256), self.disk)
        file_io.sync_file(self.disk)
        file_io.sync_directory(self.directory)
        self._lock.check()
        if self._rename():
            for name in ("map", "lock", "lock.lease"):
                file_io.remove_file(os.path.join(self.store.base_directory(self.sha256), name))
            file_io.sync_directory(self.store.directory)
            self.close()
        else:
            self.discard()
        base = self.store.find(self.sha256)
        if base is None:
            raise FleetError(
                f"The base disk {self.sha256} was published but cannot be used: {self.store.problem(self.sha256)}; something else changes "
                "files of the store: end it, and run again.",
                sha256=self.sha256,
            )
        return base

    def _compare(self, digest: FileDigest | None) -> None:
        """The whole file with its name. :raises WrongDigest: FleetError:"""
        given = digest or self._digest
        seen = given if given is not None and given.is_of(self.disk) else self.store.file_digest(self.disk)
        try:
            found = seen.finish()
        except FileChanging as error:
            raise FleetError(f"The base disk {self.sha256} cannot be published: {error}", sha256=self.sha256) from error
        finally:
            if seen is not given:
                seen.close()
        if found != self.sha256:
            raise WrongDigest(self.sha256, found)

    def _compare_record(self, metadata: t.Mapping[str, t.Any]) -> None:
        """What the record says of the bytes with the bytes, which no digest covers: whoever sent it may lie. :raises FleetError:"""
        parent = None if metadata["parent"] is None else self.store.find(metadata["parent"])
        problem = record_problem(self.disk, metadata, None if parent is None else parent.image_format)
        if problem:
            raise FleetError(
                f"The base disk {self.sha256} cannot be published: its record says {problem}; compare the records of its holders.",
                sha256=self.sha256,
            )

    def _rename(self) -> bool:
        """Whether this is the base now; else what stood there was put right."""
        target = self.store.base_directory(self.sha256)
        try:
            os.rename(self.directory, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            # What stands there is no usable base (see publish): make way for one that is.
            with contextlib.suppress(UnsafePath, FileNotFoundError, NotADirectoryError):  # no disk that a machine could have open
                record = self.store.record_path(self.sha256)
                # Behind a link stands a file of somebody else.
                if not os.path.islink(target) and in_place.put_right(target, self.sha256, self.directory, record, self.store.file_digest):
                    return False
            doomed = os.path.join(self.store.directory, f".removed-{self.sha256}-{file_io.unique()}")
            os.rename(target, doomed)
            os.rename(self.directory, target)
            file_trees.remove_tree_or_file(doomed)
        return True

    def _check(self, metadata: t.Mapping[str, t.Any], chunks: Listed) -> None:
        problem = metadata_problem(dict(metadata), self.sha256)
        size = os.lstat(self.disk).st_size
        if not problem and size != metadata["size_bytes"]:
            problem = f"the file has {size} bytes instead of {metadata['size_bytes']}"
        if not problem and digest_of(chunks) != metadata["chunks_sha256"]:
            problem = "the chunk list has another digest than the metadata says"
        if not problem and metadata["parent"] is not None and self.store.find(metadata["parent"]) is None:
            problem = f"its parent {metadata['parent']} is not in the same pool"
        if problem:
            raise FleetError(f"The base disk {self.sha256} cannot be published: {problem}.", sha256=self.sha256)

    def discard(self) -> None:
        """Delete it, lock included; nothing to do when it was published or closed."""
        if self._lock.descriptor < 0:
            return
        try:
            self._lock.check()
        except LockLost:
            # What is there now is another host's.
            self.close()
            return
        # Renamed first: whoever waits for the lock then finds no half-deleted directory to continue with.
        doomed = os.path.join(os.path.dirname(self.directory), f".discarded-{file_io.unique()}")
        os.rename(self.directory, doomed)
        # Network storage keeps what is open, and the directory with it.
        self.close()
        file_trees.remove_tree_or_file(doomed)

    def close(self) -> None:
        """Give up the hold and keep what is there."""
        with contextlib.ExitStack() as ends:
            ends.callback(self._lock.close)
            if self._promise is not None:
                ends.callback(self._promise.close)
            if self._digest is not None:
                ends.callback(self._digest.close)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()
