# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whether a virtual machine, here or on another host of a shared pool, has a disk open: asked of QEMU's own locks. On this host
also whether any other program may write it, or the kernel has made a block device of it.

QEMU marks what it does with an image by shared locks on single bytes far behind its header: byte 100 + n says that it uses
permission n, byte 200 + n that nobody else may. The locks belong to the file, so another name of it or a place in a backing
chain makes no difference. Who has the file open is read from /proc; libvirt starts QEMU with the domain's name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import re
import struct
import typing as t

from .._base_format.file_digest import is_open_for_writing
from .._text import clean
from . import file_io, filesystem
from .errors import DiskBusy, UnsafePath

_GETLK, _SETLK = 36, 37  # F_OFD_GETLK, F_OFD_SETLK: Python names them from 3.9 on
_FLOCK = struct.Struct("@hhqqi4x")
_PERMISSIONS = 64
_USED, _UNSHARED = 100, 200
_CONSISTENT_READ, _WRITE, _RESIZE = 0, 1, 3
_GUEST = re.compile(r"\Aguest=([^,]+)")


class Use(t.NamedTuple):
    """``writing`` when somebody may change the disk; ``holders`` as far as they are on this host."""

    writing: bool
    holders: tuple[str, ...]

    def text(self) -> str:
        return ", ".join(self.holders) or "a virtual machine on another host, or a program that cannot be named"


def look(descriptor: int) -> Use | None:
    """Who has the open file in use, this process left out; None when nobody has."""
    status = os.fstat(descriptor)
    used = _is_locked(descriptor, _USED, _PERMISSIONS) or _is_locked(descriptor, _UNSHARED, _PERMISSIONS)
    written = _is_written(descriptor, status)
    holders = [*_holders(status, every=used or written), *_loop_devices(status)]
    if not used and not written and not holders:
        return None
    writing = written or _is_locked(descriptor, _USED + _WRITE) or _is_locked(descriptor, _USED + _RESIZE)
    return Use(writing or any(writes for _name, writes in holders), tuple(sorted({name for name, _writes in holders})))


def refuse(path: str, attempt: str, readers: bool = True) -> None:
    """DiskBusy, naming the domain, when the file at ``path`` is in use. A path where nothing is, is not in use.

    :param attempt: what was to be done, such as "removed".
    :param readers: also when it is only read, as the backing file of a running machine's disk is.
    """
    try:
        descriptor = file_io.open_regular(path)
    except FileNotFoundError:
        return
    try:
        refuse_open(descriptor, path, attempt, readers)
    finally:
        os.close(descriptor)


def refuse_entry(directory: str, attempt: str) -> None:
    """The same for the disk in a base's directory, whatever stands in its place."""
    try:
        refuse(os.path.join(directory, "disk"), attempt)
    except (UnsafePath, NotADirectoryError):
        return  # a link or directory is no disk that a machine could have open


def refuse_open(descriptor: int, name: str, attempt: str, readers: bool = True) -> None:
    """The same for an open file."""
    use = look(descriptor)
    if use is not None and (use.writing or readers):
        raise DiskBusy(
            f"{name} is in use by {use.text()}; it cannot be {attempt} until that has ended.",
            path=name,
            holders=list(use.holders),
        )


@contextlib.contextmanager
def reading(descriptor: int, name: str, attempt: str) -> t.Iterator[None]:
    """Nobody writes the open file meanwhile: the same locks that QEMU takes when it reads an image keep it from starting.

    Where the file system has no such locks, only who has the file open now is looked at.

    :raises DiskBusy: somebody may write it; names the domain.
    """
    for byte in (_USED + _CONSISTENT_READ, _UNSHARED + _WRITE, _UNSHARED + _RESIZE):
        _set(descriptor, fcntl.F_RDLCK, byte)
    try:
        refuse_open(descriptor, name, attempt, readers=False)
        yield
    finally:
        for start in (_USED, _UNSHARED):
            _set(descriptor, fcntl.F_UNLCK, start, _PERMISSIONS)


def _is_written(descriptor: int, status: os.stat_result) -> bool:
    """Whether another process of this host has the file open for writing, whatever program it runs."""
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY or _opened(str(os.getpid()), status, writing=True):
        return False  # the kernel does not tell this process from others
    return is_open_for_writing(descriptor) and not filesystem.is_network(os.readlink(f"/proc/self/fd/{descriptor}"))


def _loop_devices(status: os.stat_result) -> t.Iterator[tuple[str, bool]]:
    """Block devices that the kernel makes of the file, as for a mount."""
    for path in glob.glob("/sys/block/loop*/loop/backing_file"):
        device = path.split("/")[3]
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                there = os.stat(file.read().rstrip("\n"))
            with open(f"/sys/block/{device}/ro", encoding="ascii") as file:
                read_only = file.read().strip() == "1"
        except (OSError, ValueError):
            continue  # it has just ended
        if os.path.samestat(there, status):
            yield f"the loop device /dev/{device}", not read_only


def _is_locked(descriptor: int, start: int, length: int = 1) -> bool:
    """Whether another open file has a lock on these bytes."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    try:
        answer = fcntl.fcntl(descriptor, _GETLK, asked)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        raise
    return t.cast(int, _FLOCK.unpack(answer)[0]) != fcntl.F_UNLCK


def _set(descriptor: int, kind: int, start: int, length: int = 1) -> None:
    try:
        fcntl.fcntl(descriptor, _SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EAGAIN, errno.EACCES):
            raise


def _holders(status: os.stat_result, every: bool) -> list[tuple[str, bool]]:
    """Processes on this host that have the file open: what they are called, and whether they may write it.

    :param every: also those that are not known to be QEMU's.
    """
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid() or not (every or _is_qemu(entry)):
            continue
        for writes in _opened(entry, status):
            found.append((title_of(entry), writes))
    return found


def _opened(process: str, status: os.stat_result, writing: bool = False) -> list[bool]:
    """For each descriptor that a process has of the file, whether it may write.

    :param writing: only of those that may.
    """
    found = []
    try:
        descriptors = os.listdir(f"/proc/{process}/fd")
    except OSError:
        return []
    for number in descriptors:
        try:
            if not os.path.samestat(os.stat(f"/proc/{process}/fd/{number}"), status):
                continue
            with open(f"/proc/{process}/fdinfo/{number}", encoding="ascii", errors="replace") as file:
                flags = re.search(r"^flags:\s*([0-7]+)", file.read(4096), re.M)
        except OSError:
            continue  # it has just ended, or closed the file
        writes = flags is None or bool(int(flags.group(1), 8) & os.O_ACCMODE)
        if writes or not writing:
            found.append(writes)
    return found


def _is_qemu(process: str) -> bool:
    """Programs that keep a disk open for a machine; qemu-img reads for an instant, and its locks say so."""
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as file:
            name = file.read(64).strip()
    except OSError:
        return False
    return name.startswith(("qemu-system", "qemu-kvm", "qemu-nbd", "qemu-storage", "kvm"))


def title_of(process: str) -> str:
    """ "domain web-1" of a QEMU that libvirt has started."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            arguments = file.read(1 << 20).decode("utf-8", "replace").split("\0")
    except OSError:
        arguments = []
    for option, value in zip(arguments, arguments[1:]):
        match = _GUEST.match(value) if option == "-name" else None
        if match is not None:
            return f"domain {clean(match.group(1), 100)}"
    return f"process {process}" + (f" ({clean(os.path.basename(arguments[0]), 100)})" if arguments and arguments[0] else "")
