# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The table of preferred paths, as text and data have it."""

from __future__ import annotations

import typing as t

from . import matrix as mx
from . import shared_pools
from .shortest_paths import close, shortest


def preferred_paths(matrix: object, sources: object, targets: object = None, size_bytes: object = None) -> list[dict[str, t.Any]]:
    """Rows ``{link: [from, to], seconds, preferred, tie, precondition}`` for every link among the hosts.

    ``precondition`` names the host that must hold the base before a preferred link can be used; None for a holder.
    Only sources and ``targets`` (default: all hosts) relay, and one host of each shared pool. ``tie``: another preferred link
    leads to the same host. ``estimated`` stands in rows of links that were not measured, or not lately.
    """
    parsed = mx.parse(matrix)
    held = mx.names("sources", mx.plain(sources), parsed.index)
    wanted = mx.names("targets", mx.plain(targets), parsed.index) if targets is not None else parsed.hosts
    size = None if size_bytes is None else int(mx.number("size_bytes", size_bytes, zero=False, integer=True))
    held = shared_pools.with_mates(parsed, held, wanted)
    inside = set(held) | set(shared_pools.apart(parsed, held, [h for h in wanted if h not in held]).targets)
    chosen = [i for i, h in enumerate(parsed.hosts) if h in inside]
    rows = parsed.sub(chosen, size or parsed.size_bytes)
    at = {parsed.hosts[i]: k for k, i in enumerate(chosen)}
    hosts = [parsed.hosts[i] for i in chosen]
    ready = {at[h]: 0.0 for h in held}
    found = shortest(rows, ready).seconds

    def preferred(i: int, j: int) -> bool:
        if j in ready or found[i] == mx.INF or rows[i][j] == mx.INF:
            return False
        through = found[i] + rows[i][j]
        return through <= found[j] or close(through, found[j])

    n = len(hosts)
    into = [sum(preferred(i, j) for i in range(n)) for j in range(n)]
    table = []
    for i in range(n):
        for j in range(n):
            if rows[i][j] == mx.INF:
                continue
            yes = preferred(i, j)
            table.append(
                {
                    "link": [hosts[i], hosts[j]],
                    "seconds": rows[i][j],
                    "preferred": yes,
                    "tie": yes and into[j] > 1,
                    "precondition": hosts[i] if yes and i not in ready else None,
                    **({"estimated": True} if parsed.is_estimated(chosen[i], chosen[j]) else {}),
                }
            )
    return table
