# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Machine after machine to the host whose key is least; and what evens out numbers that a search has left uneven.

The hardest roles come first, so that easy ones do not take the only places of hard ones (look-ahead). A lazy heap re-keys
only what changed: keys of other hosts stay as they are.
"""

from __future__ import annotations

import heapq
import typing as t

from .ranking import Key, Ranking


def place_greedily(ranking: Ranking) -> None:
    """Places all machines that find a place, one by one."""
    machines: dict[int, list[int]] = {}
    for machine in range(len(ranking.arrays.state.at)):
        machines.setdefault(ranking.role_of(machine), []).append(machine)
    for role in sorted(machines, key=lambda role: (-ranking.arrays.world.weight[role], role)):
        _place_role(ranking, role, machines[role])


def _place_role(ranking: Ranking, role: int, machines: t.Sequence[int]) -> None:
    heap: list[tuple[Key, int]] = []
    at_host: dict[int, list[int]] = {}
    at_storage: dict[int, list[int]] = {}
    for option in ranking.options_of(role):
        _push(ranking, heap, role, option)
        at_host.setdefault(ranking.host_of(option), []).append(option)
        for storage in _storages(ranking, option):
            at_storage.setdefault(storage, []).append(option)
    for machine in machines:
        found = _pop(ranking, heap, role)
        if found is None:
            return
        option = found
        brings = ranking.brings(role, option)
        ranking.put(machine, option)
        changed = dict.fromkeys([option, *at_host[ranking.host_of(option)]])
        if brings or ranking.prefer[ranking.built.wishes[role].group["name"]] == "pack":
            # What is brought is there for all hosts that share the storage, whether or not the time for it is known.
            changed.update(dict.fromkeys(other for storage in _storages(ranking, option) for other in at_storage[storage]))
        for other in changed:
            _push(ranking, heap, role, other)


def _storages(ranking: Ranking, option: int) -> list[int]:
    world = ranking.arrays.world
    parts = world.option_part[world.option_part_from[option] : world.option_part_from[option + 1]]
    return [world.part_storage[part] for part in parts]


def _push(ranking: Ranking, heap: list[tuple[Key, int]], role: int, option: int) -> None:
    key = ranking.key(role, option)
    if key is not None:
        heapq.heappush(heap, (key, option))


def _pop(ranking: Ranking, heap: list[tuple[Key, int]], role: int) -> int | None:
    """The option with the least key as things are now."""
    while heap:
        key, option = heapq.heappop(heap)
        now = ranking.key(role, option)
        if now == key:
            return option
        if now is not None:
            heapq.heappush(heap, (now, option))
    return None


def even_out(ranking: Ranking) -> None:
    """Moves machines of spread groups until no host has two more of a group than another one that has room."""
    for role, wish in enumerate(ranking.built.wishes):
        if ranking.prefer[wish.group["name"]] == "spread" and not ranking.built.problem.roles[role].bonds:
            while _move_one(ranking, role):
                pass


def _move_one(ranking: Ranking, role: int) -> bool:
    counts = ranking.of_group.get(ranking.built.wishes[role].group["name"], {})
    by_host: dict[int, int] = {}
    for machine, option in enumerate(ranking.arrays.state.at):
        if option >= 0 and ranking.role_of(machine) == role:
            by_host[ranking.host_of(option)] = machine
    for host in sorted(by_host, key=lambda host: (-counts.get(host, 0), host)):
        machine, most = by_host[host], counts.get(host, 0)
        was = ranking.take(machine)
        # Sets of machines in one domain are free again now; the key of a host with room begins with its number.
        keys = [key for option in ranking.options_of(role) if (key := ranking.key(role, option)) is not None]
        best = min(keys, default=None)
        if best is not None and best[0] <= most - 2:
            ranking.put(machine, best[-1])
            return True
        ranking.put(machine, was)
    return False
