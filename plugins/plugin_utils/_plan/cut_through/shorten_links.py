# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Shorter links at the same load: a host is served by a nearer one that has room, or serves the one that served it.

A search for the least load has no reason to spare a link that is not full: it sends a part of the base back over a slow
line to the site that it came from.
"""

from __future__ import annotations

import typing as t

from ..jit import kernel
from .reduce_depth import levels, move

# A link is shorter from this part of another one's seconds on.
SHORTER = 0.95


@kernel
def _nearest(n: int, v: int, p: int, w: float, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any, col: t.Any, nic: int,
             of: t.Any, out: t.Any, inn: t.Any, lnk: t.Any, limit: float, depth: t.Any) -> int:  # fmt: skip
    """Who may serve v in place of p over the shortest link; -1: nobody over a shorter one."""
    old = off[p] + col[v]
    chosen = -1
    least = SHORTER * D[old]
    for u in range(n):
        new = off[u] + col[v]
        # Whoever is nearer to the holders is not below it.
        if depth[u] >= depth[v] or D[new] >= least:
            continue
        if of[u] != of[v] and of[u] != of[p]:
            continue
        if nic and lnk[u * n + v] + w * D[new] > limit:
            continue
        if out[u] + w * occ[new] > limit or inn[v] + w * (rcv[new] - rcv[old]) > limit:
            continue
        chosen = u
        least = D[new]
    return chosen


@kernel
def _turns(n: int, g: int, p: int, v: int, w: float, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any, col: t.Any, nic: int,
           of: t.Any, out: t.Any, inn: t.Any, lnk: t.Any, limit: float) -> bool:  # fmt: skip
    """Whether instead of g, p, v the base may go g, v, p, over shorter links."""
    gp, pv, gv, vp = off[g] + col[p], off[p] + col[v], off[g] + col[v], off[v] + col[p]
    if D[gv] + D[vp] >= SHORTER * (D[gp] + D[pv]):
        return False
    if of[v] != of[g] and of[v] != of[p]:
        return False
    if nic and (lnk[g * n + v] + w * D[gv] > limit or lnk[v * n + p] + w * D[vp] > limit):
        return False
    if out[g] + w * (occ[gv] - occ[gp]) > limit or out[v] + w * occ[vp] > limit:
        return False
    return bool(inn[v] + w * (rcv[gv] - rcv[pv]) <= limit and inn[p] + w * (rcv[vp] - rcv[gp]) <= limit)


@kernel
def nearer(n: int, count: int, weights: t.Any, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any, col: t.Any, nic: int,
           of: t.Any, par: t.Any, out: t.Any, inn: t.Any, lnk: t.Any, limit: float, depth: t.Any, rounds: int) -> int:  # fmt: skip
    """Changes ``par`` (see ``stripes``), whose loads are in ``out``, ``inn`` and ``lnk``; returns how many hosts moved.

    :param limit: the greatest load that may come out of it. Loads between sites do not grow.
    :param depth: room for n numbers; ``rounds``: through each tree at most.
    """
    moves = 0
    for k in range(count):
        base = k * n
        w = weights[k]
        for _round in range(rounds):
            before = moves
            levels(n, base, par, depth)
            for v in range(n):
                p = par[base + v]
                if p < 0:
                    continue
                u = _nearest(n, v, p, w, D, occ, rcv, off, col, nic, of, out, inn, lnk, limit, depth)
                if u >= 0:
                    move(n, p, v, -w, D, occ, rcv, off, col, nic, out, inn, lnk)
                    move(n, u, v, w, D, occ, rcv, off, col, nic, out, inn, lnk)
                    par[base + v] = u
                    moves += 1
            for v in range(n):
                p = par[base + v]
                g = par[base + p] if p >= 0 else -1
                if g >= 0 and _turns(n, g, p, v, w, D, occ, rcv, off, col, nic, of, out, inn, lnk, limit):
                    move(n, g, p, -w, D, occ, rcv, off, col, nic, out, inn, lnk)
                    move(n, p, v, -w, D, occ, rcv, off, col, nic, out, inn, lnk)
                    move(n, g, v, w, D, occ, rcv, off, col, nic, out, inn, lnk)
                    move(n, v, p, w, D, occ, rcv, off, col, nic, out, inn, lnk)
                    par[base + v] = g
                    par[base + p] = v
                    moves += 1
            if moves == before:
                break
    return moves
