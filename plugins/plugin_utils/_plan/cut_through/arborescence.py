# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The cheapest tree that reaches everybody (Chu-Liu and Edmonds, dense, O(n^2)), inner loop."""

from __future__ import annotations

import math
import typing as t

from .. import jit
from ..jit import Floats, Ints, kernel

# What is known of a host: it stands for a cycle that it is in, if it is not OUT, and leaves that to another one then.
NEW, ON_PATH, DONE, OUT, LEAVING = 0, 1, 2, 3, 4


class Room(t.NamedTuple):
    """Costs and ends of the links between hosts that are left (n^2); of each such host its number, state and cost, and the
    path to it (n); of hosts and cycles what they are in, and the link that enters them (2n)."""

    W: Floats
    EU: Ints
    EV: Ints
    ident: Ints
    state: Ints
    path: Ints
    incost: Floats
    above: Ints
    inu: Ints
    inv: Ints


def room_for(n: int) -> Room:
    """Room for n hosts."""
    f, i = jit.fill_floats, jit.fill_ints
    return Room(f(n * n), i(n * n), i(n * n), i(n), i(n), i(n), f(n), i(2 * n), i(2 * n), i(2 * n))


@kernel
def arborescence(n: int, cost: Floats, room: Room, parent: Ints) -> float:
    """Parents of the cheapest arborescence from host 0 (``cost[i * n + j]``, inf: no link); returns its cost, inf if there
    is none."""
    state, path = room.state, room.path
    _prepare(n, cost, room)
    ids = n
    for s in range(n):
        if state[s] != NEW:
            continue
        top = 0
        path[0] = s
        state[s] = ON_PATH
        while True:
            a = _enter(n, room, path[top])
            if a < 0:
                return math.inf
            if state[a] == NEW:
                top += 1
                path[top] = a
                state[a] = ON_PATH
            elif state[a] == DONE:
                for k in range(top + 1):
                    state[path[k]] = DONE
                break
            else:
                # The path ran into itself: one host of the cycle now stands for all of them.
                low = top
                while path[low] != a:
                    low -= 1
                _contract(n, room, low, top, ids)
                ids += 1
                top = low
    _expand(n, room, ids)
    total = 0.0
    parent[0] = -1
    for v in range(1, n):
        parent[v] = room.inu[v]
        total += cost[room.inu[v] * n + v]
    return total


@kernel
def _prepare(n: int, cost: Floats, room: Room) -> None:
    for e in range(n * n):
        room.W[e] = cost[e]
        room.EU[e] = e // n
        room.EV[e] = e % n
    for v in range(n):
        room.ident[v] = v
        room.state[v] = NEW
        room.W[v * n + v] = math.inf
    for v in range(2 * n):
        room.above[v] = -1
        room.inu[v] = -1
        room.inv[v] = -1
    room.state[0] = DONE


@kernel
def _enter(n: int, room: Room, cur: int) -> int:
    """The host at the other end of the cheapest link to ``cur``, which is noted; -1: there is no link."""
    W, state = room.W, room.state
    a = -1
    least = math.inf
    for x in range(n):
        if state[x] != OUT and x != cur and W[x * n + cur] < least:
            least = W[x * n + cur]
            a = x
    if a >= 0:
        room.incost[cur] = least
        room.inu[room.ident[cur]] = room.EU[a * n + cur]
        room.inv[room.ident[cur]] = room.EV[a * n + cur]
    return a


@kernel
def _contract(n: int, room: Room, low: int, top: int, new: int) -> None:
    """Makes the hosts on the path from ``low`` to ``top`` one, with the number ``new``."""
    path, state = room.path, room.state
    for k in range(low, top + 1):
        room.above[room.ident[path[k]]] = new
        state[path[k]] = LEAVING
    for x in range(n):
        if state[x] < OUT:
            _join_links(n, room, low, top, x)
    for k in range(low, top + 1):
        state[path[k]] = OUT
    room.ident[path[low]] = new
    state[path[low]] = ON_PATH


@kernel
def _join_links(n: int, room: Room, low: int, top: int, x: int) -> None:
    """Of the links between x and a cycle the cheapest ones, each way."""
    W, EU, EV, path = room.W, room.EU, room.EV, room.path
    rep = path[low]
    for k in range(low, top + 1):
        m = path[k]
        e = x * n + m
        c = W[e] - room.incost[m]
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


@kernel
def _expand(n: int, room: Room, ids: int) -> None:
    """From the last cycle to the first: the host by which it is entered is entered there, the others as in the cycle."""
    for composite in range(ids - 1, n - 1, -1):
        u = room.inu[composite]
        v = room.inv[composite]
        x = v
        while x != composite:
            room.inu[x] = u
            room.inv[x] = v
            x = room.above[x]
