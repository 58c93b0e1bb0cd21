# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""How fast a parent delivers: while it was asked for something, and by the clock."""

from __future__ import annotations

import typing as t
from collections import deque

# Over which time a rate is taken, and how often it is looked at, in seconds.
WINDOW_S = 4.0
LAST_S = 1.0
STEP_S = 0.25


class _Sample(t.NamedTuple):
    at: float
    busy_s: float
    bytes: int


class Throughput:
    """Rates over the last seconds, in bytes per second.

    A parent is busy with us while chunks that it said it has are under way. One that waits for its own parent is not
    busy, and not slow.
    """

    def __init__(self, now: float) -> None:
        self.since = now
        self.best = 0.0
        self._samples: deque[_Sample] = deque([_Sample(now, 0.0, 0)])

    def note(self, now: float, busy_s: float, received: int) -> None:
        """:param busy_s: received: since the connection began, never less than before."""
        samples = self._samples
        if len(samples) > 1 and now - samples[-2].at < STEP_S:
            samples.pop()
        samples.append(_Sample(now, busy_s, received))
        # It begins with the first byte, not with the wait for it.
        while len(samples) > 2 and not samples[1].bytes:
            samples.popleft()
        while len(samples) > 2 and now - samples[1].at >= WINDOW_S:
            samples.popleft()
        if self.busy_s >= WINDOW_S / 2:
            self.best = max(self.best, self.rate)

    @property
    def busy_s(self) -> float:
        """Seconds of the window in which something was under way."""
        return self._samples[-1].busy_s - self._samples[0].busy_s

    @property
    def busy_part(self) -> float:
        """Of the window."""
        seconds = self._samples[-1].at - self._samples[0].at
        return self.busy_s / seconds if seconds > 0 else 0.0

    @property
    def whole(self) -> bool:
        """Whether the window is full."""
        return self._samples[-1].at - self._samples[0].at >= WINDOW_S

    @property
    def received(self) -> int:
        return self._samples[-1].bytes

    @property
    def rate(self) -> float:
        """While busy; 0 if it never was."""
        busy = self.busy_s
        return (self._samples[-1].bytes - self._samples[0].bytes) / busy if busy > 0 else 0.0

    @property
    def last(self) -> float:
        """By the clock, over the last second: 0 from a parent that is cut off, whose other rates only fall slowly."""
        end = self._samples[-1]
        begin = next((one for one in reversed(self._samples) if end.at - one.at >= LAST_S), self._samples[0])
        return (end.bytes - begin.bytes) / (end.at - begin.at) if end.at > begin.at else 0.0

    @property
    def flow(self) -> float:
        """By the clock."""
        seconds = self._samples[-1].at - self._samples[0].at
        return (self._samples[-1].bytes - self._samples[0].bytes) / seconds if seconds > 0 else 0.0
