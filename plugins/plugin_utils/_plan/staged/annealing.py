# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Annealing of staged trees: inner loops.

A tree is kept as positions 0..n-1 with a host on each (``host``, and ``pos`` for the way back); position n is a
virtual root above the holders. The children of a position are a list sorted by falling tail (``first``, ``nxt``,
``prv``), so that a change costs only the way up to the root. Seconds from host i to j are ``D[off[i] + col[j]]``.
"""

from __future__ import annotations

import math
import typing as t

from ..jit import kernel

# What drawing a move and trying it cost beside looking at children, in looks.
DRAW = 4
TRY = 10


@kernel
def _scan(v: int, n: int, D: t.Any, off: t.Any, col: t.Any, host: t.Any, first: t.Any, nxt: t.Any, h: t.Any,
          crit: t.Any, rel: t.Any, tally: t.Any, most: int, rate: t.Any, ends: t.Any, parts: t.Any) -> float:  # fmt: skip
    """The tail of v from its children's; notes its critical child, and in ``tally`` the steps that it took."""
    worst = 0.0
    critical = -1
    steps = 1
    c = first[v]
    if v == n:
        while c >= 0:
            x = rel[host[c]] + h[c]
            if x > worst:
                worst = x
                critical = c
            steps += 1
            c = nxt[c]
    elif most > 1 and rate[host[v]] > 0.0:
        # Several at a time, as long as they stay within the port (see staged.serve).
        row = off[host[v]]
        full = rate[host[v]] * (1.0 + 1e-9)
        now = 0.0
        used = 0.0
        running = 0
        while c >= 0:
            d = D[row + col[host[c]]]
            need = 1.0 / d if d > 0.0 else 0.0
            while running > 0 and (running >= most or used + need > full):
                k = 0
                for j in range(1, running):
                    if ends[j] < ends[k]:
                        k = j
                now = max(now, ends[k])
                running -= 1
                used = used - parts[k] if running > 0 else 0.0
                ends[k] = ends[running]
                parts[k] = parts[running]
            ends[running] = now + d
            parts[running] = need
            running += 1
            used += need
            x = now + d + h[c]
            if x > worst:
                worst = x
                critical = c
            steps += running
            c = nxt[c]
    else:
        row = off[host[v]]
        busy = 0.0
        while c >= 0:
            busy += D[row + col[host[c]]]
            x = busy + h[c]
            if x > worst:
                worst = x
                critical = c
            steps += 1
            c = nxt[c]
    tally[0] += steps
    crit[v] = critical
    return worst


@kernel
def _detach(c: int, p: int, first: t.Any, nxt: t.Any, prv: t.Any) -> None:
    a = prv[c]
    b = nxt[c]
    if a >= 0:
        nxt[a] = b
    else:
        first[p] = b
    if b >= 0:
        prv[b] = a


@kernel
def _attach(c: int, p: int, first: t.Any, nxt: t.Any, prv: t.Any, par: t.Any, h: t.Any) -> None:
    par[c] = p
    x = h[c]
    a = -1
    b = first[p]
    while b >= 0 and h[b] > x:
        a = b
        b = nxt[b]
    prv[c] = a
    nxt[c] = b
    if a >= 0:
        nxt[a] = c
    else:
        first[p] = c
    if b >= 0:
        prv[b] = c


@kernel
def _climb(v: int, n: int, D: t.Any, off: t.Any, col: t.Any, host: t.Any, first: t.Any, nxt: t.Any, prv: t.Any,
           par: t.Any, h: t.Any, crit: t.Any, rel: t.Any, tally: t.Any, most: int, rate: t.Any,
           ends: t.Any, parts: t.Any) -> None:  # fmt: skip
    """Recomputes v's tail and those above it, as far as they change."""
    while True:
        x = _scan(v, n, D, off, col, host, first, nxt, h, crit, rel, tally, most, rate, ends, parts)
        if x == h[v]:
            return
        h[v] = x
        if v == n:
            return
        p = par[v]
        a = prv[v]
        b = nxt[v]
        if (a >= 0 and h[a] < x) or (b >= 0 and h[b] > x):
            _detach(v, p, first, nxt, prv)
            _attach(v, p, first, nxt, prv, par, h)
        v = p


@kernel
def _arrivals(n: int, D: t.Any, off: t.Any, col: t.Any, host: t.Any, first: t.Any, nxt: t.Any, rel: t.Any, arrive: t.Any,
              order: t.Any, most: int) -> None:  # fmt: skip
    """When the host at each position has the base; with several streams, not before when."""
    filled = 0
    c = first[n]
    while c >= 0:
        arrive[c] = rel[host[c]]
        order[filled] = c
        filled += 1
        c = nxt[c]
    k = 0
    while k < filled:
        v = order[k]
        k += 1
        at = arrive[v]
        row = off[host[v]]
        c = first[v]
        while c >= 0:
            x = D[row + col[host[c]]]
            arrive[c] = at + x
            if most == 1:
                at += x
            order[filled] = c
            filled += 1
            c = nxt[c]


@kernel
def _below(q: int, v: int, n: int, par: t.Any) -> bool:
    """Whether q is v or below it."""
    while q != n:
        if q == v:
            return True
        q = par[q]
    return False


@kernel
def _label_cost(p: int, n: int, new: int, other: int, swapped: int, D: t.Any, off: t.Any, col: t.Any, host: t.Any,
                first: t.Any, nxt: t.Any, par: t.Any) -> float:  # fmt: skip
    """Seconds on all links at position p if host ``new`` stood there (and ``swapped`` at position ``other``)."""
    up = par[p]
    # A link between the two positions is counted at the upper one only.
    total = 0.0 if up == other else D[off[host[up]] + col[new]]
    row = off[new]
    c = first[p]
    while c >= 0:
        below = swapped if c == other else host[c]
        total += D[row + col[below]]
        c = nxt[c]
    return total


@kernel
def anneal(n: int, roots: int, D: t.Any, off: t.Any, col: t.Any, near: t.Any, width: int, rel: t.Any, parent: t.Any,
           work: int, hot: float, cold: float, weight: float, seed: int, host: t.Any, pos: t.Any, first: t.Any, nxt: t.Any,
           prv: t.Any, par: t.Any, h: t.Any, crit: t.Any, best: t.Any, order: t.Any, arrive: t.Any, tally: t.Any,
           most: int, rate: t.Any, ends: t.Any, parts: t.Any) -> float:  # fmt: skip
    """Improves ``parent`` (by host, -1 for holders, which are hosts 0..roots-1); returns the best finish.

    ``work``: steps to take, counted as looks at a child plus DRAW and TRY for each move, so that networks on which
    moves are cheap get more of them.

    The best tree is left in ``best``. ``near[v * width + k]``: the k-th best sender for host v (-1: none).
    ``hot`` and ``cold`` are temperatures in seconds. ``most`` receivers at a time at a sender with a known ``rate`` (bases
    per second; by host); ``ends`` and ``parts``: room for so many.
    """
    # ---- build the lists, deepest first
    for v in range(n + 1):
        first[v] = -1
        h[v] = 0.0
        crit[v] = -1
    for v in range(n):
        host[v] = v
        pos[v] = v
        nxt[v] = -1
        prv[v] = -1
        par[v] = parent[v] if parent[v] >= 0 else n
    par[n] = n
    filled = 0
    for v in range(roots):
        order[filled] = v
        filled += 1
    # Count children by a pass over parents: order by repeated sweeps would be quadratic, so chain them first.
    for v in range(n - 1, -1, -1):
        p = par[v]
        if p < n:
            nxt[v] = first[p]
            first[p] = v
    k = 0
    while k < filled:
        c = first[order[k]]
        while c >= 0:
            order[filled] = c
            filled += 1
            c = nxt[c]
        k += 1
    for v in range(n + 1):
        first[v] = -1
    for k in range(filled - 1, -1, -1):
        v = order[k]
        h[v] = _scan(v, n, D, off, col, host, first, nxt, h, crit, rel, tally, most, rate, ends, parts)
        _attach(v, par[v], first, nxt, prv, par, h)
    h[n] = _scan(n, n, D, off, col, host, first, nxt, h, crit, rel, tally, most, rate, ends, parts)
    edges = 0.0
    for v in range(roots, n):
        edges += D[off[par[v]] + col[v]]
    alpha = weight / n
    now = h[n] + alpha * edges
    lowest = now
    finish = h[n]
    for v in range(n):
        best[v] = parent[v]
    if n - roots < 2:
        return finish
    x = (seed * 2654435761 + 88675123) & 4294967295
    if x == 0:
        x = 1
    temperature = hot
    slope = math.log(cold / hot)
    since = 0
    # Where everybody got the base when last looked: what surely comes too late is not tried.
    stale = n
    tally[0] = 0
    move = 0
    scale = 1.0 / 4294967296.0
    free = n - roots
    every = 0 if n <= 512 else n // 8
    while tally[0] < work:
        move += 1
        tally[0] += DRAW
        if move & 63 == 63:
            temperature = hot * math.exp(slope * tally[0] / work)
        since += 1
        if stale > n >> 4:
            stale = 0
            tally[0] += n
            _arrivals(n, D, off, col, host, first, nxt, rel, arrive, order, most)
        # ---- pick a position: mostly one on the critical path, or a sibling served before it
        x ^= (x << 13) & 4294967295
        x ^= x >> 17
        x ^= (x << 5) & 4294967295
        v = -1
        if x & 7 < 5:
            length = 0
            c = crit[crit[n]] if crit[n] >= 0 else -1
            while c >= 0:
                length += 1
                c = crit[c]
            if length > 0:
                k = ((x >> 8) * length) >> 24
                v = crit[crit[n]]
                while k > 0:
                    v = crit[v]
                    k -= 1
                if x & 8:
                    x ^= (x << 13) & 4294967295
                    x ^= x >> 17
                    x ^= (x << 5) & 4294967295
                    earlier = 0
                    c = prv[v]
                    while c >= 0:
                        earlier += 1
                        c = prv[c]
                    if earlier > 0:
                        k = ((x >> 8) * earlier) >> 24
                        while k >= 0:
                            v = prv[v]
                            k -= 1
        if v < 0:
            x ^= (x << 13) & 4294967295
            x ^= x >> 17
            x ^= (x << 5) & 4294967295
            v = pos[roots + ((x * free) >> 32)]
        x ^= (x << 13) & 4294967295
        x ^= x >> 17
        x ^= (x << 5) & 4294967295
        kind = ((x >> 4) * 10) >> 28
        x ^= (x << 13) & 4294967295
        x ^= x >> 17
        x ^= (x << 5) & 4294967295
        threshold = -temperature * math.log((x + 1) * scale)
        x ^= (x << 13) & 4294967295
        x ^= x >> 17
        x ^= (x << 5) & 4294967295
        p = par[v]
        if kind < 6:
            # ---- another sender for v's subtree
            q = -1
            if x & 3 and width > 0:
                x ^= (x << 13) & 4294967295
                x ^= x >> 17
                x ^= (x << 5) & 4294967295
                # Two draws, the smaller: near ones more often.
                k = ((x & 65535) * width) >> 16
                j = ((x >> 16) * width) >> 16
                k = min(k, j)
                q = near[host[v] * width + k]
                if q >= 0:
                    q = pos[q]
            else:
                x ^= (x << 13) & 4294967295
                x ^= x >> 17
                x ^= (x << 5) & 4294967295
                q = (x * n) >> 32
            if q < 0 or q == p:
                continue
            add = D[off[host[q]] + col[host[v]]]
            if add == math.inf or _below(q, v, n, par):
                continue
            change = add - D[off[host[p]] + col[host[v]]]
            if arrive[q] + add + h[v] > now + threshold - alpha * (edges + change):
                continue
            tally[0] += TRY
            _detach(v, p, first, nxt, prv)
            _climb(p, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
            _attach(v, q, first, nxt, prv, par, h)
            _climb(q, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
            after = h[n] + alpha * (edges + change)
            if after - now <= threshold:
                now = after
                edges += change
                stale += 1
            else:
                _detach(v, q, first, nxt, prv)
                _climb(q, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                _attach(v, p, first, nxt, prv, par, h)
                _climb(p, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                continue
        else:
            x ^= (x << 13) & 4294967295
            x ^= x >> 17
            x ^= (x << 5) & 4294967295
            w = pos[roots + ((x * free) >> 32)]
            if w == v:
                continue
            q = par[w]
            a = host[v]
            b = host[w]
            if kind < 8:
                # ---- two hosts change places
                add = _label_cost(v, n, b, w, a, D, off, col, host, first, nxt, par)
                add += _label_cost(w, n, a, v, b, D, off, col, host, first, nxt, par)
                if add == math.inf:
                    continue
                change = add - _label_cost(v, n, a, w, b, D, off, col, host, first, nxt, par)
                change -= _label_cost(w, n, b, v, a, D, off, col, host, first, nxt, par)
                limit = now + threshold - alpha * (edges + change)
                c = crit[v]
                if c >= 0 and w not in (c, p):
                    late = arrive[p] + D[off[host[p]] + col[b]] + D[off[b] + col[host[c]]] + h[c]
                    if late > limit:
                        continue
                c = crit[w]
                if c >= 0 and v not in (c, q):
                    late = arrive[q] + D[off[host[q]] + col[a]] + D[off[a] + col[host[c]]] + h[c]
                    if late > limit:
                        continue
                tally[0] += TRY
                for _unused in range(2):
                    c = host[v]
                    host[v] = host[w]
                    host[w] = c
                    pos[host[v]] = v
                    pos[host[w]] = w
                    _climb(v, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                    _climb(p, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                    _climb(w, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                    _climb(q, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                    if host[v] == a:
                        break
                    after = h[n] + alpha * (edges + change)
                    if after - now <= threshold:
                        now = after
                        edges += change
                        stale += 1
                        break
                if host[v] == a:
                    continue
            else:
                # ---- two subtrees change places
                if p == q or _below(v, w, n, par) or _below(w, v, n, par):
                    continue
                add = D[off[host[p]] + col[b]] + D[off[host[q]] + col[a]]
                if add == math.inf:
                    continue
                change = add - D[off[host[p]] + col[a]] - D[off[host[q]] + col[b]]
                limit = now + threshold - alpha * (edges + change)
                if arrive[p] + D[off[host[p]] + col[b]] + h[w] > limit:
                    continue
                if arrive[q] + D[off[host[q]] + col[a]] + h[v] > limit:
                    continue
                tally[0] += TRY
                _detach(v, p, first, nxt, prv)
                _detach(w, q, first, nxt, prv)
                _attach(w, p, first, nxt, prv, par, h)
                _attach(v, q, first, nxt, prv, par, h)
                _climb(p, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                _climb(q, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                after = h[n] + alpha * (edges + change)
                if after - now <= threshold:
                    now = after
                    edges += change
                    stale += 1
                else:
                    _detach(w, p, first, nxt, prv)
                    _detach(v, q, first, nxt, prv)
                    _attach(v, p, first, nxt, prv, par, h)
                    _attach(w, q, first, nxt, prv, par, h)
                    _climb(p, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                    _climb(q, n, D, off, col, host, first, nxt, prv, par, h, crit, rel, tally, most, rate, ends, parts)
                    continue
        if now < lowest - 1e-12 and since >= every:
            lowest = now
            finish = h[n]
            since = 0
            for c in range(n):
                best[host[c]] = host[par[c]] if par[c] < n else -1
    if now < lowest - 1e-12:
        finish = h[n]
        for c in range(n):
            best[host[c]] = host[par[c]] if par[c] < n else -1
    return finish
