# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Annealing of staged trees: inner loops."""

from __future__ import annotations

import math
import typing as t

from ..jit import Ints, draw, kernel, start_random
from .network import Net, Room

# What drawing a move and trying it cost beside looking at children, in looks.
DRAW = 4
TRY = 10
SCALE = 1.0 / 4294967296.0


class Course(t.NamedTuple):
    """How long to anneal, from which temperature to which, in seconds, and what the links' mean time weighs.

    ``work``: steps to take, counted as looks at a child plus DRAW and TRY for each move, so that networks on which moves are
    cheap get more of them.
    """

    work: int
    hot: float
    cold: float
    weight: float
    seed: int


class Mark(t.NamedTuple):
    """The tree's cost ``now``, seconds on all its links, what each of these costs, and how much worse a move may make it."""

    now: float
    edges: float
    alpha: float
    threshold: float


@kernel
def anneal(net: Net, room: Room, parent: Ints, course: Course) -> float:
    """Improves ``parent`` (by host, -1 for holders); returns the best finish and leaves that tree in ``room.best``."""
    n = net.n
    _build(net, room, parent)
    edges = 0.0
    for v in range(net.roots, n):
        edges += net.D[net.off[room.par[v]] + net.col[v]]
    alpha = course.weight / n
    now = room.h[n] + alpha * edges
    lowest = now
    finish = room.h[n]
    for v in range(n):
        room.best[v] = parent[v]
    if n - net.roots < 2:
        return finish
    start_random(room.random, course.seed, 88675123)
    temperature = course.hot
    slope = math.log(course.cold / course.hot)
    since = 0
    # How many moves ago it was known when hosts get the base: what surely comes too late is not tried.
    stale = n
    room.tally[0] = 0
    move = 0
    every = 0 if n <= 512 else n // 8
    while room.tally[0] < course.work:
        move += 1
        room.tally[0] += DRAW
        if move & 63 == 63:
            temperature = course.hot * math.exp(slope * room.tally[0] / course.work)
        since += 1
        if stale > n >> 4:
            stale = 0
            room.tally[0] += n
            _arrivals(net, room)
        v = _pick(net, room)
        kind = ((draw(room.random) >> 4) * 10) >> 28
        threshold = -temperature * math.log((draw(room.random) + 1) * SCALE)
        change = _try(net, room, kind, v, Mark(now, edges, alpha, threshold))
        if change == math.inf:
            continue
        now = room.h[n] + alpha * (edges + change)
        edges += change
        stale += 1
        if now < lowest - 1e-12 and since >= every:
            lowest = now
            finish = room.h[n]
            since = 0
            _keep(n, room)
    if now < lowest - 1e-12:
        finish = room.h[n]
        _keep(n, room)
    return finish


@kernel
def _build(net: Net, room: Room, parent: Ints) -> None:
    """The lists of children, deepest first."""
    n, first, nxt = net.n, room.first, room.nxt
    for v in range(n + 1):
        first[v] = -1
        room.h[v] = 0.0
        room.crit[v] = -1
    for v in range(n):
        room.host[v] = v
        room.pos[v] = v
        nxt[v] = -1
        room.prv[v] = -1
        room.par[v] = parent[v] if parent[v] >= 0 else n
    room.par[n] = n
    filled = 0
    for v in range(net.roots):
        room.order[filled] = v
        filled += 1
    # Order by repeated sweeps would be quadratic, so chain children first.
    for v in range(n - 1, -1, -1):
        p = room.par[v]
        if p < n:
            nxt[v] = first[p]
            first[p] = v
    k = 0
    while k < filled:
        c = first[room.order[k]]
        while c >= 0:
            room.order[filled] = c
            filled += 1
            c = nxt[c]
        k += 1
    for v in range(n + 1):
        first[v] = -1
    for k in range(filled - 1, -1, -1):
        v = room.order[k]
        room.h[v] = _scan(net, room, v)
        _attach(room, v, room.par[v])
    room.h[n] = _scan(net, room, n)


@kernel
def _keep(n: int, room: Room) -> None:
    for c in range(n):
        room.best[room.host[c]] = room.host[room.par[c]] if room.par[c] < n else -1


@kernel
def _scan(net: Net, room: Room, v: int) -> float:
    """The tail of v from its children's; notes its critical child, and in ``tally`` the steps that it took."""
    if v != net.n and net.most > 1 and net.rate[room.host[v]] > 0.0:
        return _scan_streams(net, room, v)
    host, nxt, h, D, col = room.host, room.nxt, room.h, net.D, net.col
    worst = 0.0
    critical = -1
    steps = 1
    c = room.first[v]
    if v == net.n:
        while c >= 0:
            x = net.rel[host[c]] + h[c]
            if x > worst:
                worst = x
                critical = c
            steps += 1
            c = nxt[c]
    else:
        row = net.off[host[v]]
        busy = 0.0
        while c >= 0:
            busy += D[row + col[host[c]]]
            x = busy + h[c]
            if x > worst:
                worst = x
                critical = c
            steps += 1
            c = nxt[c]
    room.tally[0] += steps
    room.crit[v] = critical
    return worst


@kernel
def _scan_streams(net: Net, room: Room, v: int) -> float:
    """The same with several children at a time, as long as they stay within the port (see ``schedule.serve``)."""
    ends, parts = room.ends, room.parts
    worst = 0.0
    critical = -1
    steps = 1
    row = net.off[room.host[v]]
    full = net.rate[room.host[v]] * (1.0 + 1e-9)
    now = 0.0
    used = 0.0
    running = 0
    c = room.first[v]
    while c >= 0:
        d = net.D[row + net.col[room.host[c]]]
        need = 1.0 / d if d > 0.0 else 0.0
        while running > 0 and (running >= net.most or used + need > full):
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
        x = now + d + room.h[c]
        if x > worst:
            worst = x
            critical = c
        steps += running
        c = room.nxt[c]
    room.tally[0] += steps
    room.crit[v] = critical
    return worst


@kernel
def _detach(room: Room, c: int, p: int) -> None:
    a = room.prv[c]
    b = room.nxt[c]
    if a >= 0:
        room.nxt[a] = b
    else:
        room.first[p] = b
    if b >= 0:
        room.prv[b] = a


@kernel
def _attach(room: Room, c: int, p: int) -> None:
    h, nxt = room.h, room.nxt
    room.par[c] = p
    x = h[c]
    a = -1
    b = room.first[p]
    while b >= 0 and h[b] > x:
        a = b
        b = nxt[b]
    room.prv[c] = a
    nxt[c] = b
    if a >= 0:
        nxt[a] = c
    else:
        room.first[p] = c
    if b >= 0:
        room.prv[b] = c


@kernel
def _climb(net: Net, room: Room, v: int) -> None:
    """Recomputes v's tail and those above it, as far as they change."""
    h, par = room.h, room.par
    while True:
        x = _scan(net, room, v)
        if x == h[v]:
            return
        h[v] = x
        if v == net.n:
            return
        p = par[v]
        a = room.prv[v]
        b = room.nxt[v]
        if (a >= 0 and h[a] < x) or (b >= 0 and h[b] > x):
            _detach(room, v, p)
            _attach(room, v, p)
        v = p


@kernel
def _arrivals(net: Net, room: Room) -> None:
    """When the host at each position has the base; with several streams, not before when."""
    host, nxt, order, arrive, col = room.host, room.nxt, room.order, room.arrive, net.col
    filled = 0
    c = room.first[net.n]
    while c >= 0:
        arrive[c] = net.rel[host[c]]
        order[filled] = c
        filled += 1
        c = nxt[c]
    k = 0
    while k < filled:
        v = order[k]
        k += 1
        at = arrive[v]
        row = net.off[host[v]]
        c = room.first[v]
        while c >= 0:
            x = net.D[row + col[host[c]]]
            arrive[c] = at + x
            if net.most == 1:
                at += x
            order[filled] = c
            filled += 1
            c = nxt[c]


@kernel
def _below(n: int, par: Ints, q: int, v: int) -> bool:
    """Whether q is v or below it."""
    while q != n:
        if q == v:
            return True
        q = par[q]
    return False


@kernel
def _pick(net: Net, room: Room) -> int:
    """A position: mostly one on the critical path, or a sibling served before it."""
    x = draw(room.random)
    v = -1
    if x & 7 < 5:
        v = _critical(net.n, room, x)
    if v < 0:
        v = _any_target(net, room)
    return v


@kernel
def _any_target(net: Net, room: Room) -> int:
    """The position of a random target."""
    return room.pos[net.roots + ((draw(room.random) * (net.n - net.roots)) >> 32)]


@kernel
def _critical(n: int, room: Room, x: int) -> int:
    """A position below the first one of the critical path, or an earlier sibling; -1: none."""
    crit, prv = room.crit, room.prv
    length = 0
    c = crit[crit[n]] if crit[n] >= 0 else -1
    while c >= 0:
        length += 1
        c = crit[c]
    if length == 0:
        return -1
    k = ((x >> 8) * length) >> 24
    v = crit[crit[n]]
    while k > 0:
        v = crit[v]
        k -= 1
    if x & 8:
        x = draw(room.random)
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
    return v


@kernel
def _try(net: Net, room: Room, kind: int, v: int, mark: Mark) -> float:
    """Makes a move with position v; what it changes of the seconds on all links, inf if it was not made."""
    x = draw(room.random)
    if kind < 6:
        q = _sender(net, room, v, x)
        if q < 0 or q == room.par[v]:
            return math.inf
        return _change_sender(net, room, v, q, mark)
    w = _any_target(net, room)
    if w == v:
        return math.inf
    if kind < 8:
        return _swap_hosts(net, room, v, w, mark)
    return _swap_subtrees(net, room, v, w, mark)


@kernel
def _sender(net: Net, room: Room, v: int, x: int) -> int:
    """The position of a host to serve v: often one of the best for it; -1: none."""
    near = (x & 3) != 0 and net.width > 0
    x = draw(room.random)
    if not near:
        return (x * net.n) >> 32
    # Two draws, the smaller: near ones more often.
    k = ((x & 65535) * net.width) >> 16
    j = ((x >> 16) * net.width) >> 16
    q = net.near[room.host[v] * net.width + min(k, j)]
    return room.pos[q] if q >= 0 else -1


@kernel
def _accepted(net: Net, room: Room, change: float, mark: Mark) -> bool:
    after = room.h[net.n] + mark.alpha * (mark.edges + change)
    return after - mark.now <= mark.threshold


@kernel
def _change_sender(net: Net, room: Room, v: int, q: int, mark: Mark) -> float:
    """Position q gets v's subtree."""
    p = room.par[v]
    of_v = net.col[room.host[v]]
    add = net.D[net.off[room.host[q]] + of_v]
    if add == math.inf or _below(net.n, room.par, q, v):
        return math.inf
    change = add - net.D[net.off[room.host[p]] + of_v]
    if room.arrive[q] + add + room.h[v] > mark.now + mark.threshold - mark.alpha * (mark.edges + change):
        return math.inf
    room.tally[0] += TRY
    _pass_on(net, room, v, p, q)
    if _accepted(net, room, change, mark):
        return change
    _pass_on(net, room, v, q, p)
    return math.inf


@kernel
def _pass_on(net: Net, room: Room, v: int, left: int, joined: int) -> None:
    """v's subtree goes from one position to another."""
    _detach(room, v, left)
    _climb(net, room, left)
    _attach(room, v, joined)
    _climb(net, room, joined)


@kernel
def _swap_hosts(net: Net, room: Room, v: int, w: int, mark: Mark) -> float:
    """Two hosts change places."""
    host, par, arrive, D, off, col = room.host, room.par, room.arrive, net.D, net.off, net.col
    a, b, p, q = host[v], host[w], par[v], par[w]
    add = _label_cost(net, room, v, w, b, a)
    add += _label_cost(net, room, w, v, a, b)
    if add == math.inf:
        return math.inf
    change = add - _label_cost(net, room, v, w, a, b)
    change -= _label_cost(net, room, w, v, b, a)
    limit = mark.now + mark.threshold - mark.alpha * (mark.edges + change)
    c = room.crit[v]
    if c >= 0 and w not in (c, p):
        late = arrive[p] + D[off[host[p]] + col[b]] + D[off[b] + col[host[c]]] + room.h[c]
        if late > limit:
            return math.inf
    c = room.crit[w]
    if c >= 0 and v not in (c, q):
        late = arrive[q] + D[off[host[q]] + col[a]] + D[off[a] + col[host[c]]] + room.h[c]
        if late > limit:
            return math.inf
    room.tally[0] += TRY
    _exchange(net, room, v, w)
    if _accepted(net, room, change, mark):
        return change
    _exchange(net, room, v, w)
    return math.inf


@kernel
def _label_cost(net: Net, room: Room, p: int, other: int, new: int, swapped: int) -> float:
    """Seconds on all links at position p if host ``new`` stood there (and ``swapped`` at position ``other``)."""
    host, nxt, D, col = room.host, room.nxt, net.D, net.col
    up = room.par[p]
    # A link between the two positions is counted at the upper one only.
    total = 0.0 if up == other else D[net.off[host[up]] + col[new]]
    row = net.off[new]
    c = room.first[p]
    while c >= 0:
        below = swapped if c == other else host[c]
        total += D[row + col[below]]
        c = nxt[c]
    return total


@kernel
def _exchange(net: Net, room: Room, v: int, w: int) -> None:
    """The hosts at v and w change places."""
    host, pos, par = room.host, room.pos, room.par
    p, q = par[v], par[w]
    c = host[v]
    host[v] = host[w]
    host[w] = c
    pos[host[v]] = v
    pos[host[w]] = w
    _climb(net, room, v)
    _climb(net, room, p)
    _climb(net, room, w)
    _climb(net, room, q)


@kernel
def _swap_subtrees(net: Net, room: Room, v: int, w: int, mark: Mark) -> float:
    """Two subtrees change places."""
    host, par, D, off, col = room.host, room.par, net.D, net.off, net.col
    a, b, p, q = host[v], host[w], par[v], par[w]
    if p == q or _below(net.n, par, v, w) or _below(net.n, par, w, v):
        return math.inf
    add = D[off[host[p]] + col[b]] + D[off[host[q]] + col[a]]
    if add == math.inf:
        return math.inf
    change = add - D[off[host[p]] + col[a]] - D[off[host[q]] + col[b]]
    limit = mark.now + mark.threshold - mark.alpha * (mark.edges + change)
    if room.arrive[p] + D[off[host[p]] + col[b]] + room.h[w] > limit:
        return math.inf
    if room.arrive[q] + D[off[host[q]] + col[a]] + room.h[v] > limit:
        return math.inf
    room.tally[0] += TRY
    _detach(room, v, p)
    _detach(room, w, q)
    _attach(room, w, p)
    _attach(room, v, q)
    _climb(net, room, p)
    _climb(net, room, q)
    if _accepted(net, room, change, mark):
        return change
    _detach(room, w, p)
    _detach(room, v, q)
    _attach(room, v, p)
    _attach(room, w, q)
    _climb(net, room, p)
    _climb(net, room, q)
    return math.inf
