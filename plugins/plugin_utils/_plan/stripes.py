# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Cut-through trees with several stripes: growing and annealing, inner loops.

The base is cut into K stripes, each with its own tree (``par[k * n + v]``, -1 for holders 0..roots-1) and weight.
Loads are the seconds for which a port or link is busy: a sender's ``out``, a receiver's ``inn``, and a link's
``lnk`` (only where ports have limits of their own, model nic). ``occ``/``rcv``: port seconds of the whole base over
a link, ``D`` the link's own; in the time-shared model all three are the same.
"""

from __future__ import annotations

import math
import typing as t

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.engine import kernel


@kernel
def grow(n: int, roots: int, k: int, weight: float, D: t.Any, occ: t.Any, rcv: t.Any, nic: int, out: t.Any, inn: t.Any,
         lnk: t.Any, par: t.Any, depth: t.Any, most: int, penalty: float, cost: t.Any, via: t.Any) -> int:  # fmt: skip
    """Grows tree k, Prim-like, by the edge that leaves the least load (plus ``penalty`` per link of depth).

    Loads are updated. Returns how many hosts were joined; the rest cannot be reached within ``most`` links.
    """
    inf = math.inf
    base = k * n
    for v in range(n):
        par[base + v] = -1
        depth[v] = 0 if v < roots else -1
        cost[v] = inf
        via[v] = -1
    joined = roots
    fresh = 0
    while True:
        # ---- offers of the hosts that are new in the tree (all holders at first, then one a time)
        last = roots if fresh == 0 and joined == roots else fresh + 1
        for u in range(fresh, last):
            if depth[u] >= most:
                continue
            for v in range(roots, n):
                if depth[v] < 0:
                    e = u * n + v
                    if D[e] == inf:
                        continue
                    x = out[u] + weight * occ[e]
                    y = inn[v] + weight * rcv[e]
                    x = max(x, y)
                    y = weight * D[e] + (lnk[e] if nic else 0.0)
                    x = max(x, y)
                    x += penalty * (depth[u] + 1) + 1e-7 * weight * D[e]
                    if x < cost[v]:
                        cost[v] = x
                        via[v] = u
        best = -1
        least = inf
        for v in range(roots, n):
            if depth[v] < 0 and cost[v] < least:
                least = cost[v]
                best = v
        if best < 0:
            return joined
        u = via[best]
        e = u * n + best
        par[base + best] = u
        depth[best] = depth[u] + 1
        out[u] += weight * occ[e]
        inn[best] += weight * rcv[e]
        if nic:
            lnk[e] += weight * D[e]
        joined += 1
        # ---- u is busier now: those that hoped for it look again
        for v in range(roots, n):
            if depth[v] < 0 and via[v] == u:
                cost[v] = inf
                via[v] = -1
                for w in range(n):
                    if depth[w] >= 0 and depth[w] < most and w != best:
                        e = w * n + v
                        if D[e] == inf:
                            continue
                        x = out[w] + weight * occ[e]
                        y = inn[v] + weight * rcv[e]
                        x = max(x, y)
                        y = weight * D[e] + (lnk[e] if nic else 0.0)
                        x = max(x, y)
                        x += penalty * (depth[w] + 1) + 1e-7 * weight * D[e]
                        if x < cost[v]:
                            cost[v] = x
                            via[v] = w
        fresh = best


@kernel
def _power(x: float, squarings: int) -> float:
    """x^16, and squared so many times more."""
    x = x * x
    x = x * x
    x = x * x
    x = x * x
    while squarings > 0:
        x = x * x
        squarings -= 1
    return x


@kernel
def loads(n: int, count: int, weights: t.Any, D: t.Any, occ: t.Any, rcv: t.Any, nic: int, par: t.Any, out: t.Any,
          inn: t.Any, lnk: t.Any) -> float:  # fmt: skip
    """Loads of ``count`` trees; returns the greatest: the time that they need but for filling the pipeline."""
    for v in range(n):
        out[v] = 0.0
        inn[v] = 0.0
    if nic:
        for e in range(n * n):
            lnk[e] = 0.0
    worst = 0.0
    for k in range(count):
        for v in range(n):
            p = par[k * n + v]
            if p >= 0:
                e = p * n + v
                out[p] += weights[k] * occ[e]
                inn[v] += weights[k] * rcv[e]
                if nic:
                    lnk[e] += weights[k] * D[e]
                    worst = max(worst, lnk[e])
    for v in range(n):
        worst = max(worst, out[v])
        worst = max(worst, inn[v])
    return worst


@kernel
def anneal(n: int, roots: int, count: int, weights: t.Any, D: t.Any, occ: t.Any, rcv: t.Any, nic: int, near: t.Any,
           width: int, par: t.Any, out: t.Any, inn: t.Any, lnk: t.Any, most: int, moves: int, hot: float, cold: float,
           seed: int, best: t.Any) -> float:  # fmt: skip
    """Moves hosts to other senders, stripe by stripe, so that the sum of (load / reference)^16 (and higher) falls.

    The best trees by greatest load are left in ``best``; returns that load.
    """
    inf = math.inf
    reference = loads(n, count, weights, D, occ, rcv, nic, par, out, inn, lnk)
    lowest = reference
    for e in range(count * n):
        best[e] = par[e]
    if n - roots < 1 or reference <= 0:
        return lowest
    x = (seed * 2654435761 + 362436069) & 4294967295
    if x == 0:
        x = 1
    temperature = hot
    blocks = 64
    chunk = moves // blocks
    factor = (cold / hot) ** (1.0 / blocks)
    scale = 1.0 / 4294967296.0
    free = n - roots
    for block in range(blocks):
        # Blunt at first, so that all ports count; later only those that are nearly the worst.
        sharp = block * 4 // blocks
        # Recount now and then: sums of many small changes drift.
        worst = loads(n, count, weights, D, occ, rcv, nic, par, out, inn, lnk)
        if worst < lowest:
            lowest = worst
            for e in range(count * n):
                best[e] = par[e]
        reference = worst
        temperature *= factor
        for _step in range(chunk):
            x ^= (x << 13) & 4294967295
            x ^= x >> 17
            x ^= (x << 5) & 4294967295
            k = (x * count) >> 32
            x ^= (x << 13) & 4294967295
            x ^= x >> 17
            x ^= (x << 5) & 4294967295
            v = roots + ((x * free) >> 32)
            base = k * n
            p = par[base + v]
            x ^= (x << 13) & 4294967295
            x ^= x >> 17
            x ^= (x << 5) & 4294967295
            w = weights[k]
            if (x >> 8) & 3 == 0:
                # ---- v takes the place of a host above it, which then receives from v: lets another member of a
                # rack or site be the one that fetches from outside
                up = p
                u = par[base + up]
                hops = (x >> 12) & 3
                while hops > 0 and u >= 0 and par[base + u] >= 0:
                    up = u
                    u = par[base + u]
                    hops -= 1
                if u < 0:
                    continue
                ea = u * n + v
                eb = v * n + up
                if D[ea] == inf or D[eb] == inf:
                    continue
                deep = 2
                q = u
                while q >= 0:
                    q = par[base + q]
                    deep += 1
                if deep - 1 > most:
                    continue
                ec = u * n + up
                ep = p * n + v
                change = _power((out[u] + w * (occ[ea] - occ[ec])) / reference, sharp)
                change -= _power(out[u] / reference, sharp)
                change += _power((out[p] - w * occ[ep]) / reference, sharp) - _power(out[p] / reference, sharp)
                change += _power((out[v] + w * occ[eb]) / reference, sharp) - _power(out[v] / reference, sharp)
                change += _power((inn[v] + w * (rcv[ea] - rcv[ep])) / reference, sharp)
                change -= _power(inn[v] / reference, sharp)
                change += _power((inn[up] + w * (rcv[eb] - rcv[ec])) / reference, sharp)
                change -= _power(inn[up] / reference, sharp)
                if nic:
                    change += _power((lnk[ea] + w * D[ea]) / reference, sharp) - _power(lnk[ea] / reference, sharp)
                    change += _power((lnk[eb] + w * D[eb]) / reference, sharp) - _power(lnk[eb] / reference, sharp)
                    change += _power((lnk[ec] - w * D[ec]) / reference, sharp) - _power(lnk[ec] / reference, sharp)
                    change += _power((lnk[ep] - w * D[ep]) / reference, sharp) - _power(lnk[ep] / reference, sharp)
                x ^= (x << 13) & 4294967295
                x ^= x >> 17
                x ^= (x << 5) & 4294967295
                if change > -temperature * math.log((x + 1) * scale):
                    continue
                out[u] += w * (occ[ea] - occ[ec])
                out[p] -= w * occ[ep]
                out[v] += w * occ[eb]
                inn[v] += w * (rcv[ea] - rcv[ep])
                inn[up] += w * (rcv[eb] - rcv[ec])
                if nic:
                    lnk[ea] += w * D[ea]
                    lnk[eb] += w * D[eb]
                    lnk[ec] -= w * D[ec]
                    lnk[ep] -= w * D[ep]
                par[base + v] = u
                par[base + up] = v
                continue
            if x & 1 and width > 0:
                x ^= (x << 13) & 4294967295
                x ^= x >> 17
                x ^= (x << 5) & 4294967295
                a = ((x & 65535) * width) >> 16
                b = ((x >> 16) * width) >> 16
                a = min(a, b)
                q = near[v * width + a]
            else:
                x ^= (x << 13) & 4294967295
                x ^= x >> 17
                x ^= (x << 5) & 4294967295
                q = (x * n) >> 32
            if q < 0 or q in (p, v):
                continue
            eq = q * n + v
            if D[eq] == inf:
                continue
            # Not below v, and not too deep.
            deep = 1
            u = q
            while u >= 0 and u != v:
                u = par[base + u]
                deep += 1
            if u == v or deep - 1 > most:
                continue
            ep = p * n + v
            change = _power((out[q] + w * occ[eq]) / reference, sharp) - _power(out[q] / reference, sharp)
            change += _power((out[p] - w * occ[ep]) / reference, sharp) - _power(out[p] / reference, sharp)
            change += _power((inn[v] + w * (rcv[eq] - rcv[ep])) / reference, sharp) - _power(inn[v] / reference, sharp)
            if nic:
                change += _power((lnk[eq] + w * D[eq]) / reference, sharp) - _power(lnk[eq] / reference, sharp)
                change += _power((lnk[ep] - w * D[ep]) / reference, sharp) - _power(lnk[ep] / reference, sharp)
            x ^= (x << 13) & 4294967295
            x ^= x >> 17
            x ^= (x << 5) & 4294967295
            if change > -temperature * math.log((x + 1) * scale):
                continue
            out[q] += w * occ[eq]
            out[p] -= w * occ[ep]
            inn[v] += w * (rcv[eq] - rcv[ep])
            if nic:
                lnk[eq] += w * D[eq]
                lnk[ep] -= w * D[ep]
            par[base + v] = q
    worst = loads(n, count, weights, D, occ, rcv, nic, par, out, inn, lnk)
    if worst < lowest:
        lowest = worst
        for e in range(count * n):
            best[e] = par[e]
    return lowest
