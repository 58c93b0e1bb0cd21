# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Cut-through trees for many hosts that come in classes: each is a tree of classes, and inside each class a tree of hosts.

A stripe enters each class once, by links whose prices rise with what their ports, and limited ways between sites, carry
already (multiplicative weights: Garg, Könemann 1998). Links between classes are the long ones, so hosts are chosen for them
first, those that have sent and received least; the short ones inside fill up what is left (as longest processing time first
does: Graham 1969). Nothing costs hosts squared, and little classes squared.
"""

from __future__ import annotations

import heapq
import math
import typing as t

from .. import jit
from ..jit import kernel
from ..network.matrix import INF

if t.TYPE_CHECKING:
    from .search import Net

# Numbers of stripes to try, and how many classes these may have.
STRIPES, MOST = ((32, 64), 3000) if jit.COMPILED else ((32,), 1000)
# Prices are loads to this power; a port without load has a little price, so that short links count there too.
STEEP, LITTLE = 16.0, 1e-6
# How much later than the bound the loads aim, and what a link of depth inside a class costs, in links.
AIM, LEVEL = 1.03, 1.0


class Classes(t.NamedTuple):
    """The classes of a network, by number. ``members[first[c]:first[c + 1]]`` are a class's hosts.

    ``wanted``: how many of them are targets; ``held``: whether one is a holder; ``inside``: seconds of a link between two
    of them, 0 where no stripe needs one; ``site``: each class's.
    """

    number: int
    members: t.Any
    first: t.Any
    wanted: list[int]
    held: t.Any
    inside: t.Any
    site: t.Any


def classes_of(net: Net) -> Classes | None:
    """None where trees of classes do not do: a class's hosts have no links to each other, or are of several sites; or where
    there are too many classes."""
    count, of = net.classes, [int(c) for c in net.col]
    if count > MOST:
        return None
    groups: list[list[int]] = [[] for _unused in range(count)]
    for v, c in enumerate(of):
        groups[c].append(v)
    wanted = [sum(v >= net.roots for v in group) for group in groups]
    held = [int(any(v < net.roots for v in group)) for group in groups]
    inside = [float(net.D[c * count + c]) if wanted[c] > 1 - held[c] else 0.0 for c in range(count)]
    site = [int(net.of[group[0]]) if group else 0 for group in groups]
    if INF in inside or any(int(net.of[v]) != site[c] for v, c in enumerate(of)):
        return None
    first = [0]
    for group in groups:
        first.append(first[-1] + len(group))
    members = jit.ints(v for group in groups for v in group)
    return Classes(count, members, jit.ints(first), wanted, jit.ints(held), jit.floats(inside), jit.ints(site))


def levels_of(classes: Classes) -> int:
    """How deep trees of classes may be: not deeper than trees with two children each."""
    return max(2, classes.number.bit_length())


def grown(net: Net, classes: Classes, stripes: int, most: int, bound: float) -> t.Any:
    """Parents of so many trees (``par[k * n + v]``, -1 for holders); None if one does not reach all classes.

    :param most: how deep trees of classes may be.
    :param bound: a lower bound of the finish.
    """
    n, count = net.n, classes.number
    weight, goal = 1.0 / stripes, AIM * bound
    size = [int(classes.first[c + 1] - classes.first[c]) or 1 for c in range(count)]
    # Loads of a class's ports together: what all stripes take inside it, and more and more of what comes and goes.
    own = [float(classes.inside[c]) * max(classes.wanted[c] - 1 + int(classes.held[c]), 0) for c in range(count)]
    sent, got = jit.floats(own), jit.floats(own)
    crossed = jit.fill_floats(len(net.sc))
    surely = sure_crossings(net)
    par, depth = jit.fill_ints(stripes * n, -1), jit.fill_ints(n)
    out, entered = jit.fill_floats(n), jit.fill_floats(n)
    via, deep, order = jit.fill_ints(count), jit.fill_ints(count), jit.fill_ints(count)
    cost, sender = jit.fill_floats(count), jit.fill_ints(count)
    for k in range(stripes):
        selling = jit.floats((sent[c] / size[c] / goal) ** STEEP / size[c] + LITTLE for c in range(count))
        buying = jit.floats((got[c] / size[c] / goal) ** STEEP / size[c] + LITTLE for c in range(count))
        left = 1.0 - k * weight
        tolls = jit.floats(((x + left * y) / goal) ** STEEP + LITTLE for x, y in zip(crossed, surely, strict=True))
        joined = class_tree(
            count, net.D, classes.held, classes.inside, weight, goal, selling, buying, most, net.sites, classes.site, net.sc,
            tolls, via, deep, cost, order,
        )  # fmt: skip
        if joined < count:
            return None
        for d in range(count):
            a = int(via[d])
            if a >= 0:
                sent[a] += weight * net.D[a * count + d]
                got[d] += weight * net.D[a * count + d]
                if net.sites > 1 and classes.site[a] != classes.site[d]:
                    for e in _ways(int(classes.site[a]), int(classes.site[d]), net.sites):
                        crossed[e] += weight * net.sc[e]
        host_tree(
            n, net.roots, k, weight, count, net.D, net.col, classes.members, classes.first, via, order, out, entered, par, depth,
            LEVEL * weight, sender,
        )  # fmt: skip
    return par


def sure_crossings(net: Net) -> list[float]:
    """What every plan keeps limited ways busy for: into sites without a holder, and out of the only one that has any."""
    held = {int(net.of[r]) for r in range(net.roots)}
    wanted = {int(site) for site in net.of} - held
    out = [float(x) if len(held) == 1 and wanted and a in held else 0.0 for a, x in enumerate(net.sc[: net.sites])]
    into = [float(x) if b in wanted else 0.0 for b, x in enumerate(net.sc[net.sites : 2 * net.sites])]
    return [*out, *into, *[0.0] * (net.sites * net.sites)]


def _ways(a: int, b: int, sites: int) -> tuple[int, int, int]:
    """Out of site a, into site b, and from one to the other, as in ``Net.sc``."""
    return a, sites + b, 2 * sites + a * sites + b


@kernel
def class_tree(count: int, D: t.Any, held: t.Any, inside: t.Any, weight: float, goal: float, selling: t.Any, buying: t.Any,
               most: int, sites: int, site: t.Any, sc: t.Any, tolls: t.Any, via: t.Any, deep: t.Any, cost: t.Any,
               order: t.Any) -> int:  # fmt: skip
    """Grows a tree of classes, the cheapest link first; how many classes are in it, those in ``order``.

    :param via: gets each class's parent, -1 where there are holders.
    :param selling, buying: prices of a second of a class's ports; ``tolls``: of the ways between sites.
    """
    inf = math.inf
    for c in range(count):
        via[c] = -1
        deep[c] = -1
        cost[c] = -1.0 if held[c] else inf
    joined = 0
    while joined < count:
        x = -1
        for c in range(count):
            if deep[c] < 0 and cost[c] < inf and (x < 0 or cost[c] < cost[x]):
                x = c
        if x < 0:
            break
        deep[x] = 0 if via[x] < 0 else deep[via[x]] + 1
        order[joined] = x
        joined += 1
        if deep[x] >= most:
            continue
        for c in range(count):
            seconds = D[x * count + c]
            if deep[c] >= 0 or seconds == inf:
                continue
            price = seconds * (selling[x] + buying[c])
            # One stripe alone may be too much for a port.
            busy = (weight * seconds + (1.0 - weight) * inside[c]) / goal
            if busy > 1.0:
                price *= busy**12
            if sites > 1 and site[x] != site[c]:
                price += sc[site[x]] * tolls[site[x]] + sc[sites + site[c]] * tolls[sites + site[c]]
                e = 2 * sites + site[x] * sites + site[c]
                price += sc[e] * tolls[e]
            if price < cost[c]:
                cost[c] = price
                via[c] = x
    return joined


@kernel
def host_tree(n: int, roots: int, k: int, weight: float, count: int, D: t.Any, cls: t.Any, members: t.Any, first: t.Any,
              via: t.Any, order: t.Any, out: t.Any, entered: t.Any, par: t.Any, depth: t.Any, penalty: float,
              sender: t.Any) -> None:  # fmt: skip
    """Makes a tree of hosts of a tree of classes (``via``, and ``order`` from the top).

    :param out: what each host sends, in seconds; ``entered``: what it receives from other classes. Both are updated.
    :param penalty: what a link of depth costs, in seconds per second of a link inside the class.
    :param sender: room for one host of each class's parent.
    """
    base = k * n
    for v in range(n):
        par[base + v] = -1
        depth[v] = 0 if v < roots else -1
    for j in range(count):
        c = order[j]
        low = first[c]
        high = first[c + 1]
        if via[c] >= 0:
            v = -1
            for i in range(low, high):
                w = members[i]
                if v < 0 or entered[w] < entered[v] or (entered[w] == entered[v] and out[w] < out[v]):
                    v = w
            u = sender[c]
            par[base + v] = u
            depth[v] = depth[u] + 1
            entered[v] += weight * D[cls[u] * count + c]
        # ---- whoever has sent least serves other classes, and comes first inside its own
        waiting = [(0.0, -1)]
        waiting.pop()
        for i in range(low, high):
            waiting.append((out[members[i]], members[i]))
        heapq.heapify(waiting)
        sending = waiting.copy()
        for q in range(j + 1, count):
            d = order[q]
            if via[d] == c:
                _sent, u = heapq.heappop(sending)
                sender[d] = u
                out[u] += weight * D[c * count + d]
                heapq.heappush(sending, (out[u], u))
        # ---- inside the class
        link = weight * D[c * count + c]
        level = penalty * D[c * count + c]
        offers = [(0.0, -1)]
        offers.pop()
        for i in range(low, high):
            u = members[i]
            if depth[u] >= 0:
                heapq.heappush(offers, (out[u] + level * depth[u], u))
        while len(waiting) > 0:
            _sent, v = heapq.heappop(waiting)
            if depth[v] >= 0:
                continue
            _key, u = heapq.heappop(offers)
            par[base + v] = u
            depth[v] = depth[u] + 1
            out[u] += link
            heapq.heappush(offers, (out[u] + level * depth[u], u))
            heapq.heappush(offers, (out[v] + level * depth[v], v))
