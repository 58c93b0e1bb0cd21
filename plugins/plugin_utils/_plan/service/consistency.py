# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""References, records, domains and disks of a fleet against each other: what does not belong together, and what would mend it.

Bases that are gone and needed are told apart from the rest: another host may have them still.
"""

from __future__ import annotations

import shlex
import typing as t
from collections.abc import Container, Iterator, Mapping, Sequence

from .fleet_status import fleet_status, sorted_out
from .report import one_line
from .status_text import size

Told = Mapping[str, t.Any]

#: Names and references of a base that is not there.
STALE_REFERENCE = "reference_stale"


class Finding(t.NamedTuple):
    """
    :param kind: what sort of thing it is.
    :param place: what it is about: a path, a machine, a pool.
    :param repair: what mends it: an instruction or a command.
    :param is_wrong: something cannot work as it is; the rest only takes room, or the next run puts it right.
    :param mends: whether a run with basecast_repair does what ``repair`` says.
    :param mended: whether this run has done it.
    """

    host: str
    kind: str
    place: str
    found: str
    repair: str
    is_wrong: bool = False
    mends: bool = False
    mended: bool = False


class MissingBase(t.NamedTuple):
    """A base that disks of a host need, and that is in no pool of the host."""

    host: str
    pool: str
    sha256: str
    users: tuple[str, ...]


_AGAIN = "make it answer, and repeat the command"


def playbook(name: str, **options: str | None) -> str:
    """A playbook's command as it is typed; the tenant is left out where it is the usual one."""
    given = {key: value for key, value in options.items() if value is not None and (key, value) != ("tenant", "default")}
    return " ".join([f"ansible-playbook basecast.fleet.{name}", *(f"-e {key}={shlex.quote(value)}" for key, value in given.items())])


def removal(one: Told) -> str:
    """Of a machine with its disks and record."""
    return playbook("remove", service=one["service"], machines=one["machine"], tenant=one["tenant"])


def _left(one: Told) -> str:
    """What becomes of an orphan, by its kind."""
    if one["kind"] == "disk":
        return f"deploy the service again, which takes it up; or remove it: {removal(one)}"
    if one["kind"] == "record":
        return f"deploy the service again, which makes the machine; or forget it: {removal(one)}"
    if one["kind"] == "clone":
        clone = playbook("clone", service=one["service"], machine=one["of"], clone_name=one["machine"], tenant=one["tenant"])
        return f"finish it: {clone}; or leave it to the next clone of {one['of']}"
    if one["kind"] == "partial":
        return f"the next deployment goes on with it; to remove it: {playbook('prune')}"
    if one["kind"] == "reference" and one["pool"]:
        return "drop the name, when nothing has changed in it for basecast_prune_left_hours, and no host needs the base"
    if one["kind"] == "reference":
        return f"the base goes once its time has come: {playbook('prune')}; base_disk_reference drops the name"
    return f"remove it: {playbook('prune')}"


def _lost_disk(one: Told) -> str:
    known = all(one.get(key) for key in ("tenant", "service", "machine"))
    return "restore the disk" + (f"; or remove the machine and deploy its service again: {removal(one)}" if known else "")


def consistency(looks: Mapping[str, Told]) -> tuple[list[Finding], list[MissingBase]]:
    """
    :param looks: as ``fleet_status`` takes them, of all tenants.
    """
    seen, unknown = sorted_out(looks)
    status = fleet_status(looks)
    found = [Finding(host, "unknown", host, f"not all of it can be known: {why}", _AGAIN, True) for host, why in unknown.items()]
    found += _machines(status)
    for host, told in seen.items():
        found += _disks(host, told)
    missing = [one for host, told in seen.items() for one in _missing_bases(host, told)]
    found += _orphans(status, set(_names_of(missing, seen)))
    found += _records(seen, status, not unknown)
    return found, missing


def _machines(status: Told) -> Iterator[Finding]:
    places: dict[tuple[str, str, str], list[str]] = {}
    for machine in status["machines"]:
        if machine["known"]:
            places.setdefault((machine["tenant"], machine["service"], machine["machine"]), []).append(machine["host"])
        if machine["problem"] and machine["known"]:
            told = f"{_name(machine)}: {one_line(machine['problem'])}"
            yield Finding(machine["host"], "machine", _name(machine), told, "as it says", True)
        meant = machine["spec"].get("disks")
        for disk in machine["disks"]:
            about = meant.get(disk["name"]) if isinstance(meant, Mapping) else None
            recorded = about.get("size_bytes") if isinstance(about, Mapping) else None
            if isinstance(recorded, int) and recorded is not True and disk["virtual_bytes"] not in (None, recorded):
                yield Finding(
                    machine["host"],
                    "disk_size",
                    str(disk["path"]),
                    f"the disk {disk['name']} of {_name(machine)} has {size(disk['virtual_bytes'])}, recorded are {size(recorded)}",
                    f"name the larger size in the manifest, which is then noted, or to which the disk grows: {_update(machine)}",
                )
    for (tenant, service, machine_name), hosts in places.items():
        if len(hosts) > 1:
            yield Finding(
                hosts[0],
                "machine_twice",
                f"{service} {machine_name}",
                f"{service} {machine_name} (tenant {tenant}) is on {' and '.join(hosts)}",
                f"if it was being moved, end that: {_move(tenant, service, machine_name)}; else undefine the one that is not right: "
                f"virsh undefine --nvram {shlex.quote(f'{service}-{machine_name}')}",
                True,
            )


def _update(machine: Told) -> str:
    return f"{playbook('update')} -e manifest=FILE -e machines={shlex.quote(machine['machine'])}"


def _move(tenant: str, service: str, machine: str) -> str:
    return f"{playbook('migrate', service=service, machine=machine, tenant=tenant)} -e to=HOST"


def _name(machine: Told) -> str:
    return f"{machine['service']} {machine['machine']}"


def _disks(host: str, told: Told) -> Iterator[Finding]:
    for name, pool in told["pools"].items():
        for disk in pool.get("disks") or () if pool.get("known") else ():
            if disk.get("parent") and disk.get("has_parent") is False:
                found = f"{disk['path']} in pool {name} is based on {disk['parent']}, which is not there"
                yield Finding(host, "parent_lost", disk["path"], found, _lost_disk(disk), True)


def _names_of(missing: Sequence[MissingBase], seen: Mapping[str, Told]) -> Iterator[tuple[str, str, str]]:
    """Host, pool and title of references to bases that are gone: they are needed, so they have lost nothing."""
    for one in missing:
        for reference in seen[one.host]["pools"][one.pool].get("references") or ():
            if reference["sha256"] == one.sha256:
                yield one.host, one.pool, ", ".join(reference["names"]) or one.sha256[:12]


def _orphans(status: Told, needed: Container[tuple[str, str, str]]) -> Iterator[Finding]:
    for one in status["orphans"]:
        if one["kind"] == "reference" and (one["host"], one["pool"], one["what"]) in needed:
            continue
        where = f" in pool {one['pool']}" if one["pool"] else ""
        room = f", {size(one['bytes'])}" if one["bytes"] else ""
        if one["kind"] == "machine":
            yield Finding(one["host"], "disk_lost", one["what"], f"{one['why']}: {one['what']}", _lost_disk(one), True)
        else:
            found = f"{one['kind']} {one['what']}{where}{room}: {one['why']}"
            is_stale = one["kind"] == "reference" and bool(one["pool"])
            yield Finding(one["host"], STALE_REFERENCE if is_stale else one["kind"], one["what"], found, _left(one), mends=is_stale)


def _records(seen: Mapping[str, Told], status: Told, is_all_known: bool) -> Iterator[Finding]:
    """Machines that are elsewhere than their record says. Records of hosts that were silent for a while are older: the newest counts."""
    newest: dict[tuple[str, str], Told] = {}
    for told in seen.values():
        for record in told["services"]:
            key = (record["tenant"], record["service"])
            if not record.get("problem") and (record.get("generation") or 0) >= (newest.get(key, {}).get("generation") or 0):
                newest[key] = record
    for machine in status["machines"]:
        record = newest.get((machine["tenant"], machine["service"]), {})
        meant = ((record.get("assignments") or {}).get(machine["machine"]) or {}).get("host")
        if machine["known"] and meant and meant != machine["host"]:
            repair = f"the next deployment of the service records where it is: {playbook('deploy')} -e manifest=FILE"
            yield Finding(
                machine["host"], "machine_elsewhere", _name(machine), f"{_name(machine)} is here, its record names {meant}", repair
            )
        if machine["known"] and not record and is_all_known:
            found = f"{_name(machine)} has no record of its service on any host"
            repair = f"deploy the service again: {playbook('deploy')} -e manifest=FILE; or remove the machine: {removal(machine)}"
            yield Finding(machine["host"], "machine_unrecorded", _name(machine), found, repair)


def _missing_bases(host: str, told: Told) -> Iterator[MissingBase]:
    """Told only where all pools of the host are known: a base may be in another pool than the disk on it."""
    pools = told["pools"]
    if not all(pool.get("known") for pool in pools.values()):
        return
    there = {one["sha256"] for pool in pools.values() for kind in ("bases", "damaged") for one in pool.get(kind) or ()}
    needed: dict[tuple[str, str], list[str]] = {}
    for name, pool in pools.items():
        for disk in pool.get("disks") or ():
            if disk.get("base") and disk["base"] not in there and disk.get("has_parent") is False:
                # A disk that is based on a base of another pool says so by its place.
                at = name if disk.get("in_store") else next((other for other, one in pools.items() if _is_below(disk, one)), "")
                if at:
                    needed.setdefault((at, disk["base"]), []).append(disk["path"])
    for (name, sha256), users in needed.items():
        yield MissingBase(host, name, sha256, tuple(users))


def _is_below(disk: Told, pool: Told) -> bool:
    return bool(pool.get("path")) and str(disk.get("base_path") or "").startswith(f"{pool['path']}/bases/")
