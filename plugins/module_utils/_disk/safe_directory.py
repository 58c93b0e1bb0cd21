# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Files below a directory in which others may plant links, pipes and devices.

Every step of the path and every file is opened relative to the step before it and never through a symbolic link, so
nothing that is exchanged in between leads elsewhere. Only regular files are read, and nothing that is opened blocks.
"""

from __future__ import annotations

import errno
import os
import stat

from .errors import UnsafePath
from .file_io import DIRECTORY_MODE, unique

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class SafeDirectory:
    """An open directory. ``path`` only names it in messages."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self.path = path

    @classmethod
    def open(cls, anchor: str, *parts: str, make: bool = False, mode: int = DIRECTORY_MODE) -> SafeDirectory:
        """
        :param anchor: an existing directory that only administrators change; links in its own path are followed.
        :param make: make the parts that are missing.
        :raises FileNotFoundError: a part is missing.
        :raises UnsafePath: a part is a symbolic link or not a directory.
        """
        current = cls(os.open(anchor, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), anchor)
        for part in parts:
            with current:
                current = current._step(part, make, mode)
        return current

    def _step(self, name: str, make: bool, mode: int) -> SafeDirectory:
        path = self._path(name)
        made = False
        if make:
            try:
                os.mkdir(name, mode, dir_fd=self._descriptor)
                made = True
            except FileExistsError:
                pass
        try:
            descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise UnsafePath(f"{path} is a symbolic link or a file where a directory is expected; remove it.", path=path)
            raise
        if made:
            os.fchmod(descriptor, mode)  # whatever the umask is
            os.fsync(self._descriptor)
        return SafeDirectory(descriptor, path)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> SafeDirectory:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()

    # -- looking

    def names(self) -> list[str]:
        return sorted(os.listdir(self._descriptor))

    def has(self, name: str) -> bool:
        """Whether the name is taken, by a file of whatever kind."""
        try:
            os.stat(self._name(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def check_file(self, name: str) -> None:
        """UnsafePath where something else than a plain file with this one name has the name; missing is fine."""
        try:
            status = os.stat(self._name(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            what = "has further names (hard links)" if stat.S_ISREG(status.st_mode) else f"is {kind_of(status.st_mode)}"
            raise UnsafePath(f"{self._path(name)} {what}, not a file of the machine's own; remove it.", path=self._path(name))

    def read(self, name: str, limit: int) -> bytes:
        """The whole file. UnsafePath when it is larger than ``limit`` or not a regular file."""
        descriptor = self._open(name)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise UnsafePath(f"{self._path(name)} has more than {limit} bytes; no such file was written here.", path=self._path(name))
        return data

    def tail(self, name: str, limit: int) -> bytes:
        """The end of the file; nothing where there is none."""
        try:
            descriptor = self._open(name)
        except FileNotFoundError:
            return b""
        return read_end(descriptor, limit)

    def _open(self, name: str) -> int:
        path = self._path(name)
        try:
            descriptor = os.open(self._name(name), _OPEN_FILE, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                kind = "a symbolic link" if error.errno == errno.ELOOP else "a socket or device"
                raise UnsafePath(f"{path} is {kind}, not a regular file; remove it.", path=path)
            raise
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            raise UnsafePath(f"{path} is {kind_of(mode)}, not a regular file; remove it.", path=path)
        return descriptor

    # -- changing

    def replace(self, name: str, data: bytes, mode: int) -> None:
        """Put these bytes under the name at once: readers see the old or the new file, also after a crash."""
        temporary = f".{self._name(name)[:150]}.{unique()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, mode, dir_fd=self._descriptor)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            self._refuse_directory(name)
            os.rename(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:  # an interrupt must not leave the temporary file either
            self.remove(temporary)
            raise
        os.fsync(self._descriptor)

    def _refuse_directory(self, name: str) -> None:
        try:
            mode = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            raise UnsafePath(f"{self._path(name)} is a directory where a file is to be written; remove it.", path=self._path(name))

    def remove(self, name: str) -> bool:
        """Remove a file, or a link itself; True when there was one."""
        try:
            os.unlink(self._name(name), dir_fd=self._descriptor)
        except FileNotFoundError:
            return False
        except IsADirectoryError:
            raise UnsafePath(f"{self._path(name)} is a directory where a file is expected; remove it.", path=self._path(name))
        return True

    def remove_empty(self, name: str) -> bool:
        """Remove a directory; False while it holds something, or where there is none."""
        try:
            os.rmdir(self._name(name), dir_fd=self._descriptor)
        except OSError:
            return False
        return True

    def _path(self, name: str) -> str:
        return os.path.join(self.path, name)

    @staticmethod
    def _name(name: str) -> str:
        if "/" in name or name in ("", ".", ".."):
            raise UnsafePath(f"{name!r} is not the name of a file.", path=name)
        return name


def read_end(descriptor: int, limit: int) -> bytes:
    """The end of an open file, which is closed."""
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        file.seek(max(0, size - limit))
        return file.read(limit)


def kind_of(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for test, name in kinds if test(mode)), "a device")
