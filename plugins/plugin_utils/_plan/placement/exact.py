# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The fewest machines that have to be left out, proved: an integer program over roles, solved by HiGHS where SciPy is there.

Variables: machines of a role at an option (integer), a layer at a storage (binary), a bond in a domain (binary). All limits
are linear in them: copies and full disks take free space first, the rest may be over-committed. Capacities are as in OpenStack's
Placement, copies as in facility location.
"""

from __future__ import annotations

import typing as t

from .fleet import UNLIMITED
from .model import Problem

NODES = 20000  # of the branch and bound: counted, so that the answer does not depend on the machine


class _Rows:
    """Constraints ``sum of coefficients <= bound``, as triplets."""

    def __init__(self) -> None:
        self.row: list[int] = []
        self.column: list[int] = []
        self.value: list[float] = []
        self.bounds: list[float] = []

    def add(self, terms: t.Iterable[tuple[int, float]], bound: float) -> None:
        if bound >= UNLIMITED / 2:
            return
        at = len(self.bounds)
        for column, value in terms:
            self.row.append(at)
            self.column.append(column)
            self.value.append(value)
        self.bounds.append(bound)


def fewest_left_out(problem: Problem) -> int | None:
    """How many machines must be left out; None if that was not proved within the nodes, or SciPy is not there."""
    try:
        import numpy  # noqa: PLC0415 - see jit: imported where it is needed
        from scipy.optimize import Bounds, LinearConstraint, milp  # noqa: PLC0415 - see jit: imported where it is needed
        from scipy.sparse import csr_matrix  # noqa: PLC0415 - see jit: imported where it is needed
    except ImportError:
        return None
    total = len(problem.machines)
    options = [(role, option) for role in range(len(problem.roles)) for option in problem.roles[role].options]
    if not options:
        return total
    copies, bonds = len(options), len(options) + len(problem.copies)
    domains = [max(bond.domain, default=0) + 1 for bond in problem.bonds]
    size = bonds + sum(domains)
    rows = _rows(problem, options, copies, bonds)
    upper = [problem.roles[role].count for role, _option in options] + [1] * (size - copies)
    gain = numpy.zeros(size)
    gain[:copies] = -1.0
    found = milp(
        gain,
        constraints=LinearConstraint(csr_matrix((rows.value, (rows.row, rows.column)), shape=(len(rows.bounds), size)), ub=rows.bounds),
        integrality=numpy.ones(size),
        bounds=Bounds(0, upper),
        options={"node_limit": NODES, "mip_rel_gap": 0.0},
    )
    if found.status != 0:
        return None
    return total - round(-found.fun)


def _rows(problem: Problem, options: t.Sequence[tuple[int, t.Any]], copies: int, bonds: int) -> _Rows:
    rows = _Rows()
    at_host: dict[int, list[int]] = {}
    at_role: dict[int, list[int]] = {}
    for at, (role, option) in enumerate(options):
        at_host.setdefault(option.host, []).append(at)
        at_role.setdefault(role, []).append(at)
    for role, mine in at_role.items():
        rows.add(((at, 1.0) for at in mine), problem.roles[role].count)
    for host, mine in at_host.items():
        limits = problem.hosts[host]
        rows.add(((at, problem.roles[options[at][0]].cpus) for at in mine), limits.cpu_limit - limits.cpu_used)
        rows.add(((at, problem.roles[options[at][0]].memory) for at in mine), limits.memory_limit - limits.memory_used)
    _rules(problem, options, rows)
    _storages(problem, options, copies, rows)
    _bonds(problem, options, bonds, rows)
    return rows


def _rules(problem: Problem, options: t.Sequence[tuple[int, t.Any]], rows: _Rows) -> None:
    for index, rule in enumerate(problem.rules):
        mine: dict[int, list[int]] = {}
        for at, (role, option) in enumerate(options):
            if index in problem.roles[role].rules:
                mine.setdefault(rule.domain[option.host], []).append(at)
        for domain, members in mine.items():
            rows.add(((at, 1.0) for at in members), max(0, rule.limit - rule.there[domain]))


def _storages(problem: Problem, options: t.Sequence[tuple[int, t.Any]], copies: int, rows: _Rows) -> None:
    fixed: dict[int, list[tuple[int, float]]] = {}
    grown: dict[int, list[tuple[int, float]]] = {}
    for at, (role, option) in enumerate(options):
        for index in option.parts:
            part = problem.parts[index]
            share = problem.storages[part.storage].overcommit / 100
            fixed.setdefault(part.storage, []).append((at, part.fixed))
            grown.setdefault(part.storage, []).append((at, part.thin + share * part.fixed))
            for copy in part.copies:
                rows.add([(at, 1.0), (copies + copy, -float(problem.roles[role].count))], 0.0)
    for index, copy in enumerate(problem.copies):
        if copy.storage in fixed:
            fixed[copy.storage].append((copies + index, copy.mib))
            grown[copy.storage].append((copies + index, copy.mib * problem.storages[copy.storage].overcommit / 100))
    for storage, terms in fixed.items():
        held = problem.storages[storage]
        rows.add(terms, held.free)
        room = held.free * held.overcommit / 100 - held.promised
        # Nothing may be added where more is promised than may be; what takes nothing there still may.
        rows.add(grown[storage] if room >= 0 else [(at, value) for at, value in grown[storage] if value > 0], max(0.0, room))


def _bonds(problem: Problem, options: t.Sequence[tuple[int, t.Any]], first: int, rows: _Rows) -> None:
    for index, bond in enumerate(problem.bonds):
        domains = max(bond.domain, default=0) + 1
        rows.add(((first + domain, 1.0) for domain in range(domains)), 1.0)
        for at, (role, option) in enumerate(options):
            if index in problem.roles[role].bonds:
                rows.add([(at, 1.0), (first + bond.domain[option.host], -float(problem.roles[role].count))], 0.0)
        first += domains
