# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Staged relay as trees: a host serves once it holds the whole base.

A solution is a parent per host. With a single send port the best order of a sender's children is by falling
tail (Jackson's rule), so that the tree alone says everything: tail(v) = max over its children, in that order, of
the sum of send times so far + tail(child).

A sender whose port is known to be faster than its links may serve several at a time (``Streams``), but opens another
stream only while all of them together stay within the port: beyond that they would only slow each other. Sites with
limits (``SiteLoads``) likewise carry no more transfers at a time than go through at full speed.
"""

from __future__ import annotations

import heapq
import typing as t
from collections.abc import Mapping, Sequence

from ..network.limits import SiteLoads
from ..network.matrix import INF
from ..network.shortest_paths import EPSILON, Paths, Rows, shortest
from ..trees import children_of, top_down

Ready = Mapping[int, float]
FULL = 1.0 + 1e-9
# The largest fleet of which all plans may be searched.
ALL_PLANS = 18


class Streams(t.NamedTuple):
    """At most ``most`` receivers at a time; ``rate``: bases per second that each sender's port carries (0: not known,
    so that it serves one at a time). ``limit``: receivers at a time that each sender is allowed (0: any number)."""

    most: int
    rate: Sequence[float]
    limit: Sequence[int] = ()

    @property
    def single(self) -> bool:
        return self.most == 1 or not any(self.rate)

    def together(self, rows: Rows) -> int:
        """How many receivers any sender can serve at a time over its slowest links."""
        if self.single:
            return 1
        found = 1
        for v, rate in enumerate(self.rate):
            used, count = 0.0, 0
            for x in heapq.nlargest(self.most, (x for x in rows[v] if x < INF)):
                used += 1.0 / x if x > 0 else 0.0
                count += used <= rate * FULL
            found = max(found, count)
        return found


ONE = Streams(1, ())


class Transfer(t.NamedTuple):
    """One transfer between host numbers, in seconds since the start of the run."""

    sender: int
    receiver: int
    start: float
    end: float


def serve(row: Sequence[float], children: Sequence[int], rate: float, most: int) -> list[tuple[float, float]]:
    """Start and end of each transfer to the children, in that order, after the sender has the base."""
    out: list[tuple[float, float]] = []
    at, used = 0.0, 0.0
    running: list[tuple[float, float]] = []
    for c in children:
        d = row[c]
        if most == 1 or rate <= 0:
            out.append((at, at + d))
            at += d
            continue
        need = 1.0 / d if d > 0 else 0.0
        while running and (len(running) >= most or used + need > rate * FULL):
            end, part = heapq.heappop(running)
            at, used = max(at, end), used - part if running else 0.0
        out.append((at, at + d))
        used += need
        heapq.heappush(running, (at + d, need))
    return out


def jackson(rows: Rows, children: list[list[int]], roots: Sequence[int], streams: Streams = ONE) -> list[float]:
    """Sorts each sender's children by falling tail, in place; returns the tails."""
    tail = [0.0] * len(rows)
    one = streams.single
    for v in reversed(top_down(children, roots)):
        if children[v]:
            children[v].sort(key=lambda c: (-tail[c], c))
            row, busy, worst = rows[v], 0.0, 0.0
            if one:
                for c in children[v]:
                    busy += row[c]
                    worst = max(worst, busy + tail[c])
            else:
                times = serve(row, children[v], streams.rate[v], streams.most)
                worst = max(end + tail[c] for c, (_start, end) in zip(children[v], times, strict=True))
            tail[v] = worst
    return tail


def finish(rows: Rows, parent: Sequence[int], ready: Ready, streams: Streams = ONE) -> float:
    """When the last host has the base."""
    tail = jackson(rows, children_of(parent), list(ready), streams)
    return max((at + tail[r] for r, at in ready.items()), default=0.0)


def schedule(
    rows: Rows, parent: Sequence[int], ready: Ready, independent: bool, streams: Streams = ONE, sites: SiteLoads | None = None
) -> list[Transfer]:
    """The transfers of a tree; a sender serves one after another, several within its port, or all at once if
    ``independent``."""
    children, roots = children_of(parent), list(ready)
    tail = jackson(rows, children, roots, streams)
    if sites is not None and sites.any and not independent:
        return within_sites(rows, children, tail, ready, streams, sites)
    has, out = dict(ready), []
    for v in top_down(children, roots):
        if independent:
            # Links that do not slow each other: only a limit makes receivers wait.
            times = serve(rows[v], children[v], INF, (streams.limit[v] if streams.limit else 0) or len(children[v]) + 1)
        else:
            times = serve(rows[v], children[v], streams.rate[v] if streams.rate else 0.0, streams.most)
        for c, (start, end) in zip(children[v], times, strict=True):
            out.append(Transfer(v, c, has[v] + start, has[v] + end))
            has[c] = has[v] + end
    return out


def within_sites(
    rows: Rows, children: list[list[int]], tail: Sequence[float], ready: Ready, streams: Streams, sites: SiteLoads
) -> list[Transfer]:
    """The transfers of a tree where what crosses between sites shares their limits: most urgent first, each one as
    soon as its sender and its way are free."""
    of, count = sites.of, sites.number
    room = [1.0 / x if x > 0 else INF for x in (*sites.out, *sites.inn, *sites.between)]
    used = [0.0] * len(room)
    todo: dict[int, list[int]] = {}
    busy: dict[int, list[float]] = {}
    waiting: set[int] = set()
    out: list[Transfer] = []
    # Ends of transfers: (time, order, sender, receiver, rate); a holder's own readiness has no sender.
    events: list[tuple[float, int, int, int, float]] = [(at, r, -1, r, 0.0) for r, at in ready.items()]
    heapq.heapify(events)

    def way(u: int, v: int) -> tuple[int, ...]:
        a, b = of[u], of[v]
        return () if a == b else (a, count + b, 2 * count + a * count + b)

    def start(u: int, now: float) -> None:
        """Whatever u can send now."""
        rate = streams.rate[u] if streams.rate else 0.0
        for v in list(todo[u]):
            d = rows[u][v]
            need = 1.0 / d if d > 0 else 0.0
            if busy[u] and (rate <= 0 or len(busy[u]) >= streams.most or sum(busy[u]) + need > rate * FULL):
                break
            if any(used[k] > 0 and used[k] + need > room[k] * FULL for k in way(u, v)):
                waiting.add(u)
                continue
            for k in way(u, v):
                used[k] += need
            busy[u].append(need)
            todo[u].remove(v)
            out.append(Transfer(u, v, now, now + d))
            heapq.heappush(events, (now + d, v, u, v, need))
        if not todo[u]:
            waiting.discard(u)

    while events:
        now = events[0][0]
        free: set[int] = set()
        while events and events[0][0] <= now:
            _now, _order, u, v, need = heapq.heappop(events)
            todo[v], busy[v] = list(children[v]), []
            free.add(v)
            if u >= 0:
                busy[u].remove(need)
                free.add(u)
                for k in way(u, v):
                    used[k] = max(0.0, used[k] - need)
                if way(u, v):
                    free |= waiting
        for u in sorted(free, key=lambda u: (-max((rows[u][c] + tail[c] for c in todo[u]), default=0.0), u)):
            start(u, now)
    return out


def star(rows: Rows, ready: Ready) -> list[int] | None:
    """Everybody straight from a holder, each time from the one that would finish first; None if links miss."""
    parent, free = [-1] * len(rows), dict(ready)
    for v in sorted(range(len(rows)), key=lambda v: (min(rows[r][v] for r in ready), v)):
        if v in ready:
            continue
        best = min(free, key=lambda r: (free[r] + rows[r][v], r))
        if rows[best][v] == INF:
            return None
        free[best] += rows[best][v]
        parent[v] = best
    return parent


def earliest_completing(rows: Rows, ready: Ready, look: Sequence[float] | None = None) -> list[int]:
    """ECEF: repeatedly the transfer that completes first (plus ``look[v]``, what v is worth as a sender).

    Each sender keeps its receivers sorted, so that a step costs a heap operation and not a scan.
    """
    n = len(rows)
    parent, served = [-1] * n, [v in ready for v in range(n)]
    ranked: dict[int, list[int]] = {}
    position = [0] * n
    heap: list[tuple[float, int, int, float]] = []

    def offer(u: int, free: float) -> None:
        if u not in ranked:
            row = rows[u]
            if look is None:
                ranked[u] = sorted((v for v in range(n) if not served[v] and row[v] < INF), key=lambda v: (row[v], v))
            else:
                ranked[u] = sorted((v for v in range(n) if not served[v] and row[v] < INF), key=lambda v: (row[v] + look[v], v))
        queue, k = ranked[u], position[u]
        while k < len(queue) and served[queue[k]]:
            k += 1
        position[u] = k
        if k < len(queue):
            v = queue[k]
            heapq.heappush(heap, (free + rows[u][v] + (look[v] if look else 0.0), v, u, free))

    for r, at in sorted(ready.items()):
        offer(r, at)
    while heap:
        _unused, v, u, free = heapq.heappop(heap)
        if served[v]:
            offer(u, free)
            continue
        served[v], parent[v] = True, u
        end = free + rows[u][v]
        offer(u, end)
        offer(v, end)
    return parent


def by_paths(rows: Rows, ready: Ready) -> tuple[list[int], Paths]:
    found = shortest(rows, ready)
    return found.parent, found


def look_ahead(rows: Rows, ready: Ready, mean: bool) -> list[float]:
    """What a host costs as the next sender: its least (or mean) time to another target."""
    n, out = len(rows), []
    for v in range(n):
        onward = [x for u, x in enumerate(rows[v]) if u not in ready and x < INF]
        out.append(0.0 if not onward else (sum(onward) / len(onward) if mean else min(onward)))
    return out


def portfolio(rows: Rows, ready: Ready, streams: Streams = ONE) -> list[int]:
    """The best of the quick methods, each improved by Jackson's rule. Every target must be reachable."""
    tries: list[list[int] | None] = [earliest_completing(rows, ready), by_paths(rows, ready)[0], star(rows, ready)]
    for mean in (False, True):
        base = look_ahead(rows, ready, mean)
        for weight in (0.25, 0.5, 1.0, 2.0):
            tries.append(earliest_completing(rows, ready, [weight * x for x in base]))
    best, least = None, INF
    for parent in tries:
        if parent is not None:
            at = finish(rows, parent, ready, streams)
            if best is None or at < least - EPSILON:
                best, least = parent, at
    return best or []


def path_bound(found: Paths) -> float:
    """No plan can serve a host before its shortest path ends."""
    return max((x for x in found.seconds if x < INF), default=0.0)


def growth_bound(rows: Rows, ready: Ready, found: Paths, together: int = 1) -> float:
    """Nobody can multiply faster than this.

    Relaxation: every sender always takes its least time to any target, the k-th new holder is as good a sender as
    the k-th best of all, and only the k-th shortest path keeps it from existing at once; that gives times tau_k
    before which k new holders cannot exist. And m receivers that nobody can serve in less than w need m sends of
    at least w each by holders that exist since tau_k. ``together``: receivers that a sender may serve at a time.
    """
    n = len(rows)
    targets = [v for v in range(n) if v not in ready and found.seconds[v] < INF]
    if not targets:
        return 0.0
    if all(r < len(ready) for r in ready):
        # The diagonal is inf: whole slices will do.
        out = [min(row[len(ready) :], default=INF) for row in rows]
    else:
        out = [min((rows[v][u] for u in targets if u != v), default=INF) for v in range(n)]
    columns = list(zip(*rows, strict=True))
    return growth(ready, found.seconds, targets, out, [min(columns[v]) for v in targets], together)


def growth(
    ready: Ready, seconds: Sequence[float], targets: Sequence[int], out: Sequence[float], least_in: Sequence[float],
    together: int = 1,
) -> float:  # fmt: skip
    """The bound from each host's shortest path and least sending time, and the targets' least receiving times."""
    coming = sorted(out[v] for v in targets)
    releases = sorted(seconds[v] for v in targets)
    heap = [(at + out[v], out[v]) for v, at in ready.items() if out[v] < INF for _unused in range(together)]
    heapq.heapify(heap)
    exists, at = sorted(ready.values()), 0.0
    for release, best in zip(releases, coming, strict=True):
        if heap:
            free, each = heapq.heappop(heap)
            heapq.heappush(heap, (free + each, each))
            at = max(at, free)
        at = max(at, release)
        exists.append(at)
        if best < INF:
            for _unused in range(together):
                heapq.heappush(heap, (at + best, best))
    least_in = sorted(least_in)
    for k in sorted({i * len(least_in) // 32 for i in range(32)}):
        at = max(at, _slow_receivers(exists, least_in[k], len(least_in) - k, together))
    return at


def _slow_receivers(exists: Sequence[float], each: float, count: int, together: int) -> float:
    """When ``count`` sends of ``each`` seconds can be done by holders that appear at the times ``exists``."""
    if each <= 0:
        return 0.0
    heap: list[float] = []
    done, k, at = 0, 0, 0.0
    while done < count:
        while k < len(exists) and (not heap or exists[k] + each <= heap[0]):
            for _unused in range(together):
                heapq.heappush(heap, exists[k] + each)
            k += 1
        at = heapq.heappop(heap)
        heapq.heappush(heap, at + each)
        done += 1
    return at
