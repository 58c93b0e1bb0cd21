# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The cheapest tree that reaches everybody (Chu-Liu and Edmonds, dense, O(n^2)), inner loop."""

from __future__ import annotations

import math
import typing as t

from ..jit import kernel


@kernel
def arborescence(n: int, cost: t.Any, W: t.Any, EU: t.Any, EV: t.Any, ident: t.Any, state: t.Any, path: t.Any,
                 incost: t.Any, above: t.Any, inu: t.Any, inv: t.Any, parent: t.Any) -> float:  # fmt: skip
    """Parents of the cheapest arborescence from host 0 (``cost[i * n + j]``, inf: no link); returns its cost.

    Room: W, EU, EV of n*n; ident, state, path, incost of n; above, inu, inv of 2n. Returns inf if there is none.
    """
    inf = math.inf
    for e in range(n * n):
        W[e] = cost[e]
        EU[e] = e // n
        EV[e] = e % n
    for v in range(n):
        ident[v] = v
        state[v] = 0
        W[v * n + v] = inf
    for v in range(2 * n):
        above[v] = -1
        inu[v] = -1
        inv[v] = -1
    state[0] = 2
    ids = n
    for s in range(n):
        if state[s] != 0:
            continue
        top = 0
        path[0] = s
        state[s] = 1
        while True:
            cur = path[top]
            a = -1
            least = inf
            for x in range(n):
                if state[x] != 3 and x != cur and W[x * n + cur] < least:
                    least = W[x * n + cur]
                    a = x
            if a < 0:
                return inf
            incost[cur] = least
            inu[ident[cur]] = EU[a * n + cur]
            inv[ident[cur]] = EV[a * n + cur]
            if state[a] == 0:
                top += 1
                path[top] = a
                state[a] = 1
            elif state[a] == 2:
                for k in range(top + 1):
                    state[path[k]] = 2
                break
            else:
                # ---- the path ran into itself: one host of the cycle now stands for all of them
                low = top
                while path[low] != a:
                    low -= 1
                new = ids
                ids += 1
                rep = path[low]
                for k in range(low, top + 1):
                    m = path[k]
                    above[ident[m]] = new
                    state[m] = 4
                for x in range(n):
                    if state[x] >= 3:
                        continue
                    for k in range(low, top + 1):
                        m = path[k]
                        e = x * n + m
                        c = W[e] - incost[m]
                        r = x * n + rep
                        if k == low:
                            W[r] = c
                        elif c < W[r]:
                            W[r] = c
                            EU[r] = EU[e]
                            EV[r] = EV[e]
                        e = m * n + x
                        r = rep * n + x
                        if W[e] < W[r]:
                            W[r] = W[e]
                            EU[r] = EU[e]
                            EV[r] = EV[e]
                for k in range(low, top + 1):
                    state[path[k]] = 3
                ident[rep] = new
                state[rep] = 1
                top = low
    for composite in range(ids - 1, n - 1, -1):
        u = inu[composite]
        v = inv[composite]
        x = v
        while x != composite:
            inu[x] = u
            inv[x] = v
            x = above[x]
    total = 0.0
    parent[0] = -1
    for v in range(1, n):
        parent[v] = inu[v]
        total += cost[inu[v] * n + v]
    return total
