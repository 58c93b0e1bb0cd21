# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Preferred paths: shortest paths from the present holders, with ties and preconditions."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from . import matrix as mx

Rows = Sequence[Sequence[float]]
EPSILON = 1e-9


def close(a: float, b: float) -> bool:
    """Equal but for rounding."""
    return abs(a - b) <= EPSILON * (1.0 + abs(a))


class Paths(t.NamedTuple):
    """By host number: seconds (inf: unreachable), links on the path, parent (-1: a holder or unreachable)."""

    seconds: list[float]
    links: list[int]
    parent: list[int]
    order: list[int]


def shortest(rows: Rows, ready: Mapping[int, float]) -> Paths:
    """Shortest paths from several holders, each ready at its own time.

    Ties: fewest links first, then the transfer that starts earlier, then the lower host number.
    """
    n = len(rows)
    seconds, links, parent = [mx.INF] * n, [0] * n, [-1] * n
    for host, at in ready.items():
        seconds[host] = at
    # Holders are never receivers, even where a path to a busy one would be ready sooner.
    holders = sorted(ready, key=lambda v: (ready[v], v), reverse=True)
    open_, order = [v for v in range(n) if v not in ready], []
    while open_ or holders:
        best = min(open_, key=lambda v: (seconds[v], links[v], v), default=-1)
        if holders and (best < 0 or seconds[holders[-1]] <= seconds[best]):
            best = holders.pop()
        elif seconds[best] == mx.INF:
            break
        else:
            open_.remove(best)
        at = seconds[best]
        order.append(best)
        row, hops = rows[best], links[best] + 1
        for v in open_:
            new, old = at + row[v], seconds[v]
            if new > old + EPSILON * (1.0 + old) or new == mx.INF:
                continue
            if old < mx.INF and close(new, old):
                if hops > links[v] or (hops == links[v] and at >= seconds[parent[v]] - EPSILON):
                    continue
                # A tie keeps the earlier time, so that rounding never adds up along a path.
                new = min(new, old)
            elif new >= old:
                continue
            seconds[v], links[v], parent[v] = new, hops, best
    return Paths(seconds, links, parent, order)
