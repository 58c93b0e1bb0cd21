# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What is done with chunks: small operations over any endpoint, each with its size, and a way to stop it."""

from __future__ import annotations

import hashlib
import threading

from ..._base_format.chunk_list import ChunkList
from ..errors import Cancelled, CorruptChunk, PartialContent
from . import Endpoint


class StoreChunk:
    """Verify the bytes of a chunk; then write them, and only then mark it."""

    def __init__(self, endpoint: Endpoint, chunks: ChunkList, index: int, view: memoryview, peer: str) -> None:
        self.size = len(view)
        self._endpoint = endpoint
        self._chunks = chunks
        self._index = index
        self._view = view
        self._peer = peer

    def verify(self) -> None:
        """:raises CorruptChunk: naming who sent it."""
        if hashlib.sha256(self._view).digest() != self._chunks.digest(self._index):
            raise CorruptChunk(
                f"{self._peer} sent wrong bytes for chunk {self._index} (offset {self._chunks.offset(self._index)}).",
                peer=self._peer,
                chunk=self._index,
            )

    def run(self) -> None:
        """:raises OSError: the pool."""
        self._endpoint.write(self._chunks.offset(self._index), self._view)
        self._endpoint.mark(self._index)


class LoadChunk:
    """Read a chunk into a buffer for sending. It is the receiver who verifies it."""

    def __init__(self, endpoint: Endpoint, chunks: ChunkList, index: int) -> None:
        self.size = chunks.length(index)
        self._endpoint = endpoint
        self._offset = chunks.offset(index)

    def run(self, view: memoryview) -> None:
        """:raises PartialContent: OSError:"""
        self._endpoint.read_into(self._offset, view[: self.size])


class Recheck:
    """Verify the marked chunks of a partial whose map cannot be believed; wrong ones lose their mark."""

    def __init__(self, endpoint: Endpoint, chunks: ChunkList, cancel: threading.Event) -> None:
        marks = endpoint.marks()
        self._indexes = [index for index in range(chunks.count) if marks[index]]
        self.size = sum(chunks.length(index) for index in self._indexes)
        self.done = 0
        self.wrong = 0
        self._endpoint = endpoint
        self._chunks = chunks
        self._cancel = cancel

    def run(self) -> None:
        buffer = memoryview(bytearray(self._chunks.chunk_bytes))
        for index in self._indexes:
            if self._cancel.is_set():
                raise Cancelled("The node is being stopped.")
            view = buffer[: self._chunks.length(index)]
            try:
                self._endpoint.read_into(self._chunks.offset(index), view)
                right = hashlib.sha256(view).digest() == self._chunks.digest(index)
            except (PartialContent, OSError):
                right = False
            if not right:
                self.wrong += 1
                # Its place may have to be a hole again: zero chunks are not written.
                if self._chunks.is_zero(index):
                    self._endpoint.write(self._chunks.offset(index), memoryview(bytes(len(view))))
                else:
                    self._endpoint.mark(index, 0)
            self.done += len(view)
