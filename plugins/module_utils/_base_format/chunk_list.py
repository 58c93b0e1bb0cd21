# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Chunks: the unit of digest, transfer and resume, and the list of a base's chunk digests."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import typing as t

from .._relay.errors import BadChunkList
from .regular_file import open_regular

CHUNK_BYTES = 256 * 1024
MAGIC = b"BCCHUNK1"
DIGEST_BYTES = 32

# A chunk has to fit into one frame of the wire; the lower bound keeps a list small against its file.
MIN_CHUNK_BYTES = 4 * 1024
MAX_CHUNK_BYTES = 16 * 1024 * 1024

_HEADER = struct.Struct(">8sQQ")
HEADER_BYTES = _HEADER.size

# What is read of a list at once.
_PART_BYTES = 1024 * 1024


class FileBytes:
    """The bytes of a file, read where they are asked for.

    The list of 200 GiB has 25 MiB: mapped, it would stay resident in every node.
    """

    def __init__(self, file: t.BinaryIO, length: int) -> None:
        self._file = file  # closes itself with the last reference
        self._length = length

    @classmethod
    def open(cls, path: str) -> FileBytes:
        file = os.fdopen(open_regular(path), "rb", buffering=0)
        return cls(t.cast(t.BinaryIO, file), os.fstat(file.fileno()).st_size)

    @classmethod
    def temporary(cls, directory: str | None, length: int) -> FileBytes:
        """So many bytes to be written, in a file without a name."""
        file = tempfile.TemporaryFile(buffering=0, dir=directory)
        os.ftruncate(file.fileno(), length)
        return cls(t.cast(t.BinaryIO, file), length)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _step = part.indices(self._length)
        data = os.pread(self._file.fileno(), max(0, stop - start), start)
        if len(data) < stop - start:
            raise BadChunkList(f"The chunk list ends after {start + len(data)} of {self._length} bytes.")
        return data

    def write(self, offset: int, data: Buffer) -> None:
        rest = memoryview(data)
        while rest:
            count = os.pwrite(self._file.fileno(), rest, offset)
            rest, offset = rest[count:], offset + count


Buffer = t.Union[bytes, bytearray, memoryview]
Listed = t.Union[bytes, FileBytes]


def chunk_count(size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """How many chunks a file of this size has; the last may be short."""
    return -(-size_bytes // chunk_bytes)


def list_bytes(size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """The size of the serialised list of a file of this size."""
    return HEADER_BYTES + DIGEST_BYTES * chunk_count(size_bytes, chunk_bytes)


def parts(listed: Listed) -> t.Iterator[bytes]:
    """All of it, piece by piece."""
    for offset in range(0, len(listed), _PART_BYTES):
        yield listed[offset : offset + _PART_BYTES]


def digest_of(listed: Listed) -> str:
    """SHA-256, hexadecimal."""
    hasher = hashlib.sha256()
    for part in parts(listed):
        hasher.update(part)
    return hasher.hexdigest()


class ChunkList:
    """The digests of a file's chunks, over its serialised form.

    The file: magic ``BCCHUNK1``, size and chunk size in bytes as unsigned 64-bit big-endian numbers, then one
    SHA-256 for each chunk.
    """

    def __init__(self, data: Listed) -> None:
        """:raises BadChunkList: if header and length do not fit each other."""
        if len(data) < HEADER_BYTES:
            raise BadChunkList(f"A chunk list has at least {HEADER_BYTES} bytes, this one has {len(data)}.")
        magic, size_bytes, chunk_bytes = _HEADER.unpack(data[:HEADER_BYTES])
        if magic != MAGIC:
            raise BadChunkList(f"A chunk list begins with {MAGIC!r}, this one with {magic!r}.")
        if not MIN_CHUNK_BYTES <= chunk_bytes <= MAX_CHUNK_BYTES:
            raise BadChunkList(f"Chunks of {chunk_bytes} bytes are not accepted; {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES} are.")
        wanted = list_bytes(size_bytes, chunk_bytes)
        if len(data) != wanted:
            raise BadChunkList(f"The chunk list of a file of {size_bytes} bytes has {wanted} bytes, this one has {len(data)}.")
        self._data = data
        self.size_bytes: int = size_bytes
        self.chunk_bytes: int = chunk_bytes
        self.count: int = chunk_count(size_bytes, chunk_bytes)
        self._zero = hashlib.sha256(bytes(chunk_bytes)).digest()
        self._last_zero = hashlib.sha256(bytes(self.length(self.count - 1))).digest() if self.count else b""

    @classmethod
    def from_digests(cls, size_bytes: int, chunk_bytes: int, digests: bytes) -> ChunkList:
        """A list from the joined digests."""
        return cls(_HEADER.pack(MAGIC, size_bytes, chunk_bytes) + digests)

    @classmethod
    def from_bytes(cls, data: Buffer) -> ChunkList:
        return cls(bytes(data))

    @classmethod
    def open(cls, path: str) -> ChunkList:
        """The list in a file, which stays open as long as the list lives."""
        return cls(FileBytes.open(path))

    @property
    def sha256(self) -> str:
        """Digest of the serialised form, hexadecimal."""
        return digest_of(self._data)

    @property
    def serialised(self) -> Listed:
        return self._data

    def to_bytes(self) -> bytes:
        return self._data[:]

    @property
    def list_bytes(self) -> int:
        """The length of the serialised form."""
        return len(self._data)

    def part(self, offset: int, length: int) -> bytes:
        """At most so many bytes of the serialised form."""
        return self._data[offset : offset + length]

    def offset(self, index: int) -> int:
        """Where the chunk begins in the file."""
        return self._checked(index) * self.chunk_bytes

    def length(self, index: int) -> int:
        """How many bytes the chunk has."""
        return min(self.chunk_bytes, self.size_bytes - self._checked(index) * self.chunk_bytes)

    def digest(self, index: int) -> bytes:
        start = HEADER_BYTES + DIGEST_BYTES * self._checked(index)
        return self._data[start : start + DIGEST_BYTES]

    def is_zero(self, index: int) -> bool:
        """Whether the chunk is nothing but zero bytes (it need not be sent or written)."""
        return self.digest(index) == (self._last_zero if index == self.count - 1 else self._zero)

    def zeros(self) -> t.Iterator[int]:
        """The chunks for which ``is_zero`` holds."""
        for first in range(0, self.count, _PART_BYTES // DIGEST_BYTES):
            start = HEADER_BYTES + DIGEST_BYTES * first
            digests = self._data[start : start + _PART_BYTES]
            for index in range(first, first + len(digests) // DIGEST_BYTES):
                at = DIGEST_BYTES * (index - first)
                wanted = self._last_zero if index == self.count - 1 else self._zero
                if digests[at : at + DIGEST_BYTES] == wanted:
                    yield index

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.count:
            raise IndexError(f"chunk {index} of {self.count}")
        return index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChunkList) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]


class ChunkHasher:
    """Digest of a file and of its chunks in one pass over the bytes."""

    def __init__(self, chunk_bytes: int = CHUNK_BYTES) -> None:
        if not MIN_CHUNK_BYTES <= chunk_bytes <= MAX_CHUNK_BYTES:
            raise BadChunkList(f"Chunks of {chunk_bytes} bytes are not accepted; {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES} are.")
        self._chunk_bytes = chunk_bytes
        self._whole = hashlib.sha256()
        self._chunk = hashlib.sha256()
        self._in_chunk = 0
        self._size = 0
        self._digests = bytearray()

    def update(self, data: Buffer) -> None:
        view = memoryview(data)
        if view.format != "B" or view.ndim != 1:
            view = view.cast("B")
        self._whole.update(view)
        self._size += len(view)
        start = 0
        while start < len(view):
            taken = view[start : start + self._chunk_bytes - self._in_chunk]
            self._chunk.update(taken)
            start += len(taken)
            self._in_chunk += len(taken)
            if self._in_chunk == self._chunk_bytes:
                self._end_chunk()

    def finish(self) -> tuple[str, ChunkList]:
        """SHA-256 of the file (hexadecimal), and the list of its chunks."""
        if self._in_chunk:
            self._end_chunk()
        return self._whole.hexdigest(), ChunkList.from_digests(self._size, self._chunk_bytes, bytes(self._digests))

    def _end_chunk(self) -> None:
        self._digests += self._chunk.digest()
        self._chunk = hashlib.sha256()
        self._in_chunk = 0


def hash_file(path: str, chunk_bytes: int = CHUNK_BYTES) -> tuple[str, ChunkList]:
    """SHA-256 (hexadecimal) and chunk list of a file, read once from its begin to its end."""
    hasher = ChunkHasher(chunk_bytes)
    buffer = memoryview(bytearray(1024 * 1024))
    with open(path, "rb", buffering=0) as file:
        while True:
            count = file.readinto(buffer)
            if not count:
                return hasher.finish()
            hasher.update(buffer[:count])
