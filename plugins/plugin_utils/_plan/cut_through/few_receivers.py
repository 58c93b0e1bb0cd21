# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""One tree in which no host serves more receivers at a time than it may.

Where senders are limited, stripes with different inner nodes have little room: with one receiver each, every tree is the
same kind of chain. A single tree is grown by least load (Prim's order, with the sender's load in place of the link), then
hosts with their whole subtree move to other senders, or change places, while the busiest port gets less busy.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from ..network.matrix import INF
from ..network.shortest_paths import Rows

# What a link of depth adds to a sender's load in the eyes of the growth, as shares of the least time: flat, medium, deep.
DEPTHS = (0.0, 0.02, 0.2)
# How often the tree is gone through for a better place of some host.
ROUNDS = 30


def exceeded(trees: Sequence[Sequence[int]], limit: Sequence[int]) -> list[int]:
    """The hosts that serve more others than they may, over all trees together (0: any number)."""
    if not any(limit):
        return []
    receivers: list[set[int]] = [set() for _unused in limit]
    for tree in trees:
        for host, sender in enumerate(tree):
            if sender >= 0:
                receivers[sender].add(host)
    return [host for host, most in enumerate(limit) if most and len(receivers[host]) > most]


def trees_within(rows: Rows, roots: int, limit: Sequence[int]) -> list[list[int]]:
    """Trees as parents by host (-1: a holder), the holders being the first ``roots`` hosts; none where limits leave no way.

    :param limit: receivers at a time of each host, 0: any number.
    """
    found = []
    for weight in DEPTHS:
        tree = _grown(rows, roots, limit, weight)
        if tree is not None:
            found.append(_improved(rows, roots, limit, tree))
    return found


def _grown(rows: Rows, roots: int, limit: Sequence[int], weight: float) -> list[int] | None:
    """Every time the free host joins whose sender would be least busy."""
    n = len(rows)
    parent, depth, served, load = [-1] * n, [0] * n, [0] * n, [0.0] * n
    joined = [v < roots for v in range(n)]
    ranked: list[list[int]] = [[] for _unused in range(n)]
    heap: list[tuple[float, int, int, int]] = []
    least = min((x for row in rows for x in row if 0 < x < INF), default=0.0)

    def offer(u: int) -> None:
        if limit[u] and served[u] >= limit[u]:
            return
        queue = ranked[u]
        while queue and joined[queue[-1]]:
            queue.pop()
        if queue:
            cost = load[u] + rows[u][queue[-1]] + weight * least * depth[u]
            heapq.heappush(heap, (cost, depth[u], u, queue[-1]))

    def enter(u: int) -> None:
        joined[u] = True
        ranked[u] = sorted((v for v in range(n) if not joined[v] and rows[u][v] < INF), key=lambda v: (-rows[u][v], -v))
        offer(u)

    for root in range(roots):
        enter(root)
    while heap:
        cost, _depth, u, v = heapq.heappop(heap)
        now = load[u] + rows[u][v] + weight * least * depth[u]
        if joined[v] or now > cost or (limit[u] and served[u] >= limit[u]):
            offer(u)
            continue
        parent[v], depth[v] = u, depth[u] + 1
        served[u] += 1
        load[u] += rows[u][v]
        enter(v)
        offer(u)
    return parent if all(joined) else None


def _improved(rows: Rows, roots: int, limit: Sequence[int], parent: list[int]) -> list[int]:
    """The busiest sender gives a receiver to another, or changes one for another's, as long as that makes both less busy."""
    n = len(rows)
    load, served = [0.0] * n, [0] * n
    for v, p in enumerate(parent):
        if p >= 0:
            load[p] += rows[p][v]
            served[p] += 1
    for _round in range(ROUNDS):
        busiest = max(range(n), key=lambda v: (load[v], -v))
        better = _best_move(rows, roots, limit, parent, load, served, busiest)
        if better is None:
            break
        for v, p in better:
            old = parent[v]
            load[old] -= rows[old][v]
            served[old] -= 1
            parent[v] = p
            load[p] += rows[p][v]
            served[p] += 1
    return parent


def _best_move(
    rows: Rows, roots: int, limit: Sequence[int], parent: Sequence[int], load: Sequence[float], served: Sequence[int], busy: int
) -> list[tuple[int, int]] | None:
    """New (host, sender) pairs after which the senders concerned are less busy than ``busy`` is now; None: there are none."""
    best, least = None, load[busy] * (1 - 1e-9)
    for v in (v for v, p in enumerate(parent) if p == busy):
        below = _below(parent, v)
        rest = load[busy] - rows[busy][v]
        for u in range(len(parent)):
            if u in below or u == busy or rows[u][v] == INF:
                continue
            if not limit[u] or served[u] < limit[u]:
                worst = max(rest, load[u] + rows[u][v])
                if worst < least:
                    best, least = [(v, u)], worst
            for w in (w for w, p in enumerate(parent) if p == u and w not in below):
                if busy in _below(parent, w) or u in below or rows[busy][w] == INF:
                    continue
                worst = max(rest + rows[busy][w], load[u] - rows[u][w] + rows[u][v])
                if worst < least:
                    best, least = [(v, u), (w, busy)], worst
    return best


def _below(parent: Sequence[int], top: int) -> set[int]:
    """The host and everybody who gets the base through it."""
    children: dict[int, list[int]] = {}
    for v, p in enumerate(parent):
        children.setdefault(p, []).append(v)
    found, todo = {top}, [top]
    while todo:
        for v in children.get(todo.pop(), ()):
            found.add(v)
            todo.append(v)
    return found
