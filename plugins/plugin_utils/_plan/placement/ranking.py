# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""In which order hosts are taken for one more machine: tuples of quantised keys, compared from the left, less is better.

``spread``: fewest machines of the group, fewest of the service; then what has to be brought (bytes, seconds), then how full and
how busy the host would be, then the inventory's order. ``pack``: a host that the service uses already, then what has to be
brought, then the fullest. Quantised as in Protean (Hadary et al., 2020), so that a tiny gap leaves the say to the next key.
"""

from __future__ import annotations

import typing as t

from . import kernels
from .arrays import Arrays
from .build import Built
from .fleet import UNLIMITED, HostFacts
from .kernels import NEVER
from .model import Option

SIZE_STEP = 100_000_000  # bytes
USE_STEPS = 20
LOAD_STEPS = 4

Key = tuple[int, ...]
HOST = -4  # where a key has the host; what decides between its pools comes after it, the option last


class Ranking:
    """The state of a placement, and the keys of options in it."""

    def __init__(self, built: Built, fleet: t.Sequence[HostFacts], prefer: t.Mapping[str, str]) -> None:
        self.built, self.fleet, self.prefer = built, fleet, prefer
        self.arrays = Arrays(built.problem, fast=False)
        # Roles that have a choice of pools on some host.
        self.choice = [len(role.options) > len({option.host for option in role.options}) for role in built.problem.roles]
        self.of_group: dict[str, dict[int, int]] = {}  # {group: {host: machines}}
        self.of_service: dict[int, int] = {}

    def count(self, group: str, host: int, change: int = 1) -> None:
        """Counts a machine of the service on a host."""
        mine = self.of_group.setdefault(group, {})
        mine[host] = mine.get(host, 0) + change
        self.of_service[host] = self.of_service.get(host, 0) + change

    def host_of(self, option: int) -> int:
        """The host of an option, by the option's position among all."""
        return int(self.arrays.world.option_host[option])

    def put(self, machine: int, option: int) -> None:
        """Places a machine."""
        kernels.put(self.arrays.world, self.arrays.state, machine, option)
        self.count(self.built.wishes[self.role_of(machine)].group["name"], self.host_of(option))

    def take(self, machine: int) -> int:
        """Takes a machine away; its option."""
        option = int(self.arrays.state.at[machine])
        kernels.take(self.arrays.world, self.arrays.state, machine)
        self.count(self.built.wishes[self.role_of(machine)].group["name"], self.host_of(option), -1)
        return option

    def role_of(self, machine: int) -> int:
        """The role of a machine."""
        return int(self.arrays.world.machine_role[machine])

    def options_of(self, role: int) -> range:
        """The options of a role, by their position among all."""
        first = self.arrays.world.option_from
        return range(first[role], first[role + 1])

    def key(self, role: int, option: int) -> Key | None:
        """The key of an option for one more machine of the role; None if it does not fit."""
        world, state = self.arrays.world, self.arrays.state
        size = kernels.missing(world, state, role, option, NEVER)
        if size < 0:
            return None
        host = self.host_of(option)
        name = self.built.wishes[role].group["name"]
        mine, others = self.of_group.get(name, {}).get(host, 0), self.of_service.get(host, 0)
        brought = (-(-size // SIZE_STEP), self.seconds(option))
        use, load = self.use(role, host), int(LOAD_STEPS * self.fleet[host].load)
        if self.prefer[name] == "pack":
            return (0 if others else 1, *brought, -use, load, host, *self.pool_key(role, option), option)
        return (mine, others, *brought, use, load, host, *self.pool_key(role, option), option)

    def pool_key(self, role: int, option: int) -> tuple[int, int]:
        """What decides between the pools of one host: the usual one, then that with most room."""
        if not self.choice[role]:
            return 0, 0
        return int(self.option(role, option).second), self.fullness(option)

    def option(self, role: int, option: int) -> Option:
        """An option by its position among all."""
        return self.built.problem.roles[role].options[option - self.arrays.first[role]]

    def fullness(self, option: int) -> int:
        """How full the storage of the first disk would be, of all that may be promised there, in steps of five per cent."""
        world, state, problem = self.arrays.world, self.arrays.state, self.built.problem
        part = problem.parts[world.option_part[world.option_part_from[option]]]
        storage = problem.storages[part.storage]
        if not 0 < storage.free < UNLIMITED:
            return 0
        written = (
            part.fixed + int(state.fixed[part.storage]) + sum(problem.copies[copy].mib for copy in part.copies if not state.users[copy])
        )
        promised = storage.promised + int(state.thin[part.storage]) + part.thin
        return int(USE_STEPS * (written + 100 * promised / storage.overcommit) / storage.free)

    def brings(self, role: int, option: int) -> bool:
        """Whether a machine there needs layers that its storages neither have nor are to get yet."""
        return bool(kernels.missing(self.arrays.world, self.arrays.state, role, option, NEVER) > 0 or self.seconds(option))

    def seconds(self, option: int) -> int:
        """Seconds until the storages of an option would have all that was decided to be brought there."""
        world, state = self.arrays.world, self.arrays.state
        last = 0
        for at in range(world.option_part_from[option], world.option_part_from[option + 1]):
            part = world.option_part[at]
            copies = world.part_copy[world.part_copy_from[part] : world.part_copy_from[part + 1]]
            more = sum(world.copy_seconds[copy] for copy in copies if not state.users[copy])
            last = max(last, more and more + state.seconds[world.part_storage[part]])
        return last

    def use(self, role: int, host: int) -> int:
        """How full a host would be, in steps of five per cent."""
        world, state = self.arrays.world, self.arrays.state
        memory = (state.memory[host] + world.memory[role]) / world.memory_limit[host] if world.memory_limit[host] < UNLIMITED else 0
        cpu = (state.cpu[host] + world.cpu[role]) / world.cpu_limit[host] if world.cpu_limit[host] < UNLIMITED else 0
        return int(USE_STEPS * max(memory, cpu))
