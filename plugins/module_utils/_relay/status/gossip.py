# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Lines between nodes that carry the news of the fleet, so that any living node can tell the progress of all.

A node keeps two lines: one to a parent of its plan, which it can reach for certain, and one to a host of a shallow tree
over all hosts of the run, so that news need few steps even if the plan is a long chain. Lines are connections of their
own: news neither wait behind a transfer's data nor end with it.
"""

from __future__ import annotations

import itertools
import threading
import typing as t
from collections import Counter

from ..clock import Clock
from ..errors import PeerRefused, RelayError
from ..states import FETCHING
from ..wire import messages, protocol
from ..wire.channel import Channel
from ..wire.socket_stream import Waker, poll
from . import table
from .eta import Eta

# How many hosts of the shallow tree have their line to the same host.
FAN = 8

# A line carries at most one frame in so many seconds: for what can wait, and for what cannot.
CALM_S = 1.0
URGENT_S = 0.2

# Relays that end sooner need no lines.
FIRST_DIAL_S = 0.3
REDIAL_FIRST_S = 0.5
REDIAL_LAST_S = 30.0
SAMPLE_S = 1.0
ASK_EVERY_S = 0.2

# Hosts that are tried for one line before it rests.
MAX_CANDIDATES = 16

# Lines that one node takes. A plan may give it any number of children: they have their other line.
MAX_SERVED = 64

# Of these so many of one host: it calls each host once, and the one before may not have ended yet.
MAX_SERVED_OF_HOST = 2

# How often a host may ask on one line for everything.
AGAIN_S = 5.0

# The longest that a host may take to say how it is.
ASK_S = 5.0

# A line that ended sooner was none: the next candidate is called.
HELD_S = 5.0

# {"started", "settled", "guarded", "machines", "bases": {sha256: progress of a job}}
Observe = t.Callable[[], t.Dict[str, t.Any]]


def shallow_candidates(host: str, hosts: t.Iterable[str]) -> list[str]:
    """Whom a host calls: its parent in the tree of all hosts by name, then those above, then others before it.

    Everybody calls a host before itself. So all who live hang together, whoever has died.
    """
    ranked = sorted(hosts)
    rank = ranked.index(host)
    above: list[int] = []
    while rank:
        rank = (rank - 1) // FAN
        above.append(rank)
    rank = ranked.index(host)
    before = range(rank - 1, max(-1, rank - 1 - MAX_CANDIDATES), -1)
    return [ranked[one] for one in dict.fromkeys((*above, *before))][:MAX_CANDIDATES]


class _Line:
    """What one line has told, and whether it will tell the rest by itself at its time: then it need not be woken for it."""

    def __init__(self, generation: int) -> None:
        self.waker = Waker()
        self.cursor = 0
        self.generation = generation
        self.planned = False
        # What it waits with cannot wait long.
        self.urgent = False


class Gossip:
    """What this node knows of the fleet, and the threads that tell and hear it.

    :param born: grows with each node that this host has in the run.
    :param connect: a greeted channel to a host; raises RelayError.
    :param observe: the progress of this host's own bases.
    """

    def __init__(
        self,
        host: str,
        born: int,
        clock: Clock,
        connect: t.Callable[[str], Channel],
        stop: threading.Event,
        observe: Observe,
    ) -> None:
        self._host = host
        self._clock = clock
        self._connect = connect
        self._stop = stop
        self._observe = observe
        self._lock = threading.Lock()
        self._table = table.StatusTable(host, born, clock())
        self._arrivals: dict[str, Eta] = {}
        self._parents: list[str] = []
        self._open: set[_Line] = set()
        self._numbers = itertools.count(1)
        self._generation = 0
        self._lines: dict[str, int] = {}
        self._served: Counter[str] = Counter()
        self._asking = 0
        self._changed = threading.Event()
        self._begun = False

    # -- the node ------------------------------------------------------------------------------------------------

    @property
    def served(self) -> int:
        """Lines of other nodes to this one: connections that are no work."""
        with self._lock:
            return sum(self._served.values()) + self._asking

    def set_hosts(self, hosts: t.Iterable[str]) -> None:
        with self._lock:
            if self._table.set_hosts(hosts, self._clock()):
                # Of these hosts nothing was taken before.
                self._generation += 1
                self._wake()

    def begin(self, parents: t.Iterable[str]) -> None:
        """The node has its part of the plan. :param parents: the hosts it is to fetch from, best first."""
        with self._lock:
            self._table.begin(self._clock())
            self._parents = [parent for parent in dict.fromkeys(parents) if parent != self._host]
            if self._begun:
                return
            self._begun = True
        for name, work in (
            ("news", self._watch),
            ("news-plan", lambda: self._keep_line(self._plan_candidates)),
            ("news-ask", self._ask_doubted),
            ("news-tree", lambda: self._keep_line(self._tree_candidates)),
        ):
            threading.Thread(target=work, name=name, daemon=True).start()

    def note_change(self) -> None:
        """A base has another state: tell it soon."""
        self._changed.set()

    def view(self) -> dict[str, dict[str, t.Any]]:
        self._sample()
        with self._lock:
            return self._table.view(self._clock())

    def guarded(self) -> bool:
        """Whether somebody holds the run on any host that is heard."""
        self._sample()
        with self._lock:
            return self._table.guarded(self._clock())

    def settled(self) -> bool:
        """Whether no host that is heard has anything on its way."""
        self._sample()
        with self._lock:
            return self._table.settled(self._clock())

    # -- this host's own news ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._sample()
            self._changed.wait(SAMPLE_S)
            self._changed.clear()

    def _sample(self) -> None:
        seen = self._observe()
        with self._lock:
            now = self._clock()
            reports = {}
            # Those that are on their way first: they are what the report is for.
            bases = sorted(seen["bases"].items(), key=lambda item: (item[1]["state"] != FETCHING, item[0]))
            for sha256, progress in bases[: table.MAX_BASES]:
                rate, remaining = 0.0, None
                if progress["state"] == FETCHING:
                    arrival = self._arrivals.setdefault(sha256, Eta())
                    arrival.note(now, progress["bytes"])
                    rate = arrival.bytes_per_s * 8 / 1e6
                    remaining = arrival.remaining_s(progress["size_bytes"] - progress["bytes"])
                else:
                    self._arrivals.pop(sha256, None)
                reports[sha256] = table.base_report(progress, progress["parents"], rate, remaining)
            if self._table.report(seen["started"], seen["settled"], reports, now, seen["guarded"], seen["machines"]):
                self._wake()

    # -- lines ---------------------------------------------------------------------------------------------------

    def attend(self, channel: Channel, told: table.News) -> None:
        """Another node's line to this one, until it ends; or the question how this host is. :raises RelayError:"""
        if told.own:
            self._answer(channel)
            return
        peer = channel.peer
        with self._lock:
            self._served[peer] += 1
            full = sum(self._served.values()) > MAX_SERVED or self._served[peer] > MAX_SERVED_OF_HOST
        try:
            if full:
                channel.send_message(protocol.BYE, {"msg": "this host has lines enough"})
            else:
                self._talk(channel, told)
        finally:
            with self._lock:
                self._served[peer] -= 1
                if not self._served[peer]:
                    del self._served[peer]

    def _answer(self, channel: Channel) -> None:
        self._sample()
        with self._lock:
            item = self._table.own_item(self._clock())
            self._asking += 1
        try:
            channel.send(protocol.NEWS, 0, table.encode([item]))
        finally:
            with self._lock:
                self._asking -= 1

    def _ask_doubted(self) -> None:
        """Ask hosts themselves, as long as there is anything to know."""
        while not self._stop.wait(ASK_EVERY_S):
            with self._lock:
                host = self._table.to_ask(self._clock())
            if host is not None and not self.settled():
                self._ask(host)

    def _ask(self, host: str) -> None:
        try:
            channel = self._connect(host)
            try:
                with channel.within(ASK_S, "has been saying how it is"):
                    channel.send(protocol.NEWS, 0, table.encode([], own=True))
                    _header, payload = channel.receive_frame(protocol.NEWS)
                self._take(table.decode(payload, host), host, 0)
            finally:
                channel.close()
        except (OSError, RelayError):
            pass  # then there is only hearsay

    def _plan_candidates(self) -> list[str]:
        with self._lock:
            return self._parents[:MAX_CANDIDATES]

    def _tree_candidates(self) -> list[str]:
        with self._lock:
            hosts = self._table.hosts
        return shallow_candidates(self._host, hosts)

    def _keep_line(self, candidates: t.Callable[[], list[str]]) -> None:
        """Have a line to the first of the candidates that answers, as long as there is anything to tell."""
        self._stop.wait(FIRST_DIAL_S)
        pause = REDIAL_FIRST_S
        while not self._stop.is_set():
            for host in candidates():
                # In a guarded run there is something to hear after the work too, and before it.
                if self._stop.is_set() or (self.settled() and not self.guarded()):
                    break
                if self._reserve(host) and self._call(host):
                    pause = REDIAL_FIRST_S
                    break
            self._stop.wait(pause)
            pause = min(2 * pause, REDIAL_LAST_S)

    def _reserve(self, host: str) -> bool:
        """One line to a host is enough."""
        with self._lock:
            if host in self._lines:
                return False
            self._lines[host] = 1
            return True

    def _call(self, host: str) -> bool:
        """Whether there was a line; it has ended."""
        begin = self._clock()
        try:
            channel = self._connect(host)
            try:
                channel.send(protocol.NEWS, 0, table.encode([]))
                self._talk(channel)
            finally:
                channel.close()
        except (OSError, RelayError):
            pass  # the next candidate is as good; that a host is silent is told by the age of its news
        finally:
            with self._lock:
                self._lines.pop(host, None)
        return self._clock() - begin >= HELD_S

    def _talk(self, channel: Channel, told: table.News | None = None) -> None:
        """Tell and hear until the other side leaves or falls silent. :raises RelayError:"""
        via = next(self._numbers)
        with self._lock:
            line = _Line(self._generation)
            self._open.add(line)
            self._table.connected(channel.peer, 1)
        sent_at = self._clock() - CALM_S
        again_at = self._clock() - AGAIN_S
        try:
            while not self._stop.is_set():
                if told is not None:
                    self._take(told, channel.peer, via)
                    if told.again and self._clock() - again_at >= AGAIN_S:
                        line.cursor, again_at = 0, self._clock()
                told = None
                now = self._clock()
                with self._lock:
                    again = self._generation != line.generation
                    line.generation = self._generation
                    line.urgent = again or self._table.has_urgent_news(line.cursor)
                    due = sent_at + (URGENT_S if line.urgent else CALM_S)
                    fresh = again or self._table.has_news(line.cursor)
                    line.planned = fresh and due > now
                    items: list[str] = []
                    if fresh and due <= now:
                        items, line.cursor = self._table.news(line.cursor, via, now)
                if items or again:
                    channel.send(protocol.NEWS, 0, table.encode(items, again))
                    sent_at = now
                seconds = channel.heartbeat_s
                if fresh and due > now:
                    seconds = min(seconds, due - now)
                told = self._listen(channel, line.waker, seconds)
        finally:
            with self._lock:
                self._open.discard(line)
                self._table.connected(channel.peer, -1)
            line.waker.close()

    def _listen(self, channel: Channel, waker: Waker, seconds: float) -> table.News | None:
        """The next news; None if something else is to be done first."""
        readable = channel.stream.readable()
        if not readable:
            readable, woken = poll(channel.stream.fileno(), waker.fileno(), seconds)
            if woken:
                waker.clear()
        channel.beat()
        if not readable:
            channel.check_silence()
            return None
        header, payload = channel.receive(protocol.IN_NEWS)
        # Signs of life that come as often as this side waits for them must not keep it from sending its own.
        channel.beat()
        if header.kind == protocol.BYE:
            raise PeerRefused(f"{channel.peer}: {messages.read_bye(payload, channel.peer).msg}")
        return table.decode(payload, channel.peer) if header.kind == protocol.NEWS else None

    def _take(self, told: table.News, peer: str, via: int) -> None:
        with self._lock:
            now = self._clock()
            news = [self._table.merge(host, report, age_s, now, via, own=host == peer) for host, age_s, report in told.reports]
            if any(news):
                self._wake()

    def _wake(self) -> None:
        for line in self._open:
            urgent = line.generation != self._generation or self._table.has_urgent_news(line.cursor)
            if not line.planned or (urgent and not line.urgent):
                line.waker.wake()
