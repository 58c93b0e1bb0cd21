# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The best staged tree of a small fleet, proven: dynamic programming over subsets.

f(v, S) = least time in which v serves the set S = min over its first child c and the set A that c then serves of
D[v][c] + max(f(c, A), f(v, S - c - A)). States that cannot be part of a plan better than a known one are dropped.
"""

from __future__ import annotations

import typing as t

from ..jit import kernel


@kernel
def solve(m: int, D: t.Any, dist: t.Any, sp: t.Any, limit: float, work_limit: int, f: t.Any, lists: t.Any,
          count: t.Any) -> int:  # fmt: skip
    """Fills f for hosts 0..m (0 the holder, target k being bit k-1), states being ``v * 2^m + S``.

    :param D: seconds, (m+1)^2; ``sp`` the same along shortest paths; ``dist[v]`` = sp[0][v].
    :param limit: finishes of this or later are of no interest.
    :param lists: room for the useful sets of each host, (m+1) * 2^m; ``count``: m+1 numbers.
    :return: 1 when done, 0 when ``work_limit`` steps did not suffice.
    """
    size = 1 << m
    inf = 1e300
    n = m + 1
    work = 0
    for v in range(n):
        f[v * size] = 0.0
        lists[v * size] = 0
        count[v] = 1
    for S in range(1, size):
        for v in range(n):
            state = v * size + S
            f[state] = inf
            if v > 0 and (S >> (v - 1)) & 1:
                continue
            room = limit - dist[v]
            # Nobody is reached before its shortest path.
            far = 0.0
            rest = S
            u = 1
            while rest:
                if rest & 1 and sp[v * n + u] > far:
                    far = sp[v * n + u]
                rest >>= 1
                u += 1
            if far >= room:
                continue
            best = room
            base = v * size
            subsets = 1
            rest = S & (S - 1)
            while rest:
                subsets *= 2
                rest &= rest - 1
            for c in range(1, n):
                bit = 1 << (c - 1)
                if not S & bit:
                    continue
                d = D[v * n + c]
                if d >= best:
                    continue
                others = S ^ bit
                cbase = c * size
                if count[c] < subsets:
                    # Go through the sets that c can serve in time.
                    for k in range(count[c]):
                        A = lists[cbase + k]
                        if A & ~others:
                            continue
                        x = f[cbase + A]
                        y = f[base + (others ^ A)]
                        x = max(x, y)
                        best = min(best, d + x)
                    work += count[c]
                else:
                    A = others
                    while True:
                        x = f[cbase + A]
                        y = f[base + (others ^ A)]
                        x = max(x, y)
                        best = min(best, d + x)
                        work += 1
                        if A == 0:
                            break
                        A = (A - 1) & others
            if best < room:
                f[state] = best
                lists[base + count[v]] = S
                count[v] += 1
        if work > work_limit:
            return 0
    return 1


def tree(m: int, D: t.Any, f: t.Any) -> list[int]:
    """Parents of hosts 0..m from a solved table."""
    size, n = 1 << m, m + 1
    parent = [-1] * n
    todo = [(0, size - 1)]
    while todo:
        v, S = todo.pop()
        if not S:
            continue
        want, chosen = f[v * size + S], None
        for c in range(1, n):
            bit = 1 << (c - 1)
            if not S & bit:
                continue
            others, A = S ^ bit, S ^ bit
            while chosen is None:
                if D[v * n + c] + max(f[c * size + A], f[v * size + (others ^ A)]) <= want:
                    chosen = (c, A, others ^ A)
                if A == 0:
                    break
                A = (A - 1) & others
            if chosen:
                break
        if chosen is None:
            return []
        c, A, rest = chosen
        parent[c] = v
        todo += [(c, A), (v, rest)]
    return parent
