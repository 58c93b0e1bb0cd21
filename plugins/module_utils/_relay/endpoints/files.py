# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A base in files: whole and read-only, or a partial with the map of its verified chunks."""

from __future__ import annotations

import errno
import os
import struct
import typing as t

from ..._base_format.chunk_list import chunk_count
from ..._base_format.file_digest import FileDigest
from ..._base_format.regular_file import open_regular
from ..errors import PartialContent
from .page_cache import PageCache

MAP_MAGIC = b"BCMAP001"
_MAP_HEADER = struct.Struct(">8sQ")

# Behind the map stands the boot in which its writer ran: see PartialFile.trusted.
_BOOT_BYTES = 36


class WholeFile:
    """A base that lies in the store.

    :param received: whether it has just come, see PageCache; readers: how many children read it at the moment.
    """

    def __init__(self, path: str, received: bool = False, readers: t.Callable[[], int] = lambda: 0) -> None:
        self._descriptor = open_regular(path)
        self.size_bytes = os.fstat(self._descriptor).st_size
        self._footprint = PageCache(self._descriptor, received, readers)

    def read_into(self, offset: int, view: memoryview) -> None:
        self._footprint.reading(offset, len(view))
        _read_into(self._descriptor, offset, view)

    def write(self, offset: int, view: memoryview) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def marks(self) -> bytearray:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def mark(self, index: int, value: int = 1) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def settle(self) -> None:
        self._footprint.settle()

    def close(self) -> None:
        if self._descriptor >= 0:
            self._footprint.close()
            os.close(self._descriptor)
            self._descriptor = -1


class PartialFile:
    """A base that is arriving: ``disk`` and ``map``, of which the caller holds the lock.

    A chunk's byte in the map is written after the chunk's bytes, so that after the death of the writer the map can be
    believed (``trusted``). After the death of the machine it cannot: the system writes pages in any order. The map
    therefore ends with the identity of the boot, and in another boot its chunks have to be verified again.
    """

    def __init__(
        self,
        disk: str,
        map_path: str,
        size_bytes: int,
        chunk_bytes: int,
        boot: str | None = None,
        readers: t.Callable[[], int] = lambda: 0,
        digest: FileDigest | None = None,
    ) -> None:
        count = chunk_count(size_bytes, chunk_bytes)
        boot_id = (boot_identity() if boot is None else boot).encode().ljust(_BOOT_BYTES)[:_BOOT_BYTES]
        header = _MAP_HEADER.pack(MAP_MAGIC, count)
        self._path = disk
        self._disk = self._map = -1
        self._footprint: PageCache | None = None
        try:
            self._disk = open_regular(disk, os.O_RDWR | os.O_CREAT)
            if digest is None:
                self._footprint = PageCache(self._disk, True, readers)
            else:
                self._footprint = PageCache(self._disk, True, readers, lambda: digest.position)
            self._map = open_regular(map_path, os.O_RDWR | os.O_CREAT, 0o644)
            found = os.pread(self._map, len(header) + count + _BOOT_BYTES, 0)
            marks = found[len(header) : len(header) + count]
            usable = (
                found[: len(header)] == header
                and len(marks) == count
                and not marks.strip(b"\0\1")
                and os.fstat(self._disk).st_size == size_bytes
            )
            if usable:
                self.trusted = found[len(header) + count :] == boot_id
            else:
                self.trusted = True
                marks = bytes(count)
                os.ftruncate(self._map, 0)
                os.ftruncate(self._disk, 0)
                os.ftruncate(self._disk, size_bytes)
            if not usable or not self.trusted:
                _write(self._map, 0, memoryview(header + marks + b"?".ljust(_BOOT_BYTES)))
            self._marks = bytearray(marks)
            self._boot_id = boot_id
            if self.trusted:
                self.trust()
        except BaseException:  # an interrupt must not leave descriptors open either
            self.close()
            raise

    def trust(self) -> None:
        """Every marked chunk is known to be right."""
        _write(self._map, _MAP_HEADER.size + len(self._marks), memoryview(self._boot_id))
        self.trusted = True

    def digesting(self, offset: int, count: int) -> None:
        """Another descriptor reads these bytes back for the digest of the whole."""
        if self._footprint is not None:
            self._footprint.digesting(offset, count)

    def seal(self) -> None:
        """Give up the access for writing. Under the same number, as other threads read from it at this moment."""
        descriptor = open_regular(self._path)
        try:
            if not os.path.samestat(os.fstat(descriptor), os.fstat(self._disk)):
                raise OSError(errno.ESTALE, f"{self._path} was replaced while the base arrived")
            os.dup2(descriptor, self._disk, inheritable=False)
        finally:
            os.close(descriptor)

    def read_into(self, offset: int, view: memoryview) -> None:
        if self._footprint is not None:
            self._footprint.reading(offset, len(view))
        _read_into(self._disk, offset, view)

    def write(self, offset: int, view: memoryview) -> None:
        _write(self._disk, offset, view)
        if self._footprint is not None:
            self._footprint.wrote(offset, len(view))

    def marks(self) -> bytearray:
        return bytearray(self._marks)

    def mark(self, index: int, value: int = 1) -> None:
        # Not through a memory map: on a full file system that would be SIGBUS instead of an error.
        _write(self._map, _MAP_HEADER.size + index, memoryview(bytes((value,))))
        self._marks[index] = value

    def settle(self) -> None:
        if self._footprint is not None:
            self._footprint.settle()

    def close(self) -> None:
        if self._footprint is not None:
            self._footprint.close()
        for descriptor in (self._disk, self._map):
            if descriptor >= 0:
                os.close(descriptor)
        self._disk = self._map = -1


def marks_of(descriptor: int, count: int) -> bytes | None:
    """The map that another process writes, as far as it can be believed: it is that of so many chunks, and of this boot.

    :raises OSError:
    """
    header, boot = _MAP_HEADER.pack(MAP_MAGIC, count), boot_identity().encode().ljust(_BOOT_BYTES)[:_BOOT_BYTES]
    found = os.pread(descriptor, len(header) + count + _BOOT_BYTES, 0)
    marks = found[len(header) : len(header) + count]
    usable = found[: len(header)] == header and found[len(header) + count :] == boot and not marks.strip(b"\0\1")
    return marks if usable else None


def boot_identity() -> str:
    """Differs from boot to boot, and from host to host."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _read_into(descriptor: int, offset: int, view: memoryview) -> None:
    requested = len(view)
    while view:
        count = os.preadv(descriptor, [view], offset)
        if not count:
            raise PartialContent(requested, requested - len(view))
        offset += count
        view = view[count:]


def _write(descriptor: int, offset: int, view: memoryview) -> None:
    while view:
        count = os.pwrite(descriptor, view, offset)
        offset += count
        view = view[count:]
