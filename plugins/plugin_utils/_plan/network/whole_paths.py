# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Whole preferred paths with their total times, for ordered pairs of hosts."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Sequence
from itertools import pairwise

from . import matrix as mx
from .shortest_paths import Rows, close, shortest


def whole_paths(
    matrix: object,
    relays: Iterable[str] | None = None,
    senders: Sequence[str] | None = None,
    receivers: Sequence[str] | None = None,
    size_bytes: int | None = None,
) -> list[dict[str, t.Any]]:
    """Rows ``{"from", "to", "path": [hosts], "seconds", "tie"}``, one for each ordered pair that a path joins.

    A link takes the whole image before the next one begins, so a path's time is the sum of its links' times. Of paths
    that take equally long the one with the fewest links is shown, then the one that starts earlier; ``tie`` says that
    there are others, ``estimated`` that one of the links was not measured, or not lately.

    :param relays: the hosts that may stand inside a path; by default all of the matrix.
    :param senders: where paths begin, by default everywhere; ``receivers``: where they end.
    """
    parsed = mx.parse(matrix)
    size = int(mx.number("size_bytes", size_bytes, zero=False, integer=True)) if size_bytes is not None else parsed.size_bytes
    rows = parsed.sub(range(len(parsed.hosts)), size)
    inside = set(range(len(parsed.hosts))) if relays is None else {parsed.index[h] for h in relays if h in parsed.index}
    begins = [parsed.index[h] for h in (parsed.hosts if senders is None else senders)]
    ends = [parsed.index[h] for h in (parsed.hosts if receivers is None else receivers)]
    out = []
    for sender in begins:
        seen: Rows = [row if k == sender or k in inside else [mx.INF] * len(row) for k, row in enumerate(rows)]
        found = shortest(seen, {sender: 0.0})
        for end in ends:
            if end == sender or found.seconds[end] == mx.INF:
                continue
            path = _path(found.parent, end)
            out.append(
                {
                    "from": parsed.hosts[sender],
                    "to": parsed.hosts[end],
                    "path": [parsed.hosts[k] for k in path],
                    "seconds": found.seconds[end],
                    "tie": any(_ways_in(seen, found.seconds, k) > 1 for k in path[1:]),
                    **({"estimated": True} if any(parsed.is_estimated(i, j) for i, j in pairwise(path)) else {}),
                }
            )
    return out


def _path(parent: Sequence[int], end: int) -> list[int]:
    path = [end]
    while parent[path[-1]] >= 0:
        path.append(parent[path[-1]])
    return path[::-1]


def _ways_in(rows: Rows, seconds: Sequence[float], host: int) -> int:
    """How many links lead to a host in its least time."""
    through = (seconds[k] + row[host] for k, row in enumerate(rows) if k != host and seconds[k] < mx.INF and row[host] < mx.INF)
    return sum(close(total, seconds[host]) for total in through)
