# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Weighted trees by column generation, and the lower bound that its prices prove.

Master: the most that trees may carry in all, no port being busy for more than the time there is. Pricing: ports
have prices, and the cheapest tree by them is either the next column or proof that there is none. Any prices give a
bound: nobody can do better than cost of the cheapest tree / sum of prices. The master needs SciPy; without it the
bound still comes from the loads of the annealed trees as prices, and the annealed trees are the plan.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import engine
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.arborescence import arborescence
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.matrix import INF

if t.TYPE_CHECKING:
    from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.cut_through import Forest, Planner

try:
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import csc_matrix

    MASTER = engine.COMPILED
except ImportError:
    MASTER = False

GAP = 1.003


def rounds(n: int) -> int:
    """How many times the master is solved at most."""
    if n <= 40:
        return 120
    return 60 if n <= 90 else 40 if n <= 150 else 12


class Pricing:
    """Cheapest trees by prices; the holders are one host to it."""

    def __init__(self, planner: Planner) -> None:
        self.net = planner.net
        self.planner = planner
        self.m = m = self.net.n - self.net.roots + 1
        f, i = engine.fill_floats, engine.fill_ints
        self.work: list[t.Any] = [f(m * m), i(m * m), i(m * m), i(m), i(m), i(m), f(m), i(2 * m), i(2 * m), i(2 * m)]
        self.parent = i(m)

    def cheapest(self, out: Sequence[float], inn: Sequence[float]) -> tuple[float, list[int]]:
        """Cost and parents of the cheapest tree; raises the planner's bound by what the prices prove."""
        net, n, m, roots = self.net, self.net.n, self.m, self.net.roots
        origin = [0] * n
        flat: t.Any
        if engine.COMPILED:
            links = net.D.reshape(n, n)
            with np.errstate(invalid="ignore"):
                full = np.where(np.isinf(links), np.inf, links * (np.asarray(out)[:, None] + np.asarray(inn)[None, :]))
            cost = np.empty((m, m))
            cost[1:, 1:] = full[roots:, roots:]
            cost[0, 1:] = full[:roots, roots:].min(axis=0)
            origin[roots:] = [int(r) for r in full[:roots, roots:].argmin(axis=0)]
            cost[:, 0] = np.inf
            flat = cost.reshape(-1)
        else:
            flat = [INF] * (m * m)
            for v in range(roots, n):
                for u in range(n):
                    d = net.D[u * n + v]
                    if d == INF:
                        continue
                    x, at = d * (out[u] + inn[v]), max(u - roots + 1, 0) * m + v - roots + 1
                    if x < flat[at]:
                        flat[at] = x
                        if u < roots:
                            origin[v] = u
        run: t.Any = arborescence
        total = float(run(m, flat, *self.work, self.parent))
        parent = [-1] * n
        for v in range(roots, n):
            p = int(self.parent[v - roots + 1])
            parent[v] = origin[v] if p == 0 else p + roots - 1
        prices = sum(out) + sum(inn)
        if prices > 0 and total < INF:
            self.planner.bound = max(self.planner.bound, total / prices)
        return total, parent


def _column(planner: Planner, parent: Sequence[int]) -> list[float]:
    n, D = planner.net.n, planner.net.D
    column = [0.0] * (2 * n)
    for v, p in enumerate(parent):
        if p >= 0:
            column[p] += D[p * n + v]
            column[n + v] += D[p * n + v]
    return column


def prove(planner: Planner, pricing: Pricing, forest: Forest) -> None:
    """Raises the bound by taking the loads, to some power, as prices."""
    n = planner.net.n
    flat = engine.ints(p for tree in forest.trees for p in tree)
    planner.forest(flat, forest.weights)
    out, inn = [float(x) for x in planner.out], [float(x) for x in planner.inn]
    for power in (4, 8, 16, 32, 64):
        pricing.cheapest([(x / forest.load) ** power for x in out[:n]], [(x / forest.load) ** power for x in inn[:n]])


def generate(planner: Planner, start: Sequence[Forest], longer: float = 1.0) -> list[Forest]:
    """Weighted trees near the optimum, thinned out in several ways; raises the planner's bound.

    ``longer``: how many times more rounds than usual.
    """
    pricing = Pricing(planner)
    seed = min(start, key=lambda f: f.load)
    prove(planner, pricing, seed)
    if not MASTER:
        return []
    n = planner.net.n
    trees: list[list[int]] = []
    known: set[tuple[int, ...]] = set()
    for forest in sorted(start, key=lambda f: f.load)[: 3 if n <= 150 else 1]:
        for tree in forest.trees:
            if tuple(tree) not in known:
                known.add(tuple(tree))
                trees.append(tree)
    columns = [_column(planner, tree) for tree in trees]
    weights: list[float] = []
    time = seed.load
    smooth: list[float] | None = None
    for _unused in range(int(rounds(n) * longer)):
        table = csc_matrix(np.array(columns).T)
        # Rates per base: the sum of the trees' rates is 1 / time.
        found = linprog(-np.full(len(columns), seed.load), A_ub=table, b_ub=np.full(2 * n, seed.load), method="highs")
        if found.status != 0:
            break
        weights = [float(x) for x in found.x]
        time = seed.load / sum(weights)
        if time <= planner.bound * GAP:
            break
        duals = np.maximum(-found.ineqlin.marginals, 0.0)
        if duals.sum() <= 0:
            break
        # Prices that jump from one extreme to the other make poor trees: move half the way.
        smooth_now = duals / duals.sum()
        mixed = smooth_now if smooth is None else 0.5 * np.array(smooth) + 0.5 * smooth_now
        smooth = list(mixed)
        fresh = 0
        for prices in (mixed, smooth_now):
            _price, tree = pricing.cheapest(prices[:n].tolist(), prices[n:].tolist())
            if tuple(tree) not in known:
                known.add(tuple(tree))
                trees.append(tree)
                columns.append(_column(planner, tree))
                fresh += 1
        if not fresh:
            break
    if not weights:
        return []
    used = sorted(((w, k) for k, w in enumerate(weights) if w > 1e-9), reverse=True)
    out: list[Forest] = []
    for keep in (len(used), 32, 12):
        part = used[:keep]
        if len(part) < min(keep, len(used)) or (keep != len(used) and keep >= len(used)):
            continue
        whole = sum(w for w, _unused in part)
        flat = engine.ints(p for _unused, k in part for p in trees[k])
        out.append(planner.forest(flat, [w / whole for w, _unused in part]))
    return out
