# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a base leaves in the page cache: little, since the host's machines need it more."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t
from collections import OrderedDict, deque

REGION_BYTES = 8 * 1024 * 1024

# Of a base that nobody reads from us. More than nothing, so that the disk is given large writes.
ALONE_BYTES = 32 * 1024 * 1024

# Of a base that children read, at least; where memory is plenty they find more of what was just received.
SHARED_BYTES = 256 * 1024 * 1024
SHARED_PART = 4

# Regions that were told to leave while they were being written to the disk, and are told again.
WRITING = 4

_ALL = 1 << 62

# In how many places of a region to look for pages that somebody else has read.
SAMPLES = 4


class _Region:
    """Bytes that we wrote to it, and that children read of it."""

    __slots__ = ("read", "written")

    def __init__(self) -> None:
        self.written = 0
        self.read = 0


class PageCache:
    """Keeps in the cache what children are still going to read, and drops the rest.

    :param ours: whether all cached pages of the file come from us: it was just received. Of another file, regions that
        somebody else (a machine that runs from this base) had in the cache before we read them stay there.
    :param readers: how many children read the file at the moment.
    :param digested: how many bytes, from its beginning, have been read back for the digest of the whole: what stands
        behind them is going to be.
    """

    def __init__(
        self,
        descriptor: int,
        ours: bool,
        readers: t.Callable[[], int],
        digested: t.Callable[[], int] = lambda: _ALL,
    ) -> None:
        self._descriptor = descriptor
        self._ours = ours
        self._readers = readers
        self._digested = digested
        self._lock = threading.Lock()
        self._regions: OrderedDict[int, _Region] = OrderedDict()
        self._foreign: dict[int, bool] = {}  # of regions that were fetched
        self._writing: deque[int] = deque()
        if not ours:
            # The kernel's read-ahead would look like somebody else's pages; whole regions are fetched instead.
            self._advise(0, 0, os.POSIX_FADV_RANDOM)

    def wrote(self, offset: int, count: int) -> None:
        """Bytes were written, and no child has read them yet."""
        with self._lock:
            region = self._region(offset)
            if region is not None:
                region.written += count

    def reading(self, offset: int, count: int) -> None:
        """Bytes are going to be read for a child."""
        with self._lock:
            region = self._region(offset)
            if region is not None:
                region.read += count

    def digesting(self, offset: int, _count: int) -> None:
        """Bytes are going to be read back for the digest of the whole."""
        with self._lock:
            self._region(offset)

    def settle(self) -> None:
        """Drop all of it, unless there are readers."""
        with self._lock:
            if self._descriptor < 0 or self._readers():
                return
            if self._ours:
                self._advise(0, 0)
            else:
                for number in [number for number, foreign in self._foreign.items() if not foreign]:
                    self._drop(number)
            self._regions.clear()

    def close(self) -> None:
        """Before the descriptor is closed."""
        self.settle()
        with self._lock:
            self._descriptor = -1

    def _region(self, offset: int) -> _Region | None:
        """The region of these bytes, now the youngest; None if it is not ours to drop."""
        number = offset // REGION_BYTES
        if self._descriptor < 0:
            return None
        if number in self._regions:
            self._regions.move_to_end(number)
            return self._regions[number]
        if not self._ours:
            for one in (number, number + 1):
                if one not in self._foreign:
                    self._fetch(one)
            if self._foreign[number]:
                return None
        self._drop_what_is_enough()
        region = self._regions[number] = _Region()
        return region

    def _drop_what_is_enough(self) -> None:
        readers, digested = self._readers(), self._digested() // REGION_BYTES
        if self._ours and readers:
            read = [n for n, one in self._regions.items() if one.read >= readers * one.written > 0]
            for number in read:
                if number < digested:
                    self._drop(number)
        budget = self._budget(readers)
        while (len(self._regions) + 1) * REGION_BYTES > budget:
            oldest = next((number for number in self._regions if number < digested), None)
            if oldest is None:
                # All of it would have to be read from the disk again for the digest.
                budget = max(budget, SHARED_BYTES, available_bytes() // SHARED_PART)
                if (len(self._regions) + 1) * REGION_BYTES <= budget:
                    return
                oldest = next(iter(self._regions))
            self._drop(oldest)

    def _budget(self, readers: int) -> int:
        if not self._ours:
            # A single reader does not come back; several may be near each other.
            return SHARED_BYTES if readers > 1 else ALONE_BYTES
        if not readers:
            return ALONE_BYTES
        if len(self._regions) * REGION_BYTES < SHARED_BYTES:
            return SHARED_BYTES
        return max(SHARED_BYTES, available_bytes() // SHARED_PART)

    def _drop(self, number: int) -> None:
        self._regions.pop(number, None)
        self._foreign.pop(number, None)
        self._advise(number * REGION_BYTES)
        if self._ours:
            # What is not on the disk yet has only begun to be written, and stays. It leaves when it is told again.
            self._writing.append(number)
            if len(self._writing) > WRITING:
                again = self._writing.popleft()
                if again not in self._regions:
                    self._advise(again * REGION_BYTES)

    def _fetch(self, number: int) -> None:
        """Before its first chunk is read: find out whose it is, and have the disk read all of it in one go."""
        self._foreign[number] = self._is_foreign(number)
        if not self._foreign[number]:
            self._advise(number * REGION_BYTES, REGION_BYTES, os.POSIX_FADV_WILLNEED)

    def _advise(self, offset: int, count: int = REGION_BYTES, advice: int = os.POSIX_FADV_DONTNEED) -> None:
        """:param count: 0 for up to the end of the file."""
        with contextlib.suppress(OSError):  # some file systems have no cache, or do not take advice
            os.posix_fadvise(self._descriptor, offset, count, advice)

    def _is_foreign(self, number: int) -> bool:
        """Whether the region is in the cache though we have not read it. Where that cannot be told: yes."""
        for sample in range(SAMPLES):
            offset = number * REGION_BYTES + sample * (REGION_BYTES // SAMPLES)
            try:
                # Gives up at once where it would have to wait for the disk.
                os.preadv(self._descriptor, [bytearray(1)], offset, os.RWF_NOWAIT)
            except BlockingIOError:
                return False
            except OSError:
                break
        return True


def available_bytes() -> int:
    """Memory that the system could give away without swapping; 0 if it does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0
