# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The best staged tree of a small fleet, proven: dynamic programming over subsets.

f(v, S) = least time in which v serves the set S = min over its first child c and the set A that c then serves of
D[v][c] + max(f(c, A), f(v, S - c - A)). States that cannot be part of a plan better than a known one are dropped.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from .. import jit
from ..jit import Floats, Ints, kernel
from ..network.shortest_paths import Paths, Rows, shortest

# What no set of hosts takes.
NEVER = 1e300


class Problem(t.NamedTuple):
    """Hosts 0..m: 0 is the holder, target k bit k-1 of a set. ``D``: seconds, (m+1)^2; ``sp``: the same along shortest
    paths; ``dist[v]`` = sp[0][v]. Finishes of ``limit`` or later are of no interest."""

    m: int
    D: Floats
    dist: Floats
    sp: Floats
    limit: float


class Table(t.NamedTuple):
    """``f[v * 2^m + S]``; ``lists``: the useful sets of each host, (m+1) * 2^m; ``useful``: how many; ``work[0]``: steps taken."""

    f: Floats
    lists: Ints
    useful: Ints
    work: Ints


def table_for(m: int) -> Table:
    """Room for m targets."""
    n = m + 1
    return Table(jit.fill_floats(n << m), jit.fill_ints(n << m), jit.fill_ints(n), jit.fill_ints(1))


def exact(rows: Rows, found: Paths, limit: float, work: int) -> list[int] | None:
    """A tree that finishes before ``limit``; [] if there is none, None if it takes too long to know. One holder."""
    m = len(rows) - 1
    sp = [shortest(rows, {v: 0.0}).seconds for v in range(m + 1)]
    problem, table = Problem(m, jit.flat(rows), jit.floats(found.seconds), jit.flat(sp), limit), table_for(m)
    if not solve(problem, table, work):
        return None
    if table.f[(1 << m) - 1] >= 0.1 * NEVER:
        return []
    return tree(m, problem.D, table.f)


@kernel
def solve(problem: Problem, table: Table, work_limit: int) -> int:
    """Fills the table; 1 when done, 0 when ``work_limit`` steps did not suffice."""
    size = 1 << problem.m
    n = problem.m + 1
    table.work[0] = 0
    for v in range(n):
        table.f[v * size] = 0.0
        table.lists[v * size] = 0
        table.useful[v] = 1
    for S in range(1, size):
        for v in range(n):
            table.f[v * size + S] = NEVER
            if v > 0 and (S >> (v - 1)) & 1:
                continue
            room = problem.limit - problem.dist[v]
            if _farthest(problem, v, S) >= room:
                continue
            best = _least(problem, table, v, S, room)
            if best < room:
                table.f[v * size + S] = best
                table.lists[v * size + table.useful[v]] = S
                table.useful[v] += 1
        if table.work[0] > work_limit:
            return 0
    return 1


@kernel
def _farthest(problem: Problem, v: int, S: int) -> float:
    """Nobody is reached before its shortest path."""
    n = problem.m + 1
    far = 0.0
    rest = S
    u = 1
    while rest:
        if rest & 1 and problem.sp[v * n + u] > far:
            far = problem.sp[v * n + u]
        rest >>= 1
        u += 1
    return far


@kernel
def _least(problem: Problem, table: Table, v: int, S: int, room: float) -> float:
    """The least time in which v serves S, if it is less than ``room``."""
    n = problem.m + 1
    best = room
    subsets = 1
    rest = S & (S - 1)
    while rest:
        subsets *= 2
        rest &= rest - 1
    for c in range(1, n):
        bit = 1 << (c - 1)
        if not S & bit:
            continue
        d = problem.D[v * n + c]
        if d >= best:
            continue
        if table.useful[c] < subsets:
            best = _by_lists(problem.m, table, v, c, S ^ bit, d, best)
        else:
            best = _by_subsets(problem.m, table, v, c, S ^ bit, d, best)
    return best


@kernel
def _by_lists(m: int, table: Table, v: int, c: int, others: int, d: float, best: float) -> float:
    """Goes through the sets that v's first child c can serve in time; d: the seconds to it."""
    size = 1 << m
    f, lists, base, cbase = table.f, table.lists, v * size, c * size
    for k in range(table.useful[c]):
        A = lists[cbase + k]
        if A & ~others:
            continue
        x = f[cbase + A]
        y = f[base + (others ^ A)]
        x = max(x, y)
        best = min(best, d + x)
    table.work[0] += table.useful[c]
    return best


@kernel
def _by_subsets(m: int, table: Table, v: int, c: int, others: int, d: float, best: float) -> float:
    """The same with all sets of the others."""
    size = 1 << m
    f, base, cbase = table.f, v * size, c * size
    work = 0
    A = others
    while True:
        x = f[cbase + A]
        y = f[base + (others ^ A)]
        x = max(x, y)
        best = min(best, d + x)
        work += 1
        if A == 0:
            break
        A = (A - 1) & others
    table.work[0] += work
    return best


def tree(m: int, D: Sequence[float], f: Sequence[float]) -> list[int]:
    """Parents of hosts 0..m from a solved table."""
    size, n = 1 << m, m + 1
    parent = [-1] * n
    todo = [(0, size - 1)]
    while todo:
        v, S = todo.pop()
        if not S:
            continue
        want, chosen = f[v * size + S], None
        for c in range(1, n):
            bit = 1 << (c - 1)
            if not S & bit:
                continue
            others, A = S ^ bit, S ^ bit
            while chosen is None:
                if D[v * n + c] + max(f[c * size + A], f[v * size + (others ^ A)]) <= want:
                    chosen = (c, A, others ^ A)
                if A == 0:
                    break
                A = (A - 1) & others
            if chosen:
                break
        if chosen is None:
            return []
        c, A, rest = chosen
        parent[c] = v
        todo += [(c, A), (v, rest)]
    return parent
