# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Cut-through plans: the network, trees with their weights, and loads, as searches and their inner loops take them.

The base is cut into stripes, each with its own tree and weight. Loads are the seconds for which a port or link is busy.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from .. import jit
from ..jit import Floats, Ints
from ..network.limits import SiteLoads
from ..network.nearest import nearest
from ..network.shortest_paths import Rows


class Net(t.NamedTuple):
    """The network as the kernels want it; the holders come first.

    Seconds from u to v are ``D[off[u] + col[v]]``, so that hosts may share rows. ``nic``: ports have limits of their own
    (``occ``, ``rcv``: port seconds per link); else a port is shared by time, and both are ``D``. ``classes``: hosts
    that look alike share rows (0: each has its own). ``near[v * width + k]``: the k-th best sender for host v (-1: none).

    Sites with limits: ``of[v]`` is v's (of ``sites``; 0: one without limits). An edge between two sites also loads three
    ports, whose seconds of the whole base are in ``sc``: [out of each site, into each site, from each to each].
    """

    n: int
    roots: int
    D: Floats
    occ: Floats
    rcv: Floats
    off: Ints
    col: Ints
    nic: int
    sites: int
    of: Ints
    sc: Floats
    near: Ints
    width: int
    classes: int


class Loads(t.NamedTuple):
    """Seconds for which are busy: a sender's port, a receiver's, a link (``lnk[u * n + v]``, only where ports have limits
    of their own), and the ports between sites (see ``Net``)."""

    out: Floats
    inn: Floats
    lnk: Floats
    sl: Floats


class Stripes(t.NamedTuple):
    """So many trees: ``par[k * n + v]`` is v's parent in tree k, -1 for holders."""

    trees: int
    weights: Floats
    par: Ints


class Growing(t.NamedTuple):
    """A tree that is to grow: parents are put into ``par`` from ``base`` on.

    ``most``: links from a holder to a host; ``penalty``: what each of them costs beside the load, in seconds.
    """

    par: Ints
    base: int
    weight: float
    most: int
    penalty: float


class Cap(t.NamedTuple):
    """What a stripe weighs, and the greatest load that a change of its tree may leave."""

    weight: float
    limit: float


class Risk(t.NamedTuple):
    """How probable it is that a relay dies during the run, and the seconds that this costs those behind it."""

    relay: float = 0.0001
    recovery_s: float = 5.0


class Forest(t.NamedTuple):
    """Trees as parents by host, with weights that add up to 1; ``load``: the greatest load, in seconds."""

    trees: list[list[int]]
    weights: list[float]
    load: float


class Result(t.NamedTuple):
    """The chosen trees, their simulated finish and each host's first and last chunk, and a lower bound.

    ``relays``: how many other targets a host depends on, on average; ``deepest``: links to the last host.
    """

    forest: Forest
    finish: float
    begun: list[float]
    done: list[float]
    bound: float
    relays: float
    deepest: int


def _sites(loads: SiteLoads) -> tuple[int, Ints, Floats]:
    return loads.number, jit.ints(loads.of), jit.floats([*loads.out, *loads.inn, *loads.between])


def network(rows: Rows, roots: int, up: Sequence[float] | None, down: Sequence[float] | None, sites: SiteLoads) -> Net:
    """``up``, ``down``: seconds of the whole base at each port's limit (0: none); both None: time-shared ports."""
    n = len(rows)
    near, width = nearest(rows, roots)
    D = jit.flat(rows)
    occ = rcv = D
    nic = 0
    if up is not None and down is not None:
        occ = jit.flat([[u] * n for u in up])
        rcv = jit.flat([list(down) for _unused in rows])
        nic = 1
    off, col = jit.ints(v * n for v in range(n)), jit.ints(range(n))
    return Net(n, roots, D, occ, rcv, off, col, nic, *_sites(sites), jit.ints(near), width, 0)


def class_network(table: Rows, class_of: Sequence[int], roots: int, near: Sequence[int], width: int, sites: SiteLoads) -> Net:
    """Hosts of one class share a row of ``table``; ports are shared by time."""
    n, count = len(class_of), len(table)
    D = jit.flat(table)
    off, col = jit.ints(c * count for c in class_of), jit.ints(class_of)
    return Net(n, roots, D, D, D, off, col, 0, *_sites(sites), jit.ints(near), width, count)


def depth_limits(n: int) -> tuple[int, int]:
    """Deep trees lose time to filling the pipeline and more hosts to one that dies; flat ones queue at their senders."""
    levels = max(2, (n - 1).bit_length())
    return 2 * levels, 3 * levels


def portions(weights: Sequence[float], chunks: int) -> list[int]:
    """Chunks of each tree, by largest remainder."""
    whole = sum(weights)
    exact = [w / whole * chunks for w in weights]
    out = [int(x) for x in exact]
    rest = sorted(range(len(out)), key=lambda k: (out[k] - exact[k], k))
    for k in rest[: chunks - sum(out)]:
        out[k] += 1
    return out
