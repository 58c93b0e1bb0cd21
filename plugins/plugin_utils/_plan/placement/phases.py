# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The two requests of a pool manager: the storage for one machine, then a host that is connected to it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import FleetError, InvalidOption
from .build import Wish, build, placement_of
from .explain import why_not
from .fleet import HostFacts, read_fleet
from .layers import Layers
from .numbering import candidates
from .observed import Observed, answers
from .place import Settings
from .pool_choices import is_second
from .ranking import HOST, Key, Ranking
from .rating import reasons
from .relay_cost import cost_of

Manifest = Mapping[str, t.Any]


class _Request:
    """One machine of one group, rated at every option."""

    def __init__(self, manifest: Manifest, hosts: Observed, settings: Settings, storage: str | None = None) -> None:
        self.group = manifest["machines"][0]
        fleet = read_fleet(hosts, settings.memory_overcommit)
        layers = Layers(manifest, hosts, fleet, settings.bring, settings.beside)
        cost = cost_of(hosts, settings.bring, settings.matrix, settings.links)
        if cost is not None:
            layers.bring = cost.direct(layers)
        members = list(hosts)
        if self.group["hosts"]:
            members, unknown = candidates(self.group, hosts, settings.groups)
            if unknown:
                raise FleetError(" ".join(unknown))
        usable = [host for host in members if answers(hosts.get(host, {}))]
        self.storages: dict[str, list[str]] = {}
        self.connected: dict[str, dict[str, HostFacts]] = {}
        for host in fleet:
            for pool in host.pools.values():
                names = self.storages.setdefault(pool.storage, [])
                names += [] if pool.name in names else [pool.name]
                self.connected.setdefault(pool.storage, {})[host.name] = host
        # Disks that are left open go to the storage that is asked for, or else to any; others keep the pool that is named for them.
        rules = placement_of(manifest, self.group)
        mine = sorted({pool.name for host in fleet for pool in host.pools.values() if storage in (None, pool.storage)})
        allowed = [name for name in rules.get("pools") or mine if storage is None or name in mine]
        self.rules = rules
        self.group = {**self.group, "placement": {**rules, "pools": allowed or mine}}
        manifest = {**manifest, "machines": [self.group]}
        self.fleet = fleet
        self.asked = set(members)
        self.built = build(manifest, fleet, layers, [Wish(self.group, tuple(dict.fromkeys(usable)), 1)])
        prefer = placement_of(manifest, self.group).get("prefer") or "spread"
        self.ranking = Ranking(self.built, fleet, {self.group["name"]: prefer})
        for at, host in enumerate(fleet):
            for machine in hosts[host.name].get("machines") or []:
                self.ranking.count(machine.get("group") or "", at)
        # With thousands of hosts that each have a storage of their own, no storage is looked up among the options of all.
        self.options: dict[str, list[int]] = {}
        for option in self.ranking.options_of(0):
            self.options.setdefault(self.storage_of(option), []).append(option)
        self.keys = [key for option in self.ranking.options_of(0) if (key := self.ranking.key(0, option)) is not None]
        if storage is not None:
            self.keys = [key for key in self.keys if self.storage_of(key[-1]) == storage]

    def storage_of(self, option: int) -> str:
        """The storage of the first disk at an option."""
        world = self.ranking.arrays.world
        part = world.option_part[world.option_part_from[option]]
        return self.built.problem.storages[world.part_storage[part]].name

    def apart(self, host: HostFacts, storage: str) -> str:
        """Why a host is out of the question for the storage, whatever the machine needs."""
        return _unusable(host) or ("" if host.name in self.connected.get(storage, {}) else "it is not connected to this storage")

    def why_not(self, storage: str | None = None) -> dict[str, str]:
        """Why hosts cannot take the machine; or why those that are connected to a storage cannot take it there."""
        connected = {host.name: host for host in self.fleet} if storage is None else self.connected.get(storage, {})
        options = None if storage is None else self.options.get(storage, [])
        told = why_not(self.built, self.ranking.arrays, 0, options, list(connected))
        return {name: why for name, host in connected.items() if (why := (name in self.asked and _unusable(host)) or told.get(name, ""))}

    def key_of_storage(self, key: Key, prefer_default: bool) -> tuple[int, ...]:
        """What has to be brought decides about storages, whatever stands on their hosts; then their room, then the host's own key."""
        *_counts, size, seconds, use, load, host, _second, _fullness, option = key
        return (
            size,
            seconds,
            int(prefer_default and self._is_second(host, option)),
            self.ranking.fullness(option),
            use,
            load,
            host,
            option,
        )

    def _is_second(self, host: int, option: int) -> bool:
        """Whether a deployment would rather take another pool of the host."""
        facts = self.fleet[host]
        pools = tuple(facts.pools[name] for name in self.ranking.option(0, option).pools)
        return is_second(self.group, facts, self.rules.get("pools"), pools)


def _unusable(host: HostFacts) -> str:
    return f"it cannot be used: {host.why_not}" if host.why_not else ""


def choose_storage(manifest: Manifest, hosts: Observed, settings: Settings | None = None, prefer_default: bool = False) -> dict[str, t.Any]:
    """Phase one: the storage for a machine's disks.

    :param manifest: parsed, with one group of one machine.
    :param prefer_default: whether the pool that a deployment prefers goes before others of its host that have more room.
    :returns: ``{"storage": identity | None, "ratings": [{"storage", "pools", "hosts", "rating", "fits", "reasons"}], "problems"}``.
        ``hosts`` of a rating are those that are connected and have room for the machine, best first.
    """
    request = _Request(manifest, hosts, settings or Settings())
    best: dict[str, list[Key]] = {}
    for key in sorted(request.keys, key=lambda key: request.key_of_storage(key, prefer_default)):
        best.setdefault(request.storage_of(key[-1]), []).append(key)
    ratings: list[dict[str, t.Any]] = []
    for place, (storage, keys) in enumerate(best.items()):
        told = reasons(request.built, request.ranking, 0, keys[0][-1])
        ratings.append(
            {
                "storage": storage,
                "pools": request.storages[storage],
                "hosts": list(dict.fromkeys(request.fleet[key[HOST]].name for key in sorted(keys))),
                "rating": round(1.0 - place / (len(best) + 1), 4),
                "fits": True,
                "reasons": [reason for reason in told if reason.startswith(("needs", "holds", "pool"))],
            }
        )
    for storage, pools in request.storages.items():
        if storage not in best:
            out = request.why_not(storage)
            why = [f"{host}: {reason}" for host, reason in out.items()] or [_apart(request, list(request.connected[storage]))]
            ratings.append({"storage": storage, "pools": pools, "hosts": [], "rating": 0.0, "fits": False, "reasons": why})
    return {"storage": ratings[0]["storage"] if best else None, "ratings": ratings, "problems": _problems(request, request.why_not())}


def _apart(request: _Request, members: Sequence[str]) -> str:
    """Why a storage is out of the question although nothing is wrong with its hosts."""
    if not request.asked & set(members):
        return "no host that is connected to it is among those of the request"
    return "no disk of the machine may go there"


def choose_host(manifest: Manifest, hosts: Observed, storage: str, settings: Settings | None = None) -> dict[str, t.Any]:
    """Phase two: the host for a machine whose disks are on a storage.

    :param storage: its identity, as choose_storage tells it.
    :returns: ``{"host": name | None, "pools": {disk: pool}, "ratings": [{"host", "pool", "rating", "fits", "reasons"}], "problems"}``.
    """
    request = _Request(manifest, hosts, settings or Settings(), storage)
    if storage not in request.storages:
        known = ", ".join(list(request.storages)[:8]) or "none"
        raise InvalidOption("storage", storage, f"a storage of these hosts is wanted; they have: {known}")
    best: dict[int, Key] = {}
    for key in sorted(request.keys):
        best.setdefault(key[HOST], key)
    ratings: list[dict[str, t.Any]] = [
        {
            "host": request.fleet[host].name,
            "pool": request.built.problem.roles[0].options[key[-1]].pools[0],
            "rating": round(1.0 - place / (len(best) + 1), 4),
            "fits": True,
            "reasons": reasons(request.built, request.ranking, 0, key[-1]),
        }
        for place, (host, key) in enumerate(best.items())
    ]
    told = request.why_not(storage)
    out = {host.name: why for host in request.fleet if (why := request.apart(host, storage) or told.get(host.name))}
    ratings += [{"host": host, "pool": None, "rating": 0.0, "fits": False, "reasons": [why]} for host, why in out.items()]
    if not best:
        return {"host": None, "pools": {}, "ratings": ratings, "problems": _problems(request, out)}
    chosen = request.built.problem.roles[0].options[next(iter(best.values()))[-1]]
    pools = {disk["name"]: pool for disk, pool in zip(request.group["disks"], chosen.pools, strict=True)}
    return {"host": ratings[0]["host"], "pools": pools, "ratings": ratings, "problems": []}


def _problems(request: _Request, out: Mapping[str, str]) -> list[str]:
    if request.keys:
        return []
    told = "; ".join(f"{host}: {why}" for host, why in list(out.items())[:10])
    return [f"{request.group['place']}: no host has room for this machine. {told or 'There are no hosts'}"]
