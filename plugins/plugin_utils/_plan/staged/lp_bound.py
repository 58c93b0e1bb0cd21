# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""A lower bound of staged plans by a linear programme over time steps.

Time is cut into steps and every transfer takes its seconds rounded down to whole steps, so that each real plan,
its starts rounded down as well, is a solution: as many holders of a group as send at a time must exist, and hosts
appear when their transfers end. If even fractions of transfers cannot serve everybody in the steps before T, no plan
finishes before T; the greatest such T is searched by halving. Up to ``ALONE`` hosts each is a group; more are put
into groups by their links, and a group's links are its quickest. The programme is solved by HiGHS through SciPy.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence

from ..network.matrix import INF
from ..network.shortest_paths import EPSILON, Rows, shortest
from .schedule import Ready, Streams

try:
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix

    AVAILABLE = True
except ImportError:
    AVAILABLE = False

ALONE, GROUPS = 40, 24
# Halvings of the range, and what a sum of fractions may lack to count as everybody.
TRIES, SLACK = 6, 1e-4


class Groups(t.NamedTuple):
    """Groups of hosts: how many targets, holders with the times when they can send, and seconds between groups."""

    targets: list[int]
    holders: list[list[float]]
    seconds: list[list[float]]


def staged(rows: Rows, ready: Ready, streams: Streams, bound: float, finish: float) -> tuple[float, str]:
    """A better lower bound, if there is one, and what proves it."""
    if not AVAILABLE:
        return bound, "paths and growth (SciPy is missing)"
    found = grouped(rows, ready, len(rows) if len(rows) <= ALONE else GROUPS)
    steps = 60 if len(rows) <= 20 else 48 if len(rows) <= ALONE else 64
    together = streams.together(rows)
    low, high = bound, finish * (1 - 1e-9)
    for _unused in range(TRIES):
        middle = (low + high) / 2
        if feasible(found, middle, steps, together):
            high = middle
        else:
            low = middle
    return (low, "linear programme") if low > bound * (1 + EPSILON) else (bound, "paths and growth")


def grouped(rows: Rows, ready: Ready, most: int) -> Groups:
    """Hosts joined by single linkage, quickest links first, until at most ``most`` groups are left."""
    n = len(rows)
    group = list(range(n))
    count = n
    links = sorted((max(rows[i][j], rows[j][i]), i, j) for i in range(n) for j in range(i)) if n > most else []

    def top(v: int) -> int:
        while group[v] != v:
            group[v] = group[group[v]]
            v = group[v]
        return v

    # No group may swallow all: what is lost between its hosts is lost to the bound.
    size = [1] * n
    for limit in (2 * math.ceil(n / most), n):
        for _seconds, i, j in links:
            a, b = top(i), top(j)
            if count > most and a != b and size[a] + size[b] <= limit:
                group[a] = b
                size[b] += size[a]
                count -= 1
    number: dict[int, int] = {}
    of = [number.setdefault(top(v), len(number)) for v in range(n)]
    seconds = [[INF] * count for _unused in range(count)]
    for i in range(n):
        for j in range(n):
            if i != j and j not in ready:
                seconds[of[i]][of[j]] = min(seconds[of[i]][of[j]], rows[i][j])
    targets = [0] * count
    holders: list[list[float]] = [[] for _unused in range(count)]
    for v in range(n):
        if v in ready:
            holders[of[v]].append(ready[v])
        else:
            targets[of[v]] += 1
    return Groups(targets, holders, seconds)


def feasible(groups: Groups, finish: float, steps: int, together: int) -> bool:
    """Whether fractions of transfers could serve everybody before ``finish``."""
    count = len(groups.targets)
    step = finish / steps
    length = [[INF if x == INF else math.floor(x / step + 1e-9) for x in row] for row in groups.seconds]
    # Nobody in a group is served before the shortest path to it ends.
    soon = [min((at for at in held), default=INF) for held in groups.holders]
    start = {g: at for g, at in enumerate(soon) if at < INF}
    first = [math.floor(x / step + 1e-9) if x < INF else steps for x in _arrivals(groups, start)]
    columns: list[tuple[int, int, int]] = []
    for a in range(count):
        begin = math.floor(soon[a] / step + 1e-9) if soon[a] < INF else first[a]
        for b in range(count):
            if groups.targets[b] and length[a][b] < INF:
                # A transfer counts as ended when its last step begins the next one: all must end before ``steps``.
                columns += [(a, b, at) for at in range(begin, steps - int(length[a][b]))]
    if not columns:
        return not any(groups.targets)
    return _solve(groups, columns, length, steps, step, together) >= sum(groups.targets) - SLACK


def _arrivals(groups: Groups, start: Mapping[int, float]) -> list[float]:
    """When each group can first have the base: a holder in it, or the shortest path from another group."""
    found = shortest([[x if a != b else INF for b, x in enumerate(row)] for a, row in enumerate(groups.seconds)], start)
    return found.seconds


def _solve(
    groups: Groups, columns: Sequence[tuple[int, int, int]], length: Sequence[Sequence[float]], steps: int, step: float,
    together: int,
) -> float:  # fmt: skip
    """The most hosts, fractions counted, that can be served."""
    count = len(groups.targets)
    entries: list[int] = []
    rows: list[int] = []
    values: list[float] = []
    # Row g * steps + s: sends of group g in progress at step s, less ``together`` times those served by then.
    for k, (a, b, at) in enumerate(columns):
        took = int(length[a][b])
        for s in range(at, min(at + took, steps)):
            rows.append(a * steps + s)
            entries.append(k)
            values.append(1.0)
        for s in range(at + took, steps):
            rows.append(b * steps + s)
            entries.append(k)
            values.append(-float(together))
    right = [0.0] * (count * steps)
    for g, held in enumerate(groups.holders):
        for at_s in held:
            for s in range(min(steps, math.floor(at_s / step + 1e-9)), steps):
                right[g * steps + s] += together
    for k, (_a, b, _at) in enumerate(columns):
        rows.append(count * steps + b)
        entries.append(k)
        values.append(1.0)
    right += [float(x) for x in groups.targets]
    table = csr_matrix((values, (rows, entries)), shape=(len(right), len(columns)))
    found = linprog(-np.ones(len(columns)), A_ub=table, b_ub=np.array(right), bounds=(0, None), method="highs")
    # Whatever the solver cannot settle proves nothing.
    return float(-found.fun) if found.status == 0 else math.inf
