# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Weighted trees by column generation, and the lower bound that its prices prove.

Master: the most that trees may carry in all, no port (and, where ports have limits of their own, no link) being busy for
more than the time there is. Pricing: ports and links have prices, and the cheapest tree by them is either the next
column or proof that there is none; a lot of further columns comes from raising the prices of what it uses (multiplicative
weights: Garg, Könemann 1998). Any prices give a bound: nobody can do better than cost of the cheapest tree / sum of prices.
The master needs SciPy; without it the bound still comes from the loads of the annealed trees as prices, and the annealed
trees are the plan.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .. import jit
from ..network.matrix import INF
from ..trees import depths
from .arborescence import arborescence, room_for
from .model import Forest
from .workspace import Planner

try:
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import csc_matrix

    MASTER = jit.COMPILED
except ImportError:
    MASTER = False

GAP = 1.003
# How many times the master is solved at most, and with how many trees beside new ones: its time rises faster than these.
ROUNDS, MOST = 25, 300
# How much later than the best a plan may be whose ports have more room, and what a link of mean depth costs in it beside
# the ports' seconds. Tried with 32 and 64 hosts: less leaves deep trees, more leaves busy ports.
SLACKS, DEEP = (0.01, 0.02, 0.03, 0.05), 0.05
# Trees for each solution of the master, and how much dearer a port becomes that such a tree keeps busy all the time; a
# port without a price gets that part of the mean. Tried with 64 and 256 hosts.
LOT, DEARER, LEAST_PRICE = 16, 0.2, 0.001
Prices = Mapping[int, float]


class Pricing:
    """Cheapest trees by prices; the holders are one host to it."""

    def __init__(self, planner: Planner) -> None:
        self.net = planner.net
        self.planner = planner
        self.m = m = self.net.n - self.net.roots + 1
        self.room = room_for(m)
        self.parent = jit.fill_ints(m)

    def cheapest(self, out: Sequence[float], inn: Sequence[float], links: Prices | None = None) -> tuple[float, list[int]]:
        """Cost and parents of the cheapest tree; raises the planner's bound by what the prices prove.

        ``links``: those of links with one, by u * n + v.
        """
        links = links or {}
        net, n, m, roots = self.net, self.net.n, self.m, self.net.roots
        origin = [0] * n
        flat: t.Any
        if jit.COMPILED:
            seconds, occ, rcv = (np.asarray(table).reshape(n, n) for table in (net.D, net.occ, net.rcv))
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
        total = float(arborescence(m, flat, self.room, self.parent))
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


def _table(columns: Sequence[Mapping[int, float]]) -> tuple[t.Any, t.Any]:
    """The ports and links that some tree uses, and a matrix with a row for each and the trees as columns."""
    used, rows = np.unique(np.array([at for column in columns for at in column]), return_inverse=True)
    which = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
    seconds = np.array([x for column in columns for x in column.values()])
    return used, csc_matrix((seconds, (rows, which)), shape=(len(used), len(columns)))


def prove(planner: Planner, pricing: Pricing, forest: Forest) -> None:
    """Raises the bound by taking the loads, to some power, as prices."""
    n = planner.net.n
    flat = jit.ints(p for tree in forest.trees for p in tree)
    planner.forest(flat, forest.weights)
    out, inn = [float(x) for x in planner.loads.out], [float(x) for x in planner.loads.inn]
    used = {p * n + v for tree in forest.trees for v, p in enumerate(tree) if p >= 0} if planner.net.nic else ()
    links = {e: float(planner.loads.lnk[e]) for e in sorted(used)}
    for power in (4, 8, 16, 32, 64):
        pricing.cheapest(
            [(x / forest.load) ** power for x in out[:n]], [(x / forest.load) ** power for x in inn[:n]],
            {e: (x / forest.load) ** power for e, x in links.items()},
        )  # fmt: skip


def generate(planner: Planner, start: Sequence[Forest], longer: float = 1.0) -> tuple[list[Forest], list[Forest]]:
    """Weighted trees near the optimum, thinned out in several ways, and with more room; raises the planner's bound.

    ``longer``: how many times more rounds than usual.
    """
    pricing = Pricing(planner)
    seed = min(start, key=lambda f: f.load)
    prove(planner, pricing, seed)
    if not MASTER:
        return [], []
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
    kept = list(range(len(columns)))
    for _unused in range(int(ROUNDS * longer)):
        used, table = _table([columns[k] for k in kept])
        # Rates per base: the sum of the trees' rates is 1 / time.
        found = linprog(-np.full(len(kept), seed.load), A_ub=table, b_ub=np.full(len(used), seed.load), method="highs")
        if found.status != 0:
            break
        weights = [0.0] * len(columns)
        for k, x in zip(kept, found.x, strict=True):
            weights[k] = float(x)
        time = seed.load / sum(weights)
        if time <= planner.bound * GAP:
            break
        duals = np.maximum(-found.ineqlin.marginals, 0.0)
        if duals.sum() <= 0:
            break
        dear = table.T @ duals
        order = sorted(range(len(kept)), key=lambda k: (found.x[k] <= 0, dear[k], k))
        kept = [kept[k] for k in order[:MOST]]
        # Prices that jump from one extreme to the other make poor trees: move half the way.
        now = {int(at): float(price) for at, price in zip(used, duals / duals.sum(), strict=True) if price > 0}
        mixed = now if smooth is None else {
            at: 0.5 * smooth.get(at, 0.0) + 0.5 * now.get(at, 0.0) for at in sorted({*smooth, *now})
        }  # fmt: skip
        smooth = mixed
        fresh = 0
        for prices in (mixed, now):
            for tree, column in _lot(planner, pricing, prices, time):
                if tuple(tree) not in known:
                    known.add(tuple(tree))
                    kept.append(len(columns))
                    trees.append(tree)
                    columns.append(column)
                    fresh += 1
        if not fresh:
            break
    if not weights:
        return [], []
    out = [_forest(planner, trees, weights, keep) for keep in (len(trees), 32, 12)]
    roots = range(planner.net.roots)
    cost = [sum(c.values()) * (1 + DEEP * sum(depths(tree, roots)) / n) for c, tree in zip(columns, trees, strict=True)]
    eased = [_forest(planner, trees, _eased(columns, cost, time * (1 + slack)), len(trees)) for slack in SLACKS]
    return [f for f in out if f.trees], [f for f in eased if f.trees]


def _lot(planner: Planner, pricing: Pricing, prices: Prices, time: float) -> t.Iterator[tuple[list[int], dict[int, float]]]:
    """Cheapest trees, each after the ports of those before have become dearer (multiplicative weights).

    A tree is found in a hundredth of the time that the master takes, so one solution of it is used for many.
    """
    n = planner.net.n
    prices = dict(prices)
    least = LEAST_PRICE / max(len(prices), 1)
    for _unused in range(LOT):
        ports = [prices.get(at, 0.0) for at in range(2 * n)]
        links = {at - 2 * n: price for at, price in prices.items() if at >= 2 * n}
        _price, tree = pricing.cheapest(ports[:n], ports[n:], links)
        column = _column(planner, tree)
        yield tree, column
        for at, seconds in column.items():
            prices[at] = max(prices.get(at, 0.0), least) * (1.0 + DEARER * seconds / time)


def _forest(planner: Planner, trees: Sequence[Sequence[int]], weights: Sequence[float], keep: int) -> Forest:
    """The heaviest trees, as many as are kept; none if the weights say nothing."""
    carrying = sorted(((w, k) for k, w in enumerate(weights) if w > 1e-9), reverse=True)[:keep]
    whole = sum(w for w, _unused in carrying)
    flat = jit.ints(p for _unused, k in carrying for p in trees[k])
    return planner.forest(flat, [w / whole for w, _unused in carrying])


def _eased(columns: Sequence[Mapping[int, float]], cost: Sequence[float], limit: float) -> list[float]:
    """Weights of the trees with which no port is busy for longer than the limit, at the least cost; [] if there are none.

    Where all ports are busy all the time, chunks wait for each other.
    """
    used, table = _table(columns)
    one = np.ones((1, len(columns)))
    found = linprog(cost, A_ub=table, b_ub=np.full(len(used), limit), A_eq=one, b_eq=[1.0], method="highs")
    return [float(x) for x in found.x] if found.status == 0 else []
