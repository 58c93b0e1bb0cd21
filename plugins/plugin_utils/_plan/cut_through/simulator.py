# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What a cut-through plan will take, chunk by chunk: inner loop."""

from __future__ import annotations

import heapq
import math
import typing as t

from ..jit import kernel


@kernel
def _behind(a: int, b: int, sent: t.Any, portion: t.Any, tree: t.Any) -> bool:
    """Whether edge a has made less progress than b."""
    x = sent[a] / portion[tree[a]]
    y = sent[b] / portion[tree[b]]
    return x < y or (x == y and a < b)


@kernel
def _push(e: int, low: int, size: int, ready: t.Any, sent: t.Any, portion: t.Any, tree: t.Any) -> None:
    """Adds an edge to the heap ``ready[low:low + size]``."""
    i = size
    while i > 0:
        above = (i - 1) // 2
        if not _behind(e, ready[low + above], sent, portion, tree):
            break
        ready[low + i] = ready[low + above]
        i = above
    ready[low + i] = e


@kernel
def _pop(low: int, size: int, ready: t.Any, sent: t.Any, portion: t.Any, tree: t.Any) -> int:
    """Takes the edge with the least progress from the heap ``ready[low:low + size]``."""
    first = ready[low]
    e = ready[low + size - 1]
    i = 0
    while True:
        below = 2 * i + 1
        if below >= size - 1:
            break
        if below + 1 < size - 1 and _behind(ready[low + below + 1], ready[low + below], sent, portion, tree):
            below += 1
        if not _behind(ready[low + below], e, sent, portion, tree):
            break
        ready[low + i] = ready[low + below]
        i = below
    ready[low + i] = e
    return int(first)


@kernel
def simulate(n: int, roots: int, count: int, total: int, portion: t.Any, start: t.Any, tree: t.Any, child: t.Any,
             link: t.Any, links: int, D: t.Any, occ: t.Any, rcv: t.Any, nic: int, sites: int, of: t.Any, sc: t.Any, busy: t.Any,
             sent: t.Any, have: t.Any, group: t.Any, ready: t.Any, waiting: t.Any, link_free: t.Any, port_free: t.Any,
             in_free: t.Any, missing: t.Any, wake: t.Any, begun: t.Any, done: t.Any) -> float:  # fmt: skip
    """Finish of the last host; ``begun`` and ``done`` get each host's first and last chunk.

    A host passes on whole chunks only. A sender gives, among the edges that have a chunk ready, an idle link and idle
    ports of the sites, one to that with the least progress. Where ports are shared by time and sites have no limits (no
    ``nic``), any link is idle when the port is, and a heap knows which edge is next.

    :param total: chunks of the base; ``portion[k]`` of them belong to tree k.
    :param start: edges of sender v are start[v]..start[v+1]-1, in the order of their trees, with ``tree``, ``child``, ``link``
        (a number that edges between the same two hosts share, of ``links``), and seconds of the whole base for the link
        (``D``), the sender's port (``occ``) and the receiver's (``rcv``).
    :param sites: see ``stripes``; ``busy``: room as large as ``sc``.
    :param group: room for n * (count + 1) numbers, where each sender's edges of each tree begin; ``ready``: for as many as there
        are edges; ``waiting``: for n.
    """
    inf = math.inf
    heaps = not nic and sites <= 1
    if heaps:
        for v in range(n):
            e = start[v]
            for k in range(count):
                group[v * (count + 1) + k] = e
                while e < start[v + 1] and tree[e] == k:
                    e += 1
            group[v * (count + 1) + count] = e
            waiting[v] = 0
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
            if heaps:
                for e in range(start[v], start[v + 1]):
                    _push(e, start[v], waiting[v], ready, sent, portion, tree)
                    waiting[v] += 1
    finish = 0.0
    while len(queue) > 0:
        now, v, k = heapq.heappop(queue)
        if k >= 0:
            if missing[v] == total:
                begun[v] = now
            if heaps:
                for e in range(group[v * (count + 1) + k], group[v * (count + 1) + k + 1]):
                    if sent[e] == have[v * count + k]:
                        _push(e, start[v], waiting[v], ready, sent, portion, tree)
                        waiting[v] += 1
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
            if heaps:
                if waiting[v] > 0:
                    again = port_free[v]
            else:
                for e in range(start[v], start[v + 1]):
                    if sent[e] < have[v * count + tree[e]]:
                        again = port_free[v]
                        break
        else:
            chosen = -1
            least = inf
            if heaps:
                if waiting[v] > 0:
                    chosen = _pop(start[v], waiting[v], ready, sent, portion, tree)
                    waiting[v] -= 1
            else:
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
                if heaps and sent[chosen] < have[v * count + tree[chosen]]:
                    _push(chosen, start[v], waiting[v], ready, sent, portion, tree)
                    waiting[v] += 1
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
