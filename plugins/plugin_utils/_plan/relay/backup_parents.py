# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Whom a host asks when its parent is gone.

Of every tree there is an order in which parents stand before their children. A host's choices stand before it in
that order, so that two hosts never wait for each other, whoever dies; holders end the list. Where not every holder
has a direct link, the list goes on with every other host that has one, those that the host serves itself last.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from ..network import matrix as mx
from ..trees import children_of, depths

# Choices beside the parent, holders at the end of a list, and hosts named where no holder has a direct link.
BESIDE, ENDS, EXTRA = 4, 8, 32
# Of a large fleet only those that have the base early are considered.
EVERYBODY, EARLY = 300, 100


def _spread(listed: list[int], site: Sequence[int], count: int) -> list[int]:
    """The first ``count``, with the last quarter of the places kept for hosts of other sites than the first one's."""
    if len(listed) <= count:
        return listed
    away = [u for u in listed if site[u] != site[listed[0]]][: max(1, count // 4)]
    near = [u for u in listed if u not in away][: count - len(away)]
    chosen = {*near, *away}
    return [u for u in listed if u in chosen]


def ranked_senders(has: Sequence[float], rows: Sequence[Sequence[float]], roots: Sequence[int], site: Sequence[int]) -> list[list[int]]:
    """For every host the others that could give it the base soonest, best first; holders are not among them."""
    n = len(has)
    holders = set(roots)
    others = [u for u in range(n) if u not in holders and has[u] < mx.INF]
    if n > EVERYBODY:
        others = heapq.nsmallest(EARLY, others, key=lambda u: (has[u], u))
    out: list[list[int]] = []
    for column, v in zip(zip(*rows, strict=True), range(n), strict=True):
        if v in holders:
            out.append([])
            continue
        soonest = sorted((has[u] + column[u], u) for u in others if column[u] < mx.INF)
        out.append(_spread([u for _at, u in soonest], site, 6 * BESIDE))
    return out


class Choices:
    """Lists of choices for the trees of one plan."""

    def __init__(
        self,
        ranked: Sequence[Sequence[int]],
        rows: Sequence[Sequence[float]],
        roots: Sequence[int],
        site: Sequence[int],
    ) -> None:
        """:param ranked: see ``ranked_senders``; ``site``: a number for each host, all alike where none is known."""
        self.ranked, self.roots, self.site = ranked, roots, site
        n = len(ranked)
        holders = set(roots)
        self.ends: list[list[int]] = []
        for v in range(n):
            direct = [] if v in holders else sorted((rows[r][v], r) for r in roots if rows[r][v] < mx.INF)
            self.ends.append(_spread([r for _seconds, r in direct], site, ENDS))
        lonely = [v for v in range(n) if v not in holders and len(self.ends[v]) < min(len(roots), ENDS)]
        self.extra: dict[int, Sequence[int]] = {v: self._neighbours(v, rows, n) for v in lonely}

    def _neighbours(self, v: int, rows: Sequence[Sequence[float]], n: int) -> Sequence[int]:
        """Who has a link to v, those first that a holder reaches directly."""
        if n > EVERYBODY:
            return self.ranked[v]
        linked = sorted((u for u in range(n) if u != v and rows[u][v] < mx.INF), key=lambda u: (not self.ends[u], rows[u][v], u))
        return _spread(linked, self.site, EXTRA)

    def of_tree(self, parent: Sequence[int], at: Sequence[float]) -> list[list[int]]:
        """By host its parent, who stands before it and could serve it soonest, holders, and what else there is.

        :param at: when each host can be asked; together with the depth in the tree this is the order.
        """
        n = len(parent)
        children = children_of(parent)
        enter, leave, branch = [0] * n, [0] * n, list(range(n))
        before: list[tuple[float, float]] = [(0.0, 0.0)] * n
        deep = depths(parent, self.roots)
        timed = all(parent[v] < 0 or at[parent[v]] <= at[v] for v in range(n))
        clock = 0
        stack = [(r, False) for r in reversed(self.roots)]
        while stack:
            v, done = stack.pop()
            if done:
                leave[v] = clock
                continue
            clock += 1
            enter[v] = clock
            before[v] = (at[v], deep[v]) if timed else (deep[v], at[v])
            stack.append((v, True))
            for c in children[v]:
                branch[c] = c if parent[v] < 0 else branch[v]
                stack.append((c, False))
        out: list[list[int]] = []
        for v in range(n):
            p = parent[v]
            if p < 0:
                out.append([])
                continue
            usable = [u for u in self.ranked[v] if u != p and enter[u] and (*before[u], u) < (*before[v], v)]
            chosen = usable[:BESIDE]
            if len(usable) > BESIDE:
                # A dead branch, or a dead site, must not take all choices with it.
                for same in (branch, self.site):
                    if all(same[u] == same[p] for u in chosen):
                        chosen[-1:] = [u for u in usable if same[u] != same[p]][:1] or chosen[-1:]
            list_ = dict.fromkeys([p, *chosen, *(r for r in self.ends[v] if r != p)])
            more = self.extra.get(v, self.ranked[v][:BESIDE] if len(list_) < 3 else [])
            below = [u for u in more if u != v and enter[v] <= enter[u] <= leave[v]]
            away = [((*before[u], u) > (*before[v], v), u) for u in more if u not in below]
            for after in (False, True):
                list_.update((u, None) for late, u in away if late is after)
            if v in self.extra or len(list_) == 1:
                list_.update(dict.fromkeys(below))
            out.append(list(list_))
        return out
