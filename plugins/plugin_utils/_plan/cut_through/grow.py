# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""A cut-through tree grown by least load: inner loop."""

from __future__ import annotations

import math
import typing as t

from ..jit import Floats, Ints, kernel
from .load import cross, offer
from .model import Growing, Loads, Net


class Room(t.NamedTuple):
    """Room for n numbers each, for 3 n in ``low``: the least that a link to v, or from v, adds.

    ``nearest``: for each host all hosts, the shortest link from it first; ``ahead``: how many of them have been joined.
    """

    depth: Ints
    cost: Floats
    via: Ints
    low: Floats
    nearest: Ints
    ahead: Ints


@kernel
def grow(net: Net, loads: Loads, tree: Growing, room: Room) -> int:
    """Grows a tree, Prim-like, by the edge that leaves the least load (plus the penalty per link of depth).

    Loads are updated. Returns how many hosts were joined; the rest cannot be reached.
    """
    _prepare(net, tree, room)
    joined = net.roots
    _ask(net, loads, tree, room, 0, net.roots)
    while True:
        best = _cheapest(net, room)
        if best < 0:
            return joined
        u = room.via[best]
        _join(net, loads, tree, room, u, best)
        joined += 1
        if not net.nic:
            _look_ahead(net, tree, room)
        _look_again(net, loads, tree, room, u, best)
        _ask(net, loads, tree, room, best, best + 1)


@kernel
def _prepare(net: Net, tree: Growing, room: Room) -> None:
    inf = math.inf
    n, low = net.n, room.low
    for v in range(n):
        room.ahead[v] = 0
        tree.par[tree.base + v] = -1
        room.depth[v] = 0 if v < net.roots else -1
        room.cost[v] = inf
        room.via[v] = -1
        low[v] = low[n + v] = low[2 * n + v] = inf
    for u in range(n):
        for v in range(net.roots, n):
            e = net.off[u] + net.col[v]
            if u != v and net.D[e] < inf:
                low[v] = min(low[v], tree.weight * net.rcv[e])
                low[n + v] = min(low[n + v], 1e-7 * tree.weight * net.D[e])
                low[2 * n + u] = min(low[2 * n + u], tree.weight * net.occ[e])


@kernel
def _ask(net: Net, loads: Loads, tree: Growing, room: Room, first: int, last: int) -> None:
    """Offers of the hosts that are new in the tree: all holders at first, then one at a time."""
    depth, cost = room.depth, room.cost
    for u in range(first, last):
        if depth[u] >= tree.most:
            continue
        for v in range(net.roots, net.n):
            if depth[v] < 0:
                x = offer(net, loads, u, v, tree.weight)
                x += tree.penalty * (depth[u] + 1)
                if x < cost[v]:
                    cost[v] = x
                    room.via[v] = u


@kernel
def _cheapest(net: Net, room: Room) -> int:
    """The host that can be joined with the least load; -1: none."""
    best = -1
    least = math.inf
    for v in range(net.roots, net.n):
        if room.depth[v] < 0 and room.cost[v] < least:
            least = room.cost[v]
            best = v
    return best


@kernel
def _join(net: Net, loads: Loads, tree: Growing, room: Room, u: int, v: int) -> None:
    e = net.off[u] + net.col[v]
    tree.par[tree.base + v] = u
    room.depth[v] = room.depth[u] + 1
    loads.out[u] += tree.weight * net.occ[e]
    loads.inn[v] += tree.weight * net.rcv[e]
    if net.nic:
        loads.lnk[u * net.n + v] += tree.weight * net.D[e]
    if net.sites > 1:
        cross(net, loads, net.of[u], net.of[v], tree.weight)


@kernel
def _look_ahead(net: Net, tree: Growing, room: Room) -> None:
    """What a sender adds at least, over the links to those that still wait."""
    n, depth, nearest = net.n, room.depth, room.nearest
    for w in range(n):
        if depth[w] >= 0:
            i = room.ahead[w]
            while i < n and depth[nearest[w * n + i]] >= 0:
                i += 1
            if i < n and i > room.ahead[w]:
                room.low[2 * n + w] = tree.weight * net.D[net.off[w] + net.col[nearest[w * n + i]]]
            room.ahead[w] = i


@kernel
def _look_again(net: Net, loads: Loads, tree: Growing, room: Room, u: int, joined: int) -> None:
    """u, or a way between sites, is busier now: those that hoped for it look for another sender."""
    of = net.of
    crossed = net.sites > 1 and of[u] != of[joined]
    for v in range(net.roots, net.n):
        if room.depth[v] < 0 and room.via[v] >= 0:
            w = room.via[v]
            if w == u or (crossed and of[w] != of[v] and (of[w] == of[u] or of[v] == of[joined])):
                _find_sender(net, loads, tree, room, v, joined)


@kernel
def _find_sender(net: Net, loads: Loads, tree: Growing, room: Room, v: int, but: int) -> None:
    """The sender for v, of those in the tree without ``but``, that leaves the least load."""
    n, depth, low = net.n, room.depth, room.low
    cost = math.inf
    via = -1
    for w in range(n):
        if depth[w] >= 0 and depth[w] < tree.most and w != but:
            extra = tree.penalty * (depth[w] + 1)
            if max(loads.out[w] + low[2 * n + w], loads.inn[v] + low[v]) + low[n + v] + extra >= cost:
                continue
            x = offer(net, loads, w, v, tree.weight)
            x += extra
            if x < cost:
                cost = x
                via = w
    room.cost[v] = cost
    room.via[v] = via
