# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The pools that the disks of a machine may have on a host: all that differ where these are few, else a bounded number of good ones."""

from __future__ import annotations

import heapq
import math
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from .fleet import MIB, HostFacts, Pool

Group = Mapping[str, t.Any]
Disk = Mapping[str, t.Any]
Rules = Mapping[str, t.Any]  # the key placement of a group
Chosen = tuple[Pool, ...]  # a pool for each disk
Chances = list[list[Pool]]  # by disk

USUAL = "default"
# Up to so many choices of a group on a host all are tried; of more, so many that the disks fill the pools evenly.
MOST, KEPT = 1024, 256
_LEAST_KEPT = 16
# What of a disk decides how much of its pool it takes.
_TAKES = ("size_bytes", "base", "differencing", "backend", "full")


def pools_for(group: Group, host: HostFacts, placement: Rules | None = None) -> list[Chosen]:
    """The pools that the disks of a machine may have on a host, the usual one first: those left open share one pool.

    Of choices that take the same of each pool, since only disks alike have changed places, the first.
    """
    ways = list(_ways(group, host, placement))
    if all(len(pools) == 1 for chances in ways for pools in chances):
        return [tuple(pools[0] for pools in chances) for chances in ways]
    before = _alike(group["disks"])
    found: list[Chosen] = []
    if sum(_count(chances, before) for chances in ways) <= MOST:
        for chances in ways:
            found += _all(chances, before)
        return found
    kept = max(_LEAST_KEPT, KEPT // len(ways))
    for chances in ways:
        found += _all(chances, before) if _count(chances, before) <= kept else _even(group["disks"], chances, before, kept)
    return found


def first_pools(group: Group, host: HostFacts, placement: Rules | None = None) -> Chosen | None:
    """The first of all choices; None where there is none."""
    for chances in _ways(group, host, placement):
        if all(chances):
            return tuple(pools[0] for pools in chances)
    return None


def is_second(group: Group, host: HostFacts, wanted: Sequence[str] | None, pools: Chosen) -> bool:
    """Whether disks that are left open go elsewhere than to the usual pool that the host has."""
    if wanted or USUAL not in host.pools:
        return False
    return any(_is_open(disk) and pool.name != USUAL for disk, pool in zip(group["disks"], pools, strict=True))


def _is_open(disk: Disk) -> bool:
    return disk["pool"] is None and not disk.get("pool_labels")


def _ways(group: Group, host: HostFacts, placement: Rules | None) -> Iterator[Chances]:
    """The pools of each disk, once for each pool that the disks which are left open may share."""
    wanted = (placement or group.get("placement") or {}).get("pools")
    chances: Chances = []
    for disk in group["disks"]:
        if disk["pool"] is not None:
            chances.append([host.pools[disk["pool"]]] if disk["pool"] in host.pools else [])
        else:
            labels = set(disk.get("pool_labels") or ())
            chances.append([pool for pool in host.pools.values() if pool.labels >= labels] if labels else [])
    spots = {at for at, disk in enumerate(group["disks"]) if _is_open(disk)}
    for pool in _open(host, wanted) if spots else [None]:
        yield [[pool] if pool is not None and at in spots else pools for at, pools in enumerate(chances)]


def _open(host: HostFacts, wanted: Sequence[str] | None) -> list[Pool]:
    if wanted:
        return [pool for name, pool in host.pools.items() if name in wanted]
    # One that is no choice is left where it is all that there is: the preflight says what is wrong with it.
    found = [pool for pool in host.pools.values() if not pool.closed or pool.name == USUAL]
    return sorted(found or host.pools.values(), key=lambda pool: pool.name != USUAL)


def _alike(disks: Sequence[Disk]) -> list[int]:
    """For each disk the one before it that it can change places with; -1: there is none.

    Where the first disk over a base is, the base may have to be as well.
    """
    last: dict[tuple[t.Any, ...], int] = {}
    seen: set[str] = set()
    before = []
    for at, disk in enumerate(disks):
        base = disk["base"]
        first = at if base and base not in seen else -1
        seen.add(base or "")
        key = (disk["pool"], *sorted(disk.get("pool_labels") or ()), *(disk.get(name) for name in _TAKES), first)
        before.append(last.get(key, -1))
        last[key] = at
    return before


def _count(chances: Chances, before: Sequence[int]) -> int:
    """How many choices ``_all`` has."""
    members: dict[int, int] = {}  # by the first disk of those alike
    heads: list[int] = []
    for at, previous in enumerate(before):
        heads.append(at if previous < 0 else heads[previous])
        members[heads[at]] = members.get(heads[at], 0) + 1
    return math.prod(math.comb(len(chances[at]) + many - 1, many) if chances[at] else 0 for at, many in members.items())


def _all(chances: Chances, before: Sequence[int]) -> Iterator[Chosen]:
    """All choices, in the order of their product, in which no disk has an earlier pool than one before it that is alike."""

    def further(numbers: tuple[int, ...]) -> Iterator[Chosen]:
        at = len(numbers)
        if at == len(chances):
            yield tuple(pools[number] for pools, number in zip(chances, numbers, strict=True))
            return
        for number in range(numbers[before[at]] if before[at] >= 0 else 0, len(chances[at])):
            yield from further((*numbers, number))

    yield from further(())


def _even(disks: Sequence[Disk], chances: Chances, before: Sequence[int], kept: int) -> list[Chosen]:
    """Choices that fill the pools most evenly, in the order of their product.

    The largest disks choose first. That is done once for each pool as the one that is preferred among equals, so that machines which
    follow find others free.
    """
    sizes = [-(-max(disk["size_bytes"] or 0, 0) // MIB) for disk in disks]
    order = sorted(range(len(disks)), key=lambda at: -sizes[at])
    rounds = min(kept, max(map(len, chances)))
    found: set[tuple[int, ...]] = set()
    for first in range(rounds):
        # How full the fullest pool is, how far the pools are from the preferred one, and the pool of each disk by its number.
        states: list[tuple[float, int, tuple[int, ...]]] = [(0.0, 0, (-1,) * len(disks))]
        for at in order:
            pools = chances[at]
            longer = []
            for place, (fill, distance, numbers) in enumerate(states):
                taken: dict[str, int] = {}
                for number, size, others in zip(numbers, sizes, chances, strict=True):
                    if number >= 0:
                        taken[others[number].storage] = taken.get(others[number].storage, 0) + size
                for number in range(numbers[before[at]] if before[at] >= 0 else 0, len(pools)):
                    full = (taken.get(pools[number].storage, 0) + sizes[at]) / max(1, pools[number].free)
                    longer.append((max(fill, full), distance + (number - first) % len(pools), place, number))
            states = [
                (fill, distance, (*states[place][2][:at], number, *states[place][2][at + 1 :]))
                for fill, distance, place, number in heapq.nsmallest(max(1, kept // rounds), longer)
            ]
        found.update(numbers for _fill, _distance, numbers in states)
    return [tuple(pools[number] for pools, number in zip(chances, numbers, strict=True)) for numbers in sorted(found)]
