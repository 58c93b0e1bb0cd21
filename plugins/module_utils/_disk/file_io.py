# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Files of the store: safe opening, reading, and writing that is on disk when it returns."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
import stat
import typing as t

from .._untrusted import MAX_BYTES, Malformed, Value, parse
from .errors import UnsafePath

DIRECTORY_MODE = 0o711

#: Errors by which a name, or a directory on the way to it, stands for nothing that the store has made.
NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file: the last component is not followed when it is a symbolic link."""
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = os.fstat(place).st_mode
        if stat.S_ISLNK(mode):
            raise UnsafePath(f"{path} is a symbolic link where a file of the store is expected; remove it.", path=path)
        if not stat.S_ISREG(mode):
            raise UnsafePath(f"{path} is not a regular file.", path=path)
        return reopen(place, flags)
    finally:
        os.close(place)


def reopen(place: int, flags: int = os.O_RDONLY) -> int:
    """Open what an O_PATH descriptor stands for, once it is known to be a regular file.

    To open anything else may do something: a watchdog begins to count, a tape is wound, the writer of a pipe goes on.
    """
    return os.open(f"/proc/self/fd/{place}", flags | os.O_CLOEXEC | os.O_NONBLOCK)


def ensure_directory(path: str, mode: int = DIRECTORY_MODE) -> bool:
    """Make the directory, parents not included; True when it was made. A symbolic link in its place is refused."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise UnsafePath(f"{path} is a symbolic link or a file where a directory of the store is expected; remove it.", path=path)
        return False
    os.chmod(path, mode)
    return True


def names_in(path: str) -> list[str]:
    """What is in a directory of the store; nothing where none is, or where something else has its name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return []
        raise
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    descriptor = open_regular(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str, data: bytes | t.Iterable[bytes], mode: int) -> None:
    """A new file with these bytes, in one piece or several, on disk when this returns. The name must be free."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            for part in (data,) if isinstance(data, bytes) else data:
                file.write(part)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unique() -> str:
    """A part of a temporary file's name that no other process on any host uses."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()[:40])
    return f"{host}.{os.getpid()}.{secrets.token_hex(4)}"


def replace_file(path: str, data: bytes | t.Iterable[bytes], mode: int) -> None:
    """Put these bytes under the name at once: readers see the old or the new file, also after a crash."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)[:150]}.{unique()}.tmp")
    try:
        write_file(temporary, data, mode)
        os.rename(temporary, path)
    except BaseException:  # an interrupt must not leave the temporary file either
        remove_file(temporary)
        raise
    sync_directory(os.path.dirname(path))


def read_file(path: str, limit: int = 1 << 30) -> bytes:
    """The whole file. Malformed when it is longer than ``limit``."""
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise Malformed(path, f"it has {size} bytes; at most {limit} are accepted")
        # read() allocates what it is asked for: never more than there is.
        return file.read(min(limit, size + 1))


def read_json(path: str, limit: int = MAX_BYTES) -> t.Any:
    """What a JSON file says. Malformed, which is a ValueError too, when it holds anything else."""
    return parse(read_file(path, limit), path, limit)


def read_value(path: str, limit: int = MAX_BYTES) -> Value:
    """The same, to be read field by field."""
    return Value(read_json(path, limit), path)


def json_bytes(value: t.Any) -> bytes:
    """One spelling for equal values, so that equal files have equal bytes."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def remove_file(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return False
        raise
    return True


def allocated_bytes(path: str) -> int:
    return os.lstat(path).st_blocks * 512
