# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What a plan is about to use of each host, to be claimed there before anything changes."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..placement import Observed, answers, disks_of, storage_of
from ..placement.fleet import pages_of
from ..placement.numbering import Numbers, candidates, known_numbers
from ..types import Manifest
from .preflight import bytes_of, full_size

Use = dict[str, t.Any]
Named = Mapping[str, Mapping[str, t.Any]]  # groups, bases, work of hosts


def claims_of(
    creating: Sequence[Mapping[str, t.Any]],
    groups: Named,
    bases: Named,
    work: Named,
    hosts: Observed,
    relays: Sequence[Mapping[str, t.Any]] = (),
    quota: bool = False,
) -> dict[str, dict[str, t.Any]]:
    """By host, in the order of the inventory, what host_claim takes: ``{host: {"seen": generation, "uses": […], "places": {…},
    "bases": […], "waits": number}}``. ``waits`` is how many imports and adoptions may come before a job on the host keeps the claim alive.

    :param quota: the tenant has one. It holds for the fleet, so all hosts are claimed on, with nothing where nothing is used: two plans
        of one tenant meet even if they use different hosts.

    ``bases`` are the digests that a host has and that its machines, or other hosts, are going to be served from.

    All runs of a service meet on the first host that answers, so its claim tells where all machines go. What is used of a storage that
    several hosts share is claimed on the first of them, whichever of them uses it: two plans that want the same storage meet there.
    """
    found: dict[str, list[Use]] = {}
    homes = _homes(hosts)
    places = {
        machine["machine"]: {
            **{key: machine[key] for key in ("host", "group", "number")},
            "pools": {disk["name"]: disk["pool"] for disk in disks_of(machine, groups)},
        }
        for machine in creating
    }
    meeting = next((host for host, facts in hosts.items() if creating and answers(facts)), None)
    if meeting is not None:
        found[meeting] = []

    def space(name: str, host: str, pool: str, **amounts: int) -> None:
        at, its_pool = homes.get((host, pool), (host, pool))
        uses = found.setdefault(at, [])
        use = next((use for use in uses if use["name"] == name), None)
        if use is None:
            use = _use(name)
            uses.append(use)
        sums = use["pools"].setdefault(its_pool, {"bytes": 0, "growth_bytes": 0})
        for key, amount in amounts.items():
            sums[key] += amount

    for machine in creating:
        group, host = groups[machine["group"]], machine["host"]
        disks = disks_of(machine, groups)
        found.setdefault(host, []).append(
            {
                **_use(machine["machine"]),
                "cpus": group["cpus"],
                "memory_mib": group["memory_mib"],
                "hugepages": pages_of(group),
                "disk_bytes": sum(disk["size_bytes"] or 0 for disk in disks),
            }
        )
        for disk in disks:
            full, now = full_size(disk, bases), 0
            if disk["base"] and not disk["differencing"] and disk["backend"] != "reflink":
                now = bytes_of(bases[disk["base"]], hosts)
            space(machine["machine"], host, disk["pool"], bytes=now, growth_bytes=max(0, full - now))
    for (host, pool), names in _copies(bases, work).items():
        for name in names:
            size = bytes_of(bases[name], hosts) or bases[name]["source_bytes"] or 0
            if size:
                space(f"base {name}", host, pool, bytes=size)
    for host in hosts if quota and creating else ():
        found.setdefault(host, [_use("the quota")])
    counted_on = _counted_on(creating, groups, bases, relays, hosts)
    waits = sum(1 for base in bases.values() if base["import_on"]) + 1
    return {
        host: {
            "seen": facts.get("claims_generation"),
            "uses": found.get(host, []),
            "places": places if host == meeting else {name: place for name, place in places.items() if place["host"] == host},
            "bases": sorted(counted_on.get(host, ())),
            "waits": waits,
        }
        for host, facts in hosts.items()
        if (host in found or host in counted_on) and answers(facts)
    }


def with_rivals(manifest: Manifest, hosts: Observed, inventory_groups: Mapping[str, Sequence[str]]) -> Observed:
    """The hosts, with what other runs of the service are about to use beside what this plan wants too: nobody else has room there."""
    if not any(facts.get("own_claims") for facts in hosts.values()):
        return hosts
    known = known_numbers(manifest["service"], hosts)
    shared = {f"base {base['name']}" for base in manifest["bases"]}
    for group in manifest["machines"]:
        usable, _problems = candidates(group, hosts, inventory_groups)
        kept = Numbers.of(group, usable, known.get(group["name"], {}), hosts).kept
        shared.update(f"{group['name']}-{number}" for number in kept)
    return {host: _with_rivals(facts, shared, manifest["tenant"]) for host, facts in hosts.items()}


def _with_rivals(facts: Mapping[str, t.Any], shared: set[str], tenant: str) -> Mapping[str, t.Any]:
    there = {machine["machine"] for machine in facts.get("machines") or []}
    uses = {use["name"]: use for claim in facts.get("own_claims") or [] for use in claim["uses"]}
    extra = [use for name, use in uses.items() if name not in shared and name not in there]
    if not extra:
        return facts
    pools: dict[str, dict[str, int]] = {}
    pages: dict[str, int] = {}
    for use in extra:
        if use.get("hugepages"):
            pages[use["hugepages"]] = pages.get(use["hugepages"], 0) + use["memory_mib"]
        for pool, amounts in (use.get("pools") or {}).items():
            sums = pools.setdefault(pool, {"bytes": 0, "growth_bytes": 0})
            for key in sums:
                sums[key] += amounts.get(key) or 0
    claim = {
        **{key: sum(use[key] for use in extra) for key in ("cpus", "memory_mib", "disk_bytes")},
        "hugepages_mib": pages,
        "pools": pools,
        "tenant": tenant,
        "machines": sum(1 for use in extra if use["memory_mib"]),
    }
    return {**facts, "claims": [*(facts.get("claims") or []), claim]}


def _use(name: str) -> Use:
    return {"name": name, "cpus": 0, "memory_mib": 0, "hugepages": None, "disk_bytes": 0, "pools": {}}


def _counted_on(
    creating: Sequence[Mapping[str, t.Any]],
    groups: Named,
    bases: Named,
    relays: Sequence[Mapping[str, t.Any]],
    hosts: Observed,
) -> dict[str, set[str]]:
    """Digests of bases that each host has now, and must still have when they are read. What is only adopted later is not there yet."""
    wanted = [
        (machine["host"], bases[disk["base"]]["sha256"]) for machine in creating for disk in disks_of(machine, groups) if disk["base"]
    ]
    wanted += [(host, relay["sha256"]) for relay in relays for host in relay["sources"]]
    found: dict[str, set[str]] = {}
    for host, sha256 in wanted:
        pools = (hosts.get(host, {}).get("pools") or {}).values()
        if any(held["sha256"] == sha256 for pool in pools for held in pool.get("bases") or []):
            found.setdefault(host, set()).add(sha256)
    return found


def _homes(hosts: Observed) -> dict[tuple[str, str], tuple[str, str]]:
    """For each pool of each host the first host with the same storage, and what the pool is called there."""
    first: dict[str, tuple[str, str]] = {}
    homes: dict[tuple[str, str], tuple[str, str]] = {}
    for host, facts in hosts.items():
        if answers(facts):
            for pool, content in (facts.get("pools") or {}).items():
                homes[host, pool] = first.setdefault(storage_of(host, pool, content), (host, pool))
    return homes


def _copies(bases: Named, work: Named) -> dict[tuple[str, str], list[str]]:
    """The bases that come to each pool: imported, fetched, or copied from another pool of the host."""
    found: dict[tuple[str, str], list[str]] = {}
    names = {base["sha256"]: name for name, base in bases.items() if base["sha256"]}
    coming = [(base["import_on"], base["import_pool"], name) for name, base in bases.items() if base["import_on"]]
    for host, mine in work.items():
        coming += [(host, fetch["pool"], fetch["base"]) for fetch in mine["fetch"]]
        coming += [(host, clone["pool"], names[digest]) for clone in mine["clones"] for digest in clone["bases"] if digest in names]
    for host, pool, name in coming:
        mine_there = found.setdefault((host, pool), [])
        if name not in mine_there:
            mine_there.append(name)
    return found
