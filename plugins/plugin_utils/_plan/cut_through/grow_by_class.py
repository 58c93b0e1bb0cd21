# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Cut-through trees for many hosts that come in classes: inner loop.

Every host that is in the tree offers its best edge to some class; the edge that leaves the least load is taken. Inside
a class those hosts come first that have sent least in the trees before, so that each relays in few trees.
"""

from __future__ import annotations

import math
import typing as t

from ..heap import Heap, clear, pop, push, size
from ..jit import Ints, kernel
from .load import cross, crossing
from .model import Growing, Loads, Net


class Room(t.NamedTuple):
    """Room for each class's first host that waits, each host's next one, and each host's depth; a heap of what
    each host that is in the tree offers."""

    first: Ints
    nxt: Ints
    depth: Ints
    queue: Heap


@kernel
def spread(net: Net, loads: Loads, tree: Growing, room: Room, order: Ints) -> int:
    """Grows a tree of hosts that come in classes (``net.col``) and updates the loads; how many hosts are in it.

    :param order: the targets, those to be joined first last.
    """
    n, first, queue = net.n, room.first, room.queue
    _prepare(net, tree, room, order)
    clear(queue)
    for r in range(net.roots):
        push(queue, 0.0, r, -1)
    joined = net.roots
    # An entry (load, sender, class): class -1 asks for the sender's best class.
    while size(queue) > 0 and joined < n:
        key, u, c = pop(queue)
        if c < 0 or first[c] < 0:
            least, best = _best_class(net, loads, tree, room, u)
            if best >= 0:
                push(queue, least, u, best)
            continue
        x = _load(net, loads, tree, room, u, c)
        if x > key * (1.0 + 1e-9):
            # Meanwhile the way between the sites got busier.
            push(queue, x, u, -1)
            continue
        v = _take(net, loads, room, u, c)
        _join(net, loads, tree, room, u, v)
        joined += 1
        push(queue, loads.out[u], u, -1)
        if room.depth[v] < tree.most:
            push(queue, loads.out[v], v, -1)
    return joined


@kernel
def _prepare(net: Net, tree: Growing, room: Room, order: Ints) -> None:
    first = room.first
    for c in range(net.classes):
        first[c] = -1
    for v in range(net.n):
        tree.par[tree.base + v] = -1
        room.depth[v] = 0
    for j in range(net.n - net.roots):
        v = order[j]
        room.nxt[v] = first[net.col[v]]
        first[net.col[v]] = v


@kernel
def _load(net: Net, loads: Loads, tree: Growing, room: Room, u: int, c: int) -> float:
    """The greatest load if u served the first host of a class, with the penalty for its depth."""
    x = loads.out[u] + tree.weight * net.D[net.off[u] + c] + tree.penalty * room.depth[u]
    if net.sites > 1:
        y = crossing(net, loads, net.of[u], net.of[room.first[c]], tree.weight)
        x = max(x, y)
    return x


@kernel
def _best_class(net: Net, loads: Loads, tree: Growing, room: Room, u: int) -> tuple[float, int]:
    """The least load that u could leave, and the class that it would serve; -1: none."""
    best = -1
    least = math.inf
    for d in range(net.classes):
        if room.first[d] >= 0 and net.D[net.off[u] + d] < math.inf:
            x = _load(net, loads, tree, room, u, d)
            if x < least:
                least = x
                best = d
    return least, best


@kernel
def _take(net: Net, loads: Loads, room: Room, u: int, c: int) -> int:
    """The host of class c that u serves; it does not wait any more."""
    nxt, inn = room.nxt, loads.inn
    v = room.first[c]
    before = -1
    if c != net.col[u]:
        # From another class it comes to the host that has received least.
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
        room.first[c] = nxt[v]
    return v


@kernel
def _join(net: Net, loads: Loads, tree: Growing, room: Room, u: int, v: int) -> None:
    e = net.off[u] + net.col[v]
    tree.par[tree.base + v] = u
    room.depth[v] = room.depth[u] + 1
    loads.out[u] += tree.weight * net.D[e]
    loads.inn[v] += tree.weight * net.D[e]
    if net.sites > 1:
        cross(net, loads, net.of[u], net.of[v], tree.weight)
