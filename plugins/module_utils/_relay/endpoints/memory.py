# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A base in memory."""

from __future__ import annotations

import threading

from ..._base_format.chunk_list import chunk_count
from ..errors import PartialContent


class MemoryEndpoint:
    def __init__(self, size_bytes: int, chunk_bytes: int, data: bytes | None = None) -> None:
        self.data = bytearray(size_bytes) if data is None else bytearray(data)
        self._map = bytearray(b"\0" if data is None else b"\1") * chunk_count(size_bytes, chunk_bytes)
        self._lock = threading.Lock()

    def read_into(self, offset: int, view: memoryview) -> None:
        with self._lock:
            part = self.data[offset : offset + len(view)]
        if len(part) != len(view):
            raise PartialContent(len(view), len(part))
        view[:] = part

    def write(self, offset: int, view: memoryview) -> None:
        with self._lock:
            self.data[offset : offset + len(view)] = view

    def marks(self) -> bytearray:
        with self._lock:
            return bytearray(self._map)

    def mark(self, index: int, value: int = 1) -> None:
        with self._lock:
            self._map[index] = value

    def settle(self) -> None:
        pass

    def close(self) -> None:
        pass
