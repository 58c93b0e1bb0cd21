# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Why machines were left out: the limits that bind, host by host, and those whose removal alone would place more."""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Callable, Sequence

from . import kernels
from .arrays import Arrays
from .build import Built
from .exact import fewest_left_out
from .fleet import UNLIMITED
from .kernels import NEVER
from .model import LIMITS, Assignment
from .search import place_all

# More machines are not worth an exact proof: the search's own result is taken.
PROVABLE = 120


def left_out(built: Built, assignment: Assignment) -> int:
    """The fewest machines that have to be left out, as far as this can be told; the assignment shows how many need not be."""
    found = sum(1 for option in assignment if option < 0)
    if found and len(assignment) <= PROVABLE:
        proved = fewest_left_out(built.problem)
        if proved is not None:
            return min(found, proved)
    return found


def binding(built: Built, assignment: Assignment, without: Callable[[str], Built]) -> dict[str, set[int]]:
    """The limits whose removal alone places more machines, and the roles that it places more of.

    :param without: the same problem, built without the limit of this name.
    """
    fewest, left = left_out(built, assignment), left_by_role(built, assignment)
    found = {}
    for limit in LIMITS:
        if not _matters(built, limit):
            continue
        freed = without(limit)
        solution = place_all(freed.problem)
        if solution.vector.unplaced < fewest or left_out(freed, solution.assignment) < fewest:
            now = left_by_role(freed, solution.assignment)
            # Where more is proved to fit than was found, it may be any of them.
            found[limit] = {role for role in left if now.get(role, 0) < left[role]} or set(left)
    return found


def left_by_role(built: Built, assignment: Assignment) -> dict[int, int]:
    """How many machines of each role have no place; roles that have all are left out."""
    return dict(Counter(role for role, option in zip(built.problem.machines, assignment, strict=True) if option < 0))


def _matters(built: Built, limit: str) -> bool:
    """Whether the problem has such a limit at all: what is not there need not be left out."""
    if limit in ("anti_affinity", "spread"):
        return any(rule.kind == limit for rule in built.problem.rules)
    if limit == "affinity":
        return bool(built.problem.bonds)
    word = {"labels": ("lacks the label", "to be avoided"), "maintenance": ("in maintenance",), "bring": ("bring:",)}.get(limit)
    return word is None or any(part in why for out in built.out for why in out.values() for part in word)


def why_not(
    built: Built, arrays: Arrays, role: int, options: Sequence[int] | None = None, hosts: Sequence[str] | None = None
) -> dict[str, str]:
    """For each host of a role: what stands in the way of one more machine, with all others where they are.

    :param options: those that count; all of the role where it is not given.
    :param hosts: those that are told of, in this order; all of the problem where it is not given.
    """
    problem, out, first = built.problem, built.out[role], arrays.first[role]
    names = [host.name for host in problem.hosts] if hosts is None else hosts
    found = {name: out[name] for name in names if name in out}
    for option in range(first, first + len(problem.roles[role].options)) if options is None else options:
        name = problem.hosts[problem.roles[role].options[option - first].host].name
        if kernels.missing(arrays.world, arrays.state, role, option, NEVER) >= 0:
            found[name] = ""
        elif found.get(name) != "":
            told = _limits_of(built, arrays, role, option)
            found[name] = "; ".join(dict.fromkeys([*filter(None, found.get(name, "").split("; ")), *told]))
    return {name: why for name in names if (why := found.get(name))}


def _limits_of(built: Built, arrays: Arrays, role: int, option: int) -> list[str]:
    problem, world, state = built.problem, arrays.world, arrays.state
    host = int(world.option_host[option])
    told = []
    mine = problem.roles[role]
    for name, used, limit, needed, unit in (
        ("cpu", state.cpu[host], world.cpu_limit[host], mine.cpus, "virtual processors"),
        ("memory", state.memory[host], world.memory_limit[host], mine.memory, "MiB"),
    ):
        if used + needed > limit:
            told.append(f"{name}: {max(0, limit - used)} of {limit} {unit} are free, {needed} are needed")
    for rule in mine.rules:
        counter = world.rule_domain[rule * world.hosts + host]
        if state.counts[counter] >= world.rule_limit[counter]:
            held = problem.rules[rule]
            told.append(f"{held.kind}: {state.counts[counter]} of {held.name} are on this {held.by}, at most {held.limit} are allowed")
    for bond in mine.bonds:
        if state.bond_users[bond] and state.bond_at[bond] != world.bond_domain[bond * world.hosts + host]:
            told.append(f"affinity: {problem.bonds[bond].name} are on another {problem.bonds[bond].by}")
    for at in range(world.option_part_from[option], world.option_part_from[option + 1]):
        told += _pool(built, arrays, world.option_part[at])
    return told


def _pool(built: Built, arrays: Arrays, part: int) -> list[str]:
    """What stands in the way on one storage."""
    world, state = arrays.world, arrays.state
    if kernels.of_part(world, state, part, NEVER) >= 0:
        return []
    storage = built.problem.storages[int(world.part_storage[part])]
    mine = built.problem.parts[int(part)]
    at = mine.storage
    copies = sum(built.problem.copies[copy].mib for copy in mine.copies if not state.users[copy])
    written = mine.fixed + copies
    left = storage.free - int(state.fixed[at])
    if storage.pages:
        return [f"memory: {max(0, left)} MiB of huge pages of {storage.pages} are free, {written} are needed"]
    if written > left:
        return [f"pool {storage.name}: {gib(max(0, left))} are free, {gib(written)} would be written at once"]
    promised = storage.promised + int(state.thin[at])
    may = storage.overcommit * (left - written) // 100
    return [
        f"pool {storage.name}: {gib(promised)} of {gib(max(0, may))} are promised to disks that grow"
        f" ({storage.overcommit} % of what is free), {gib(mine.thin)} more are needed"
    ]


def gib(mib: int) -> str:
    """MiB as GiB, one decimal at most."""
    return "all" if mib >= UNLIMITED else f"{round(mib / 1024, 1):g} GiB"


def sentences(group: str, count: int, hosts: t.Mapping[str, str], limits: Sequence[str]) -> str:
    """One sentence about the machines of a group that were left out."""
    which = f"{count} machine{'s' if count > 1 else ''} of {group}"
    binds = f"; what binds: {', '.join(limits)}" if limits else ""
    shown = list(hosts.items())
    few = "; ".join(f"{host}: {why}" for host, why in shown[:10])
    more = f"; and {len(shown) - 10} more hosts" if len(shown) > 10 else ""
    return f"{which} {'do' if count > 1 else 'does'} not fit{binds}. {few}{more}".rstrip()
