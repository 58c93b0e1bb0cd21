# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The connections to one parent, which the parent selection sees as one.

A connection is served by one thread at each end, and that is as fast as one core encrypts. Where the network carries more
than that, further connections share the parent's chunks with the first one: the chunk picker gives each chunk to one of them.
"""

from __future__ import annotations

import os

from ..upload.offer import Path
from .connection import Connection
from .parent_selection import Order
from .throughput import LAST_S, Throughput

# A connection that brings less than this in a second stores its chunks itself.
INLINE_STORE_BYTES = 32 * 1024 * 1024

# One more connection is worth its threads if those that there are bring so much in a second, each.
BUSY_LANE_BYTES = 200 * 1024 * 1024
# And if the parent has had more for us than came for so much of the time.
OWED_PART = 0.5
MOST_LANES = 4
# Cores of this host for each of them: the others are for its machines, and for the other end of the same work.
CORES_PER_LANE = 4


class Parent:
    """:param first: the connection that tells how the parent is; when it ends, the others end too."""

    def __init__(self, first: Connection, now: float) -> None:
        self.parent = first.parent
        self.connections = [first]
        self.pace = Throughput(now)
        self._most = max(1, min(MOST_LANES, len(os.sched_getaffinity(0)) // CORES_PER_LANE))
        self._widened_at = now
        self._busy_s = 0.0
        self._gone_bytes = 0

    @property
    def state(self) -> str:
        return self.connections[0].state

    @property
    def paths(self) -> list[Path]:
        return self.connections[0].paths

    @property
    def asked(self) -> int:
        """How many chunks the parent was asked for that have not come."""
        return sum(connection.asked for connection in self.connections)

    def sample(self, now: float) -> None:
        """Look at what has come, and share it out anew."""
        measured = [connection.measure(now) for connection in self.connections]
        # It owes us something as long as one of them waits.
        self._busy_s = max(self._busy_s, *(busy_s for busy_s, _bytes in measured))
        self.pace.note(now, self._busy_s, self._gone_bytes + sum(bytes_ for _busy_s, bytes_ in measured))
        count = len(self.connections)
        for connection in self.connections:
            connection.expect(self.pace.rate / count if self.pace.busy_s > 0 else None)
            # By itself where it would only wait for the next chunk meanwhile, and where others receive meanwhile.
            connection.inline_store = count > 1 or self.pace.last < INLINE_STORE_BYTES

    def order(self, order: Order) -> None:
        share = order._replace(pace=order.pace // len(self.connections))
        for connection in self.connections:
            connection.order(share)

    def worth_another(self, now: float) -> bool:
        """Whether one more connection could bring more than these do."""
        return (
            len(self.connections) < self._most
            and now - self._widened_at > LAST_S
            and self.pace.last >= BUSY_LANE_BYTES * len(self.connections)
            and self.pace.busy_part > OWED_PART
        )

    def widen(self, connection: Connection, now: float) -> None:
        self.connections.append(connection)
        self._widened_at = now

    def narrow(self, connection: Connection) -> None:
        """A further connection has ended; there will be no other one."""
        self.connections.remove(connection)
        self._gone_bytes += connection.measure(self._widened_at)[1]
        self._most = len(self.connections)

    def dismiss(self, now: float) -> None:
        for connection in self.connections:
            connection.dismiss(now)

    def stop(self) -> None:
        for connection in self.connections:
            connection.stop()
