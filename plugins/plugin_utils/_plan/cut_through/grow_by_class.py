# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Cut-through trees for many hosts that come in classes: inner loop.

Every host that is in the tree offers its best edge to some class; the edge that leaves the least load is taken. Inside
a class those hosts come first that have sent least in the trees before, so that each relays in few trees.
"""

from __future__ import annotations

import heapq
import math
import typing as t

from ..jit import kernel
from .annealing import cross, crossing


@kernel
def spread(n: int, roots: int, k: int, weight: float, classes: int, D: t.Any, cls: t.Any, order: t.Any, out: t.Any,
           inn: t.Any, sites: int, of: t.Any, sc: t.Any, sl: t.Any, par: t.Any, depth: t.Any, most: int, penalty: float,
           first: t.Any, nxt: t.Any) -> int:  # fmt: skip
    """Grows tree k (``par[k * n + v]``, -1 for holders 0..roots-1) and updates the loads; how many hosts are in it.

    :param D: seconds from class to class; ``cls``: each host's.
    :param order: the targets, those to be joined first last.
    :param first: room for each class's first host that waits, ``nxt`` for each host's next one.
    """
    inf = math.inf
    base = k * n
    for c in range(classes):
        first[c] = -1
    for v in range(n):
        par[base + v] = -1
        depth[v] = 0
    for j in range(n - roots):
        v = order[j]
        nxt[v] = first[cls[v]]
        first[cls[v]] = v
    queue = [(0.0, 0, -1)]
    queue.pop()
    for r in range(roots):
        heapq.heappush(queue, (0.0, r, -1))
    joined = roots
    # An entry (load, sender, class): class -1 asks for the sender's best class.
    while len(queue) > 0 and joined < n:
        key, u, c = heapq.heappop(queue)
        row = cls[u] * classes
        if c >= 0 and first[c] >= 0:
            v = first[c]
            x = out[u] + weight * D[row + c] + penalty * depth[u]
            if sites > 1:
                y = crossing(of[u], of[v], weight, sites, sc, sl)
                x = max(x, y)
            if x > key * (1.0 + 1e-9):
                # Meanwhile the way between the sites got busier.
                heapq.heappush(queue, (x, u, -1))
                continue
            before = -1
            if c != cls[u]:
                # From another class it comes to whoever has received least.
                least = inn[v]
                w = v
                while nxt[w] >= 0:
                    if inn[nxt[w]] < least:
                        least = inn[nxt[w]]
                        before = w
                        v = nxt[w]
                    w = nxt[w]
            if before >= 0:
                nxt[before] = nxt[v]
            else:
                first[c] = nxt[v]
            e = row + c
            par[base + v] = u
            depth[v] = depth[u] + 1
            out[u] += weight * D[e]
            inn[v] += weight * D[e]
            if sites > 1:
                cross(of[u], of[v], weight, sites, sc, sl)
            joined += 1
            heapq.heappush(queue, (out[u], u, -1))
            if depth[v] < most:
                heapq.heappush(queue, (out[v], v, -1))
            continue
        best = -1
        least = inf
        for d in range(classes):
            if first[d] >= 0 and D[row + d] < inf:
                x = out[u] + weight * D[row + d] + penalty * depth[u]
                if sites > 1:
                    y = crossing(of[u], of[first[d]], weight, sites, sc, sl)
                    x = max(x, y)
                if x < least:
                    least = x
                    best = d
        if best >= 0:
            heapq.heappush(queue, (least, u, best))
    return joined
