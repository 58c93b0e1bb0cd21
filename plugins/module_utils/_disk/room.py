# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The room of a pool: what may still be written to it.

A writer of something large first takes a promise of that many bytes. The part of a promise that is not written yet is
taken for the others, so that two writers never count on the same space, and a reserve stays free for the disks of running machines. A
promise ends with its process, however that ends.

    <pool>/bases/.room/{lock, <writer>.json, <writer>.lock}

Whoever makes a promise has the lock; the writer holds its own lock as long as it writes. Pools on one file system share its room.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._errors import FleetError, InvalidOption
from . import file_io, filesystem, layout, lock
from .errors import NoSpace

DIRECTORY = ".room"
RESERVE_PERCENT = 5.0
_LOCK = "lock"
_WAIT_S = 60.0
_STEP_BYTES = 64 * 1024 * 1024
_MOST_FILES = 1000
_LARGEST = 1 << 20


def reserve_argument() -> dict[str, t.Any]:
    """Argument spec of the option ``reserve_percent``; its documentation is the fragment ``_pools.reserve``."""
    return {"reserve_percent": {"type": "float", "default": RESERVE_PERCENT}}


def checked_percent(value: float) -> float:
    """The option ``reserve_percent``. :raises InvalidOption:"""
    if not 0 <= value < 100:
        raise InvalidOption("reserve_percent", value, "a percentage is needed, 0 or more and less than 100")
    return value


class _Left(t.NamedTuple):
    """What may be promised: the free space without the reserve and without what others were promised."""

    free: int
    reserve: int
    promised: int

    @property
    def bytes(self) -> int:
        return self.free - self.reserve - self.promised


class Room:
    """The room of one pool.

    :param reserve_percent: so much of the file system stays free, whoever asks.
    :param neighbours: paths of all pools of the host, some of which may lie on the same file system.
    """

    def __init__(self, pool_path: str, pool: str = "", reserve_percent: float = RESERVE_PERCENT, neighbours: t.Iterable[str] = ()) -> None:
        self.pool_path = pool_path
        self.pool = pool or pool_path
        self._percent = reserve_percent
        self._neighbours = tuple(path for path in neighbours if path != pool_path)

    @property
    def reserve_bytes(self) -> int:
        space = os.statvfs(filesystem.existing_parent(self.pool_path))
        return int(space.f_blocks * space.f_frsize * self._percent / 100)

    @contextlib.contextmanager
    def promise(self, size: int, subject: str, files: t.Sequence[str]) -> t.Iterator[Promise]:
        """A promise for as long as the files are written.

        :param size: what they will have at most, all of them together; what they have already is a part of it.
        :param subject: what is written, at the start of a sentence.
        :raises NoSpace: there is no room for it; nothing was changed.
        """
        with contextlib.closing(self.begin(subject, files)) as promise:
            promise.cover(size)
            yield promise

    def begin(self, subject: str, files: t.Sequence[str], place: str | None = None) -> Promise:
        """A promise of nothing yet, to be closed by the caller.

        :param place: a directory; it counts for as long as that exists instead.
        """
        file_io.ensure_directory(os.path.dirname(self._directory))
        file_io.ensure_directory(self._directory)
        return Promise(self, subject, files, place)

    def keep(self, size: int, subject: str, file: str) -> None:
        """A promise for as long as the file's directory exists: no process of this host writes the file.

        :raises NoSpace:
        """
        self.begin(subject, [file], os.path.dirname(file)).cover(size)

    def free_bytes(self) -> int:
        """What may be promised at this moment."""
        file_io.ensure_directory(os.path.dirname(self._directory))
        file_io.ensure_directory(self._directory)
        with self._locked() as pools:
            return max(0, self._left(pools, "").bytes)

    def promised_bytes(self) -> int:
        """What writers that are at work may still write to this pool."""
        return sum(promise.outstanding for promise in _promises(self.pool_path) if promise.alive)

    # -- for promises

    @property
    def _directory(self) -> str:
        return os.path.join(self.pool_path, "bases", DIRECTORY)

    @contextlib.contextmanager
    def _locked(self) -> t.Iterator[list[str]]:
        """The pools that share the file system, of which nobody else promises anything meanwhile.

        Of two that use a pool for the first time at once, the later one sees the other's directory, so they meet at one lock at least.
        """
        device = os.stat(self.pool_path).st_dev
        pools = [self.pool_path]
        for path in self._neighbours:
            with contextlib.suppress(OSError):  # a pool that cannot be looked at is not on the file system of this one
                if os.stat(os.path.join(path, "bases", DIRECTORY)).st_dev == device:
                    pools.append(path)
        places = sorted({os.path.realpath(path): path for path in pools}.items())
        with contextlib.ExitStack() as held:
            for _real, path in places:
                held.enter_context(lock.take(os.path.join(path, "bases", DIRECTORY, _LOCK), f"The room of {path}", _WAIT_S))
            yield [path for _real, path in places]

    def _left(self, pools: t.Iterable[str], own: str) -> _Left:
        """What is left beside one's own promise. Notes of writers that were killed are removed."""
        promised = 0
        for pool in pools:
            for other in _promises(pool):
                if other.path == own:
                    continue
                if other.alive:
                    promised += other.outstanding
                else:
                    file_io.remove_file(other.path)
                    file_io.remove_file(_lock_of(other.path))
        space = os.statvfs(self.pool_path)
        return _Left(space.f_bavail * space.f_frsize, self.reserve_bytes, promised)


class Promise:
    """What one writer may write. Close it when all is written, or given up."""

    def __init__(self, room: Room, subject: str, files: t.Sequence[str], place: str | None = None) -> None:
        self._room, self._subject = room, subject
        self._place = None if place is None else os.path.relpath(place, room.pool_path)
        self._files = [os.path.relpath(path, room.pool_path) for path in files]
        self._path = os.path.join(room._directory, f"{file_io.unique()}.json")
        self._lock: lock.Lock | None = None
        self.size = 0

    def cover(self, size: int, ahead: bool = False) -> None:
        """Let it be at least so much.

        :param ahead: and a little more where there is room: the writer does not know how much will come.
        :raises NoSpace: there is no room for that.
        """
        if size <= self.size:
            return
        with self._room._locked() as pools:
            left = self._room._left(pools, self._path)
            there = _allocated(self._files, self._room.pool_path)
            if size - there > left.bytes:
                raise self._refused(size, left)
            if ahead:
                size = min(size + _STEP_BYTES, left.bytes + there)
            if self._lock is None and self._place is None:
                self._lock = lock.take(_lock_of(self._path), self._subject)
            note = file_io.json_bytes({"bytes": size, "files": self._files, "place": self._place})
            file_io.replace_file(self._path, note, 0o600)
            self.size = size

    def keep_ahead(self) -> None:
        """To be called now and then while another process writes the files, which may become larger than was promised.

        :raises NoSpace: they have, and there is no room for more.
        """
        there = _allocated(self._files, self._room.pool_path)
        if there > self.size:
            self.cover(there, ahead=True)

    def _refused(self, size: int, left: _Left) -> NoSpace:
        others = f" and the {left.promised} that other writers were promised" if left.promised else ""
        return NoSpace(
            f"{self._subject} needs {size} bytes in the pool {self._room.pool} ({self._room.pool_path}); {max(0, left.bytes)} may be "
            f"written there, which is the free space without the reserve of {left.reserve} (basecast_pool_reserve_percent){others}. Free "
            "space there (playbook basecast.fleet.prune), or choose another pool. Nothing incomplete was kept.",
            path=self._room.pool_path,
            pool=self._room.pool,
            needed_bytes=size,
            free_bytes=max(0, left.bytes),
        )

    def close(self) -> None:
        held, self._lock, self.size = self._lock, None, 0
        if held is not None:
            try:
                file_io.remove_file(self._path)
                file_io.remove_file(_lock_of(self._path))
            finally:
                held.close()  # without it, the note counts for nothing


def _lock_of(path: str) -> str:
    return path[: -len(".json")] + ".lock"


class _Found(t.NamedTuple):
    """A promise as it stands in the pool.

    :param alive: whether its writer is at work.
    :param outstanding: what is promised and has not been written.
    """

    path: str
    alive: bool
    outstanding: int


def _promises(pool_path: str) -> list[_Found]:
    """:raises FleetError: nobody knows how much a writer will need."""
    directory = os.path.join(pool_path, "bases", DIRECTORY)
    layout.refuse_links(pool_path, "bases", DIRECTORY)
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    found = (_found(os.path.join(directory, name), pool_path) for name in names if name.endswith(".json"))
    return [promise for promise in found if promise is not None]


def _found(path: str, pool_path: str) -> _Found | None:
    """None if it has just ended."""
    try:
        alive = lock.is_held(_lock_of(path))
        told = file_io.read_value(path, _LARGEST)
        place = told.get("place")
        if place is not None:
            alive = os.path.isdir(os.path.join(pool_path, place.text(4096)))
        files = [name.text(4096) for name in told["files"].items(_MOST_FILES)]
        return _Found(path, alive, max(0, told["bytes"].integer() - _allocated(files, pool_path)))
    except FileNotFoundError:
        return None
    except FleetError as error:
        raise FleetError(f"{path}, which says what a writer will need, cannot be used: {error.message}. Remove it.", path=path) from error


def _allocated(files: t.Iterable[str], pool_path: str) -> int:
    found = 0
    for name in files:
        with contextlib.suppress(OSError):  # where nothing is, nothing is taken
            found += file_io.allocated_bytes(os.path.join(pool_path, name))
    return found
