# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Loads of ports and links: inner loops."""

from __future__ import annotations

import math

from ..jit import Ints, kernel
from .model import Loads, Net, Stripes


@kernel
def crossing(net: Net, loads: Loads, a: int, b: int, weight: float) -> float:
    """The greatest load of the ports between sites a and b, if an edge were added."""
    if a == b:
        return 0.0
    sc, sl = net.sc, loads.sl
    x = sl[a] + weight * sc[a]
    y = sl[net.sites + b] + weight * sc[net.sites + b]
    x = max(x, y)
    e = 2 * net.sites + a * net.sites + b
    y = sl[e] + weight * sc[e]
    return max(x, y)


@kernel
def cross(net: Net, loads: Loads, a: int, b: int, weight: float) -> None:
    """Adds an edge's load to the ports between its sites."""
    if a != b:
        sc, sl = net.sc, loads.sl
        sl[a] += weight * sc[a]
        sl[net.sites + b] += weight * sc[net.sites + b]
        e = 2 * net.sites + a * net.sites + b
        sl[e] += weight * sc[e]


@kernel
def offer(net: Net, loads: Loads, u: int, v: int, weight: float) -> float:
    """The greatest load that the edge u > v would leave; inf if there is no link."""
    e = net.off[u] + net.col[v]
    seconds = net.D[e]
    if seconds == math.inf:
        return math.inf
    x = loads.out[u] + weight * net.occ[e]
    y = loads.inn[v] + weight * net.rcv[e]
    x = max(x, y)
    y = weight * seconds + (loads.lnk[u * net.n + v] if net.nic else 0.0)
    x = max(x, y)
    if net.sites > 1:
        y = crossing(net, loads, net.of[u], net.of[v], weight)
        x = max(x, y)
    return x + 1e-7 * weight * seconds


@kernel
def move(net: Net, loads: Loads, u: int, v: int, weight: float) -> None:
    """u serves v, or with a negative weight does not any more; ports between sites are not changed."""
    e = net.off[u] + net.col[v]
    loads.out[u] += weight * net.occ[e]
    loads.inn[v] += weight * net.rcv[e]
    if net.nic:
        loads.lnk[u * net.n + v] += weight * net.D[e]


@kernel
def measure(net: Net, stripes: Stripes, loads: Loads) -> float:
    """Fills in the loads; returns the greatest: the time that the trees need but for filling the pipeline."""
    _clear(net, loads)
    n = net.n
    worst = 0.0
    for k in range(stripes.trees):
        weight = stripes.weights[k]
        for v in range(n):
            p = stripes.par[k * n + v]
            if p >= 0:
                move(net, loads, p, v, weight)
                if net.nic:
                    worst = max(worst, loads.lnk[p * n + v])
                else:
                    worst = max(worst, weight * net.D[net.off[p] + net.col[v]])
                if net.sites > 1:
                    cross(net, loads, net.of[p], net.of[v], weight)
    for v in range(n):
        worst = max(worst, loads.out[v])
        worst = max(worst, loads.inn[v])
    if net.sites > 1:
        for e in range(2 * net.sites + net.sites * net.sites):
            worst = max(worst, loads.sl[e])
    return worst


@kernel
def _clear(net: Net, loads: Loads) -> None:
    for v in range(net.n):
        loads.out[v] = 0.0
        loads.inn[v] = 0.0
    if net.nic:
        for e in range(net.n * net.n):
            loads.lnk[e] = 0.0
    if net.sites > 1:
        for e in range(2 * net.sites + net.sites * net.sites):
            loads.sl[e] = 0.0


@kernel
def levels(n: int, base: int, par: Ints, depth: Ints) -> None:
    """Links from the holders to each host, in the tree that begins at ``base``."""
    for v in range(n):
        depth[v] = 0
        u = par[base + v]
        while u >= 0:
            depth[v] += 1
            u = par[base + u]
