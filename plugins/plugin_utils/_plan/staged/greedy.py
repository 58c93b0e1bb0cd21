# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Earliest completion first, for many hosts: inner loop.

Hosts come in classes that look alike (dense matrices: one host per class), so that a sender looks for its next
receiver among classes and not among hosts.
"""

from __future__ import annotations

import heapq
import math
import typing as t

from ..jit import kernel


@kernel
def greedy(n: int, roots: int, classes: int, D: t.Any, col: t.Any, rel: t.Any, look: t.Any, weight: float, first: t.Any,
           nxt: t.Any, at: t.Any, parent: t.Any) -> float:  # fmt: skip
    """Fills ``parent``; returns the finish (inf if somebody cannot be reached).

    :param D: seconds from class to class, ``classes`` squared; ``col``: each host's class.
    :param look: what is added, times ``weight``, for a receiver of a class: what it is worth as the next sender.
    :param first: room for the first unserved host of each class, ``nxt`` for the next one of each host.
    """
    inf = math.inf
    for c in range(classes):
        first[c] = -1
    for v in range(n - 1, -1, -1):
        parent[v] = -1
        at[v] = inf
        nxt[v] = -1
        if v >= roots:
            nxt[v] = first[col[v]]
            first[col[v]] = v
    queue = [(0.0, 0, -1)]
    queue.pop()
    for r in range(roots):
        at[r] = rel[r]
        heapq.heappush(queue, (rel[r], r, -1))
    left = n - roots
    finish = 0.0
    # An entry (key, sender, class): class -1 asks for the sender's best class, which needs its free time in ``at``.
    while left > 0 and len(queue) > 0:
        _unused, u, c = heapq.heappop(queue)
        if c >= 0 and first[c] >= 0:
            v = first[c]
            first[c] = nxt[v]
            end = at[u] + D[col[u] * classes + c]
            parent[v] = u
            # ``at`` is when a host is free to send, from now on.
            at[u] = end
            at[v] = end
            finish = max(finish, end)
            left -= 1
            heapq.heappush(queue, (end, v, -1))
            heapq.heappush(queue, (end, u, -1))
            continue
        best = -1
        least = inf
        row = col[u] * classes
        for k in range(classes):
            if first[k] >= 0:
                x = D[row + k]
                if x < inf:
                    x += weight * look[k]
                    if x < least:
                        least = x
                        best = k
        if best >= 0:
            heapq.heappush(queue, (at[u] + least, u, best))
    return finish if left == 0 else inf
