# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Shorter links at the same load: a host is served by a nearer one that has room, or serves the one that served it.

A search for the least load has no reason to spare a link that is not full: it sends a part of the base back over a slow
line to the site that it came from.
"""

from __future__ import annotations

from ..jit import Ints, kernel
from .load import levels, move
from .model import Cap, Loads, Net, Stripes
from .reduce_depth import Room

# A link is shorter from this part of another one's seconds on.
SHORTER = 0.95


@kernel
def shorten(net: Net, stripes: Stripes, loads: Loads, room: Room, limit: float, rounds: int) -> int:
    """Changes the trees, whose loads are given; returns how many hosts moved.

    :param limit: the greatest load that may come out of it. Loads between sites do not grow.
    :param rounds: through each tree at most.
    """
    n, par = net.n, stripes.par
    moves = 0
    for k in range(stripes.trees):
        base = k * n
        cap = Cap(stripes.weights[k], limit)
        for _round in range(rounds):
            before = moves
            levels(n, base, par, room.depth)
            for v in range(n):
                moves += _to_nearer(net, loads, par, room.depth, cap, base, v)
            for v in range(n):
                moves += _turn(net, loads, par, cap, base, v)
            if moves == before:
                break
    return moves


@kernel
def _to_nearer(net: Net, loads: Loads, par: Ints, depth: Ints, cap: Cap, base: int, v: int) -> int:
    """Lets a nearer host serve v; 1 if there was one."""
    p = par[base + v]
    if p < 0:
        return 0
    u = _nearest(net, loads, cap, depth, v, p)
    if u < 0:
        return 0
    move(net, loads, p, v, -cap.weight)
    move(net, loads, u, v, cap.weight)
    par[base + v] = u
    return 1


@kernel
def _nearest(net: Net, loads: Loads, cap: Cap, depth: Ints, v: int, p: int) -> int:
    """The host that may serve v in place of p over the shortest link; -1: none over a shorter one."""
    w, limit, of = cap.weight, cap.limit, net.of
    old = net.off[p] + net.col[v]
    chosen = -1
    least = SHORTER * net.D[old]
    for u in range(net.n):
        new = net.off[u] + net.col[v]
        # A host that is nearer to the holders is not below it.
        if depth[u] >= depth[v] or net.D[new] >= least:
            continue
        if of[u] != of[v] and of[u] != of[p]:
            continue
        if net.nic and loads.lnk[u * net.n + v] + w * net.D[new] > limit:
            continue
        if loads.out[u] + w * net.occ[new] > limit or loads.inn[v] + w * (net.rcv[new] - net.rcv[old]) > limit:
            continue
        chosen = u
        least = net.D[new]
    return chosen


@kernel
def _turn(net: Net, loads: Loads, par: Ints, cap: Cap, base: int, v: int) -> int:
    """Lets v serve the host that served it; 1 if that makes links shorter."""
    p = par[base + v]
    g = par[base + p] if p >= 0 else -1
    if g < 0 or not _turns(net, loads, cap, g, p, v):
        return 0
    move(net, loads, g, p, -cap.weight)
    move(net, loads, p, v, -cap.weight)
    move(net, loads, g, v, cap.weight)
    move(net, loads, v, p, cap.weight)
    par[base + v] = g
    par[base + p] = v
    return 1


@kernel
def _turns(net: Net, loads: Loads, cap: Cap, g: int, p: int, v: int) -> bool:
    """Whether instead of g, p, v the base may go g, v, p, over shorter links."""
    w, limit, D, occ, rcv = cap.weight, cap.limit, net.D, net.occ, net.rcv
    gp, pv, gv, vp = net.off[g] + net.col[p], net.off[p] + net.col[v], net.off[g] + net.col[v], net.off[v] + net.col[p]
    if D[gv] + D[vp] >= SHORTER * (D[gp] + D[pv]):
        return False
    if net.of[v] != net.of[g] and net.of[v] != net.of[p]:
        return False
    if net.nic and (loads.lnk[g * net.n + v] + w * D[gv] > limit or loads.lnk[v * net.n + p] + w * D[vp] > limit):
        return False
    if loads.out[g] + w * (occ[gv] - occ[gp]) > limit or loads.out[v] + w * occ[vp] > limit:
        return False
    return bool(loads.inn[v] + w * (rcv[gv] - rcv[pv]) <= limit and loads.inn[p] + w * (rcv[vp] - rcv[gp]) <= limit)
