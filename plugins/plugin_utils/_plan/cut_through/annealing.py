# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Annealing of cut-through trees: inner loops.

Hosts move to other senders, stripe by stripe, so that the sum of (load / reference)^16 (and higher powers) falls.
"""

from __future__ import annotations

import math
import typing as t

from ..jit import Ints, draw, inlined, kernel, start_random
from .load import cross, measure
from .model import Loads, Net, Stripes

SCALE = 1.0 / 4294967296.0


class Room(t.NamedTuple):
    """``best``, ``tall``: room for all edges, the best trees and how many links there are below each host.

    ``urgent``: room for all edges, or none; with it half of the moves are for edges at ports that are nearly the busiest,
    without which few of many hosts would be the right ones. ``random``: see ``jit.draw``.
    """

    best: Ints
    tall: Ints
    urgent: Ints
    random: Ints


class Course(t.NamedTuple):
    """How long to anneal and at which temperatures. No tree becomes deeper than ``most`` links, or hardly so."""

    most: int
    moves: int
    hot: float
    cold: float
    seed: int


class Heat(t.NamedTuple):
    """What moves are judged by for a while; ``sharp``: how many more times powers are squared."""

    reference: float
    sharp: int
    temperature: float
    most: int


@kernel
def anneal(net: Net, stripes: Stripes, loads: Loads, room: Room, course: Course) -> float:
    """Leaves the best trees by greatest load in ``room.best``; returns that load."""
    n = net.n
    lowest = measure(net, stripes, loads)
    _keep(n, stripes, room)
    if n - net.roots < 1 or lowest <= 0:
        return lowest
    start_random(room.random, course.seed, 362436069)
    temperature = course.hot
    blocks = 512 if n <= 300 else 256
    every = 1 if n <= 90 else 4
    factor = (course.cold / course.hot) ** (1.0 / blocks)
    for block in range(blocks):
        # Recount now and then: sums of many small changes drift.
        worst = measure(net, stripes, loads)
        if worst < lowest:
            lowest = worst
            _keep(n, stripes, room)
        temperature *= factor
        # Blunt at first, so that all ports count; later only those that are nearly the worst.
        heat = Heat(worst, block * 4 // blocks, temperature, course.most)
        if block % every == 0:
            _heights(n, stripes, room.tall)
        pressed = _pressed(net, stripes, loads, room.urgent, worst)
        for _step in range(course.moves // blocks):
            _step_once(net, stripes, loads, room, heat, pressed)
    # Of trees with the same greatest load the last ones leave most room at the other ports.
    worst = measure(net, stripes, loads)
    if worst <= lowest * (1.0 + 1e-9):
        lowest = worst
        _keep(n, stripes, room)
    return lowest


@kernel
def _keep(n: int, stripes: Stripes, room: Room) -> None:
    for e in range(stripes.trees * n):
        room.best[e] = stripes.par[e]


@kernel
def _heights(n: int, stripes: Stripes, tall: Ints) -> None:
    """How many links there are below each host, tree by tree."""
    par = stripes.par
    for e in range(stripes.trees * n):
        tall[e] = 0
    for k in range(stripes.trees):
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
def _pressed(net: Net, stripes: Stripes, loads: Loads, urgent: Ints, worst: float) -> int:
    """Lists the edges at ports that are nearly the busiest; how many there are."""
    pressed = 0
    if len(urgent) > 0:
        for e in range(stripes.trees * net.n):
            p = stripes.par[e]
            if p >= 0 and (loads.out[p] > 0.95 * worst or loads.inn[e % net.n] > 0.95 * worst):
                urgent[pressed] = e
                pressed += 1
    return pressed


@inlined
def _step_once(net: Net, stripes: Stripes, loads: Loads, room: Room, heat: Heat, pressed: int) -> None:
    """Draws a host in a tree and a move for it."""
    x = draw(room.random)
    k = (x * stripes.trees) >> 32
    x = draw(room.random)
    v = net.roots + ((x * (net.n - net.roots)) >> 32)
    if pressed > 0 and x & 1:
        x = draw(room.random)
        v = room.urgent[(x * pressed) >> 32]
        k = v // net.n
        v -= k * net.n
    x = draw(room.random)
    if (x >> 8) & 3 == 0:
        _overtake(net, stripes, loads, room, heat, k, v)
    else:
        _change_sender(net, stripes, loads, room, heat, k, v)


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
def _rise(now: float, more: float, heat: Heat) -> float:
    """What it changes in the sum if a port is busy for so much longer."""
    return _power((now + more) / heat.reference, heat.sharp) - _power(now / heat.reference, heat.sharp)


@kernel
def _rejected(change: float, room: Room, heat: Heat) -> bool:
    x = draw(room.random)
    return change > -heat.temperature * math.log((x + 1) * SCALE)


@inlined
def _overtake(net: Net, stripes: Stripes, loads: Loads, room: Room, heat: Heat, k: int, v: int) -> None:
    """v takes the place of a host above it, which then receives from v: lets another member of a rack or site be the one
    that fetches from outside."""
    par, of = stripes.par, net.of
    base = k * net.n
    p = par[base + v]
    up = p
    u = par[base + up]
    hops = (room.random[0] >> 12) & 3
    while hops > 0 and u >= 0 and par[base + u] >= 0:
        up = u
        u = par[base + u]
        hops -= 1
    if u < 0:
        return
    if net.sites > 1 and (of[v] != of[up] or of[v] != of[p]):
        return
    if net.D[net.off[u] + net.col[v]] == math.inf or net.D[net.off[v] + net.col[up]] == math.inf:
        return
    deep = 2
    q = u
    while q >= 0:
        q = par[base + q]
        deep += 1
    if deep - 1 + room.tall[base + up] > heat.most:
        return
    w = stripes.weights[k]
    if _rejected(_overtaking(net, loads, heat, w, (u, up), (p, v)), room, heat):
        return
    _overtaken(net, loads, w, (u, up), (p, v))
    par[base + v] = u
    par[base + up] = v


@inlined
def _overtaking(net: Net, loads: Loads, heat: Heat, w: float, above: tuple[int, int], own: tuple[int, int]) -> float:
    """What it changes in the sum if v, instead of being served over the link ``own``, gets into the link ``above``."""
    D, occ, rcv, out, inn, lnk, n = net.D, net.occ, net.rcv, loads.out, loads.inn, loads.lnk, net.n
    reference, sharp = heat.reference, heat.sharp
    u, up = above
    p, v = own
    ea, eb, ec, ep = net.off[u] + net.col[v], net.off[v] + net.col[up], net.off[u] + net.col[up], net.off[p] + net.col[v]
    change = _rise(out[u], w * (occ[ea] - occ[ec]), heat)
    change += _rise(out[p], -(w * occ[ep]), heat)
    change += _rise(out[v], w * occ[eb], heat)
    change += _power((inn[v] + w * (rcv[ea] - rcv[ep])) / reference, sharp)
    change -= _power(inn[v] / reference, sharp)
    change += _power((inn[up] + w * (rcv[eb] - rcv[ec])) / reference, sharp)
    change -= _power(inn[up] / reference, sharp)
    if net.nic:
        change += _rise(lnk[u * n + v], w * D[ea], heat)
        change += _rise(lnk[v * n + up], w * D[eb], heat)
        change += _rise(lnk[u * n + up], -(w * D[ec]), heat)
        change += _rise(lnk[p * n + v], -(w * D[ep]), heat)
    return change


@inlined
def _overtaken(net: Net, loads: Loads, w: float, above: tuple[int, int], own: tuple[int, int]) -> None:
    """The loads after ``_overtaking``."""
    D, occ, rcv, out, inn, lnk, n = net.D, net.occ, net.rcv, loads.out, loads.inn, loads.lnk, net.n
    u, up = above
    p, v = own
    ea, eb, ec, ep = net.off[u] + net.col[v], net.off[v] + net.col[up], net.off[u] + net.col[up], net.off[p] + net.col[v]
    out[u] += w * (occ[ea] - occ[ec])
    out[p] -= w * occ[ep]
    out[v] += w * occ[eb]
    inn[v] += w * (rcv[ea] - rcv[ep])
    inn[up] += w * (rcv[eb] - rcv[ec])
    if net.nic:
        lnk[u * n + v] += w * D[ea]
        lnk[v * n + up] += w * D[eb]
        lnk[u * n + up] -= w * D[ec]
        lnk[p * n + v] -= w * D[ep]


@inlined
def _change_sender(net: Net, stripes: Stripes, loads: Loads, room: Room, heat: Heat, k: int, v: int) -> None:
    """Another sender for v, and so for what is below it."""
    par, of = stripes.par, net.of
    base = k * net.n
    p = par[base + v]
    q = _sender(net, room, v)
    if q < 0 or q in (p, v):
        return
    if net.D[net.off[q] + net.col[v]] == math.inf:
        return
    # Not below v, and not too deep.
    deep = 1
    u = q
    while u >= 0 and u != v:
        u = par[base + u]
        deep += 1
    if u == v or deep - 1 + room.tall[base + v] > heat.most:
        return
    w = stripes.weights[k]
    if _rejected(_changing(net, loads, heat, w, p, q, v), room, heat):
        return
    if net.sites > 1:
        cross(net, loads, of[p], of[v], -w)
        cross(net, loads, of[q], of[v], w)
    eq, ep = net.off[q] + net.col[v], net.off[p] + net.col[v]
    loads.out[q] += w * net.occ[eq]
    loads.out[p] -= w * net.occ[ep]
    loads.inn[v] += w * (net.rcv[eq] - net.rcv[ep])
    if net.nic:
        loads.lnk[q * net.n + v] += w * net.D[eq]
        loads.lnk[p * net.n + v] -= w * net.D[ep]
    par[base + v] = q


@kernel
def _sender(net: Net, room: Room, v: int) -> int:
    """A host to serve v: often one of the best for it, the better ones more often; -1: none."""
    near = (room.random[0] & 1) == 1 and net.width > 0
    x = draw(room.random)
    if not near:
        return (x * net.n) >> 32
    a = ((x & 65535) * net.width) >> 16
    b = ((x >> 16) * net.width) >> 16
    return net.near[v * net.width + min(a, b)]


@inlined
def _changing(net: Net, loads: Loads, heat: Heat, w: float, p: int, q: int, v: int) -> float:
    """What it changes in the sum if v, so far served by p, is served by q."""
    n, of, inn = net.n, net.of, loads.inn
    eq, ep = net.off[q] + net.col[v], net.off[p] + net.col[v]
    change = _rise(loads.out[q], w * net.occ[eq], heat)
    change += _rise(loads.out[p], -(w * net.occ[ep]), heat)
    change += _rise(inn[v], w * (net.rcv[eq] - net.rcv[ep]), heat)
    if net.nic:
        change += _rise(loads.lnk[q * n + v], w * net.D[eq], heat)
        change += _rise(loads.lnk[p * n + v], -(w * net.D[ep]), heat)
    if net.sites > 1 and of[p] != of[q]:
        change += _swing(net, loads, heat, w, of[p], of[v], of[q])
    return change


@inlined
def _swing(net: Net, loads: Loads, heat: Heat, w: float, a: int, b: int, c: int) -> float:
    """What it changes in the sum if a host of site b, so far served from site a, is served from another site c."""
    sites, sc, sl = net.sites, net.sc, loads.sl
    change = 0.0
    enter = 0.0
    if a != b:
        enter -= w
        change += _rise(sl[a], -(w * sc[a]), heat)
        e = 2 * sites + a * sites + b
        change += _rise(sl[e], -(w * sc[e]), heat)
    if c != b:
        enter += w
        change += _rise(sl[c], w * sc[c], heat)
        e = 2 * sites + c * sites + b
        change += _rise(sl[e], w * sc[e], heat)
    e = sites + b
    reference, sharp = heat.reference, heat.sharp
    return change + _power((sl[e] + enter * sc[e]) / reference, sharp) - _power(sl[e] / reference, sharp)
