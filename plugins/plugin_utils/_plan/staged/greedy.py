# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Earliest completion first, for many hosts: inner loop.

Hosts come in classes that look alike (dense matrices: one host per class), so that a sender looks for its next
receiver among classes and not among hosts.
"""

from __future__ import annotations

import math
import typing as t

from ..heap import Heap, clear, pop, push, size
from ..jit import Floats, Ints, kernel
from .network import Net


class Queue(t.NamedTuple):
    """Room for the first unserved host of each class, the next one of each host, when hosts are free to send,
    and a heap of what each sender offers."""

    first: Ints
    nxt: Ints
    at: Floats
    heap: Heap


@kernel
def greedy(net: Net, look: Floats, weight: float, room: Queue, parent: Ints) -> float:
    """Fills ``parent``; returns the finish (inf if somebody cannot be reached).

    :param look: what is added, times ``weight``, for a receiver of a class: what it is worth as the next sender.
    """
    first, at, col, queue = room.first, room.at, net.col, room.heap
    _prepare(net, room, parent)
    clear(queue)
    for r in range(net.roots):
        at[r] = net.rel[r]
        push(queue, net.rel[r], r, -1)
    left = net.n - net.roots
    finish = 0.0
    # An entry (key, sender, class): class -1 asks for the sender's best class, which needs its free time in ``at``.
    while left > 0 and size(queue) > 0:
        _unused, u, c = pop(queue)
        if c >= 0 and first[c] >= 0:
            v = first[c]
            first[c] = room.nxt[v]
            end = at[u] + net.D[col[u] * net.classes + c]
            parent[v] = u
            at[u] = end
            at[v] = end
            finish = max(finish, end)
            left -= 1
            push(queue, end, v, -1)
            push(queue, end, u, -1)
            continue
        least, best = _best_class(net, look, weight, first, u)
        if best >= 0:
            push(queue, at[u] + least, u, best)
    return finish if left == 0 else math.inf


@kernel
def _prepare(net: Net, room: Queue, parent: Ints) -> None:
    first, col = room.first, net.col
    for c in range(net.classes):
        first[c] = -1
    for v in range(net.n - 1, -1, -1):
        parent[v] = -1
        room.at[v] = math.inf
        room.nxt[v] = -1
        if v >= net.roots:
            room.nxt[v] = first[col[v]]
            first[col[v]] = v


@kernel
def _best_class(net: Net, look: Floats, weight: float, first: Ints, u: int) -> tuple[float, int]:
    """What the class that u serves next takes, and that class; -1: none."""
    best = -1
    least = math.inf
    row = net.col[u] * net.classes
    for k in range(net.classes):
        if first[k] >= 0:
            x = net.D[row + k]
            if x < math.inf:
                x += weight * look[k]
                if x < least:
                    least = x
                    best = k
    return least, best
