# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The problem as flat arrays, and the kernels that work on them: compiled, or interpreted.

Small problems are interpreted although Numba is there: importing it takes longer than they do. Both do the same arithmetic.
"""

from __future__ import annotations

import functools
import itertools
import typing as t
from collections.abc import Callable, Iterable, Sequence

from . import kernels
from .kernels import Goal, State, World
from .model import Assignment, Problem, Role, Vector

# What ``improve`` calls: compiled together with it.
_INNER = (
    "draw", "pick", "blink", "missing", "allowed", "to_bring", "of_part", "put", "take", "change", "change_part", "uses", "out_of_host",
    "drop", "out_of_storage", "out_of_copy", "out_of_bonds", "out_of_bond", "ruin", "ruin_near", "burden", "room_for", "waiting",
    "key", "better_of", "choose", "sort_out", "order", "recreate", "among", "undo", "value_of", "insist", "keep",
)  # fmt: skip


@functools.cache
def compiled() -> Callable[[World, State, Goal], float] | None:
    """``kernels.improve``, compiled; None without Numba."""
    try:
        import numba  # noqa: PLC0415 - see jit: imported where it is needed
        from numba.extending import register_jitable  # noqa: PLC0415 - see jit: imported where it is needed
    except ImportError:
        return None
    if numba.config.DISABLE_JIT:
        return None
    for name in _INNER:
        register_jitable(getattr(kernels, name))
    try:
        return t.cast("Callable[[World, State, Goal], float]", numba.njit(cache=True)(kernels.improve))
    except RuntimeError:  # neither beside the code nor in the user's home may anything be written
        return t.cast("Callable[[World, State, Goal], float]", numba.njit(kernels.improve))


class Arrays:
    """A problem in the kernels' form, with one assignment."""

    def __init__(self, problem: Problem, seed: int = 1, fast: bool = True) -> None:
        self.problem = problem
        self.engine = compiled() if fast else None
        self.first = _offsets(len(role.options) for role in problem.roles)
        self.weights = [weight(problem, role) for role in problem.roles]
        self.world = _world(problem, self._array)
        self.state = _state(problem, self._array, seed)

    def _array(self, values: Iterable[int]) -> t.Any:
        if self.engine is None:
            return list(values)
        import numpy  # noqa: PLC0415 - see jit: imported where it is needed

        return numpy.array(list(values), dtype=numpy.int64)

    def improve(self, goal: Goal) -> float:
        """One search; afterwards the state is the best that was found."""
        engine = self.engine or kernels.improve
        value = float(engine(self.world, self.state, goal))
        self.adopt([int(option) for option in self.state.best])
        return value

    def save(self) -> list[t.Any]:
        """The state as it is now."""
        return [values[:] if self.engine is None else values.copy() for values in self.state]

    def restore(self, saved: Sequence[t.Any]) -> None:
        """The state as it was saved."""
        for values, before in zip(self.state, saved, strict=True):
            values[:] = before

    def anew(self, seed: int) -> None:
        """The same state, with fresh weights and random numbers."""
        world, state = self.world, self.state
        for role in range(len(world.weight)):
            world.weight[role] = self.weights[role]
        state.total[0] = sum(self.weights[role] for role, option in zip(self.problem.machines, state.at, strict=True) if option < 0)
        state.random[0] = seed

    def adopt(self, options: Sequence[int]) -> None:
        """Makes the state this one: an option by its position among all, or -1, for each machine."""
        state = self.state
        for machine, option in enumerate(options):
            if state.at[machine] >= 0 and state.at[machine] != option:
                kernels.take(self.world, state, machine)
        for machine, option in enumerate(options):
            if option >= 0 and state.at[machine] < 0:
                kernels.put(self.world, state, machine, int(option))

    @property
    def options(self) -> list[int]:
        """The option of each machine by its position among all."""
        return [int(option) for option in self.state.at]

    @property
    def assignment(self) -> Assignment:
        """The option of each machine by its position in its role."""
        roles = self.world.machine_role
        return [int(option) - self.first[roles[m]] if option >= 0 else -1 for m, option in enumerate(self.state.at)]

    @property
    def vector(self) -> Vector:
        """How good the state is."""
        total = self.state.total
        return Vector(int(total[3]), int(max(self.state.seconds, default=0)), int(total[1]), int(total[2]))


def _offsets(counts: Iterable[int]) -> list[int]:
    return list(itertools.accumulate(counts, initial=0))


def _flat(rows: Iterable[Iterable[int]]) -> list[int]:
    return [value for row in rows for value in row]


def weight(problem: Problem, role: Role) -> int:
    """How dear it is to leave a machine out: 1000, and more for what is hard to place (large shares of a mean host)."""
    hosts = max(1, len(problem.hosts))
    cpus = max(1, sum(host.cpu_limit for host in problem.hosts)) / hosts
    memory = max(1, sum(host.memory_limit for host in problem.hosts)) / hosts
    share = max(role.cpus / cpus, role.memory / memory)
    few = 1 - len({option.host for option in role.options}) / hosts
    return 1000 + min(999, round(400 * share + 200 * few + 100 * bool(role.rules) + 200 * bool(role.bonds)))


def _world(problem: Problem, array: Callable[[Iterable[int]], t.Any]) -> World:
    roles, hosts = problem.roles, problem.hosts
    options = [option for role in roles for option in role.options]
    counters = _offsets(len(rule.there) for rule in problem.rules)
    return World(
        hosts=len(hosts),
        machine_role=array(problem.machines),
        cpu=array(role.cpus for role in roles),
        memory=array(role.memory for role in roles),
        weight=array(weight(problem, role) for role in roles),
        option_from=array(_offsets(len(role.options) for role in roles)),
        at_host=array(_at_host(problem)),
        option_host=array(option.host for option in options),
        option_part_from=array(_offsets(len(option.parts) for option in options)),
        option_part=array(_flat(option.parts for option in options)),
        part_storage=array(part.storage for part in problem.parts),
        part_fixed=array(part.fixed for part in problem.parts),
        part_thin=array(part.thin for part in problem.parts),
        part_copy_from=array(_offsets(len(part.copies) for part in problem.parts)),
        part_copy=array(_flat(part.copies for part in problem.parts)),
        copy_seconds=array(copy.seconds for copy in problem.copies),
        copy_size=array(copy.size for copy in problem.copies),
        copy_mib=array(copy.mib for copy in problem.copies),
        rule_from=array(_offsets(len(role.rules) for role in roles)),
        rule_of=array(_flat(role.rules for role in roles)),
        rule_domain=array(first + domain for first, rule in zip(counters, problem.rules, strict=False) for domain in rule.domain),
        rule_limit=array(rule.limit for rule in problem.rules for _unused in rule.there),
        bond_from=array(_offsets(len(role.bonds) for role in roles)),
        bond_of=array(_flat(role.bonds for role in roles)),
        bond_domain=array(_flat(bond.domain for bond in problem.bonds)),
        cpu_limit=array(host.cpu_limit for host in hosts),
        memory_limit=array(host.memory_limit for host in hosts),
        level=array(host.level for host in hosts),
        free=array(storage.free for storage in problem.storages),
        promised=array(storage.promised for storage in problem.storages),
        overcommit=array(storage.overcommit for storage in problem.storages),
        storage_host_from=array(_offsets(len(storage.hosts) for storage in problem.storages)),
        storage_host=array(_flat(storage.hosts for storage in problem.storages)),
    )


def _at_host(problem: Problem) -> list[int]:
    """By role and host: where the options of a host begin; one more entry per role for the end."""
    found: list[int] = []
    first = 0
    for role in problem.roles:
        counts = [0] * len(problem.hosts)
        for option in role.options:
            counts[option.host] += 1
        found += [first + offset for offset in _offsets(counts)]
        first += len(role.options)
    return found


def _state(problem: Problem, array: Callable[[Iterable[int]], t.Any], seed: int) -> State:
    machines, hosts, storages = len(problem.machines), len(problem.hosts), len(problem.storages)
    none = [-1] * machines
    return State(
        at=array(none),
        head=array([-1] * hosts),
        after=array(none),
        before=array(none),
        cpu=array(host.cpu_used for host in problem.hosts),
        memory=array(host.memory_used for host in problem.hosts),
        fixed=array([0] * storages),
        thin=array([0] * storages),
        seconds=array([0] * storages),
        users=array([0] * len(problem.copies)),
        counts=array(_flat(rule.there for rule in problem.rules)),
        bond_at=array([-1] * len(problem.bonds)),
        bond_users=array([0] * len(problem.bonds)),
        total=array(
            [
                sum(weight(problem, role) * role.count for role in problem.roles),
                0,
                sum(max(0, host.memory_used - host.level) for host in problem.hosts),
                machines,
            ]
        ),
        random=array([seed]),
        out=array(none),
        was=array(none),
        mark=array([0, 0]),
        best=array(none),
    )
