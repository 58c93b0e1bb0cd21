# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What real transfers tell of the links that leave a host."""

from __future__ import annotations

import threading
import typing as t

from ..clock import Clock

# What the kernel takes in before anything has arrived at the other end would make a link look quicker than it is: at
# the begin, and after each pause, in which its buffers have emptied.
SKIPPED_BYTES = 8 * 1024 * 1024

# Less than this is no better than a probe.
LEAST_BYTES = 16 * 1024 * 1024
LEAST_S = 1.0


class _Peer:
    def __init__(self) -> None:
        self.skipped = 0
        self.bytes = 0
        self.seconds = 0.0
        self.last: float | None = None


class LinkMeter:
    """Counts what goes to each peer while that peer has asked for more and nobody else is being served.

    Only then does the link (with the two ends) set the pace: neither the share of another peer nor a chunk that has not
    come yet. Thread-safe.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._peers: dict[str, _Peer] = {}
        self._busy: dict[str, int] = {}

    def sending(self, peer: str) -> None:
        """Before each chunk."""
        with self._lock:
            self._busy.setdefault(peer, 0)
            found = self._peers.setdefault(peer, _Peer())
            if found.last is None:
                found.last = self._clock()
            if len(self._busy) > 1:
                # Whoever was alone up to now is not any more.
                for other in self._busy:
                    self._peers[other].last = self._clock()

    def sent(self, peer: str, count: int) -> None:
        """After each chunk."""
        with self._lock:
            found = self._peers[peer]
            now = self._clock()
            alone = len(self._busy) == 1 and peer in self._busy
            if alone and found.last is not None:
                if found.skipped < SKIPPED_BYTES:
                    found.skipped += count
                else:
                    found.bytes += count
                    found.seconds += now - found.last
            found.last = now

    def pause(self, peer: str) -> None:
        """The peer has got all that it asked for, or is gone."""
        with self._lock:
            self._busy.pop(peer, None)
            if peer in self._peers:
                self._peers[peer].last = None
                self._peers[peer].skipped = 0

    def rates(self) -> dict[str, float]:
        """10^6 bit/s by peer, of those to which enough was sent."""
        with self._lock:
            return {
                name: round(peer.bytes * 8 / 1e6 / peer.seconds, 3)
                for name, peer in self._peers.items()
                if peer.bytes >= LEAST_BYTES and peer.seconds >= LEAST_S
            }


def rows_of(host: str, rates: t.Mapping[str, float]) -> list[dict[str, t.Any]]:
    """Links as the history keeps them."""
    return [{"from": host, "to": peer, "mbps": mbps} for peer, mbps in rates.items()]
