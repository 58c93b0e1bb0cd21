# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Shallower trees of the same load: a host that passes much on changes places with one nearer to the holders that does not.

What a search for the least load leaves is as deep as it happens to be, and each link of depth costs the time of a chunk,
and one more relay that may die.
"""

from __future__ import annotations

import typing as t

from ..jit import Ints, kernel
from .load import levels, move
from .model import Cap, Loads, Net, Stripes


class Room(t.NamedTuple):
    """Room for n numbers each."""

    depth: Ints
    kids: Ints


@kernel
def flatten(net: Net, stripes: Stripes, loads: Loads, room: Room, limit: float, rounds: int) -> int:
    """Changes the trees, whose loads are given; returns how many changed places.

    :param limit: the greatest load that may come out of it. Loads between sites stay as they are.
    :param rounds: through each tree at most.
    """
    n, par, depth, kids = net.n, stripes.par, room.depth, room.kids
    swaps = 0
    for k in range(stripes.trees):
        base = k * n
        cap = Cap(stripes.weights[k], limit)
        _count_kids(n, base, par, kids)
        for _round in range(rounds):
            levels(n, base, par, depth)
            before = swaps
            for v in range(n):
                if kids[v] == 0 or depth[v] < 2:
                    continue
                x = _higher(net, loads, par, room, cap, base, v)
                if x < 0:
                    continue
                _change_places(net, loads, par, cap, base, v, x)
                # Of what is below them the next round knows the depth.
                depth[v], depth[x] = depth[x], depth[v]
                swaps += 1
            if swaps == before:
                break
    return swaps


@kernel
def _count_kids(n: int, base: int, par: Ints, kids: Ints) -> None:
    for v in range(n):
        kids[v] = 0
    for v in range(n):
        u = par[base + v]
        if u >= 0:
            kids[u] += 1


@kernel
def _higher(net: Net, loads: Loads, par: Ints, room: Room, cap: Cap, base: int, v: int) -> int:
    """The host nearest to the holders that serves fewer than v and may change places with it; -1: none."""
    depth, kids, of = room.depth, room.kids, net.of
    p = par[base + v]
    chosen = -1
    least = depth[v]
    for x in range(net.n):
        if depth[x] >= least or depth[x] == 0 or kids[x] >= kids[v] or x == p:
            continue
        q = par[base + x]
        if of[v] != of[x] and of[p] != of[q]:
            continue
        if not _fits(net, loads, cap, q, v, x, p) or not _fits(net, loads, cap, p, x, v, q):
            continue
        if _below(v, x, base, par) or _below(x, v, base, par):
            continue
        chosen = x
        least = depth[x]
    return chosen


@kernel
def _fits(net: Net, loads: Loads, cap: Cap, u: int, v: int, instead: int, old: int) -> bool:
    """Whether u may serve v in place of ``instead``; v was served by ``old``. No load may exceed the limit by that."""
    weight, limit = cap.weight, cap.limit
    new = net.off[u] + net.col[v]
    if weight * net.D[new] > limit:
        return False
    if net.nic and loads.lnk[u * net.n + v] + weight * net.D[new] > limit:
        return False
    if loads.out[u] + weight * (net.occ[new] - net.occ[net.off[u] + net.col[instead]]) > limit:
        return False
    return bool(loads.inn[v] + weight * (net.rcv[new] - net.rcv[net.off[old] + net.col[v]]) <= limit)


@kernel
def _below(v: int, u: int, base: int, par: Ints) -> bool:
    """Whether v gets its chunks by way of u."""
    while v >= 0 and v != u:
        v = par[base + v]
    return v == u


@kernel
def _change_places(net: Net, loads: Loads, par: Ints, cap: Cap, base: int, v: int, x: int) -> None:
    """v and x receive from each other's sender."""
    p = par[base + v]
    q = par[base + x]
    move(net, loads, p, v, -cap.weight)
    move(net, loads, q, x, -cap.weight)
    move(net, loads, q, v, cap.weight)
    move(net, loads, p, x, cap.weight)
    par[base + v] = q
    par[base + x] = p
