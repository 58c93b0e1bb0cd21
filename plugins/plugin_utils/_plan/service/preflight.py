# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What would go wrong on the hosts, told before anything is changed: on every host at once, each with its place."""

from __future__ import annotations

import math
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.hardware import cards, drives, table
from ..placement import Observed, disks_of
from ..placement.fleet import hugepages_of, memory_of, pages_of, size_of_pages, usable_bytes
from . import resources
from .grants import refusals

_GIB = 1024**3

# Certificates of a run are valid from a day before the controller's time to a day after the run's limit; more than a
# minute is more than a call takes, and no clock that anybody keeps.
CLOCK_LIMIT_S = 86_400.0
CLOCK_NOTE_S = 60.0

Machines = Sequence[Mapping[str, t.Any]]
Groups = Mapping[str, Mapping[str, t.Any]]
Bases = Mapping[str, Mapping[str, t.Any]]


def preflight(
    creating: Machines,
    groups: Groups,
    bases: Bases,
    work: Mapping[str, Mapping[str, t.Any]],
    relay_hosts: Sequence[str],
    hosts: Observed,
    memory_overcommit: float,
) -> list[str]:
    """Sentences for the user, in the hosts' order; none if nothing stands in the way. See host_problems for the parameters."""
    of_hosts = host_problems(creating, groups, bases, work, relay_hosts, hosts, memory_overcommit)
    return [*manifest_problems(creating, groups, bases), *(sentence for told in of_hosts.values() for sentence in told)]


def manifest_problems(creating: Machines, groups: Groups, bases: Bases) -> list[str]:
    """What no host can do."""
    return list(_too_small_disks(creating, groups, bases))


def host_problems(
    creating: Machines,
    groups: Groups,
    bases: Bases,
    work: Mapping[str, Mapping[str, t.Any]],
    relay_hosts: Sequence[str],
    hosts: Observed,
    memory_overcommit: float,
    adopting: Mapping[str, Sequence[Mapping[str, t.Any]]] | None = None,
) -> dict[str, list[str]]:
    """Sentences for each host that cannot do its part.

    :param creating: the machines that are to be made, each with its ``host`` and ``group``.
    :param groups: the manifest's groups of machines by name.
    :param bases: service_plan's, after the demand for them is known.
    :param work: service_plan's ``hosts``.
    :param relay_hosts: the hosts that serve or fetch a base.
    :param adopting: files that each host adopts, with their ``pool``, ``title`` and ``entry``.
    """
    importers = {base["import_on"] for base in bases.values() if base["import_on"]}
    found = {}
    for host, facts in hosts.items():
        mine = [machine for machine in creating if machine["host"] == host]
        if not facts.get("reachable") or not (mine or host in importers or host in relay_hosts):
            continue
        problems = [
            *_packages(host, facts, bool(mine), host in importers),
            *(_import_failed(facts) if mine or host in importers else []),
            *(_libvirt(host, facts) if mine else []),
            *_pools(host, facts, mine, groups),
            *_base_pools(host, facts, bases, work.get(host) or {}),
            *_memory(host, facts, mine, groups, memory_overcommit),
            *_hardware(host, facts, mine, groups),
            *_hugepages(host, facts, mine, groups),
            *_networks(host, facts, mine, groups),
            *_xml(host, facts, mine, groups),
            *_granted(host, facts, mine, groups),
            *resources.problems(host, facts, mine, groups),
            *(_space(host, facts, work[host], bases, hosts, (adopting or {}).get(host, ())) if host in work else []),
            *(_ports(host, facts) if host in relay_hosts else []),
            *(_clock(host, facts) if host in relay_hosts else []),
        ]
        if problems:
            found[host] = list(dict.fromkeys(problems))
    return found


def unfit_hosts(manifest: Mapping[str, t.Any], hosts: Observed) -> dict[str, dict[str, str]]:
    """Hosts that cannot give what the machines of a group ask for, wherever there is room: ``{group: {host: why}}``."""
    groups = {group["name"]: group for group in manifest["machines"]}
    found: dict[str, dict[str, str]] = {}
    for host, facts in hosts.items():
        asked = {**facts, "asked_by": manifest["tenant"]}
        for name in groups if facts.get("reachable") else ():
            one = [{"group": name, "host": host}]
            checks = (_hardware, _networks, _xml, _granted, resources.problems)
            told = [sentence for check in checks for sentence in check(host, asked, one, groups)]
            if told:
                # Without the place in the manifest, as the list of hosts says it once.
                found.setdefault(name, {})[host] = "; ".join(
                    dict.fromkeys(re.sub(rf"^.*?: {re.escape(host)}:? ", "it ", sentence) for sentence in told)
                )
    return found


def _packages(host: str, facts: Mapping[str, t.Any], makes_machines: bool, imports: bool) -> Iterator[str]:
    for missing in facts.get("missing") or []:
        # An import needs nothing but qemu-img, a host that only relays needs no package at all.
        if makes_machines or (imports and missing["what"] == "qemu-img"):
            yield f"{host}: {missing['what']} is missing; install the package {missing['package']}"


def _import_failed(facts: Mapping[str, t.Any]) -> Iterator[str]:
    """What this run has seen: such a host neither imports nor makes machines; what it holds it may still serve."""
    if facts.get("import_failed"):
        yield str(facts["import_failed"])


def _libvirt(host: str, facts: Mapping[str, t.Any]) -> Iterator[str]:
    """Where a package is missing, that has been said."""
    packages = {missing["package"] for missing in facts.get("missing") or []}
    if facts.get("reason") and not packages & {"python3-libvirt", "libvirt-daemon-system"}:
        yield f"{host}: {facts['reason']}"


def _pools(host: str, facts: Mapping[str, t.Any], creating: Machines, groups: Groups) -> Iterator[str]:
    for disk in _disks(creating, groups):
        yield from _pool(host, facts, disk["pool"], f"{disk['place']}.pool")
        pool = ((facts.get("capacity") or {}).get("pools") or {}).get(disk["pool"]) or {}
        if pool.get("qemu_problem"):
            yield f"{disk['place']}.pool: {disk['pool']!r} of {host}: {pool['qemu_problem']}"


def _base_pools(host: str, facts: Mapping[str, t.Any], bases: Bases, work: Mapping[str, t.Any]) -> Iterator[str]:
    """Pools that get a base; where the manifest names none, they are those of the disks, or the import's own."""
    for base in bases.values():
        fetched = any(fetch["base"] == base["name"] for fetch in work.get("fetch") or [])
        if base.get("pool") and (fetched or base["import_on"] == host):
            yield from _pool(host, facts, base["pool"], f"{base['place']}.pool")
        elif base["import_on"] == host:
            yield from _pool(host, facts, base["import_pool"], f"{base['place']}.source")


def _pool(host: str, facts: Mapping[str, t.Any], name: str, place: str) -> Iterator[str]:
    pools = (facts.get("capacity") or {}).get("pools") or {}
    pool = pools.get(name)
    if pool is None:
        yield f"{place}: {name!r} is not a pool of {host}; its pools are: {', '.join(pools)}"
    elif not pool.get("exists"):
        yield f"{place}: {name!r} of {host} is {pool['path']}, which is not there; make or mount it"
    elif not pool.get("writable"):
        yield f"{place}: {name!r} of {host}, {pool['path']}, cannot be written to"


def _disks(creating: Machines, groups: Groups) -> Iterator[Mapping[str, t.Any]]:
    """Each disk of the manifest that these machines have, once for each pool that it has."""
    seen = set()
    for machine in creating:
        for disk in disks_of(machine, groups):
            key = (machine["group"], disk["name"], disk["pool"])
            if key not in seen:
                seen.add(key)
                yield disk


def _memory(host: str, facts: Mapping[str, t.Any], creating: Machines, groups: Groups, overcommit: float) -> Iterator[str]:
    total = (facts.get("capacity") or {}).get("memory_mib")
    if not total:
        return
    limit, taken = memory_of(host, facts, overcommit)
    promised = 0
    for machine in creating:
        group = groups[machine["group"]]
        if taken + promised + group["memory_mib"] > limit:
            yield (
                f"{group['places']['memory_mib']}: {machine['machine']} with {group['memory_mib']} MiB does not fit on {host}:"
                f" it has {total} MiB, {taken} MiB are taken by its machines and by other runs, {promised} MiB by others of"
                f" this service; at most {max(0, limit - taken - promised)} MiB are left"
            )
            return
        promised += group["memory_mib"]


def _hugepages(host: str, facts: Mapping[str, t.Any], creating: Machines, groups: Groups) -> Iterator[str]:
    """All new machines of a host together; one that the host has no pages for at all is told of as its hardware."""
    left, reserved = hugepages_of(facts), (facts.get("offers") or {}).get("hugepages_mib") or {}
    if left is None:
        return
    for machine in creating:
        group = groups[machine["group"]]
        pages = pages_of(group)
        size = size_of_pages(pages, reserved) if pages else ""
        if not pages or reserved.get(size, 0) < group["memory_mib"]:
            continue
        if left.get(size, 0) < group["memory_mib"]:
            yield (
                f"{group.get('places', {}).get('memory', group['place'])}: {machine['machine']} with {group['memory_mib']} MiB does not fit"
                f" on {host}: of its {reserved[size]} MiB of huge pages of {size}, {left.get(size, 0)} MiB are left by its machines,"
                " other runs and others of this service"
            )
            return
        left[size] -= group["memory_mib"]


def _hardware(host: str, facts: Mapping[str, t.Any], creating: Machines, groups: Groups) -> Iterator[str]:
    """What the host's libvirt and QEMU cannot give to machines; a host that did not tell is not judged."""
    for name in dict.fromkeys(machine["group"] for machine in creating):
        group = groups[name]
        hardware = {**(group.get("hardware") or {}), "drives": drives.of_disks(resources.all_disks(group))}
        for key, problem in table.lacks(hardware, facts.get("offers"), group):
            yield f"{group.get('places', {}).get(key, group['place'])}: {host} {problem}"


def _xml(host: str, facts: Mapping[str, t.Any], creating: Machines, groups: Groups) -> Iterator[str]:
    """XML that is added to machines: only where an administrator has allowed it, and libvirt's schema accepts it."""
    for name in dict.fromkeys(machine["group"] for machine in creating):
        if "xml" not in (groups[name].get("hardware") or {}):
            continue
        place = groups[name].get("places", {}).get("xml", groups[name]["place"])
        if not facts.get("machine_xml"):
            yield f"{place}: {host} takes no XML of a manifest; an administrator may allow it (basecast_machine_xml: true)"
            continue
        problems = facts.get("xml_problems")
        problem = "it is not known whether libvirt accepts it" if problems is None else problems.get(name)
        if problem:
            yield f"{place}: {host}: {problem}"


def _granted(host: str, facts: Mapping[str, t.Any], creating: Machines, groups: Groups) -> Iterator[str]:
    """What the host's administrator does not let the tenant use; a machine that is copied has what it had."""
    if facts.get("asked_by") is None:
        return
    for name in dict.fromkeys(machine["group"] for machine in creating):
        tenant = facts["asked_by"]
        for key, what in refusals(groups[name], tenant, facts.get("grants")):
            place = groups[name].get("places", {}).get(key, groups[name]["place"])
            yield f"{place}: {host} does not let the tenant {tenant} use {what}; its administrator may allow that (basecast_grants)"


def _networks(host: str, facts: Mapping[str, t.Any], creating: Machines, groups: Groups) -> Iterator[str]:
    """Networks must be active, bridges and interfaces must exist; a host that did not tell of them is not judged."""
    told = {**(facts.get("offers") or {}), "networks": facts.get("networks"), "bridges": facts.get("bridges")}
    for name in dict.fromkeys(machine["group"] for machine in creating):
        place = groups[name].get("places", {}).get("networks", groups[name]["place"])
        for card in groups[name]["networks"]:
            yield from (f"{place}: {host} {problem}" for problem in cards.lacks(card, told))


def overcommitted_pools(creating: Machines, groups: Groups, bases: Bases, hosts: Observed) -> list[str]:
    """Sentences for pools that would not have room if every disk grew to its full size."""
    wanted: dict[tuple[str, str], int] = {}
    for machine in creating:
        for disk in disks_of(machine, groups):
            key = (machine["host"], disk["pool"])
            wanted[key] = wanted.get(key, 0) + full_size(disk, bases)
    return crowded(wanted, hosts, "new disks may grow to")


def tight_pools(work: Mapping[str, Mapping[str, t.Any]], bases: Bases, hosts: Observed) -> list[str]:
    """Sentences for pools that may have no room for bases that are still to be imported.

    How much a base takes is known once it is there: its source may be sparse, packed or of another format.
    """
    coming = {(host, fetch["pool"], fetch["base"]) for host, mine in work.items() for fetch in mine["fetch"]}
    coming |= {(base["import_on"], base["import_pool"], name) for name, base in bases.items() if base["import_on"]}
    notes = []
    for host, name, wanted in sorted((host, pool, base) for host, pool, base in coming if host and pool):
        pool = (((hosts.get(host) or {}).get("capacity") or {}).get("pools") or {}).get(name) or {}
        base, free = bases[wanted], usable_bytes(pool)
        size = 0 if base["sha256"] else base.get("source_bytes") or 0
        if free is not None and size > free:
            notes.append(
                f"{host}: the pool {name!r}, {pool['path']}, has {_gib(free)} free, and the source of {base['title']} {_gib(size)};"
                " if the imported base takes that much, the host cannot have it"
            )
    return notes


def crowded(wanted: Mapping[tuple[str, str], int], hosts: Observed, what: str) -> list[str]:
    """Sentences for the pools, by host and name, that have no room for so much on top of what their disks may grow by.

    :param what: the words before the amount.
    """
    notes = []
    for (host, name), size in wanted.items():
        pool = (((hosts.get(host) or {}).get("capacity") or {}).get("pools") or {}).get(name) or {}
        free, promised = usable_bytes(pool), pool.get("promised_bytes") or 0
        if free is not None and size + promised > free:
            before = f" on top of the {_gib(promised)} that existing disks may grow by" if promised else ""
            notes.append(
                f"{host}: the pool {name!r}, {pool['path']}, is over-committed: {what} {_gib(size)}{before}, {_gib(free)} are free"
            )
    return notes


def full_size(disk: Mapping[str, t.Any], bases: Bases) -> int:
    base = bases[disk["base"]] if disk["base"] else None
    return int(disk["size_bytes"] or ((base and base["metadata"]) or {}).get("virtual_size_bytes") or 0)


def _too_small_disks(creating: Machines, groups: Groups, bases: Bases) -> Iterator[str]:
    for disk in _disks(creating, groups):
        base = bases[disk["base"]] if disk["base"] else None
        least = ((base and base["metadata"]) or {}).get("virtual_size_bytes")
        if base and least and disk["size_bytes"] and disk["size_bytes"] < least:
            yield (
                f"{disk['place']}.size_gib: {_gib(disk['size_bytes'])} is less than {base['title']} itself has;"
                f" at least {_gib(least, up=True)} are accepted, or no size for the base's own"
            )


def _space(
    host: str,
    facts: Mapping[str, t.Any],
    work: Mapping[str, t.Any],
    bases: Bases,
    hosts: Observed,
    adopting: Sequence[Mapping[str, t.Any]],
) -> Iterator[str]:
    """Bases and whole copies of them have to fit at once; what differencing disks may grow by is not asked for here."""
    pools = (facts.get("capacity") or {}).get("pools") or {}
    needed: dict[str, dict[str, int]] = {}

    def add(pool: str, title: str, size: int) -> None:
        wanted = needed.setdefault(pool, {})
        wanted[title] = wanted.get(title, 0) + size

    by_digest = {base["sha256"]: base for base in bases.values() if base["sha256"]}
    for fetch in work["fetch"]:
        base = bases[fetch["base"]]
        add(fetch["pool"], base["title"], bytes_of(base, hosts) - _already_there(facts, fetch["pool"], base["sha256"]))
    for item in adopting:
        if not _clones_cost_nothing(facts, item["pool"]):
            add(item["pool"], item["title"], item["entry"]["size_bytes"])
    for clone in work["clones"]:
        for base in (by_digest[digest] for digest in clone["bases"] if digest in by_digest):
            if not _clones_cost_nothing(facts, clone["pool"]):
                add(clone["pool"], base["title"], bytes_of(base, hosts))
    for disk in work["disks"]:
        if disk["base"] in by_digest and not disk["differencing"] and not _clones_cost_nothing(facts, disk["pool"]):
            add(disk["pool"], f"copies of {by_digest[disk['base']]['title']}", bytes_of(by_digest[disk["base"]], hosts))
    for name, wanted in needed.items():
        free = usable_bytes(pools.get(name) or {})
        claimed = sum(((claim.get("pools") or {}).get(name) or {}).get("bytes") or 0 for claim in facts.get("claims") or [])
        free = None if free is None else max(0, free - claimed)
        if free is not None and sum(wanted.values()) > free:
            what = ", ".join(f"{_gib(size)} for {title}" for title, size in wanted.items())
            others = f" beside what other deployments have claimed, {_gib(claimed)}" if claimed else ""
            yield f"{host}: the pool {name!r}, {pools[name]['path']}, has {_gib(free)} free{others}; needed are {what}"


def bytes_of(base: Mapping[str, t.Any], hosts: Observed) -> int:
    """What a base takes on a disk: no more than its size, less where it is sparse and a holder says so. 0 = unknown."""
    sizes = [(base["metadata"] or {}).get("size_bytes") or 0]
    for host, pool in base["holders"].items():
        content = ((hosts.get(host) or {}).get("pools") or {}).get(pool) or {}
        held: Mapping[str, t.Any] = next((held for held in content.get("bases") or [] if held["sha256"] == base["sha256"]), {})
        if held.get("allocated_bytes"):
            sizes.append(held["allocated_bytes"])
    return min(sizes)


def _already_there(facts: Mapping[str, t.Any], pool: str, sha256: str | None) -> int:
    """What an earlier run left of it."""
    partials = ((facts.get("pools") or {}).get(pool) or {}).get("partials") or []
    return sum(partial.get("allocated_bytes") or 0 for partial in partials if sha256 and partial["sha256"] == sha256)


def _clones_cost_nothing(facts: Mapping[str, t.Any], pool: str) -> bool:
    return bool((((facts.get("pools") or {}).get(pool) or {}).get("filesystem") or {}).get("reflink"))


def _ports(host: str, facts: Mapping[str, t.Any]) -> Iterator[str]:
    """Whether its relay node will be able to listen. That a firewall lets others in, only they can tell."""
    address = facts.get("address")
    if facts.get("address_local") is False:
        yield (
            f"{host}: {address} is not an address that this host can listen on; set basecast_address to its own address"
            " in the network that the other hosts reach it by"
        )
    elif facts.get("ports_free") == []:
        yield f"{host}: every port of {facts.get('port_range')} on {address} is taken; set basecast_port_range to others"


def _clock(host: str, facts: Mapping[str, t.Any]) -> Iterator[str]:
    ahead = _ahead_s(facts)
    if abs(ahead) > CLOCK_LIMIT_S:
        yield f"{host}: {_clocks(facts)}; the certificates of a run are valid for a day on either side: set both clocks"


def clock_notes(relay_hosts: Sequence[str], hosts: Observed) -> list[str]:
    """Clocks that differ by more than they should, and less than what stops a run."""
    return [
        f"{host}: {_clocks(hosts[host])}; set both clocks, the ages of reports and records depend on them"
        for host in relay_hosts
        if CLOCK_NOTE_S < abs(_ahead_s(hosts[host])) <= CLOCK_LIMIT_S
    ]


def _ahead_s(facts: Mapping[str, t.Any]) -> float:
    """0 where it is not known."""
    return float((facts.get("clock") or {}).get("ahead_s") or 0.0)


def _clocks(facts: Mapping[str, t.Any]) -> str:
    clock, ahead = facts["clock"], _ahead_s(facts)
    distance = f"{abs(ahead) / 3600:.1f} h" if abs(ahead) >= 3600 else f"{abs(ahead):.0f} s"
    side = "ahead of" if ahead > 0 else "behind"
    return f"its clock says {clock['utc']} and the controller's {clock['controller_utc']}, {distance} {side} it"


def _gib(size: int, up: bool = False) -> str:
    """Three decimals at most; rounded up where the text promises that so much suffices."""
    thousandths = math.ceil(size * 1000 / _GIB) if up else round(size * 1000 / _GIB)
    return f"{thousandths / 1000:g} GiB"
