# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Cut-through trees with several stripes: growing and annealing, inner loops.

The base is cut into K stripes, each with its own tree (``par[k * n + v]``, -1 for holders 0..roots-1) and weight.
Loads are the seconds for which a port or link is busy: a sender's ``out``, a receiver's ``inn``, and a link's
``lnk`` (only where ports have limits of their own, model nic). ``occ``/``rcv``: port seconds of the whole base over
a link, ``D`` the link's own; in the time-shared model all three are the same. Seconds from u to v are
``D[off[u] + col[v]]``, so that hosts may share rows and columns; with ``nic`` every host has its own.

Sites with limits: ``of[v]`` is v's (of ``sites``; 0: one without limits). An edge between two sites also loads three
ports in ``sl``, whose seconds of the whole base are in ``sc``: [out of each site, into each site, from each to each].
"""

from __future__ import annotations

import math
import typing as t

from ..jit import kernel


@kernel
def crossing(a: int, b: int, weight: float, sites: int, sc: t.Any, sl: t.Any) -> float:
    """The greatest load of the ports between two sites, if an edge were added."""
    if a == b:
        return 0.0
    x = sl[a] + weight * sc[a]
    y = sl[sites + b] + weight * sc[sites + b]
    x = max(x, y)
    e = 2 * sites + a * sites + b
    y = sl[e] + weight * sc[e]
    return max(x, y)


@kernel
def cross(a: int, b: int, weight: float, sites: int, sc: t.Any, sl: t.Any) -> None:
    """Adds an edge's load to the ports between its sites."""
    if a != b:
        sl[a] += weight * sc[a]
        sl[sites + b] += weight * sc[sites + b]
        e = 2 * sites + a * sites + b
        sl[e] += weight * sc[e]


@kernel
def _offer(u: int, v: int, n: int, weight: float, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any, col: t.Any, nic: int,
           out: t.Any, inn: t.Any, lnk: t.Any, sites: int, of: t.Any, sc: t.Any, sl: t.Any) -> float:  # fmt: skip
    """The greatest load that the edge u > v would leave; inf if there is no link."""
    e = off[u] + col[v]
    if D[e] == math.inf:
        return math.inf
    x = out[u] + weight * occ[e]
    y = inn[v] + weight * rcv[e]
    x = max(x, y)
    y = weight * D[e] + (lnk[u * n + v] if nic else 0.0)
    x = max(x, y)
    if sites > 1:
        y = crossing(of[u], of[v], weight, sites, sc, sl)
        x = max(x, y)
    return x + 1e-7 * weight * D[e]


@kernel
def grow(n: int, roots: int, k: int, weight: float, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any, col: t.Any, nic: int,
         out: t.Any, inn: t.Any, lnk: t.Any, sites: int, of: t.Any, sc: t.Any, sl: t.Any, par: t.Any, depth: t.Any, most: int,
         penalty: float, cost: t.Any, via: t.Any, low: t.Any, nearest: t.Any, ahead: t.Any) -> int:  # fmt: skip
    """Grows tree k, Prim-like, by the edge that leaves the least load (plus ``penalty`` per link of depth).

    Loads are updated. Returns how many hosts were joined; the rest cannot be reached within ``most`` links.
    ``cost``, ``via``, ``ahead``: room for n numbers each; ``low``: for 3 n. ``nearest``: for each host all hosts, the shortest
    link from it first; ``ahead``: how many of them have been joined already.
    """
    inf = math.inf
    base = k * n
    for v in range(n):
        ahead[v] = 0
        par[base + v] = -1
        depth[v] = 0 if v < roots else -1
        cost[v] = inf
        via[v] = -1
        # The least that a link to v, or from v, adds.
        low[v] = low[n + v] = low[2 * n + v] = inf
    for u in range(n):
        for v in range(roots, n):
            e = off[u] + col[v]
            if u != v and D[e] < inf:
                low[v] = min(low[v], weight * rcv[e])
                low[n + v] = min(low[n + v], 1e-7 * weight * D[e])
                low[2 * n + u] = min(low[2 * n + u], weight * occ[e])
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
                    x = _offer(u, v, n, weight, D, occ, rcv, off, col, nic, out, inn, lnk, sites, of, sc, sl)
                    x += penalty * (depth[u] + 1)
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
        e = off[u] + col[best]
        par[base + best] = u
        depth[best] = depth[u] + 1
        out[u] += weight * occ[e]
        inn[best] += weight * rcv[e]
        if nic:
            lnk[u * n + best] += weight * D[e]
        crossed = sites > 1 and of[u] != of[best]
        if crossed:
            cross(of[u], of[best], weight, sites, sc, sl)
        joined += 1
        # ---- what a sender adds at least, over the links to those that still wait
        if not nic:
            for w in range(n):
                if depth[w] >= 0:
                    i = ahead[w]
                    while i < n and depth[nearest[w * n + i]] >= 0:
                        i += 1
                    if i < n and i > ahead[w]:
                        low[2 * n + w] = weight * D[off[w] + col[nearest[w * n + i]]]
                    ahead[w] = i
        # ---- u, or a way between sites, is busier now: those that hoped for it look again
        for v in range(roots, n):
            if depth[v] < 0 and via[v] >= 0:
                w = via[v]
                if w == u or (crossed and of[w] != of[v] and (of[w] == of[u] or of[v] == of[best])):
                    cost[v] = inf
                    via[v] = -1
                    for w in range(n):
                        if depth[w] >= 0 and depth[w] < most and w != best:
                            if max(out[w] + low[2 * n + w], inn[v] + low[v]) + low[n + v] + penalty * (depth[w] + 1) >= cost[v]:
                                continue
                            x = _offer(w, v, n, weight, D, occ, rcv, off, col, nic, out, inn, lnk, sites, of, sc, sl)
                            x += penalty * (depth[w] + 1)
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
def loads(n: int, count: int, weights: t.Any, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any, col: t.Any, nic: int,
          sites: int, of: t.Any, sc: t.Any, sl: t.Any, par: t.Any, out: t.Any, inn: t.Any, lnk: t.Any) -> float:  # fmt: skip
    """Loads of ``count`` trees; returns the greatest: the time that they need but for filling the pipeline."""
    for v in range(n):
        out[v] = 0.0
        inn[v] = 0.0
    if nic:
        for e in range(n * n):
            lnk[e] = 0.0
    if sites > 1:
        for e in range(2 * sites + sites * sites):
            sl[e] = 0.0
    worst = 0.0
    for k in range(count):
        for v in range(n):
            p = par[k * n + v]
            if p >= 0:
                e = off[p] + col[v]
                out[p] += weights[k] * occ[e]
                inn[v] += weights[k] * rcv[e]
                if nic:
                    lnk[p * n + v] += weights[k] * D[e]
                    worst = max(worst, lnk[p * n + v])
                else:
                    worst = max(worst, weights[k] * D[e])
                if sites > 1:
                    cross(of[p], of[v], weights[k], sites, sc, sl)
    for v in range(n):
        worst = max(worst, out[v])
        worst = max(worst, inn[v])
    if sites > 1:
        for e in range(2 * sites + sites * sites):
            worst = max(worst, sl[e])
    return worst


@kernel
def _swing(a: int, b: int, c: int, w: float, reference: float, sharp: int, sites: int, sc: t.Any, sl: t.Any) -> float:
    """What it changes in the sum if a host of site b, so far served from site a, is served from another site c."""
    change = 0.0
    enter = 0.0
    if a != b:
        enter -= w
        change += _power((sl[a] - w * sc[a]) / reference, sharp) - _power(sl[a] / reference, sharp)
        e = 2 * sites + a * sites + b
        change += _power((sl[e] - w * sc[e]) / reference, sharp) - _power(sl[e] / reference, sharp)
    if c != b:
        enter += w
        change += _power((sl[c] + w * sc[c]) / reference, sharp) - _power(sl[c] / reference, sharp)
        e = 2 * sites + c * sites + b
        change += _power((sl[e] + w * sc[e]) / reference, sharp) - _power(sl[e] / reference, sharp)
    e = sites + b
    return change + _power((sl[e] + enter * sc[e]) / reference, sharp) - _power(sl[e] / reference, sharp)


@kernel
def _heights(n: int, count: int, par: t.Any, tall: t.Any) -> None:
    """How many links there are below each host, tree by tree."""
    for e in range(count * n):
        tall[e] = 0
    for k in range(count):
        base = k * n
        for v in range(n):
            u = par[base + v]
            up = 1
            while u >= 0:
                if tall[base + u] >= up:
                    break
                tall[base + u] = up
                up += 1
                u = par[base + u]


@kernel
def anneal(n: int, roots: int, count: int, weights: t.Any, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any, col: t.Any,
           nic: int, sites: int, of: t.Any, sc: t.Any, sl: t.Any, near: t.Any, width: int, par: t.Any, out: t.Any, inn: t.Any,
           lnk: t.Any, most: int, moves: int, hot: float, cold: float, seed: int, best: t.Any, tall: t.Any,
           urgent: t.Any) -> float:  # fmt: skip
    """Moves hosts to other senders, stripe by stripe, so that the sum of (load / reference)^16 (and higher) falls.

    The best trees by greatest load are left in ``best``; returns that load. No tree becomes deeper than ``most`` links,
    or hardly so: heights (``tall``) are counted only now and then. ``urgent``: room for all edges, or none; with it half of
    the moves are for edges at ports that are nearly the busiest, without which few of many hosts would be the right ones.
    """
    inf = math.inf
    reference = loads(n, count, weights, D, occ, rcv, off, col, nic, sites, of, sc, sl, par, out, inn, lnk)
    lowest = reference
    for e in range(count * n):
        best[e] = par[e]
    if n - roots < 1 or reference <= 0:
        return lowest
    x = (seed * 2654435761 + 362436069) & 4294967295
    if x == 0:
        x = 1
    temperature = hot
    blocks = 512 if n <= 300 else 256
    every = 1 if n <= 90 else 4
    chunk = moves // blocks
    factor = (cold / hot) ** (1.0 / blocks)
    scale = 1.0 / 4294967296.0
    free = n - roots
    for block in range(blocks):
        # Blunt at first, so that all ports count; later only those that are nearly the worst.
        sharp = block * 4 // blocks
        # Recount now and then: sums of many small changes drift.
        worst = loads(n, count, weights, D, occ, rcv, off, col, nic, sites, of, sc, sl, par, out, inn, lnk)
        if worst < lowest:
            lowest = worst
            for e in range(count * n):
                best[e] = par[e]
        reference = worst
        temperature *= factor
        if block % every == 0:
            _heights(n, count, par, tall)
        pressed = 0
        if len(urgent) > 0:
            for e in range(count * n):
                p = par[e]
                if p >= 0 and (out[p] > 0.95 * worst or inn[e % n] > 0.95 * worst):
                    urgent[pressed] = e
                    pressed += 1
        for _step in range(chunk):
            x ^= (x << 13) & 4294967295
            x ^= x >> 17
            x ^= (x << 5) & 4294967295
            k = (x * count) >> 32
            x ^= (x << 13) & 4294967295
            x ^= x >> 17
            x ^= (x << 5) & 4294967295
            v = roots + ((x * free) >> 32)
            if pressed > 0 and x & 1:
                x ^= (x << 13) & 4294967295
                x ^= x >> 17
                x ^= (x << 5) & 4294967295
                v = urgent[(x * pressed) >> 32]
                k = v // n
                v -= k * n
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
                if sites > 1 and (of[v] != of[up] or of[v] != of[p]):
                    continue
                ea = off[u] + col[v]
                eb = off[v] + col[up]
                if D[ea] == inf or D[eb] == inf:
                    continue
                deep = 2
                q = u
                while q >= 0:
                    q = par[base + q]
                    deep += 1
                if deep - 1 + tall[base + up] > most:
                    continue
                ec = off[u] + col[up]
                ep = off[p] + col[v]
                change = _power((out[u] + w * (occ[ea] - occ[ec])) / reference, sharp)
                change -= _power(out[u] / reference, sharp)
                change += _power((out[p] - w * occ[ep]) / reference, sharp) - _power(out[p] / reference, sharp)
                change += _power((out[v] + w * occ[eb]) / reference, sharp) - _power(out[v] / reference, sharp)
                change += _power((inn[v] + w * (rcv[ea] - rcv[ep])) / reference, sharp)
                change -= _power(inn[v] / reference, sharp)
                change += _power((inn[up] + w * (rcv[eb] - rcv[ec])) / reference, sharp)
                change -= _power(inn[up] / reference, sharp)
                if nic:
                    change += _power((lnk[u * n + v] + w * D[ea]) / reference, sharp) - _power(lnk[u * n + v] / reference, sharp)
                    change += _power((lnk[v * n + up] + w * D[eb]) / reference, sharp) - _power(lnk[v * n + up] / reference, sharp)
                    change += _power((lnk[u * n + up] - w * D[ec]) / reference, sharp) - _power(lnk[u * n + up] / reference, sharp)
                    change += _power((lnk[p * n + v] - w * D[ep]) / reference, sharp) - _power(lnk[p * n + v] / reference, sharp)
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
                    lnk[u * n + v] += w * D[ea]
                    lnk[v * n + up] += w * D[eb]
                    lnk[u * n + up] -= w * D[ec]
                    lnk[p * n + v] -= w * D[ep]
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
            eq = off[q] + col[v]
            if D[eq] == inf:
                continue
            # Not below v, and not too deep.
            deep = 1
            u = q
            while u >= 0 and u != v:
                u = par[base + u]
                deep += 1
            if u == v or deep - 1 + tall[base + v] > most:
                continue
            ep = off[p] + col[v]
            change = _power((out[q] + w * occ[eq]) / reference, sharp) - _power(out[q] / reference, sharp)
            change += _power((out[p] - w * occ[ep]) / reference, sharp) - _power(out[p] / reference, sharp)
            change += _power((inn[v] + w * (rcv[eq] - rcv[ep])) / reference, sharp) - _power(inn[v] / reference, sharp)
            if nic:
                change += _power((lnk[q * n + v] + w * D[eq]) / reference, sharp) - _power(lnk[q * n + v] / reference, sharp)
                change += _power((lnk[p * n + v] - w * D[ep]) / reference, sharp) - _power(lnk[p * n + v] / reference, sharp)
            if sites > 1 and of[p] != of[q]:
                change += _swing(of[p], of[v], of[q], w, reference, sharp, sites, sc, sl)
            x ^= (x << 13) & 4294967295
            x ^= x >> 17
            x ^= (x << 5) & 4294967295
            if change > -temperature * math.log((x + 1) * scale):
                continue
            if sites > 1:
                cross(of[p], of[v], -w, sites, sc, sl)
                cross(of[q], of[v], w, sites, sc, sl)
            out[q] += w * occ[eq]
            out[p] -= w * occ[ep]
            inn[v] += w * (rcv[eq] - rcv[ep])
            if nic:
                lnk[q * n + v] += w * D[eq]
                lnk[p * n + v] -= w * D[ep]
            par[base + v] = q
    # Of trees with the same greatest load the last ones leave most room at the other ports.
    worst = loads(n, count, weights, D, occ, rcv, off, col, nic, sites, of, sc, sl, par, out, inn, lnk)
    if worst <= lowest * (1.0 + 1e-9):
        lowest = worst
        for e in range(count * n):
            best[e] = par[e]
    return lowest
