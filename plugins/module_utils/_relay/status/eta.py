# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""How fast a base arrives, and how long it will take. The time is passed in."""

from __future__ import annotations

from collections import deque

# Long enough to be calm, short enough to show a stall soon.
WINDOW_S = 5.0


class Eta:
    """The rate of the last seconds, from counts of bytes at several moments."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, count: int) -> None:
        # What was there before, or is zero, counts as verified in one step as soon as the list of chunks is known. That
        # step is no rate.
        if self._samples and (self._samples[-1][1] == 0 or count < self._samples[-1][1]):
            self._samples.clear()
        self._samples.append((now, count))
        # One sample before the window stays: the rate is that of the whole window.
        while len(self._samples) > 2 and self._samples[1][0] <= now - self._window_s:
            self._samples.popleft()

    @property
    def bytes_per_s(self) -> float:
        if len(self._samples) < 2:
            return 0.0
        (begin, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - begin) if end > begin else 0.0

    def remaining_s(self, left: int) -> float | None:
        """Seconds until so many more bytes are there; None if none arrive."""
        rate = self.bytes_per_s
        return left / rate if rate > 0 else None
