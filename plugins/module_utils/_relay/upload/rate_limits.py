# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a node may take of its host and of its links. All of it may change while transfers run."""

from __future__ import annotations

import threading
import typing as t

from ..clock import Clock, TokenBucket
from ..wire.socket_stream import Waker

# A child that was given a stream and moves nothing for so long does not keep others from it.
IDLE_STREAM_S = 1.0


class Throttle:
    """The rates of one direction: one limit for all peers together, and one for each peer that has its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all = TokenBucket(None, clock)
        self._links: dict[str, TokenBucket] = {}

    def set_rate(self, mbps: float | None) -> None:
        self._all.set_rate(bytes_per_s(mbps))

    def set_links(self, links: t.Mapping[str, float]) -> None:
        kept = {peer: self._links.get(peer) or TokenBucket(None, self._clock) for peer in links}
        for peer, bucket in kept.items():
            bucket.set_rate(bytes_per_s(links[peer]))
        self._links = kept

    def take(self, count: int, peer: str) -> float:
        """Seconds to wait before ``count`` bytes may go to, or are taken from, this peer; they count from now on."""
        link = self._links.get(peer)
        return max(self._all.take(count), 0.0 if link is None else link.take(count))


class Streams:
    """How many children are sent chunks at the same time; a child gives its stream up when it asks for nothing more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._most = 0
        # Of each connection: whose it is, and when it last took a chunk.
        self._active: dict[Waker, tuple[str, float]] = {}
        self._waiting: set[Waker] = set()

    def set_most(self, most: int) -> None:
        """:param most: 0 for any number."""
        with self._lock:
            self._most = most
            self._wake()

    def may_send(self, child: Waker, name: str) -> bool:
        """Whether this child has a stream, or gets one now. If not, it is woken when it is worth asking again.

        :param name: of the child; all its connections share one stream.
        """
        with self._lock:
            now = self._clock()
            if self._most:
                others = {whose for whose, since in self._active.values() if whose != name and now - since < IDLE_STREAM_S}
                if len(others) >= self._most:
                    self._active.pop(child, None)
                    self._waiting.add(child)
                    return False
            self._waiting.discard(child)
            self._active[child] = (name, now)
            return True

    def leave(self, child: Waker) -> None:
        """The child asks for nothing more, for now."""
        with self._lock:
            self._waiting.discard(child)
            if self._active.pop(child, None) is not None:
                self._wake()

    def _wake(self) -> None:
        for child in self._waiting:
            child.wake()


class Limits:
    """The limits of a node."""

    def __init__(self, clock: Clock) -> None:
        self.up = Throttle(clock)
        self.down = Throttle(clock)
        self.streams = Streams(clock)
        self._told: dict[str, t.Any] = {"rate_mbps": 0.0, "links": {}, "streams": 0}

    def set(
        self,
        rate_mbps: float | None = None,
        links: t.Mapping[str, float] | None = None,
        streams: int | None = None,
    ) -> bool:
        """Change what is given; None leaves a limit as it is, 0 (or an empty mapping) lifts it. Whether that is new.

        :param rate_mbps: the most that is sent, and the most that is received, in 10^6 bit/s.
        :param links: the same by peer, for those that have a limit of their own.
        """
        before = dict(self._told)
        if rate_mbps is not None:
            self._told["rate_mbps"] = rate_mbps
        if links is not None:
            self._told["links"] = {peer: mbps for peer, mbps in links.items() if mbps}
        if streams is not None:
            self._told["streams"] = streams
        for throttle in (self.up, self.down):
            throttle.set_rate(self._told["rate_mbps"])
            throttle.set_links(self._told["links"])
        self.streams.set_most(self._told["streams"])
        return before != self._told

    def told(self) -> dict[str, t.Any]:
        """``{"rate_mbps", "links": {peer: mbps}, "streams"}``; 0 for no limit."""
        return dict(self._told)


def bytes_per_s(mbps: float | None) -> float | None:
    return mbps * 1e6 / 8 if mbps else None
