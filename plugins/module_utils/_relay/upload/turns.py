# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which child is served now, where a plan wants one after the other."""

from __future__ import annotations

import threading
import typing as t

from ..clock import Clock

# A child that is first in the order and takes nothing for so long does not hold the others up.
STALL_S = 1.0


class Order:
    """Children that a plan wants to be served one after the other; without such an order all are served at once.

    A child gets its chunks only when no child before it is asking for any. Children that the plan did not foresee come
    last.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ranks: dict[str, int] = {}
        self._asking: dict[str, float] = {}

    def set(self, children: t.Sequence[str]) -> None:
        with self._lock:
            self._ranks = {child: rank for rank, child in enumerate(children)}

    def may_send(self, child: str) -> bool:
        """Whether it is this child's turn."""
        with self._lock:
            if not self._ranks:
                return True
            now = self._clock()
            last = len(self._ranks)
            rank = self._ranks.get(child, last)
            held_up = any(self._ranks.get(other, last) < rank and now - since < STALL_S for other, since in self._asking.items())
            # Who is held up has not stalled.
            self._asking[child] = now if held_up else self._asking.get(child, now)
            return not held_up

    def sent(self, child: str) -> None:
        with self._lock:
            if self._ranks:
                self._asking[child] = self._clock()

    def satisfied(self, child: str) -> bool:
        """The child asks for nothing more, for now; whether others may have waited for that."""
        with self._lock:
            return self._asking.pop(child, None) is not None
