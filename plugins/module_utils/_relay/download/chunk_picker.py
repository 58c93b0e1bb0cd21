# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which chunks are missing, asked for, and done."""

from __future__ import annotations

import threading
import typing as t
from collections import deque

from .stripes import Stripes

# So many missing chunks of other stripes are passed over before others get the lock.
MOST_LOOKS = 4096

# Ranges of chunks, as (first, end), that a connection has not looked at yet.
Ranges = t.Deque[t.Tuple[int, int]]


class ChunkPicker:
    """Shared by all connections of a base. Thread-safe.

    :param marks: 1 for each chunk that is there already.
    """

    MISSING, DONE, ASKED = 0, 1, 2

    def __init__(self, marks: bytearray, stripes: Stripes | None = None) -> None:
        self._states = bytearray(marks)
        self._lock = threading.Lock()
        self._generation = 0
        self._undone = len(marks) - self._states.count(self.DONE)
        self._left: list[int] = []
        self.restripe(stripes or Stripes())

    def restripe(self, stripes: Stripes) -> None:
        """A new plan shares the chunks otherwise."""
        with self._lock:
            self._pattern = stripes.pattern
            size = len(self._pattern)
            self._left = [0] * stripes.count
            for phase, stripe in enumerate(self._pattern):
                column = self._states[phase::size]
                self._left[stripe] += len(column) - column.count(self.DONE)
            self._generation += 1

    @property
    def complete(self) -> bool:
        return not self._undone

    @property
    def undone(self) -> int:
        """How many chunks are not there yet, whether asked for or not."""
        return self._undone

    @property
    def left(self) -> list[int]:
        """The same for each stripe."""
        with self._lock:
            return list(self._left)

    @property
    def generation(self) -> int:
        """Grows when chunks that had been passed over may be asked for again, so that connections look for work anew."""
        return self._generation

    def take(self, have: bytearray, ranges: Ranges, most: int, own: t.Container[int]) -> list[int]:
        """At most so many missing chunks that a parent has, of these stripes, in the order of the ranges.

        What was looked at leaves the ranges. A chunk that comes up later has to be put there then.
        """
        taken: list[int] = []
        states, pattern = self._states, self._pattern
        size = len(pattern)
        with self._lock:
            while ranges and len(taken) < most:
                index, end = ranges.popleft()
                while index < end and len(taken) < most:
                    index = states.find(self.MISSING, index, end)
                    if index >= 0 and not have[index]:
                        index = have.find(1, index, end)
                        if index >= 0 and states[index] != self.MISSING:
                            continue
                    if index < 0:
                        index = end
                        break
                    if pattern[index % size] in own:
                        states[index] = self.ASKED
                        taken.append(index)
                    index += 1
                if index < end:
                    ranges.appendleft((index, end))
        return taken

    def take_last(self, have: bytearray, below: int, most: int, own: t.Container[int]) -> tuple[list[int], int]:
        """The same from the end towards the begin, where another connection will come last; and how far it looked."""
        taken: list[int] = []
        states, pattern = self._states, self._pattern
        size = len(pattern)
        with self._lock:
            while len(taken) < most:
                index = states.rfind(self.MISSING, 0, below)
                if index >= 0 and not have[index]:
                    below = have.rfind(1, 0, index) + 1
                    if below:
                        continue
                    index = -1
                if index < 0:
                    return taken, 0
                if pattern[index % size] in own:
                    states[index] = self.ASKED
                    taken.append(index)
                below = index
        return taken, below

    def take_ahead(self, front: int, most: int, own: t.Container[int], but: t.Container[int]) -> tuple[list[int], int]:
        """At most so many missing chunks of these stripes from ``front`` on, whoever has them; and how far it looked.

        :param but: chunks that are passed over.
        """
        taken: list[int] = []
        states, pattern = self._states, self._pattern
        size = len(pattern)
        with self._lock:
            for _look in range(MOST_LOOKS):
                if len(taken) >= most:
                    break
                index = states.find(self.MISSING, front)
                if index < 0:
                    return taken, len(states)
                if pattern[index % size] in own and index not in but:
                    states[index] = self.ASKED
                    taken.append(index)
                front = index + 1
        return taken, front

    def of_stripes(self, indexes: t.Iterable[int], own: t.Container[int]) -> set[int]:
        """Those that belong to one of these stripes."""
        pattern = self._pattern
        return {index for index in indexes if pattern[index % len(pattern)] in own}

    def done(self, index: int) -> None:
        with self._lock:
            if self._states[index] != self.DONE:
                self._states[index] = self.DONE
                self._undone -= 1
                self._left[self._pattern[index % len(self._pattern)]] -= 1

    def leading(self, start: int) -> int:
        """The first chunk from ``start`` on that is not there yet, or their number."""
        undone = [index for index in (self._states.find(state, start) for state in (self.MISSING, self.ASKED)) if index >= 0]
        return min(undone, default=len(self._states))

    def is_done(self, index: int) -> bool:
        return self._states[index] == self.DONE

    def give_back(self, indexes: t.Iterable[int]) -> bool:
        """They were asked for and will not come from there; whether that is news for the other connections."""
        with self._lock:
            returned = [index for index in indexes if self._states[index] == self.ASKED]
            for index in returned:
                self._states[index] = self.MISSING
            self._generation += bool(returned)
            return bool(returned)


def everything(count: int) -> Ranges:
    return deque([(0, count)] if count else ())
