# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The two requests of a pool manager: the storage for one machine, then a host that is connected to it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ....module_utils._errors import InvalidOption
from .build import Wish, build, placement_of
from .explain import why_not
from .fleet import read_fleet
from .layers import Layers
from .observed import Observed, answers
from .place import Settings
from .ranking import Key, Ranking
from .rating import reasons

Manifest = Mapping[str, t.Any]


class _Request:
    """One machine of one group, rated at every option."""

    def __init__(self, manifest: Manifest, hosts: Observed, settings: Settings, storage: str | None = None) -> None:
        self.group = manifest["machines"][0]
        fleet = read_fleet(hosts, settings.memory_overcommit)
        layers = Layers(manifest, hosts, fleet, settings.bring, settings.beside)
        named = self.group["hosts"] or list(hosts)
        members = [host for name in named for host in ([name] if name in hosts else settings.groups.get(name, []))]
        usable = [host for host in members if answers(hosts.get(host, {}))]
        self.storages: dict[str, list[str]] = {}
        for host in fleet:
            for pool in host.pools.values():
                names = self.storages.setdefault(pool.storage, [])
                names += [] if pool.name in names else [pool.name]
        if storage is not None:
            for host in fleet:
                host.pools = {name: pool for name, pool in host.pools.items() if pool.storage == storage}
        self.fleet = fleet
        self.built = build(manifest, fleet, layers, [Wish(self.group, tuple(dict.fromkeys(usable)), 1)])
        prefer = placement_of(manifest, self.group).get("prefer") or "spread"
        self.ranking = Ranking(self.built, fleet, {self.group["name"]: prefer})
        for at, host in enumerate(fleet):
            for machine in hosts[host.name].get("machines") or []:
                self.ranking.count(machine.get("group") or "", at)
        self.keys = [key for option in self.ranking.options_of(0) if (key := self.ranking.key(0, option)) is not None]

    def storage_of(self, option: int) -> str:
        """The storage of the first disk at an option."""
        world = self.ranking.arrays.world
        part = world.option_part[world.option_part_from[option]]
        return self.built.problem.storages[world.part_storage[part]].name

    def why_not(self) -> dict[str, str]:
        """Why the hosts that cannot take the machine cannot."""
        return why_not(self.built, self.ranking.arrays, 0)


def choose_storage(manifest: Manifest, hosts: Observed, settings: Settings | None = None) -> dict[str, t.Any]:
    """Phase one: the storage for a machine's disks.

    :param manifest: parsed, with one group of one machine.
    :returns: ``{"storage": identity | None, "ratings": [{"storage", "pools", "hosts", "rating", "fits", "reasons"}], "problems"}``.
        ``hosts`` of a rating are those that are connected and have room for the machine, best first.
    """
    request = _Request(manifest, hosts, settings or Settings())
    best: dict[str, list[Key]] = {}
    for key in sorted(request.keys, key=_by_storage):
        best.setdefault(request.storage_of(key[-1]), []).append(key)
    ratings: list[dict[str, t.Any]] = []
    for place, (storage, keys) in enumerate(best.items()):
        told = reasons(request.built, request.ranking, 0, keys[0][-1])
        ratings.append(
            {
                "storage": storage,
                "pools": request.storages[storage],
                "hosts": list(dict.fromkeys(request.fleet[key[-2]].name for key in sorted(keys))),
                "rating": round(1.0 - place / (len(best) + 1), 4),
                "fits": True,
                "reasons": [reason for reason in told if reason.startswith(("needs", "holds", "pool"))],
            }
        )
    out = request.why_not()
    for storage, pools in request.storages.items():
        if storage not in best:
            members = [host.name for host in request.fleet if any(pool.storage == storage for pool in host.pools.values())]
            why = [f"{host}: {out[host]}" for host in members if out.get(host)]
            why = why or ["no host that is connected to it may be used"]
            ratings.append({"storage": storage, "pools": pools, "hosts": [], "rating": 0.0, "fits": False, "reasons": why})
    return {"storage": ratings[0]["storage"] if best else None, "ratings": ratings, "problems": _problems(request, out)}


def _by_storage(key: Key) -> tuple[int, ...]:
    """What has to be brought decides about storages, whatever stands on their hosts; then the host's own key."""
    *_counts, size, seconds, use, load, host, option = key
    return (size, seconds, use, load, host, option)


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
        best.setdefault(key[-2], key)
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
    out = request.why_not()
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
    return [f"{request.group['place']}: no host has room for this machine. {told}".rstrip(" .")]
