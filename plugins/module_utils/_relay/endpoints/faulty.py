# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Endpoints that fail on purpose: for tests of everything that stands on them."""

from __future__ import annotations

import errno
import os
import threading
import typing as t

from . import Endpoint, Stream, StreamTimeout


class FaultyEndpoint:
    """An endpoint whose reads may lie and whose writes may fail.

    :param wrong_reads: offset -> how many more times one bit of what is read there is flipped (-1: always).
    :param failing_write: number of the write, from 0, that fails, and all after it.
    :param failing_reads: offsets that cannot be read.
    """

    def __init__(
        self,
        inner: Endpoint,
        wrong_reads: t.Mapping[int, int] | None = None,
        failing_write: int | None = None,
        failing_reads: t.Container[int] = (),
        error: int = errno.ENOSPC,
    ) -> None:
        self._inner = inner
        self._wrong_reads = dict(wrong_reads or {})
        self._failing_write = failing_write
        self._failing_reads = failing_reads
        self._error = error
        self._writes = 0
        self._lock = threading.Lock()

    def read_into(self, offset: int, view: memoryview) -> None:
        if offset in self._failing_reads:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._inner.read_into(offset, view)
        with self._lock:
            left = self._wrong_reads.get(offset, 0)
            if left:
                self._wrong_reads[offset] = left - 1
                view[len(view) // 2] ^= 0x10

    def write(self, offset: int, view: memoryview) -> None:
        with self._lock:
            number, self._writes = self._writes, self._writes + 1
        if self._failing_write is not None and number >= self._failing_write:
            raise OSError(self._error, os.strerror(self._error))
        self._inner.write(offset, view)

    def marks(self) -> bytearray:
        return self._inner.marks()

    def mark(self, index: int, value: int = 1) -> None:
        self._inner.mark(index, value)

    def settle(self) -> None:
        self._inner.settle()

    def close(self) -> None:
        self._inner.close()


class FaultyStream:
    """A stream whose received bytes get lost, changed or stuck.

    :param cut_after: bytes after which the connection breaks.
    :param stall_after: bytes after which nothing more arrives, and nothing breaks either.
    :param flip_at: which received byte has a bit flipped.
    """

    def __init__(
        self,
        inner: Stream,
        cut_after: int | None = None,
        stall_after: int | None = None,
        flip_at: int | None = None,
    ) -> None:
        self._inner = inner
        self._cut_after = cut_after
        self._stall_after = stall_after
        self._flip_at = flip_at
        self._received = 0
        self._timeout = 1.0
        self._aborted = threading.Event()

    def set_timeout(self, seconds: float) -> None:
        self._timeout = seconds
        self._inner.set_timeout(seconds)

    def send(self, view: memoryview) -> int:
        return self._inner.send(view)

    def receive_into(self, view: memoryview, least: int = 1) -> int:
        for limit in (self._cut_after, self._stall_after):
            if limit is not None:
                view = view[: max(0, limit - self._received)]
        if not view:
            if self._cut_after is not None and self._received >= self._cut_after:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            self._aborted.wait(self._timeout)
            raise StreamTimeout
        count = self._inner.receive_into(view, min(least, len(view)))
        if self._flip_at is not None and self._received <= self._flip_at < self._received + count:
            view[self._flip_at - self._received] ^= 0x04
        self._received += count
        return count

    def readable(self) -> bool:
        return self._inner.readable()

    def fileno(self) -> int:
        return self._inner.fileno()

    def abort(self) -> None:
        self._aborted.set()
        self._inner.abort()

    def close(self) -> None:
        self._aborted.set()
        self._inner.close()
