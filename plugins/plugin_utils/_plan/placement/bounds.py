# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What no assignment of all machines can be below, and which finishes there can be at all: what a search need not try.

The bounds leave out how machines of different roles share a host's room where their hosts overlap in part, and that a storage
gets one layer after another. They are cheap, and often reached where machines are few.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from .model import Option, Problem, Role

MOST = 100_000  # seconds up to which the possible finishes are counted one by one


class Finishes:
    """The finishes that the layers' times allow: a storage gets some of its layers, the last storage counts."""

    def __init__(self, problem: Problem, most: int) -> None:
        self.sums = 0
        if most > MOST:
            return
        times: dict[int, list[int]] = {}
        for copy in problem.copies:
            times.setdefault(copy.storage, []).append(copy.seconds)
        within = (1 << (most + 1)) - 1
        # Bit n of a number stands for n seconds.
        for mine in {tuple(sorted(seconds)) for seconds in times.values()}:
            sums = 1
            for seconds in mine:
                if seconds <= most:
                    sums |= (sums << seconds) & within
            self.sums |= sums

    def up_to(self, deadline: int) -> int:
        """The latest finish that is not after a deadline."""
        if not self.sums:
            return deadline
        return max(0, (self.sums & ((1 << (deadline + 1)) - 1)).bit_length() - 1)

    def not_before(self, seconds: int) -> int:
        """The soonest finish that is not before so many seconds."""
        later = self.sums >> seconds
        return seconds + (later & -later).bit_length() - 1 if later else seconds


class _Place(t.NamedTuple):
    """One host of a role."""

    host: int
    seconds: int  # until one machine of the role is ready there, were it alone
    most: int  # machines of the role that its processors and memory would take


def least_finish(problem: Problem, finishes: Finishes, reached: int) -> int:
    """Before this no assignment of all machines is finished.

    :param reached: the finish of one assignment of all.
    """
    places = [_places(problem, role) for role in problem.roles]
    low, high = 0, reached
    while low < high:
        deadline = (low + high) // 2
        if _has_room(problem, [[place for place in mine if place.seconds <= deadline] for mine in places]):
            high = deadline
        else:
            low = deadline + 1
    return finishes.not_before(low)


def _places(problem: Problem, role: Role) -> list[_Place]:
    soonest: dict[int, int] = {}
    for option in role.options:
        seconds = max((sum(problem.copies[copy].seconds for copy in problem.parts[part].copies) for part in option.parts), default=0)
        soonest[option.host] = min(seconds, soonest.get(option.host, seconds))
    found = []
    for host, seconds in soonest.items():
        cpus, memory = _free(problem, host)
        found.append(_Place(host, seconds, min(cpus // max(1, role.cpus), memory // max(1, role.memory))))
    return found


def _free(problem: Problem, host: int) -> tuple[int, int]:
    """Processors and memory."""
    limits = problem.hosts[host]
    return max(0, limits.cpu_limit - limits.cpu_used), max(0, limits.memory_limit - limits.memory_used)


def _has_room(problem: Problem, places: Sequence[Sequence[_Place]]) -> bool:
    """Whether hosts may have room for all machines, if each role goes only to the places given for it."""
    masks = []
    for role, mine in zip(problem.roles, places, strict=True):
        if sum(place.most for place in mine) < role.count:
            return False
        masks.append(sum(1 << place.host for place in mine))
    # Roles whose hosts are all among those of one role have to share them.
    for mask, mine in dict(zip(masks, places, strict=True)).items():
        inside = [role for role, other in zip(problem.roles, masks, strict=True) if other | mask == mask]
        free = [_free(problem, place.host) for place in mine]
        if sum(role.count * role.cpus for role in inside) > sum(cpus for cpus, _memory in free):
            return False
        if sum(role.count * role.memory for role in inside) > sum(memory for _cpus, memory in free):
            return False
    return True


def least_size(problem: Problem) -> int:
    """The bytes that every assignment of all machines brings: a layer that some role needs wherever it goes is brought once at least."""
    wanted: dict[int, int] = {}
    for role in problem.roles:
        for layer, size in _needed(problem, role.options).items():
            wanted[layer] = max(size, wanted.get(layer, 0))
    return sum(wanted.values())


def _needed(problem: Problem, options: t.Iterable[Option]) -> dict[int, int]:
    """The layers that all options lack, with the least bytes of each."""
    needed: dict[int, int] | None = None
    for option in options:
        mine: dict[int, int] = {}
        for part in option.parts:
            for copy in problem.parts[part].copies:
                held = problem.copies[copy]
                mine[held.base] = min(held.size, mine.get(held.base, held.size))
        needed = mine if needed is None else {layer: min(size, mine[layer]) for layer, size in needed.items() if layer in mine}
    return needed or {}
