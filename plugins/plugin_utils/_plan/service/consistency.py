# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""References, records, domains and disks of a fleet against each other: what does not belong together, and what would mend it.

Bases that are gone and needed are told apart from the rest: another host may have them still.
"""

from __future__ import annotations

import typing as t
from collections.abc import Container, Iterator, Mapping, Sequence

from .fleet_status import fleet_status, sorted_out
from .report import one_line
from .status_text import size

Told = Mapping[str, t.Any]


class Finding(t.NamedTuple):
    """``is_wrong`` when something cannot work as it is; the rest only takes room, or the next run puts it right."""

    host: str
    found: str
    repair: str
    is_wrong: bool = False


class MissingBase(t.NamedTuple):
    """A base that disks of a host need, and that is in no pool of the host."""

    host: str
    pool: str
    sha256: str
    users: tuple[str, ...]


_LEFT = {
    "disk": "deploy the service again, which takes it up, or remove the machine (basecast.fleet.remove)",
    "record": "deploy the service again, or remove the machine (basecast.fleet.remove)",
    "reference": "basecast.fleet.prune removes the base once its time has come; base_disk_reference drops the name",
    "partial": "the next deployment goes on with it; basecast.fleet.prune removes it",
    "upload": "basecast.fleet.prune removes it",
}
_LOST_DISK = "restore the disk, or remove the machine (basecast.fleet.remove) and deploy its service again"


def consistency(looks: Mapping[str, Told]) -> tuple[list[Finding], list[MissingBase]]:
    """
    :param looks: as ``fleet_status`` takes them, of all tenants.
    """
    seen, unknown = sorted_out(looks)
    status = fleet_status(looks)
    again = "make it answer, and repeat the command"
    found = [Finding(host, f"not all of it can be known: {why}", again, True) for host, why in unknown.items()]
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
            yield Finding(machine["host"], f"{_name(machine)}: {one_line(machine['problem'])}", "as it says", True)
        meant = machine["spec"].get("disks")
        for disk in machine["disks"]:
            about = meant.get(disk["name"]) if isinstance(meant, Mapping) else None
            recorded = about.get("size_bytes") if isinstance(about, Mapping) else None
            if isinstance(recorded, int) and recorded is not True and disk["virtual_bytes"] not in (None, recorded):
                yield Finding(
                    machine["host"],
                    f"the disk {disk['name']} of {_name(machine)} has {size(disk['virtual_bytes'])}, recorded are {size(recorded)}",
                    "name the larger size in the manifest, and basecast.fleet.update notes it or grows the disk",
                )
    for (tenant, service, machine_name), hosts in places.items():
        if len(hosts) > 1:
            yield Finding(
                hosts[0],
                f"{service} {machine_name} (tenant {tenant}) is on {' and '.join(hosts)}",
                "if it was being moved, repeat basecast.fleet.migrate, which ends that; else undefine the one that is not right",
                True,
            )


def _name(machine: Told) -> str:
    return f"{machine['service']} {machine['machine']}"


def _disks(host: str, told: Told) -> Iterator[Finding]:
    for name, pool in told["pools"].items():
        for disk in pool.get("disks") or () if pool.get("known") else ():
            if disk.get("parent") and disk.get("has_parent") is False:
                yield Finding(host, f"{disk['path']} in pool {name} is based on {disk['parent']}, which is not there", _LOST_DISK, True)


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
            yield Finding(one["host"], f"{one['why']}: {one['what']}", _LOST_DISK, True)
        else:
            yield Finding(one["host"], f"{one['kind']} {one['what']}{where}{room}: {one['why']}", _LEFT[one["kind"]])


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
            repair = "the next deployment of the service records where it is"
            yield Finding(machine["host"], f"{_name(machine)} is here, its record names {meant}", repair)
        if machine["known"] and not record and is_all_known:
            yield Finding(machine["host"], f"{_name(machine)} has no record of its service on any host", "deploy the service again")


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
