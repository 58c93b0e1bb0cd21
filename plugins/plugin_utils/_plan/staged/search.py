# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Staged plans that are as good as the time allows: quick methods, annealing, and proof for small fleets."""

from __future__ import annotations

from collections.abc import Sequence

from .. import jit
from ..heap import heap_for
from ..network.matrix import INF
from ..network.shortest_paths import EPSILON, Paths, Rows
from . import schedule as st
from .annealing import Course, anneal
from .exact import exact
from .greedy import Queue, greedy
from .network import Arrays, Net, arrays

# Temperatures at start and end as shares of the finish, weight of the links' mean time, whether it goes on from
# the best tree so far. Networks differ more in what suits them than further moves would bring: tiers want the hot
# ones, wide spreads of rates those that end warm.
SETTINGS = (
    (0.01, 0.001, 0.0, False),
    (0.05, 0.001, 0.1, False),
    (0.01, 0.005, 0.1, False),
    (0.02, 0.001, 0.3, True),
    (0.01, 0.001, 1.0, False),
    (0.1, 0.001, 0.1, False),
    (0.01, 0.005, 0.0, True),
    (0.02, 0.001, 0.1, False),
    (0.02, 0.003, 0.0, False),
    (0.05, 0.001, 0.3, True),
    (0.01, 0.001, 0.03, False),
    (0.01, 0.002, 0.3, True),
)
MANY = ((0.005, 0.0003, 0.1, True), (0.01, 0.0005, 0.3, True))
# From here on every tree is made by compiled loops, without the proofs that small fleets get.
MANY_HOSTS = 300
EXACT_WORK = 1_500_000_000 if jit.COMPILED else 4_000_000


def effort(n: int) -> tuple[int, int]:
    """Restarts and steps of each (see ``anneal``), by fleet size."""
    if not jit.COMPILED:
        return (6, 1_000_000) if n <= 300 else (1, 1_500_000)
    if n <= st.ALL_PLANS:
        return 4, 1_500_000
    if n <= 90:
        return 12, 8_000_000
    if n <= 300:
        return 6, 40_000_000
    return 2, 60_000_000


def annealed(
    view: Arrays, parent: Sequence[int], finish: float, work: int, setting: tuple[float, float, float, bool], seed: int
) -> tuple[float, list[int]]:
    """One annealing run from ``parent``, which has this finish."""
    hot, cold = max(setting[0] * finish, 1e-9), max(setting[1] * finish, 1e-10)
    done = anneal(view.net, view.room, jit.ints(parent), Course(work, hot, cold, setting[2], seed))
    return float(done), [int(p) for p in view.room.best[: view.net.n]]


def quick(view: Arrays) -> tuple[list[int], float]:
    """The best of earliest completion and its variants that look ahead, for many hosts."""
    net, m = view.net, view.net.classes
    parent, queue = jit.fill_ints(net.n), Queue(jit.fill_ints(m), view.room.nxt, view.room.h, heap_for(net.n + 1))
    chosen, least = [], INF
    for mean in (False, True):
        look = jit.floats(_onward(net, c, mean) for c in range(m))
        for weight in (0.0, 0.25, 0.5, 1.0, 2.0) if jit.COMPILED else (0.0, 0.5):
            finish = greedy(net, look, weight, queue, parent)
            if finish < least - EPSILON:
                chosen, least = [int(p) for p in parent], float(finish)
    return chosen, least


def _onward(net: Net, c: int, mean: bool) -> float:
    row = [float(x) for x in net.D[c * net.classes : (c + 1) * net.classes] if x < INF]
    if not row:
        return 0.0
    return sum(row) / len(row) if mean else min(row)


def best_of_many(view: Arrays, rows: Rows, ready: st.Ready, longer: float = 1.0) -> list[int]:
    """The best tree found for a large fleet."""
    parent = quick(view)[0]
    finish = st.finish(rows, parent, ready, view.streams)
    restarts, work = effort(view.net.n)
    work = int(work * longer)
    for k in range(restarts):
        at, tree = annealed(view, parent, finish, work, MANY[k % len(MANY)], k + 1)
        if at < finish - EPSILON:
            parent, finish = tree, at
    return parent


def best(
    rows: Rows, ready: st.Ready, found: Paths, bound: float, streams: st.Streams = st.ONE, longer: float = 1.0
) -> tuple[list[int], float]:
    """The best tree found, and a lower bound (the finish itself where it is proven).

    ``longer``: how many times more steps than usual.
    """
    n = len(rows)
    single = streams.single
    if n > MANY_HOSTS:
        return best_of_many(arrays(rows, ready, streams), rows, ready, longer), bound
    parent = st.portfolio(rows, ready, streams)
    finish = st.finish(rows, parent, ready, streams)
    if not single and n <= st.ALL_PLANS:
        # The best tree for one receiver at a time is no worse with several.
        other = best(rows, ready, found, bound, st.ONE, longer)[0]
        if st.finish(rows, other, ready, streams) < finish:
            parent, finish = other, st.finish(rows, other, ready, streams)
    done = finish <= bound * (1 + EPSILON)
    if not done and n - len(ready) > 1 and not (n <= 8 and len(ready) == 1 and single):
        view = arrays(rows, ready, streams)
        restarts, work = effort(n)
        restarts, work = max(1, round(restarts * longer**0.5)), int(work * longer**0.5)
        start, begin = parent, finish
        for k in range(restarts):
            setting = SETTINGS[k % len(SETTINGS)]
            from_ = (parent, finish) if setting[3] else (start, begin)
            at, tree = annealed(view, *from_, work, setting, k + 1)
            if at < finish - EPSILON:
                parent, finish = tree, at
            if finish <= bound * (1 + EPSILON):
                done = True
                break
    if not done and single and len(ready) == 1 and n <= (st.ALL_PLANS if jit.COMPILED else 13):
        offset = next(iter(ready.values()))
        reach = Paths([x - offset for x in found.seconds], found.links, found.parent, found.order)
        tree_ = exact(rows, reach, (finish - offset) * (1 - 1e-12), EXACT_WORK)
        if tree_ is not None:
            if tree_:
                parent = tree_
            finish = st.finish(rows, parent, ready)
            bound = finish
    return parent, bound
