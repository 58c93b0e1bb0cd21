# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Staged plans that are as good as the time allows: quick methods, annealing, and proof for small fleets."""

from __future__ import annotations

import heapq
import typing as t
from collections.abc import Sequence

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import engine
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import staged as st
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.matrix import INF
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.paths import EPSILON, Paths, Rows, shortest

NEAR = 24
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
EXACT_WORK = 1_500_000_000 if engine.COMPILED else 1_500_000


def effort(n: int) -> tuple[int, int]:
    """Restarts and moves of each, by fleet size."""
    if not engine.COMPILED:
        return (3, max(1000, 12000 - 10 * n)) if n <= 1024 else (1, 2000)
    if n <= 18:
        return 4, 40_000
    if n <= 40:
        return 12, 150_000
    if n <= 90:
        return 10, 220_000
    if n <= 300:
        return 6, 600_000
    return 2, 1_000_000


class Arrays(t.NamedTuple):
    """The problem and room to work in, as the kernels want them."""

    n: int
    roots: int
    D: t.Any
    off: t.Any
    col: t.Any
    near: t.Any
    width: int
    rel: t.Any
    work: list[t.Any]


def nearest(rows: Rows, roots: int) -> tuple[list[int], int]:
    """For every host its best senders by link time, ``width`` each (-1: no more)."""
    n = len(rows)
    width = min(NEAR, n - 1)
    out: list[int] = []
    columns = list(zip(*rows, strict=True))
    for v in range(n):
        column = columns[v]
        best = [] if v < roots else heapq.nsmallest(width, range(n), key=column.__getitem__)
        best = [u for u in best if column[u] < INF]
        out += best + [-1] * (width - len(best))
    return out, width


def arrays(rows: Rows, ready: st.Ready) -> Arrays:
    """Dense problem; the holders must come first."""
    n, roots = len(rows), len(ready)
    near, width = nearest(rows, roots)
    return Arrays(
        n,
        roots,
        engine.flat(rows),
        engine.ints(v * n for v in range(n)),
        engine.ints(range(n)),
        engine.ints(near),
        width,
        engine.floats(ready[v] for v in range(roots)),
        workspace(n),
    )


def workspace(n: int) -> list[t.Any]:
    """host, pos, first, nxt, prv, par, h, crit, best, order."""
    whole = [engine.fill_ints(n + 1) for _ in range(6)]
    return [*whole, engine.fill_floats(n + 1), *(engine.fill_ints(n + 1) for _ in range(3))]


def annealed(
    view: Arrays, parent: Sequence[int], finish: float, moves: int, setting: tuple[float, float, float, bool], seed: int
) -> tuple[float, list[int]]:
    """One annealing run from ``parent``, which has this finish."""
    from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.anneal import anneal  # noqa: PLC0415

    hot, cold = max(setting[0] * finish, 1e-9), max(setting[1] * finish, 1e-10)
    done = anneal(
        view.n, view.roots, view.D, view.off, view.col, view.near, view.width, view.rel, engine.ints(parent), moves,
        hot, cold, setting[2], seed, *view.work,
    )  # fmt: skip
    return float(done), [int(p) for p in view.work[8][: view.n]]


def exact(rows: Rows, found: Paths, limit: float, work: int) -> list[int] | None:
    """A tree that finishes before ``limit``; [] if there is none, None if it takes too long to know. One holder."""
    from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import exact as ex  # noqa: PLC0415

    n = len(rows)
    m = n - 1
    sp = [shortest(rows, {v: 0.0}).seconds for v in range(n)]
    D, table = engine.flat(rows), engine.fill_floats(n << m)
    done = ex.solve(
        m, D, engine.floats(found.seconds), engine.flat(sp), limit, work, table, engine.fill_ints(n << m), engine.fill_ints(n)
    )
    if not done:
        return None
    if table[(1 << m) - 1] >= 1e299:
        return []
    return ex.tree(m, D, table)


def best(rows: Rows, ready: st.Ready, found: Paths, bound: float) -> tuple[list[int], float]:
    """The best tree found, and a lower bound (the finish itself where it is proven)."""
    n = len(rows)
    parent = st.portfolio(rows, ready)
    finish = st.finish(rows, parent, ready)
    done = finish <= bound * (1 + EPSILON)
    if not done and n - len(ready) > 1 and not (n <= 8 and len(ready) == 1):
        view = arrays(rows, ready)
        restarts, moves = effort(n)
        start, begin = parent, finish
        for k in range(restarts):
            setting = SETTINGS[k % len(SETTINGS)]
            from_ = (parent, finish) if setting[3] else (start, begin)
            at, tree = annealed(view, *from_, moves, setting, k + 1)
            if at < finish - EPSILON:
                parent, finish = tree, at
            if finish <= bound * (1 + EPSILON):
                done = True
                break
    if not done and len(ready) == 1 and n <= (18 if engine.COMPILED else 12):
        offset = next(iter(ready.values()))
        reach = Paths([x - offset for x in found.seconds], found.links, found.parent, found.order)
        tree_ = exact(rows, reach, (finish - offset) * (1 - 1e-12), EXACT_WORK)
        if tree_ is not None:
            if tree_:
                parent = tree_
            finish = st.finish(rows, parent, ready)
            bound = finish
    return parent, bound
