# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Staged relay as trees: a host serves once it holds the whole base.

A solution is a parent per host. With a single send port the best order of a sender's children is by falling
tail (Jackson's rule), so that the tree alone says everything: tail(v) = max over its children, in that order, of
the sum of send times so far + tail(child).
"""

from __future__ import annotations

import heapq
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.matrix import INF
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.paths import EPSILON, Paths, Rows, shortest

Ready = Mapping[int, float]


class Transfer(t.NamedTuple):
    """One transfer between host numbers, in seconds since the start of the run."""

    sender: int
    receiver: int
    start: float
    end: float


def children_of(parent: Sequence[int]) -> list[list[int]]:
    children: list[list[int]] = [[] for _unused in parent]
    for v, p in enumerate(parent):
        if p >= 0:
            children[p].append(v)
    return children


def top_down(children: Sequence[Sequence[int]], roots: Sequence[int]) -> list[int]:
    """Hosts, every parent before its children."""
    order = list(roots)
    for v in order:
        order.extend(children[v])
    return order


def jackson(rows: Rows, children: list[list[int]], roots: Sequence[int]) -> list[float]:
    """Sorts each sender's children by falling tail, in place; returns the tails."""
    tail = [0.0] * len(rows)
    for v in reversed(top_down(children, roots)):
        if children[v]:
            children[v].sort(key=lambda c: (-tail[c], c))
            row, busy, worst = rows[v], 0.0, 0.0
            for c in children[v]:
                busy += row[c]
                worst = max(worst, busy + tail[c])
            tail[v] = worst
    return tail


def finish(rows: Rows, parent: Sequence[int], ready: Ready) -> float:
    """When the last host has the base, single-port."""
    tail = jackson(rows, children_of(parent), list(ready))
    return max((at + tail[r] for r, at in ready.items()), default=0.0)


def schedule(rows: Rows, parent: Sequence[int], ready: Ready, independent: bool) -> list[Transfer]:
    """The transfers of a tree; a sender serves one after another, or all at once if ``independent``."""
    children, roots = children_of(parent), list(ready)
    jackson(rows, children, roots)
    has, out = dict(ready), []
    for v in top_down(children, roots):
        free = has[v]
        for c in children[v]:
            end = free + rows[v][c]
            out.append(Transfer(v, c, free, end))
            has[c] = end
            if not independent:
                free = end
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
                ranked[u] = sorted(
                    (v for v in range(n) if not served[v] and row[v] < INF), key=lambda v: (row[v] + look[v], v)
                )
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


def portfolio(rows: Rows, ready: Ready) -> list[int]:
    """The best of the quick methods, each improved by Jackson's rule. Every target must be reachable."""
    tries: list[list[int] | None] = [earliest_completing(rows, ready), by_paths(rows, ready)[0], star(rows, ready)]
    for mean in (False, True):
        base = look_ahead(rows, ready, mean)
        for weight in (0.25, 0.5, 1.0, 2.0):
            tries.append(earliest_completing(rows, ready, [weight * x for x in base]))
    best, least = None, INF
    for parent in tries:
        if parent is not None:
            at = finish(rows, parent, ready)
            if best is None or at < least - EPSILON:
                best, least = parent, at
    return best or []


def path_bound(found: Paths) -> float:
    """No plan can serve a host before its shortest path ends."""
    return max((x for x in found.seconds if x < INF), default=0.0)


def growth_bound(rows: Rows, ready: Ready, found: Paths) -> float:
    """Nobody can multiply faster than this.

    Relaxation: every sender always takes its least time to any target, the k-th new holder is as good a sender as
    the k-th best of all, and only the k-th shortest path keeps it from existing at once; that gives times tau_k
    before which k new holders cannot exist. And m receivers that nobody can serve in less than w need m sends of
    at least w each by holders that exist since tau_k.
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
    return growth(ready, found.seconds, targets, out, [min(columns[v]) for v in targets])


def growth(
    ready: Ready, seconds: Sequence[float], targets: Sequence[int], out: Sequence[float], least_in: Sequence[float]
) -> float:
    """The bound from each host's shortest path and least sending time, and the targets' least receiving times."""
    coming = sorted(out[v] for v in targets)
    releases = sorted(seconds[v] for v in targets)
    heap = [(at + out[v], out[v]) for v, at in ready.items() if out[v] < INF]
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
            heapq.heappush(heap, (at + best, best))
    least_in = sorted(least_in)
    for k in sorted({i * len(least_in) // 32 for i in range(32)}):
        at = max(at, _slow_receivers(exists, least_in[k], len(least_in) - k))
    return at


def _slow_receivers(exists: Sequence[float], each: float, count: int) -> float:
    """When ``count`` sends of ``each`` seconds can be done by holders that appear at the times ``exists``."""
    if each <= 0:
        return 0.0
    heap: list[float] = []
    done, k, at = 0, 0, 0.0
    while done < count:
        while k < len(exists) and (not heap or exists[k] + each <= heap[0]):
            heapq.heappush(heap, exists[k] + each)
            k += 1
        at = heapq.heappop(heap)
        heapq.heappush(heap, at + each)
        done += 1
    return at
