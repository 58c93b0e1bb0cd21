# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Advisory locks (flock): released by the kernel when their holder dies, however it dies.

On a file system that other hosts may mount too, a lease beside it keeps them out, whether or not flock reaches them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
import types

from . import file_io, filesystem, lease
from .errors import LockLost, StoreBusy, UnsafePath
from .lease import Lease

#: In the store of a pool: a host has it on a network file system.
LEASES = ".leases"
_TRIES = 5
_PAUSE_S = 0.02


class Lock:
    """A held lock; close it, or use it as a context."""

    def __init__(self, descriptor: int, path: str, subject: str, named: bool = False, held: Lease | None = None) -> None:
        """
        :param subject: what it is for, as messages name it.
        :param named: the file tells the holder's process id.
        :param held: what keeps other hosts out.
        """
        self._subject = subject
        self._lease = held
        self.descriptor = descriptor
        self.path = path
        self._named = named

    def check(self) -> None:
        """Before what must not happen twice: :raises LockLost: this host stood still, and another one has taken over."""
        host = self._lease.taken_by() if self._lease is not None else None
        if host is not None:
            raise LockLost(self._subject, self.path, host)

    def close(self) -> None:
        if self.descriptor >= 0:
            if self._lease is not None:
                self._lease.release()
                self._lease = None
            if self._named:
                os.ftruncate(self.descriptor, 0)  # nobody is told of a holder that has ended
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        self.close()


def take(path: str, subject: str, wait_s: float = 0.0, shared: bool = False, create: bool = True) -> Lock:
    """Lock a file (made when absent) or a directory.

    A lock on a name that has been removed or replaced meanwhile counts for nothing and is taken anew; when the name's
    directory has gone, FileNotFoundError.

    :raises StoreBusy: somebody else holds it for longer than ``wait_s``.
    """
    deadline = time.monotonic() + wait_s
    while True:
        descriptor = _open(path, create)
        try:
            _wait(descriptor, shared, deadline, subject, path)
            if _is_current(descriptor, path):
                held = _lease(path, shared, deadline, subject) if _other_hosts_may_come(path) else None
                status = os.fstat(descriptor)
                # What has another name too is somebody's file, to which nothing is written.
                named = not shared and stat.S_ISREG(status.st_mode) and status.st_nlink == 1
                if named:
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
                return Lock(descriptor, path, subject, named, held)
        except BaseException:  # an interrupt must not leave the lock held either
            os.close(descriptor)
            raise
        os.close(descriptor)


def _wait(descriptor: int, shared: bool, deadline: float, subject: str, path: str) -> None:
    tries = _TRIES
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
        # Looking whether a lock is held takes it for an instant, so one refusal proves nothing.
        tries -= 1
        if tries <= 0 and time.monotonic() >= deadline:
            raise StoreBusy(subject, path, _holder(descriptor))
        time.sleep(_PAUSE_S)


def _other_hosts_may_come(path: str) -> bool:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mount = filesystem.mount_of(os.path.realpath(path), filesystem.parse_mounts(file.read()))
    if mount is not None and filesystem.is_network_type(mount.type):
        return True
    # The server of the storage, which has it on a local file system, finds the note of a client.
    directory = os.path.dirname(path)
    while True:
        if os.path.lexists(os.path.join(directory, "bases", LEASES)):
            return True
        above = os.path.dirname(directory)
        if above == directory:
            return False
        directory = above


def note_other_hosts(pool_path: str) -> None:
    """For a pool on a network file system: all that lock something in it are to take leases, whatever they see it as."""
    path = os.path.join(pool_path, "bases", LEASES)
    if filesystem.is_network(pool_path) and not os.path.lexists(path):
        try:
            file_io.write_file(path, b"", 0o644)
        except FileExistsError:
            pass


def _lease(path: str, shared: bool, deadline: float, subject: str) -> Lease:
    """The lease beside a lock: one that excludes all others, or one of several that exclude only that."""
    watch, alone = lease.Watch(), f"{path}.lease"
    while True:
        if shared:
            own = lease.take(f"{path}.shared.{file_io.unique()}")
            if own is not None and watch.is_free(alone):
                return own
            if own is not None:
                own.release()
        else:
            own = lease.take(alone)
            if own is not None:
                if _without_sharers(path, watch, deadline):
                    return own
                own.release()
            elif watch.is_free(alone):
                continue
        if time.monotonic() >= deadline:
            owner = lease.holder(alone)
            raise StoreBusy(subject, path, owner.pid if owner else 0, owner.host if owner else "")
        lease.pause()


def _without_sharers(path: str, watch: lease.Watch, deadline: float) -> bool:
    directory, name = os.path.split(path)
    while True:
        names = [one for one in os.listdir(directory) if one.startswith(f"{name}.shared.") and not one.endswith((".broken", ".tmp"))]
        if all(watch.is_free(os.path.join(directory, one)) for one in names):
            return True
        if time.monotonic() >= deadline:
            return False
        lease.pause()


def is_held(path: str) -> bool:
    """Whether a process, of this host or another, holds the lock at this instant."""
    alone = f"{path}.lease"
    owner = lease.holder(alone)
    if owner is not None and not lease.is_stale(alone, owner):
        return True
    try:
        descriptor = file_io.open_regular(path)
    except (OSError, UnsafePath):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _open(path: str, create: bool) -> int:
    if os.path.isdir(path):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    while True:
        try:
            return file_io.open_regular(path, os.O_RDWR)
        except FileNotFoundError:
            if not create:
                raise
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue


def _is_current(descriptor: int, path: str) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _holder(descriptor: int) -> int:
    try:
        return int(os.pread(descriptor, 32, 0).strip() or b"0")
    except (OSError, ValueError):
        return 0
