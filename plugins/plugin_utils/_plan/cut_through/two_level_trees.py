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

import math
import typing as t

from .. import jit
from ..heap import Heap, clear, heap_for, pop, push, size
from ..jit import Floats, Ints, kernel
from ..network.matrix import INF
from .bounds import sure_crossings
from .model import Growing, Net

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
    members: Ints
    first: Ints
    wanted: Ints
    held: Ints
    inside: Floats
    site: Ints


class Prices(t.NamedTuple):
    """Of a second of the ports of each class, and of the ways between sites; ``goal``: the load that is aimed at."""

    weight: float
    goal: float
    selling: Floats
    buying: Floats
    tolls: Floats


class ClassRoom(t.NamedTuple):
    """Room by class: its parent (-1 where there are holders), depth and price, those in the tree in order from the top,
    and one host of its parent."""

    via: Ints
    deep: Ints
    cost: Floats
    order: Ints
    sender: Ints


class HostRoom(t.NamedTuple):
    """Room by host: what it sends and what it receives from other classes, in seconds, over all trees; its depth.
    Heaps of the hosts of a class that wait, of those that send to other classes, and of those that send inside the class."""

    out: Floats
    entered: Floats
    depth: Ints
    waiting: Heap
    sending: Heap
    offers: Heap


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
    numbers = (jit.ints(first), jit.ints(wanted), jit.ints(held))
    return Classes(count, members, *numbers, jit.floats(inside), jit.ints(site))


def levels_of(classes: Classes) -> int:
    """How deep trees of classes may be: not deeper than trees with two children each."""
    return max(2, classes.number.bit_length())


def grown(net: Net, classes: Classes, stripes: int, most: int, bound: float) -> Ints | None:
    """Parents of so many trees (``par[k * n + v]``, -1 for holders); None if one does not reach all classes.

    :param most: how deep trees of classes may be.
    :param bound: a lower bound of the finish.
    """
    n, count = net.n, classes.number
    weight, goal = 1.0 / stripes, AIM * bound
    size = [int(classes.first[c + 1] - classes.first[c]) or 1 for c in range(count)]
    # Loads of a class's ports together: what all stripes take inside it, and more and more of what comes and goes.
    own = [float(classes.inside[c]) * max(int(classes.wanted[c]) - 1 + int(classes.held[c]), 0) for c in range(count)]
    sent, got = jit.floats(own), jit.floats(own)
    crossed = jit.fill_floats(len(net.sc))
    surely = sure_crossings(net)
    par = jit.fill_ints(stripes * n, -1)
    hosts = HostRoom(jit.fill_floats(n), jit.fill_floats(n), jit.fill_ints(n), heap_for(n), heap_for(n), heap_for(n))
    numbers = jit.fill_ints
    room = ClassRoom(numbers(count), numbers(count), jit.fill_floats(count), numbers(count), numbers(count))
    for k in range(stripes):
        left = 1.0 - k * weight
        prices = Prices(
            weight,
            goal,
            jit.floats((sent[c] / size[c] / goal) ** STEEP / size[c] + LITTLE for c in range(count)),
            jit.floats((got[c] / size[c] / goal) ** STEEP / size[c] + LITTLE for c in range(count)),
            jit.floats(((x + left * y) / goal) ** STEEP + LITTLE for x, y in zip(crossed, surely, strict=True)),
        )
        if class_tree(net, classes, prices, most, room) < count:
            return None
        for d in range(count):
            a = int(room.via[d])
            if a >= 0:
                sent[a] += weight * net.D[a * count + d]
                got[d] += weight * net.D[a * count + d]
                if net.sites > 1 and classes.site[a] != classes.site[d]:
                    for e in _ways(int(classes.site[a]), int(classes.site[d]), net.sites):
                        crossed[e] += weight * net.sc[e]
        # In trees of hosts a link of depth costs seconds per second of a link inside the class.
        host_tree(net, classes, Growing(par, k * n, weight, n, LEVEL * weight), room, hosts)
    return par


def _ways(a: int, b: int, sites: int) -> tuple[int, int, int]:
    """Out of site a, into site b, and from one to the other, as in ``Net.sc``."""
    return a, sites + b, 2 * sites + a * sites + b


@kernel
def class_tree(net: Net, classes: Classes, prices: Prices, most: int, room: ClassRoom) -> int:
    """Grows a tree of classes of at most so many levels, the cheapest link first; how many classes are in it."""
    count, via, deep, cost = classes.number, room.via, room.deep, room.cost
    for c in range(count):
        via[c] = -1
        deep[c] = -1
        cost[c] = -1.0 if classes.held[c] else math.inf
    joined = 0
    while joined < count:
        x = -1
        for c in range(count):
            if deep[c] < 0 and cost[c] < math.inf and (x < 0 or cost[c] < cost[x]):
                x = c
        if x < 0:
            break
        deep[x] = 0 if via[x] < 0 else deep[via[x]] + 1
        room.order[joined] = x
        joined += 1
        if deep[x] < most:
            _offers(net, classes, prices, room, x)
    return joined


@kernel
def _offers(net: Net, classes: Classes, prices: Prices, room: ClassRoom, x: int) -> None:
    """Class x serves those for which no cheaper one is known."""
    weight, sites, site, sc, tolls = prices.weight, net.sites, classes.site, net.sc, prices.tolls
    for c in range(classes.number):
        seconds = net.D[x * classes.number + c]
        if room.deep[c] >= 0 or seconds == math.inf:
            continue
        price = seconds * (prices.selling[x] + prices.buying[c])
        # One stripe alone may be too much for a port.
        busy = (weight * seconds + (1.0 - weight) * classes.inside[c]) / prices.goal
        if busy > 1.0:
            price *= busy**12
        if sites > 1 and site[x] != site[c]:
            price += sc[site[x]] * tolls[site[x]] + sc[sites + site[c]] * tolls[sites + site[c]]
            e = 2 * sites + site[x] * sites + site[c]
            price += sc[e] * tolls[e]
        if price < room.cost[c]:
            room.cost[c] = price
            room.via[c] = x


@kernel
def host_tree(net: Net, classes: Classes, tree: Growing, room: ClassRoom, hosts: HostRoom) -> None:
    """Makes a tree of hosts of a tree of classes; what each host sends and receives is updated."""
    waiting, sending = hosts.waiting, hosts.sending
    for v in range(net.n):
        tree.par[tree.base + v] = -1
        hosts.depth[v] = 0 if v < net.roots else -1
    for j in range(classes.number):
        c = room.order[j]
        if room.via[c] >= 0:
            _enter(net, classes, tree, room, hosts, c)
        # The host that has sent least serves other classes, and comes first inside its own.
        clear(waiting)
        clear(sending)
        for i in range(classes.first[c], classes.first[c + 1]):
            u = classes.members[i]
            push(waiting, hosts.out[u], u, 0)
            push(sending, hosts.out[u], u, 0)
        for q in range(j + 1, classes.number):
            d = room.order[q]
            if room.via[d] == c:
                _sent, u, _none = pop(sending)
                room.sender[d] = u
                hosts.out[u] += tree.weight * net.D[c * classes.number + d]
                push(sending, hosts.out[u], u, 0)
        _inside(net, classes, tree, hosts, c)


@kernel
def _enter(net: Net, classes: Classes, tree: Growing, room: ClassRoom, hosts: HostRoom, c: int) -> None:
    """The host of the class that has received and sent least gets the stripe from the parent class's sender."""
    entered, out = hosts.entered, hosts.out
    v = -1
    for i in range(classes.first[c], classes.first[c + 1]):
        w = classes.members[i]
        if v < 0 or entered[w] < entered[v] or (entered[w] == entered[v] and out[w] < out[v]):
            v = w
    u = room.sender[c]
    tree.par[tree.base + v] = u
    hosts.depth[v] = hosts.depth[u] + 1
    entered[v] += tree.weight * net.D[net.col[u] * classes.number + c]


@kernel
def _inside(net: Net, classes: Classes, tree: Growing, hosts: HostRoom, c: int) -> None:
    """The tree inside a class, whose hosts are in ``hosts.waiting``."""
    out, depth, waiting, offers = hosts.out, hosts.depth, hosts.waiting, hosts.offers
    link = tree.weight * net.D[c * classes.number + c]
    level = tree.penalty * net.D[c * classes.number + c]
    clear(offers)
    for i in range(classes.first[c], classes.first[c + 1]):
        u = classes.members[i]
        if depth[u] >= 0:
            push(offers, out[u] + level * depth[u], u, 0)
    while size(waiting) > 0:
        _sent, v, _none = pop(waiting)
        if depth[v] >= 0:
            continue
        _key, u, _none = pop(offers)
        tree.par[tree.base + v] = u
        depth[v] = depth[u] + 1
        out[u] += link
        push(offers, out[u] + level * depth[u], u, 0)
        push(offers, out[v] + level * depth[v], v, 0)
