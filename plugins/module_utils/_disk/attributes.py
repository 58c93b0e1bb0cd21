# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Write protection of published bases: owner, mode, and the immutable attribute where the file system supports it."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import typing as t

from .file_io import open_regular

BASE_MODE = 0o444

_LONG = struct.calcsize("l")
_GETFLAGS = 0x80006601 | (_LONG << 16)
_SETFLAGS = 0x40006602 | (_LONG << 16)
_IMMUTABLE = 0x10

#: Errors by which a file system says that it has no such operation, as opposed to a failure.
UNSUPPORTED = (
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EINVAL,
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.ENOSYS,
    errno.ETXTBSY,
)


def protect(path: str) -> None:
    """Protect the file from writes, as far as the file system can; on disk when this returns.

    Where root may not give a file to itself (NFS with root_squash), its owner is whoever the server makes of root: the mode
    still keeps others from writing it, so that is accepted.
    """
    descriptor = open_regular(path)
    try:
        if os.geteuid() == 0:
            try:
                os.fchown(descriptor, 0, 0)
            except PermissionError:
                pass
        try:
            os.fchmod(descriptor, BASE_MODE)
        except PermissionError:
            if os.fstat(descriptor).st_mode & 0o222:
                raise
        os.fsync(descriptor)
        set_immutable_of(descriptor, True)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_immutable(path: str) -> bool:
    try:
        descriptor = open_regular(path)
    except OSError:
        return False
    try:
        return bool(_flags(descriptor) & _IMMUTABLE)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def set_immutable(path: str, wanted: bool) -> bool:
    """True when the file has the attribute as wanted now; False where file system or privileges do not allow it."""
    descriptor = open_regular(path)
    try:
        return set_immutable_of(descriptor, wanted)
    finally:
        os.close(descriptor)


def set_immutable_of(descriptor: int, wanted: bool) -> bool:
    try:
        flags = _flags(descriptor)
        if bool(flags & _IMMUTABLE) != wanted:
            changed = flags | _IMMUTABLE if wanted else flags & ~_IMMUTABLE
            fcntl.ioctl(descriptor, _SETFLAGS, struct.pack("l", changed))
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return False
        raise
    return True


def _flags(descriptor: int) -> int:
    return t.cast(int, struct.unpack("l", fcntl.ioctl(descriptor, _GETFLAGS, b"\0" * _LONG))[0])
