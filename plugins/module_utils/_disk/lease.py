# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Locks that other hosts respect where the kernel's own locks may end at the host: files that exist while they are held.

A lease is made by O_EXCL, which every file system of several hosts decides once. Its holder writes a new beat into it every
few seconds. Who waits watches the beat by its own clock, so that hosts need not agree about the time: a lease whose beat
stands still for long enough, or whose process has ended on this very host, is broken.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import threading
import time
import typing as t

from .._errors import FleetError
from . import file_io, file_trees, filesystem

BEAT_S = 10.0
STALE_S = 90.0
_PAUSE_S = 0.2
_LARGEST = 4096


class Owner(t.NamedTuple):
    """Who holds a lease, as messages name it."""

    host: str
    boot: str
    pid: int
    token: str
    beat: int


def _boot() -> str:
    """Where a process's number means that process: in this boot, and in this container of it."""
    return f"{filesystem.boot_id()}.{os.readlink('/proc/self/ns/pid')}"


class Lease:
    """A held lease; ``release`` it. ``lost`` is set when somebody else has broken it, as after a long standstill."""

    def __init__(self, path: str, descriptor: int, owner: Owner) -> None:
        self.path = path
        self.lost = False
        self._descriptor = descriptor
        self._owner = owner
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lease")
        self._thread.start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            # Its directory may have been renamed with it, so only the file itself tells whether it is still there.
            if _is_removed(self._descriptor):
                self.lost = True
                return
            self._owner = self._owner._replace(beat=self._owner.beat + 1)
            with contextlib.suppress(OSError):
                _write(self._descriptor, self._owner)

    def taken_by(self) -> str | None:
        """The host that has it now if this one stood still for too long, empty if that is not known; None: it is held."""
        owner = holder(self.path)
        if not self.lost and owner is not None and owner.token == self._owner.token:
            return None
        self.lost = True
        return "" if owner is None else owner.host

    def release(self) -> None:
        self._ended.set()
        self._thread.join()
        try:
            if _same_file(self.path, self._descriptor):
                os.unlink(self.path)
        except OSError:
            pass  # it went with its directory, or stands still and is broken by the next who wants it
        finally:
            os.close(self._descriptor)


def take(path: str) -> Lease | None:
    """The lease of this name, None while somebody else has it."""
    owner = Owner(socket.gethostname(), _boot(), os.getpid(), secrets.token_hex(8), 0)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    try:
        _write(descriptor, owner)
        os.fsync(descriptor)
        return Lease(path, descriptor, owner)
    except BaseException:  # an interrupt must not leave a lease that no process holds either
        os.close(descriptor)
        file_io.remove_file(path)
        raise


def holder(path: str) -> Owner | None:
    """Who has the lease; None where nobody has it. One that cannot be read, as it has just been made, has no name."""
    try:
        value = file_io.read_value(path, _LARGEST)
        return Owner(
            value["host"].text(255), value["boot"].text(80), value["pid"].integer(), value["token"].text(64), value["beat"].integer()
        )
    except FileNotFoundError:
        return None
    except (OSError, FleetError):
        return Owner("", "", 0, "", 0)


class Watch:
    """Watches leases of others, to break those that nobody holds any more."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Owner, float]] = {}

    def is_free(self, path: str) -> bool:
        """Whether nobody has the lease, at once or after breaking one that stands still."""
        owner = holder(path)
        if owner is None:
            self._seen.pop(path, None)
            return True
        now = time.monotonic()
        before = self._seen.get(path)
        if before is None or before[0] != owner:
            self._seen[path] = (owner, now)
            since = now
        else:
            since = before[1]
        if now - since < STALE_S and not is_stale(path, owner):
            return False
        return self._break(path, owner)

    def _break(self, path: str, owner: Owner) -> bool:
        aside = f"{path}.{file_io.unique()}.broken"
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return True
        if holder(aside) != owner:
            # Another one broke it first, and this is its own: give it back unless a third has taken the name.
            with contextlib.suppress(OSError):
                os.link(aside, path)
            file_io.remove_file(aside)
            return False
        file_trees.remove_tree_or_file(aside)  # whatever stood in its place
        self._seen.pop(path, None)
        return True


def is_stale(path: str, owner: Owner) -> bool:
    """Whether nobody can hold it any more: its process has ended, or its last beat is old by the clock of the storage, which
    stamps both it and a file that is made to ask."""
    if _has_ended(owner):
        return True
    probe = f"{path}.{file_io.unique()}.tmp"
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"x")
            os.fsync(descriptor)
            return os.fstat(descriptor).st_mtime - os.stat(path).st_mtime > STALE_S
        finally:
            os.close(descriptor)
    except OSError:
        return False
    finally:
        file_io.remove_file(probe)


def pause() -> None:
    time.sleep(_PAUSE_S)


def _has_ended(owner: Owner) -> bool:
    """For sure: a process of this host and this boot that is no more."""
    if owner.host != socket.gethostname() or owner.boot != _boot() or owner.pid == 0:
        return False
    return not os.path.exists(f"/proc/{owner.pid}")


def _write(descriptor: int, owner: Owner) -> None:
    data = file_io.json_bytes(owner._asdict())
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))


def _is_removed(descriptor: int) -> bool:
    try:
        return os.fstat(descriptor).st_nlink == 0
    except OSError as error:
        return error.errno == errno.ESTALE  # as network file systems say it


def _same_file(path: str, descriptor: int) -> bool:
    there, here = os.lstat(path), os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
