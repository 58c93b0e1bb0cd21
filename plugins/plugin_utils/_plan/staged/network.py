# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""A staged problem and room to search in, as the kernels take them."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from .. import jit
from ..jit import Floats, Ints
from ..network.nearest import NEAR, nearest
from ..network.shortest_paths import Rows
from .schedule import Ready, Streams


class Net(t.NamedTuple):
    """Hosts by number, the ``roots`` holders first; ``rel``: when each of these can send.

    Seconds from host i to j are ``D[off[i] + col[j]]``, so that hosts may share rows; ``classes``: hosts that look alike (n:
    all differ). ``near[v * width + k]``: the k-th best sender for host v (-1: none). ``most`` receivers at a time at a sender
    with a known ``rate`` (bases per second; by host).
    """

    n: int
    roots: int
    classes: int
    D: Floats
    off: Ints
    col: Ints
    near: Ints
    width: int
    rel: Floats
    most: int
    rate: Floats


class Room(t.NamedTuple):
    """A tree as positions 0..n-1 with a host on each (``host``, and ``pos`` for the way back); position n is a virtual root
    above the holders.

    The children of a position are a list sorted by falling tail (``first``, ``nxt``, ``prv``), so that a change costs only
    the way up to the root: ``par``. ``h``: tails; ``crit``: each position's critical child. ``best``: the best tree, as
    parents by host. ``order``: room for all positions; ``arrive``: when each has the base. ``tally[0]``: steps taken;
    ``random``: see ``jit.draw``. ``ends``, ``parts``: of the transfers that run at the same time at a sender.
    """

    host: Ints
    pos: Ints
    first: Ints
    nxt: Ints
    prv: Ints
    par: Ints
    h: Floats
    crit: Ints
    best: Ints
    order: Ints
    arrive: Floats
    tally: Ints
    random: Ints
    ends: Floats
    parts: Floats


class Arrays(t.NamedTuple):
    """The problem and room to work in; ``streams``: the receivers at a time as schedules take them."""

    net: Net
    room: Room
    streams: Streams


def port(streams: Streams) -> tuple[int, Floats]:
    """``most`` and ``rate`` of a ``Net``."""
    most = 1 if streams.single else streams.most
    return most, jit.floats(streams.rate if most > 1 else ())


def room_for(net: Net) -> Room:
    """Room to work in."""
    n, ints, floats = net.n + 1, jit.fill_ints, jit.fill_floats
    return Room(
        ints(n), ints(n), ints(n), ints(n), ints(n), ints(n), floats(n), ints(n), ints(n), ints(n), floats(n),
        ints(1), ints(1), floats(net.most), floats(net.most),
    )  # fmt: skip


def arrays(rows: Rows, ready: Ready, streams: Streams) -> Arrays:
    """Dense problem; the holders must come first."""
    n, roots = len(rows), len(ready)
    near, width = nearest(rows, roots)
    off, col = jit.ints(v * n for v in range(n)), jit.ints(range(n))
    holders = jit.floats(ready[v] for v in range(roots))
    net = Net(n, roots, n, jit.flat(rows), off, col, jit.ints(near), width, holders, *port(streams))
    return Arrays(net, room_for(net), streams)


def class_arrays(table: Rows, class_of: Sequence[int], near: Sequence[int], ready: Ready, streams: Streams) -> Arrays:
    """Hosts of one class share a row of ``table``; the holders must come first. ``near``: ``NEAR`` senders for each host."""
    n, roots, count = len(class_of), len(ready), len(table)
    off, col = jit.ints(c * count for c in class_of), jit.ints(class_of)
    holders = jit.floats(ready[v] for v in range(roots))
    net = Net(n, roots, count, jit.flat(table), off, col, jit.ints(near), NEAR, holders, *port(streams))
    return Arrays(net, room_for(net), streams)
