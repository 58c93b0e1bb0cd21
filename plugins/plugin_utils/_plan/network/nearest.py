# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Each host's best senders by link time: where searches look first."""

from __future__ import annotations

import heapq

from .matrix import INF
from .shortest_paths import Rows

# How many of each host.
NEAR = 24


def nearest(rows: Rows, roots: int) -> tuple[list[int], int]:
    """For every host its best senders by link time, ``width`` each (-1: no more)."""
    n = len(rows)
    width = min(NEAR, n - 1)
    out: list[int] = []
    columns = list(zip(*rows, strict=True))
    for v in range(n):
        column = columns[v]
        best = [] if v < roots else heapq.nsmallest(width, range(n), key=column.__getitem__)
        best = [u for u in best if column[u] < INF]
        out += best + [-1] * (width - len(best))
    return out, width
