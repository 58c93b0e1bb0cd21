# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What a cut-through plan will take, chunk by chunk: inner loop.

A host passes on whole chunks only. A sender gives, among the edges that have a chunk ready, an idle link and idle ports
of the sites, one to that with the least progress. Where ports are shared by time and sites have no limits (no ``nic``),
any link is idle when the port is, and a heap knows which edge is next.
"""

from __future__ import annotations

import math
import typing as t

from .. import jit
from ..heap import Heap, clear, full, heap_for, pop, push, size
from ..jit import Floats, Ints, kernel
from .model import Net


class Edges(t.NamedTuple):
    """The edges of all trees: those of sender v are ``start[v]``..``start[v + 1] - 1``, in the order of their trees.

    ``chunks``: of the base; ``portion[k]`` of them belong to tree k, of ``trees``. ``link``: a number that edges between the
    same two hosts share, of ``links``. Seconds of the whole base for the link (``D``), the sender's port (``occ``) and the
    receiver's (``rcv``).
    """

    chunks: int
    trees: int
    portion: Ints
    start: Ints
    tree: Ints
    child: Ints
    link: Ints
    links: int
    D: Floats
    occ: Floats
    rcv: Floats


class Room(t.NamedTuple):
    """By port between sites when it is free (``busy``); by edge what it has sent; by host and tree the chunks that are there
    (``have``), and where the sender's edges of the tree begin (``group``); heaps of edges with a chunk ready, and how many
    there are; by link and port when it is free; by host the chunks that are missing, when it looks again, and when its first
    and last chunk came. ``queue``: what happens next."""

    busy: Floats
    sent: Ints
    have: Ints
    group: Ints
    ready: Ints
    waiting: Ints
    link_free: Floats
    port_free: Floats
    in_free: Floats
    missing: Ints
    wake: Floats
    begun: Floats
    done: Floats
    queue: Heap


def finish_of(net: Net, edges: Edges, events: int = 0) -> tuple[float, Room]:
    """Finish of the last host, inf if one is not served; the room's ``begun`` and ``done`` have first and last chunks by host.

    :param events: how many there is room for at first; 0: what usually suffices.
    """
    events = max(events or 4 * len(edges.tree), net.roots)
    while True:
        room = room_for(net, edges, events)
        finish = simulate(net, edges, room)
        if not math.isnan(finish):
            return float(finish), room
        # Receivers that are much slower than their senders: many chunks are on their way at a time.
        events *= 4


def room_for(net: Net, edges: Edges, events: int) -> Room:
    """Room for a simulation with so many events under way at a time."""
    n, count, f, i = net.n, len(edges.tree), jit.fill_floats, jit.fill_ints
    return Room(
        f(len(net.sc)), i(count), i(n * edges.trees), i(n * (edges.trees + 1)), i(count), i(n),
        f(edges.links), f(n), f(n), i(n), f(n), f(n), f(n), heap_for(events),
    )  # fmt: skip


@kernel
def simulate(net: Net, edges: Edges, room: Room) -> float:
    """Finish of the last host, inf if one is not served, nan if there is not enough room for events.

    This is the loop over events, which each function that it calls would otherwise hand back to it one by one.
    """
    heaps = not net.nic and net.sites <= 1
    wake, start, queue = room.wake, edges.start, room.queue
    _prepare(net, edges, room)
    clear(queue)
    for v in range(net.roots):
        push(queue, 0.0, v, -1)
    finish = 0.0
    # An event (time, host, tree): a chunk of that tree has come, -1 for a port that is free.
    while size(queue) > 0:
        now, v, k = pop(queue)
        if k >= 0:
            _arrive(edges, room, heaps, now, v, k)
            if room.missing[v] == 0:
                finish = max(finish, now)
        else:
            if wake[v] != now:
                continue
            wake[v] = math.inf
        if start[v] == start[v + 1]:
            continue
        if room.port_free[v] > now + 1e-12:
            if wake[v] <= room.port_free[v]:
                continue
            again = room.port_free[v] if _anything(edges, room, heaps, v) else math.inf
        else:
            e, again = _next_edge(net, edges, room, heaps, now, v)
            if e >= 0:
                at = _send(net, edges, room, heaps, now, v, e)
                if full(queue):
                    return math.nan
                push(queue, at, edges.child[e], edges.tree[e])
                again = room.port_free[v]
        if again < wake[v]:
            wake[v] = again
            if full(queue):
                return math.nan
            push(queue, again, v, -1)
    for v in range(net.roots, net.n):
        if room.missing[v] > 0:
            return math.inf
    return finish


@kernel
def _behind(edges: Edges, sent: Ints, a: int, b: int) -> bool:
    """Whether edge a has made less progress than b."""
    x = sent[a] / edges.portion[edges.tree[a]]
    y = sent[b] / edges.portion[edges.tree[b]]
    return x < y or (x == y and a < b)


@kernel
def _push(edges: Edges, room: Room, v: int, e: int) -> None:
    """Adds an edge to the heap of sender v."""
    ready, sent, low = room.ready, room.sent, edges.start[v]
    i = room.waiting[v]
    while i > 0:
        above = (i - 1) // 2
        if not _behind(edges, sent, e, ready[low + above]):
            break
        ready[low + i] = ready[low + above]
        i = above
    ready[low + i] = e
    room.waiting[v] += 1


@kernel
def _pop(edges: Edges, room: Room, v: int) -> int:
    """Takes the edge with the least progress from the heap of sender v."""
    ready, sent, low, size = room.ready, room.sent, edges.start[v], room.waiting[v]
    first = ready[low]
    e = ready[low + size - 1]
    i = 0
    while True:
        below = 2 * i + 1
        if below >= size - 1:
            break
        if below + 1 < size - 1 and _behind(edges, sent, ready[low + below + 1], ready[low + below]):
            below += 1
        if not _behind(edges, sent, ready[low + below], e):
            break
        ready[low + i] = ready[low + below]
        i = below
    ready[low + i] = e
    room.waiting[v] = size - 1
    return int(first)


@kernel
def _prepare(net: Net, edges: Edges, room: Room) -> None:
    """Holders have all chunks and look at once, the others have none."""
    heaps = not net.nic and net.sites <= 1
    for e in range(edges.start[net.n]):
        room.sent[e] = 0
    for e in range(edges.links):
        room.link_free[e] = 0.0
    for e in range(len(room.busy)):
        room.busy[e] = 0.0
    for v in range(net.n):
        room.port_free[v] = 0.0
        room.in_free[v] = 0.0
        room.begun[v] = 0.0
        room.done[v] = 0.0
        room.missing[v] = 0 if v < net.roots else edges.chunks
        room.wake[v] = 0.0 if v < net.roots else math.inf
        room.waiting[v] = 0
        for k in range(edges.trees):
            room.have[v * edges.trees + k] = edges.portion[k] if v < net.roots else 0
        if heaps:
            _group(edges, room, v)
            if v < net.roots:
                for e in range(edges.start[v], edges.start[v + 1]):
                    _push(edges, room, v, e)


@kernel
def _group(edges: Edges, room: Room, v: int) -> None:
    """Where the sender's edges of each tree begin."""
    first = v * (edges.trees + 1)
    e = edges.start[v]
    for k in range(edges.trees):
        room.group[first + k] = e
        while e < edges.start[v + 1] and edges.tree[e] == k:
            e += 1
    room.group[first + edges.trees] = e


@kernel
def _arrive(edges: Edges, room: Room, heaps: bool, now: float, v: int, k: int) -> None:
    """A chunk of tree k has come to host v."""
    at = v * edges.trees + k
    if room.missing[v] == edges.chunks:
        room.begun[v] = now
    if heaps:
        for e in range(room.group[at + v], room.group[at + v + 1]):
            if room.sent[e] == room.have[at]:
                _push(edges, room, v, e)
    room.have[at] += 1
    room.missing[v] -= 1
    if room.missing[v] == 0:
        room.done[v] = now


@kernel
def _anything(edges: Edges, room: Room, heaps: bool, v: int) -> bool:
    """Whether v has a chunk for anybody."""
    if heaps:
        return bool(room.waiting[v] > 0)
    ready = False
    for e in range(edges.start[v], edges.start[v + 1]):
        if room.sent[e] < room.have[v * edges.trees + edges.tree[e]]:
            ready = True
            break
    return ready


@kernel
def _next_edge(net: Net, edges: Edges, room: Room, heaps: bool, now: float, v: int) -> tuple[int, float]:
    """The edge over which v sends now (-1: none), and when it is worth while to look again."""
    again = math.inf
    chosen = -1
    if heaps:
        if room.waiting[v] > 0:
            chosen = _pop(edges, room, v)
        return chosen, again
    least = math.inf
    for e in range(edges.start[v], edges.start[v + 1]):
        k = edges.tree[e]
        if room.sent[e] < room.have[v * edges.trees + k]:
            idle = room.link_free[edges.link[e]]
            if net.sites > 1:
                idle = max(idle, _way_free(net, room, net.of[v], net.of[edges.child[e]]))
            if idle <= now + 1e-12:
                progress = room.sent[e] / edges.portion[k]
                if progress < least:
                    least = progress
                    chosen = e
            elif idle < again:
                again = idle
    return chosen, again


@kernel
def _way_free(net: Net, room: Room, a: int, b: int) -> float:
    """When the ports between two sites are free."""
    if a == b:
        return 0.0
    idle = max(room.busy[a], room.busy[net.sites + b])
    return max(idle, room.busy[2 * net.sites + a * net.sites + b])


@kernel
def _send(net: Net, edges: Edges, room: Room, heaps: bool, now: float, v: int, e: int) -> float:
    """v sends a chunk over edge e; when it is there."""
    share = 1.0 / edges.chunks
    c, k, link = edges.child[e], edges.tree[e], edges.link[e]
    room.sent[e] += 1
    if heaps and room.sent[e] < room.have[v * edges.trees + k]:
        _push(edges, room, v, e)
    room.port_free[v] = now + edges.occ[e] * share
    room.link_free[link] = now + edges.D[e] * share
    if net.sites > 1 and net.of[v] != net.of[c]:
        a = net.of[v]
        b = net.of[c]
        room.busy[a] = now + net.sc[a] * share
        room.busy[net.sites + b] = now + net.sc[net.sites + b] * share
        way = 2 * net.sites + a * net.sites + b
        room.busy[way] = now + net.sc[way] * share
    at = now + edges.D[e] * share
    at = max(at, room.in_free[c] + edges.rcv[e] * share)
    room.in_free[c] = at
    return at
