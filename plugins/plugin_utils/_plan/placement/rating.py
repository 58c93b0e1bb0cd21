# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The hosts for one machine, best first, each with its reasons; and the same for sites and shared storages."""

from __future__ import annotations

import typing as t

from . import kernels
from .build import Built
from .explain import gib, why_not
from .fleet import UNLIMITED, HostFacts
from .kernels import NEVER
from .ranking import Key, Ranking


def ratings(built: Built, ranking: Ranking, role: int, chosen: str) -> list[dict[str, t.Any]]:
    """The hosts for one machine of a role, as if it were the last one to be placed.

    :param chosen: the host that it was given; it comes first.
    :returns: ``[{"host", "pool", "rating", "fits", "reasons", "lost_by"}]``; a rating is 1 for the best host and 0 for those that
        cannot take it. ``lost_by`` is the first difference to the best host, in words; empty for that one.
    """
    taken = _take_one(built, ranking, role, chosen)
    packed = ranking.prefer[built.wishes[role].group["name"]] == "pack"
    best: dict[int, Key] = {}
    for option in ranking.options_of(role):
        key = ranking.key(role, option)
        if key is not None and key < best.get(ranking.host_of(option), (*key, 0)):
            best[ranking.host_of(option)] = key
    hosts = built.problem.hosts
    order = sorted(best, key=lambda host: (hosts[host].name != chosen, best[host]))
    rated: list[dict[str, t.Any]] = [
        {
            "host": hosts[host].name,
            "pool": _pools(built, ranking, role, best[host][-1])[0],
            "rating": round(1.0 - place / (len(order) + 1), 4),
            "fits": True,
            "reasons": reasons(built, ranking, role, best[host][-1]),
            "lost_by": _lost_by(best[order[0]], best[host], packed),
        }
        for place, host in enumerate(order)
    ]
    able = {entry["host"] for entry in rated}
    rated += [
        {"host": host, "pool": None, "rating": 0.0, "fits": False, "reasons": [why], "lost_by": "it does not fit"}
        for host, why in why_not(built, ranking.arrays, role).items()
        if host not in able
    ]
    if taken is not None:
        ranking.put(*taken)
    return rated


_BROUGHT = ("more bytes of base to bring", "later with the base")
_SPREAD = ("more machines of the group", "more machines of the service", *_BROUGHT, "fuller", "more load", "later in the inventory")
_PACK = ("no machine of the service yet", *_BROUGHT, "less full", "more load", "later in the inventory")


def _lost_by(best: Key, other: Key, packed: bool) -> str:
    """The first part of its key by which a host lost."""
    if other == best:
        return ""
    if other < best:
        return "less good for all machines together"
    return next((what for what, a, b in zip(_PACK if packed else _SPREAD, best, other, strict=False) if a != b), "another pool")


def _take_one(built: Built, ranking: Ranking, role: int, chosen: str) -> tuple[int, int] | None:
    for machine, option in enumerate(ranking.arrays.state.at):
        if option >= 0 and ranking.role_of(machine) == role and built.problem.hosts[ranking.host_of(option)].name == chosen:
            return machine, ranking.take(machine)
    return None


def _pools(built: Built, ranking: Ranking, role: int, option: int) -> tuple[str, ...]:
    return built.problem.roles[role].options[option - ranking.arrays.first[role]].pools


def reasons(built: Built, ranking: Ranking, role: int, option: int) -> list[str]:
    """What speaks for and against an option, in words and numbers."""
    world, state = ranking.arrays.world, ranking.arrays.state
    host = ranking.host_of(option)
    group = built.wishes[role].group
    told = [
        f"has {ranking.of_group.get(group['name'], {}).get(host, 0)} of this group",
        f"has {ranking.of_service.get(host, 0)} of this service",
    ]
    bases = sorted({disk["base"] for disk in group["disks"] if disk["base"]})
    size = kernels.missing(world, state, role, option, NEVER)
    lacking = _lacking(built, ranking, option)
    if bases and not lacking:
        told.append(_at_hand(built, ranking, role, option))
    elif lacking:
        told.append(_needs(built, ranking, option, size, lacking))
        if len(lacking) < _layers(built, role):
            told.append(f"holds {_layers(built, role) - len(lacking)} of {_layers(built, role)} layers")
    for name, used, limit, unit in (
        ("memory", state.memory[host], world.memory_limit[host], "MiB"),
        ("cpus", state.cpu[host], world.cpu_limit[host], "virtual processors"),
    ):
        if limit < UNLIMITED:
            told.append(f"{name}: {limit - used} of {limit} {unit} free")
    told += _storages(built, ranking, role, option)
    if ranking.fleet[host].load:
        told.append(f"load {ranking.fleet[host].load:.2f} per processor")
    return told


def _needs(built: Built, ranking: Ranking, option: int, size: int, lacking: set[int]) -> str:
    """What has to be brought, how long it takes, and from whom it comes where links are known."""
    host, seconds = ranking.fleet[ranking.host_of(option)].name, ranking.seconds(option)
    parents = {built.parents.get(built.problem.bases[layer], {}).get(host) for layer in lacking} - {None}
    whence = f"from {', '.join(sorted(map(str, parents)))}" if parents else ""
    if size <= len(lacking):
        return f"needs a base of unknown size {whence}".rstrip()
    amount = f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
    told = " ".join(filter(None, [f"{seconds} s" if seconds else "", whence]))
    return f"needs {amount} of base{f' ({told})' if told else ''}"


def _at_hand(built: Built, ranking: Ranking, role: int, option: int) -> str:
    """Why a host needs no base for one more machine."""
    group = built.wishes[role].group
    bases = ", ".join(sorted({disk["base"] for disk in group["disks"] if disk["base"]}))
    if ranking.host_of(option) in built.holders.get(group["name"], ()):
        return f"holds {bases}"
    return f"gets {bases} for other machines" if _copies(built, ranking, option) else f"has the source of {bases}"


def _lacking(built: Built, ranking: Ranking, option: int) -> set[int]:
    """The layers that would have to be brought."""
    return {built.problem.copies[copy].base for copy in _copies(built, ranking, option) if not ranking.arrays.state.users[copy]}


def _copies(built: Built, ranking: Ranking, option: int) -> list[int]:
    """Of the layers that the option's storages lack before this run."""
    world = ranking.arrays.world
    parts = world.option_part[world.option_part_from[option] : world.option_part_from[option + 1]]
    return [copy for part in parts for copy in built.problem.parts[part].copies]


def _layers(built: Built, role: int) -> int:
    return built.layers.get(built.wishes[role].group["name"], 0)


def _storages(built: Built, ranking: Ranking, role: int, option: int) -> list[str]:
    world, state = ranking.arrays.world, ranking.arrays.state
    told = []
    pools = dict.fromkeys(_pools(built, ranking, role, option))
    for name, at in zip(pools, range(world.option_part_from[option], world.option_part_from[option + 1]), strict=False):
        storage = world.part_storage[world.option_part[at]]
        held = built.problem.storages[storage]
        if held.free < UNLIMITED:
            left, promised = held.free - state.fixed[storage], held.promised + state.thin[storage]
            shared = f", shared by {len(held.hosts)} hosts" if len(held.hosts) > 1 else ""
            told.append(f"pool {name}: {gib(left)} free, {gib(promised)} promised{shared}")
    return told


def group_ratings(built: Built, ranking: Ranking, fleet: t.Sequence[HostFacts]) -> list[dict[str, t.Any]]:
    """Sites and shared storages, those with the most room for more machines of the manifest first.

    :returns: ``[{"kind": "site" | "storage", "name", "hosts", "rating", "reasons"}]``.
    """
    members: dict[tuple[str, str], list[int]] = {}
    for at, host in enumerate(fleet):
        if host.site:
            members.setdefault(("site", host.site), []).append(at)
    for storage in built.problem.storages:
        if len(storage.hosts) > 1:
            members["storage", storage.name] = list(storage.hosts)
    fits, holds = _fitting(built, ranking)
    rated = []
    for (kind, name), hosts in members.items():
        taking, holding = sum(host in fits for host in hosts), sum(host in holds for host in hosts)
        rated.append(
            {
                "kind": kind,
                "name": name,
                "hosts": [fleet[host].name for host in hosts],
                "rating": round((taking + holding / (len(hosts) + 1)) / (len(hosts) + 1), 4),
                "reasons": [f"{taking} of {len(hosts)} hosts have room for one more machine", f"{holding} need no base brought"],
            }
        )
    return sorted(rated, key=lambda entry: -entry["rating"])


def _fitting(built: Built, ranking: Ranking) -> tuple[set[int], set[int]]:
    """Hosts with room for one more machine of some role, and those of them to which nothing has to be brought for it."""
    fits: set[int] = set()
    holds: set[int] = set()
    for role in range(len(built.problem.roles)):
        for option in ranking.options_of(role):
            size = kernels.missing(ranking.arrays.world, ranking.arrays.state, role, option, NEVER)
            if size >= 0:
                fits.add(ranking.host_of(option))
                if not _lacking(built, ranking, option):
                    holds.add(ranking.host_of(option))
    return fits, holds
