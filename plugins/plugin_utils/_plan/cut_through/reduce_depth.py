# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Shallower trees of the same load: a host that passes much on changes places with one nearer to the holders that does not.

What a search for the least load leaves is as deep as it happens to be, and each link of depth costs the time of a chunk,
and one more relay that may die.
"""

from __future__ import annotations

import typing as t

from ..jit import kernel


@kernel
def _fits(n: int, u: int, v: int, instead: int, weight: float, limit: float, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any,
          col: t.Any, nic: int, out: t.Any, inn: t.Any, lnk: t.Any, old: int) -> bool:  # fmt: skip
    """Whether u may serve v in place of ``instead``; v was served by ``old``. No load may exceed the limit by that."""
    new = off[u] + col[v]
    if weight * D[new] > limit:
        return False
    if nic and lnk[u * n + v] + weight * D[new] > limit:
        return False
    if out[u] + weight * (occ[new] - occ[off[u] + col[instead]]) > limit:
        return False
    return bool(inn[v] + weight * (rcv[new] - rcv[off[old] + col[v]]) <= limit)


@kernel
def move(n: int, u: int, v: int, weight: float, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any, col: t.Any, nic: int,
         out: t.Any, inn: t.Any, lnk: t.Any) -> None:  # fmt: skip
    """u serves v, or with a negative weight does not any more."""
    e = off[u] + col[v]
    out[u] += weight * occ[e]
    inn[v] += weight * rcv[e]
    if nic:
        lnk[u * n + v] += weight * D[e]


@kernel
def levels(n: int, base: int, par: t.Any, depth: t.Any) -> None:
    """Links from the holders to each host, in the tree that begins at ``base``."""
    for v in range(n):
        depth[v] = 0
        u = par[base + v]
        while u >= 0:
            depth[v] += 1
            u = par[base + u]


@kernel
def _below(v: int, u: int, base: int, par: t.Any) -> bool:
    """Whether v gets its chunks by way of u."""
    while v >= 0 and v != u:
        v = par[base + v]
    return v == u


@kernel
def flatten(n: int, count: int, weights: t.Any, D: t.Any, occ: t.Any, rcv: t.Any, off: t.Any, col: t.Any, nic: int,
            of: t.Any, par: t.Any, out: t.Any, inn: t.Any, lnk: t.Any, limit: float, depth: t.Any, kids: t.Any,
            rounds: int) -> int:  # fmt: skip
    """Changes ``par`` (see ``stripes``), whose loads are in ``out``, ``inn`` and ``lnk``; returns how many changed places.

    :param limit: the greatest load that may come out of it. Loads between sites stay as they are.
    :param depth: kids: room for n numbers each; ``rounds``: through each tree at most.
    """
    swaps = 0
    for k in range(count):
        base = k * n
        w = weights[k]
        for v in range(n):
            kids[v] = 0
        for v in range(n):
            u = par[base + v]
            if u >= 0:
                kids[u] += 1
        for _round in range(rounds):
            levels(n, base, par, depth)
            before = swaps
            for v in range(n):
                if kids[v] == 0 or depth[v] < 2:
                    continue
                p = par[base + v]
                chosen = -1
                least = depth[v]
                for x in range(n):
                    if depth[x] >= least or depth[x] == 0 or kids[x] >= kids[v] or x == p:
                        continue
                    q = par[base + x]
                    if of[v] != of[x] and of[p] != of[q]:
                        continue
                    if not _fits(n, q, v, x, w, limit, D, occ, rcv, off, col, nic, out, inn, lnk, p):
                        continue
                    if not _fits(n, p, x, v, w, limit, D, occ, rcv, off, col, nic, out, inn, lnk, q):
                        continue
                    if _below(v, x, base, par) or _below(x, v, base, par):
                        continue
                    chosen = x
                    least = depth[x]
                if chosen < 0:
                    continue
                x = chosen
                q = par[base + x]
                move(n, p, v, -w, D, occ, rcv, off, col, nic, out, inn, lnk)
                move(n, q, x, -w, D, occ, rcv, off, col, nic, out, inn, lnk)
                move(n, q, v, w, D, occ, rcv, off, col, nic, out, inn, lnk)
                move(n, p, x, w, D, occ, rcv, off, col, nic, out, inn, lnk)
                par[base + v] = q
                par[base + x] = p
                # Of what is below them the next round knows the depth.
                depth[v], depth[x] = depth[x], depth[v]
                swaps += 1
            if swaps == before:
                break
    return swaps
