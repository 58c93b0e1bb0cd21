# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Weighted trees by column generation, and the lower bound that its prices prove.

Master: the most that trees may carry in all, no port (and, where ports have limits of their own, no link) being busy for
more than the time there is. Pricing: ports and links have prices, and the cheapest tree by them is either the next
column or proof that there is none. Any prices give a bound: nobody can do better than cost of the cheapest tree / sum of
prices. The master needs SciPy; without it the
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
Prices = t.Mapping[int, float]


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

    def cheapest(
        self, out: Sequence[float], inn: Sequence[float], links: Prices | None = None
    ) -> tuple[float, list[int]]:
        """Cost and parents of the cheapest tree; raises the planner's bound by what the prices prove.

        ``links``: those of links with one, by u * n + v.
        """
        links = links or {}
        net, n, m, roots = self.net, self.net.n, self.m, self.net.roots
        origin = [0] * n
        flat: t.Any
        if engine.COMPILED:
            seconds, occ, rcv = (table.reshape(n, n) for table in (net.D, net.occ, net.rcv))
            with np.errstate(invalid="ignore"):
                full = occ * np.asarray(out)[:, None] + rcv * np.asarray(inn)[None, :]
            full[np.isinf(seconds)] = np.inf
            for e, price in links.items():
                full[e // n, e % n] += net.D[e] * price
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
                    e = u * n + v
                    if net.D[e] == INF:
                        continue
                    x = net.occ[e] * out[u] + net.rcv[e] * inn[v] + net.D[e] * links.get(e, 0.0)
                    at = max(u - roots + 1, 0) * m + v - roots + 1
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
        prices = sum(out) + sum(inn) + sum(links.values())
        if prices > 0 and total < INF:
            self.planner.bound = max(self.planner.bound, total / prices)
        return total, parent


def _column(planner: Planner, parent: Sequence[int]) -> dict[int, float]:
    """Seconds by port or link that the base takes over this tree: senders, receivers, and links from 2n on."""
    net, n = planner.net, planner.net.n
    column: dict[int, float] = {}
    for v, p in enumerate(parent):
        if p >= 0:
            e = p * n + v
            column[p] = column.get(p, 0.0) + net.occ[e]
            column[n + v] = net.rcv[e]
            if net.nic:
                column[2 * n + e] = net.D[e]
    return column


def prove(planner: Planner, pricing: Pricing, forest: Forest) -> None:
    """Raises the bound by taking the loads, to some power, as prices."""
    n = planner.net.n
    flat = engine.ints(p for tree in forest.trees for p in tree)
    planner.forest(flat, forest.weights)
    out, inn = [float(x) for x in planner.out], [float(x) for x in planner.inn]
    used = {p * n + v for tree in forest.trees for v, p in enumerate(tree) if p >= 0} if planner.net.nic else ()
    links = {e: float(planner.lnk[e]) for e in sorted(used)}
    for power in (4, 8, 16, 32, 64):
        pricing.cheapest(
            [(x / forest.load) ** power for x in out[:n]], [(x / forest.load) ** power for x in inn[:n]],
            {e: (x / forest.load) ** power for e, x in links.items()},
        )  # fmt: skip


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
    smooth: dict[int, float] | None = None
    for _unused in range(int(rounds(n) * longer)):
        # A row for each port and link that some tree uses.
        used, rows = np.unique(np.array([at for column in columns for at in column]), return_inverse=True)
        at_column = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
        seconds = np.array([x for column in columns for x in column.values()])
        table = csc_matrix((seconds, (rows, at_column)), shape=(len(used), len(columns)))
        # Rates per base: the sum of the trees' rates is 1 / time.
        found = linprog(-np.full(len(columns), seed.load), A_ub=table, b_ub=np.full(len(used), seed.load), method="highs")
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
        now = {int(at): float(price) for at, price in zip(used, duals / duals.sum(), strict=True) if price > 0}
        mixed = now if smooth is None else {
            at: 0.5 * smooth.get(at, 0.0) + 0.5 * now.get(at, 0.0) for at in sorted({*smooth, *now})
        }  # fmt: skip
        smooth = mixed
        fresh = 0
        for prices in (mixed, now):
            ports = [prices.get(at, 0.0) for at in range(2 * n)]
            links = {at - 2 * n: price for at, price in prices.items() if at >= 2 * n}
            _price, tree = pricing.cheapest(ports[:n], ports[n:], links)
            if tuple(tree) not in known:
                known.add(tuple(tree))
                trees.append(tree)
                columns.append(_column(planner, tree))
                fresh += 1
        if not fresh:
            break
    if not weights:
        return []
    carrying = sorted(((w, k) for k, w in enumerate(weights) if w > 1e-9), reverse=True)
    out: list[Forest] = []
    for keep in (len(carrying), 32, 12):
        part = carrying[:keep]
        if len(part) < min(keep, len(carrying)) or (keep != len(carrying) and keep >= len(carrying)):
            continue
        whole = sum(w for w, _unused in part)
        flat = engine.ints(p for _unused, k in part for p in trees[k])
        out.append(planner.forest(flat, [w / whole for w, _unused in part]))
    return out
