# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Bytes of open files: clones, and copies whose holes stay holes."""

from __future__ import annotations

import errno
import fcntl
import os
import typing as t

from .attributes import UNSUPPORTED

COPY_BYTES = 1024 * 1024
HOLE_BYTES = 64 * 1024

_FICLONE = 0x40049409


def clone(source: int, destination: int) -> bool:
    """Make the open destination a reflink of the open source; False where the file system cannot."""
    try:
        fcntl.ioctl(destination, _FICLONE, source)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return False
        raise
    return True


def data_ranges(descriptor: int, size: int) -> t.Iterator[tuple[int, int]]:
    """(start, end) of what is not a hole; the whole file where holes are not known."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            yield position, size
            return
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        if start >= size:
            return
        yield start, end
        position = end


def read_all(descriptor: int, size: int, consume: t.Callable[[memoryview], t.Any]) -> None:
    """Hand every byte to ``consume`` in order, holes as zeros that were never read from the disk."""
    zeros = memoryview(bytes(COPY_BYTES))
    buffer = memoryview(bytearray(COPY_BYTES))
    position = 0

    def skip_to(end: int) -> None:
        nonlocal position
        while position < end:
            step = min(end - position, COPY_BYTES)
            consume(zeros[:step])
            position += step

    for start, end in data_ranges(descriptor, size):
        skip_to(start)
        while position < end:
            count = os.preadv(descriptor, [buffer[: min(end - position, COPY_BYTES)]], position)
            if count == 0:
                raise OSError(errno.EIO, "file became shorter while it was read")
            consume(buffer[:count])
            position += count
    skip_to(size)
    if os.fstat(descriptor).st_size < size:  # what was cut off looks like a hole
        raise OSError(errno.EIO, "file became shorter while it was read")


def copy_sparse(
    source: int,
    destination: int,
    size: int,
    consume: t.Callable[[memoryview], t.Any] | None = None,
    written: t.Callable[[int], t.Any] | None = None,
) -> None:
    """Copy open files; holes and runs of zeros become holes.

    :param consume: sees all bytes in order.
    :param written: told up to where the destination is complete, whenever that has grown.
    """
    zeros = bytes(HOLE_BYTES)
    position = 0

    def write(data: memoryview) -> None:
        nonlocal position
        if consume is not None:
            consume(data)
        for offset in range(0, len(data), HOLE_BYTES):
            piece = data[offset : offset + HOLE_BYTES]
            if piece.tobytes() != zeros[: len(piece)]:
                write_at(destination, piece, position + offset)
        position += len(data)
        if written is not None:
            written(position)

    os.ftruncate(destination, size)
    read_all(source, size, write)


def write_at(descriptor: int, data: memoryview | bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view = view[count:]
        offset += count
