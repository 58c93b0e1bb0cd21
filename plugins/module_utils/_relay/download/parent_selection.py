# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""From whom a host fetches which chunks at this moment. No threads, no connections: it decides, Fetch acts.

The plan gives each stripe its choices, best first. A stripe stays with its parent until that fails, or crawls while
another delivers. When nobody of the plan is left, any host of the run may have what is missing.
"""

from __future__ import annotations

import math
import typing as t

from ..errors import PeerLost, PeerRefused, RelayError
from ..states import LOST, PENDING, ROOTED
from .peer_record import PeerRecords
from .stripes import Stripes
from .throughput import WINDOW_S, Throughput

# A connection that has not been told anything by its parent yet.
CONNECTING = "connecting"

# Hosts outside the plan's choices that are asked at the same time when nobody has hope, after how long without hope,
# and how long one is given that has nothing for us.
FALLBACK_PEERS = 4
ROAM_AFTER_S = 1.5
ROAM_IDLE_S = 0.5

# A parent crawls if it delivers less than this part of what was to be expected; it is left for one that delivers so
# many times as much.
CRAWLS_BELOW = 1 / 3
BETTER_BY = 2.0

# A parent's rate means something after so many seconds, of which it was busy so many.
LOOK_AFTER_S = 3.0
LOOK_BUSY_S = 1.5

# Chunks that are asked for on trial, how long that may take, pauses between trials, and how much has to be left for
# one to be worth it.
TRIAL_CHUNKS = 8
TRIAL_S = 4.0
TRIAL_PAUSE_S = 5.0
TRIAL_PAUSE_MAX_S = 60.0
WORTH_S = 3.0
UNKNOWN_WORTH_S = 20.0

SLOW_S = 60.0

# A connection whose own stripes are done helps another only if that one has more than this to do: a link that stripes
# share is not crossed twice for a small gain.
BEHIND_S = 1.0
BEHIND_PART = 0.05
# It is the link to that one's parent that is slow if the parent owes us something for so much of the time. Otherwise
# it waits itself, and whoever has the slow link above it is to be helped, not we.
LINK_BOUND = 0.5

# How much more than its share of this host's rate a parent may send. Every link of a good plan is full: a parent that
# catches up with its own stripe takes the room of another one, and all below that one fall behind. Some more is needed
# to catch up at all. The rate is what was reached, if it is near the expected one, and changes in steps.
BALANCE = 1.08
BALANCE_NEAR = 0.8
BALANCE_STEPS = 50


class Patience(t.NamedTuple):
    """How long a host waits, in seconds.

    :param pending: for a parent that has not been told its part yet.
    :param lost: for a parent that itself has nobody to fetch from, while another parent could be tried.
    :param alone: without any parent that has hope, until the base is given up.
    """

    pending: float = 60.0
    lost: float = 3.0
    alone: float = 60.0


class Route(t.NamedTuple):
    """A host's part of the plan for one base.

    :param choices: for each stripe the hosts to fetch from, best first.
    :param weights: of the stripes; the same on every host of the run.
    :param expected_mbps: the rate at which the plan counts on the whole base, if it rests on measured links.
    """

    choices: tuple[tuple[str, ...], ...]
    weights: tuple[float, ...] = (1.0,)
    expected_mbps: float | None = None

    @property
    def hosts(self) -> list[str]:
        """Every choice once, in the order in which they come up."""
        return list(dict.fromkeys(host for stripe in self.choices for host in stripe))


def route_of(parents: t.Sequence[t.Any], weights: t.Sequence[float] | None = None, expected_mbps: float | None = None) -> Route:
    """A route from a part of the plan: a plain list of hosts means one stripe."""
    stripes = parents if parents and not isinstance(parents[0], str) else [parents]
    choices = tuple(tuple(str(host) for host in stripe) for stripe in stripes)
    return Route(choices, tuple(weights) if weights else (1.0,) * len(choices), expected_mbps)


class ConnectionView(t.Protocol):
    """What the selection looks at."""

    parent: str
    pace: Throughput

    @property
    def state(self) -> str: ...

    @property
    def asked(self) -> int:
        """How many chunks it was asked for that have not come."""


class Order(t.NamedTuple):
    """What one connection is to do.

    :param own: stripes whose chunks it asks for, in their order.
    :param help: stripes of which it takes the last ones when it has nothing else to do.
    :param limit: how many chunks it may ask for in all, on trial.
    :param lost_s: how long it stays with a parent that has neither anything for us nor a living parent.
    :param recall: let others ask for what it has asked for, but for what comes next.
    :param pace: bytes per second that the parent is not to exceed; 0 for any number.
    :param ahead: ask also for what the parent does not have yet: nobody else is to bring it.
    """

    own: frozenset[int]
    help: frozenset[int] = frozenset()
    limit: int | None = None
    lost_s: float = 3.0
    recall: bool = False
    pace: int = 0
    ahead: bool = False


class _Trial(t.NamedTuple):
    parent: str
    against: str
    since: float


class ParentSelection:
    """:param others: hosts of the run that may have the base, whatever the plan says.
    :param note: told (host, sentence, mbps at last) when a parent is left for being slow.
    :param missing: a sentence on what is missing, for the error when there is no hope.
    :param records: of each host that was asked.
    """

    def __init__(
        self,
        route: Route,
        patience: Patience,
        now: float,
        others: t.Callable[[], t.Sequence[str]] = tuple,
        note: t.Callable[[str, str, float], None] = lambda _host, _text, _mbps: None,
        missing: t.Callable[[], str] = str,
        records: PeerRecords | None = None,
    ) -> None:
        self.standings = PeerRecords() if records is None else records
        self.patience = patience
        self._others = others
        self._note = note
        self._missing = missing
        self._hope_at = now
        self._without_hope = now
        self._begun = now
        self._undone = -1
        self._fallbacks: set[str] = set()
        self._trial: _Trial | None = None
        self._assisted: dict[str, float] = {}
        self._trial_at = 0.0
        self._trial_pause = TRIAL_PAUSE_S
        self._last_error = ""
        self._reached = 0.0
        self.route = route
        self._current: list[str | None] = []
        self.set_route(route)

    def set_route(self, route: Route) -> None:
        """A new plan: a stripe that comes from its first choice stays there, any other is moved."""
        kept = [*self._current] if len(route.choices) == len(self._current) else []
        self.route = route
        self._shares = Stripes(route.weights).weights
        self._current = [
            kept[stripe] if kept and choices and kept[stripe] == choices[0] else None for stripe, choices in enumerate(route.choices)
        ]
        self._trial = None
        self._trial_at = 0.0
        self._reached = 0.0
        self.standings.forgive()

    def ended(self, parent: str, error: RelayError | None, now: float) -> None:
        """A connection is gone; ``error``: why, if it was not told to end."""
        self._fallbacks.discard(parent)
        self._current = [None if host == parent else host for host in self._current]
        if self._trial is not None and parent in (self._trial.parent, self._trial.against):
            self._end_trial(now)
        if error is not None:
            message = error.message if parent in error.message else f"{parent}: {error.message}"
            self.standings[parent].failed(error, message, now)
            self._last_error = message

    def decide(
        self, now: float, connections: t.Mapping[str, ConnectionView], left: t.Sequence[int] | None, chunk_bytes: int
    ) -> dict[str, Order]:
        """An order for each connection that is to be there.

        :param left: chunks that are not there yet, by stripe; None before the chunk list is known.
        :raises PeerRefused: PeerLost: if there is no hope any more.
        """
        self._hope(now, connections, left)
        if left is not None:
            self._try_others(now, connections, left, chunk_bytes)
        hopeful = {host for host, connection in connections.items() if self._has_hope(connection)}
        if hopeful - self._fallbacks:
            self._without_hope = now
        for stripe, host in enumerate(self._current):
            if host is None:
                self._current[stripe] = self._pick(stripe, now, connections)
        roam = now - self._without_hope >= min(ROAM_AFTER_S, self.patience.alone / 2) or not any(self._current)
        self._roam(roam, now, connections)
        every = frozenset(range(len(self._current)))
        orders = {host: Order(own, lost_s=self.patience.lost, ahead=True) for host, own in self._owned().items()}
        if roam and not hopeful:
            orders = {host: order._replace(own=every, ahead=False) for host, order in orders.items()}
        for host in self._fallbacks:
            orders.setdefault(host, Order(every, lost_s=min(ROAM_IDLE_S, self.patience.lost)))
        if not orders:
            self._give_up_if_all_refuse()
        if left is not None:
            self._help(now, connections, orders, left, chunk_bytes)
            self._balance(connections, orders, left)
        if left is not None and self._trial is not None and self._trial.against in orders:
            against = orders[self._trial.against]
            orders[self._trial.parent] = Order(against.own, limit=TRIAL_CHUNKS)
            # At the end of the file everything may have been asked for already.
            under_way = connections[self._trial.against].asked if self._trial.against in connections else 0
            recall = sum(left[stripe] for stripe in against.own) <= under_way + TRIAL_CHUNKS
            orders[self._trial.against] = against._replace(recall=recall)
        return orders

    def _owned(self) -> dict[str, frozenset[int]]:
        hosts = dict.fromkeys(host for host in self._current if host is not None)
        return {host: frozenset(stripe for stripe, current in enumerate(self._current) if current == host) for host in hosts}

    # -- hope ----------------------------------------------------------------------------------------------------

    def _hope(self, now: float, connections: t.Mapping[str, ConnectionView], left: t.Sequence[int] | None) -> None:
        undone = -1 if left is None else sum(left)
        if undone != self._undone:
            self._undone = undone
            self._hope_at = now
        if any(map(self._has_hope, connections.values())):
            self._hope_at = now
        if now - self._hope_at > self.patience.alone:
            tried = ", ".join(self.route.hosts) or "nobody"
            raise PeerLost(
                f"No living parent for {self.patience.alone:g} s (tried: {tried}); "
                f"last: {self._last_error or 'nothing answered'} {self._missing()}".rstrip()
            )

    def _has_hope(self, connection: ConnectionView) -> bool:
        """Its parent has a holder above it, or may yet be told its part."""
        standing = self.standings[connection.parent]
        return (connection.state == ROOTED and not standing.stalled) or (connection.state == PENDING and not standing.waited)

    def _give_up_if_all_refuse(self) -> None:
        hosts = [*self.route.hosts, *self._others()]
        final = [standing.banned or standing.foreign for standing in map(self.standings.__getitem__, hosts)]
        if all(final):
            planned = [self.standings[host].banned or self.standings[host].foreign for host in self.route.hosts]
            raise PeerRefused(f"No parent can serve this base: {'; '.join(planned) or 'the plan names none'}")

    def _pick(self, stripe: int, now: float, connections: t.Mapping[str, ConnectionView]) -> str | None:
        usable = self.standings.usable(self.route.choices[stripe], now)
        if usable:
            return min(usable, key=lambda host: self.standings[host].slow_until > now)
        on_trial = self._trial.parent if self._trial else None
        rooted = [connection for connection in connections.values() if connection.state == ROOTED and connection.parent != on_trial]
        return max(rooted, key=lambda connection: connection.pace.flow).parent if rooted else None

    def _roam(self, roam: bool, now: float, connections: t.Mapping[str, ConnectionView]) -> None:
        rooted = [host for host in self._fallbacks if host in connections and connections[host].state == ROOTED]
        if rooted:
            # Somebody outside the plan can serve us: it takes over what has nobody better.
            for stripe, host in enumerate(self._current):
                if host is None or (host in connections and connections[host].state == LOST):
                    self._current[stripe] = rooted[0]
        if not roam:
            self._fallbacks.clear()
            return
        seated = {host for host in self._current if host is not None}
        self._fallbacks -= seated
        usable = [
            host
            for host in self.standings.usable([*self.route.hosts, *self._others()], now)
            if host not in self._fallbacks and host not in seated
        ]
        usable = sorted(dict.fromkeys(usable), key=lambda host: self.standings[host].last_tried)
        for host in usable[: FALLBACK_PEERS - len(self._fallbacks)]:
            self.standings[host].last_tried = now
            self._fallbacks.add(host)

    # -- the end of the file -------------------------------------------------------------------------------------

    def _help(
        self,
        now: float,
        connections: t.Mapping[str, ConnectionView],
        orders: dict[str, Order],
        left: t.Sequence[int],
        chunk_bytes: int,
    ) -> None:
        """Connections that are done with their own stripes take the last chunks of those that are far behind."""
        enough = max(BEHIND_S, BEHIND_PART * (now - self._begun))
        behind: set[int] = set()
        free: list[str] = []
        for host, order in orders.items():
            missing = sum(left[stripe] for stripe in order.own) * chunk_bytes
            if host not in connections:
                behind |= order.own
                continue
            connection, pace = connections[host], connections[host].pace
            stuck = not connection.asked and not pace.flow and now - pace.since > WINDOW_S
            slow = stuck or connection.state != ROOTED or pace.busy_part > LINK_BOUND
            if slow and missing > enough * pace.flow:
                behind |= order.own
            # One that got nothing for long can at least bring what its parent has of the others.
            if not missing or stuck:
                free.append(host)
        for host in free:
            orders[host] = orders[host]._replace(help=frozenset(behind - orders[host].own))
        for slow_one, until in self._assisted.items():
            if slow_one in orders and now < until:
                for host, order in orders.items():
                    if host != slow_one:
                        orders[host] = order._replace(help=order.help | (orders[slow_one].own - order.own))

    def _balance(self, connections: t.Mapping[str, ConnectionView], orders: dict[str, Order], left: t.Sequence[int]) -> None:
        """As long as several parents have something to bring, each gets its share of this host's link."""
        if not self.route.expected_mbps:
            return
        owned = {host: order.own for host, order in orders.items() if order.own}
        if len(owned) < 2 or not all(any(left[stripe] for stripe in own) for own in owned.values()):
            return
        expected = self.route.expected_mbps * 1e6 / 8
        # Over whole windows, and never less than before, so that a parent that fails does not slow the others down.
        self._reached = max(self._reached, sum(connection.pace.flow for connection in connections.values() if connection.pace.whole))
        rate = self._reached if self._reached > BALANCE_NEAR * expected else expected
        # Where the links carry more, all may have more at once, and more again.
        rate = max(rate, sum(connection.pace.last for connection in connections.values()))
        rate = math.ceil(rate / expected * BALANCE_STEPS) / BALANCE_STEPS * expected
        for host, own in owned.items():
            orders[host] = orders[host]._replace(pace=int(BALANCE * self._share(own) * rate))

    # -- crawling ------------------------------------------------------------------------------------------------

    def _share(self, own: t.Iterable[int]) -> float:
        return sum(self._shares[stripe] for stripe in own) or 1.0

    def _try_others(self, now: float, connections: t.Mapping[str, ConnectionView], left: t.Sequence[int], chunk_bytes: int) -> None:
        """Leave a parent that has chunks for us and delivers far slower than the next choice does."""
        if self._trial is not None:
            if self._judge_trial(self._trial, now, connections, chunk_bytes):
                self._end_trial(now)
        elif now >= self._trial_at:
            owned = self._owned()
            for host, own in owned.items():
                missing = sum(left[stripe] for stripe in own) * chunk_bytes
                if host in connections and self._is_suspect(now, connections[host], missing, connections, owned):
                    self._begin_trial(now, connections[host], own, connections)
                    return

    def _is_suspect(
        self,
        now: float,
        connection: ConnectionView,
        missing: int,
        connections: t.Mapping[str, ConnectionView],
        owned: t.Mapping[str, frozenset[int]],
    ) -> bool:
        pace = connection.pace
        if now - pace.since < LOOK_AFTER_S or pace.busy_s < LOOK_BUSY_S:
            return False
        seconds = missing / max(pace.rate, 1.0)
        if seconds < WORTH_S:
            return False
        if pace.rate < CRAWLS_BELOW * pace.best:
            return True
        share = self._share(owned[connection.parent])
        if self.route.expected_mbps:
            return pace.rate < CRAWLS_BELOW * share * self.route.expected_mbps * 1e6 / 8
        for host, own in owned.items():
            other = connections[host].pace if host in connections and host != connection.parent else None
            if other is None or other.busy_s < LOOK_BUSY_S:
                continue
            if pace.rate / share < CRAWLS_BELOW * other.rate / self._share(own):
                return True
        # Nothing to compare with: a small look at the next choice costs little beside a long transfer.
        return seconds > UNKNOWN_WORTH_S

    def _begin_trial(
        self, now: float, connection: ConnectionView, own: frozenset[int], connections: t.Mapping[str, ConnectionView]
    ) -> None:
        stripe = max(own, key=lambda one: self._shares[one])
        candidates = [
            host
            for host in self.standings.usable(self.route.choices[stripe], now)
            if host != connection.parent and self.standings[host].slow_until <= now
        ]
        fresh = [host for host in candidates if host not in connections]
        if len(fresh) < len(candidates):
            # Those that already serve other stripes take what they have of this one when they have time.
            self._assisted[connection.parent] = now + 2 * self._trial_pause
        if not fresh:
            self._end_trial(now)
            return
        host = min(fresh, key=lambda name: self.standings[name].last_tried)
        self.standings[host].last_tried = now
        self._trial = _Trial(host, connection.parent, now)

    def _judge_trial(self, trial: _Trial, now: float, connections: t.Mapping[str, ConnectionView], chunk_bytes: int) -> bool:
        """Whether it is over."""
        old, new = connections.get(trial.against), connections.get(trial.parent)
        if old is None or new is None:
            return now - trial.since > TRIAL_S
        if new.state == LOST:
            return True
        if new.pace.received < TRIAL_CHUNKS * chunk_bytes and now - trial.since < TRIAL_S:
            return False
        if new.state == ROOTED and new.pace.received and new.pace.rate > BETTER_BY * old.pace.rate:
            self._leave(now, old, new.parent, new.pace.rate)
        return True

    def _leave(self, now: float, old: ConnectionView, better: str, rate: float) -> None:
        self.standings[old.parent].slow_until = now + SLOW_S
        self._current = [better if host == old.parent else host for host in self._current]
        self._note(
            old.parent,
            f"{old.parent} delivered {old.pace.rate * 8 / 1e6:.1f} Mbit/s where {better} delivers {rate * 8 / 1e6:.1f}: it was left.",
            round(old.pace.last * 8 / 1e6, 3),
        )
        self._trial_pause = TRIAL_PAUSE_S / 2

    def _end_trial(self, now: float) -> None:
        self._trial = None
        self._trial_at = now + self._trial_pause
        self._trial_pause = min(2 * self._trial_pause, TRIAL_PAUSE_MAX_S)
