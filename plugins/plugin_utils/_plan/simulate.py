# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What a cut-through plan will take, chunk by chunk: inner loop."""

from __future__ import annotations

import heapq
import math
import typing as t

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.engine import kernel


@kernel
def simulate(n: int, roots: int, count: int, total: int, portion: t.Any, start: t.Any, tree: t.Any, child: t.Any,
             link: t.Any, links: int, D: t.Any, occ: t.Any, rcv: t.Any, sites: int, of: t.Any, sc: t.Any, busy: t.Any,
             sent: t.Any, have: t.Any, link_free: t.Any, port_free: t.Any, in_free: t.Any, missing: t.Any, wake: t.Any,
             begun: t.Any, done: t.Any) -> float:  # fmt: skip
    """Finish of the last host; ``begun`` and ``done`` get each host's first and last chunk.

    A host passes on whole chunks only. A sender gives, among the edges that have a chunk ready, an idle link and idle
    ports of the sites, one to that with the least progress.

    :param total: chunks of the base; ``portion[k]`` of them belong to tree k.
    :param start: edges of sender v are start[v]..start[v+1]-1, with ``tree``, ``child``, ``link`` (a number that edges
        between the same two hosts share, of ``links``), and seconds of the whole base for the link (``D``), the
        sender's port (``occ``) and the receiver's (``rcv``).
    :param sites: see ``stripes``; ``busy``: room as large as ``sc``.
    """
    inf = math.inf
    share = 1.0 / total
    for e in range(start[n]):
        sent[e] = 0
    for e in range(links):
        link_free[e] = 0.0
    if sites > 1:
        for e in range(2 * sites + sites * sites):
            busy[e] = 0.0
    queue = [(0.0, 0, -1)]
    queue.pop()
    for v in range(n):
        port_free[v] = 0.0
        in_free[v] = 0.0
        missing[v] = total
        wake[v] = inf
        begun[v] = 0.0
        done[v] = 0.0
        for k in range(count):
            have[v * count + k] = portion[k] if v < roots else 0
        if v < roots:
            missing[v] = 0
            wake[v] = 0.0
            heapq.heappush(queue, (0.0, v, -1))
    finish = 0.0
    while len(queue) > 0:
        now, v, k = heapq.heappop(queue)
        if k >= 0:
            if missing[v] == total:
                begun[v] = now
            have[v * count + k] += 1
            missing[v] -= 1
            if missing[v] == 0:
                done[v] = now
                finish = max(finish, now)
        else:
            if wake[v] != now:
                continue
            wake[v] = inf
        if start[v] == start[v + 1]:
            continue
        again = inf
        if port_free[v] > now + 1e-12:
            if wake[v] <= port_free[v]:
                continue
            for e in range(start[v], start[v + 1]):
                if sent[e] < have[v * count + tree[e]]:
                    again = port_free[v]
                    break
        else:
            chosen = -1
            least = inf
            for e in range(start[v], start[v + 1]):
                j = tree[e]
                if sent[e] < have[v * count + j]:
                    idle = link_free[link[e]]
                    if sites > 1 and of[v] != of[child[e]]:
                        a = of[v]
                        b = of[child[e]]
                        idle = max(idle, busy[a])
                        idle = max(idle, busy[sites + b])
                        idle = max(idle, busy[2 * sites + a * sites + b])
                    if idle <= now + 1e-12:
                        progress = sent[e] / portion[j]
                        if progress < least:
                            least = progress
                            chosen = e
                    elif idle < again:
                        again = idle
            if chosen >= 0:
                c = child[chosen]
                sent[chosen] += 1
                port_free[v] = now + occ[chosen] * share
                link_free[link[chosen]] = now + D[chosen] * share
                if sites > 1 and of[v] != of[c]:
                    a = of[v]
                    b = of[c]
                    busy[a] = now + sc[a] * share
                    busy[sites + b] = now + sc[sites + b] * share
                    e = 2 * sites + a * sites + b
                    busy[e] = now + sc[e] * share
                at = now + D[chosen] * share
                at = max(at, in_free[c] + rcv[chosen] * share)
                in_free[c] = at
                heapq.heappush(queue, (at, c, tree[chosen]))
                again = port_free[v]
        if again < wake[v]:
            wake[v] = again
            heapq.heappush(queue, (again, v, -1))
    for v in range(roots, n):
        if missing[v] > 0:
            return inf
    return finish
