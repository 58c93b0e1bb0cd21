# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Counters and limits. The clock is passed in."""

from __future__ import annotations

import threading
import typing as t

Clock = t.Callable[[], float]


class TokenBucket:
    """A limit in bytes per second. Asking never blocks: the answer is how long to wait.

    :param bytes_per_s: None for no limit.
    :param burst_s: how many seconds' worth may go at once after a pause.
    """

    def __init__(self, bytes_per_s: float | None, clock: Clock, burst_s: float = 0.1) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._burst_s = burst_s
        self._set(bytes_per_s)

    def _set(self, bytes_per_s: float | None) -> None:
        self._rate = bytes_per_s
        self._free_at = self._clock()

    def set_rate(self, bytes_per_s: float | None) -> None:
        with self._lock:
            if bytes_per_s != self._rate:
                self._set(bytes_per_s)

    def take(self, count: int) -> float:
        """Seconds to wait before sending ``count`` bytes; they count from now on."""
        with self._lock:
            if not self._rate:
                return 0.0
            now = self._clock()
            self._free_at = max(self._free_at, now - self._burst_s)
            wait = self._free_at - now
            self._free_at += count / self._rate
            return max(0.0, wait)

    @property
    def wait_s(self) -> float:
        """Seconds until something may be sent."""
        with self._lock:
            return max(0.0, self._free_at - self._clock()) if self._rate else 0.0


class Stopwatch:
    """Seconds from its start until it is stopped, or until now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start = clock()
        self._end: float | None = None

    def stop(self) -> None:
        if self._end is None:
            self._end = self._clock()

    @property
    def seconds(self) -> float:
        return (self._clock() if self._end is None else self._end) - self._start
