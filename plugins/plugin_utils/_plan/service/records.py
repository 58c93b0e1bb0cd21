# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What each host of a service keeps of it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..placement import Observed, answers
from ..placement.numbering import witnesses
from ..types import Manifest
from . import customization

FORMAT = 1

Record = Mapping[str, t.Any]


def records_of(
    manifest: Manifest,
    placement: Mapping[str, t.Any],
    hosts: Observed,
    work: Mapping[str, t.Any],
    bases: Mapping[str, Mapping[str, t.Any]],
) -> dict[str, dict[str, t.Any]]:
    """What each host of the service keeps: the numbers of all machines, to number others while a host cannot be asked,
    and its own part of the manifest.

    The generation rises only when the numbers change, so that an unchanged deployment writes nothing.
    """
    common = _numbers(manifest, placement, hosts)
    return {host: {**common, "manifest": host_manifest(manifest, _pools_of(mine["machines"]), bases)} for host, mine in work.items()}


def witness_records(
    manifest: Manifest,
    placement: Mapping[str, t.Any],
    hosts: Observed,
    groups: Mapping[str, Sequence[str]],
    work: Mapping[str, t.Any],
) -> dict[str, dict[str, t.Any]]:
    """What witnesses keep that have no part in the service: its numbers. Those that have them already are left out."""
    record = {**_numbers(manifest, placement, hosts), "manifest": {"bases": [], "machines": []}}
    found = dict.fromkeys(host for group in manifest["machines"] for host in witnesses(group, hosts, groups))
    return {
        host: record
        for host in found
        if host not in work and answers(hosts[host]) and not _tells_the_same(hosts[host].get("record") or {}, record)
    }


def _tells_the_same(old: Record, new: Record) -> bool:
    return all(old.get(key) == new.get(key) for key in ("assignments", "scaled"))


def _numbers(manifest: Manifest, placement: Mapping[str, t.Any], hosts: Observed) -> dict[str, t.Any]:
    """The part of a service's record that is the same on all hosts."""
    records = [facts["record"] for facts in hosts.values() if (facts.get("record") or {}).get("service") == manifest["service"]]
    newest: Mapping[str, t.Any] = max(records, key=lambda record: record.get("generation") or 0, default={})
    # What hosts may have that cannot be asked stays in the record, whether the manifest still asks for it or not.
    hidden = {name: entry for name, entry in (newest.get("assignments") or {}).items() if not answers(hosts.get(entry["host"], {}))}
    placed = {
        entry["machine"]: {"host": entry["host"], "group": entry["group"], "number": entry["number"]} for entry in placement["assignments"]
    }
    assignments = {**hidden, **placed}
    return {
        "format": FORMAT,
        "service": manifest["service"],
        "tenant": manifest["tenant"],
        "generation": (newest.get("generation") or 0) + (0 if newest.get("assignments") == assignments else 1),
        "assignments": assignments,
        **({"scaled": manifest["scaled"]} if manifest.get("scaled") else {}),
    }


def _pools_of(machines: Sequence[Mapping[str, t.Any]]) -> dict[str, dict[str, str]]:
    """The pool of each disk of a host's machines: ``{group: {disk: pool}}``."""
    return {machine["group"]: {name: disk["pool"] for name, disk in machine["spec"]["disks"].items()} for machine in machines}


def host_manifest(
    manifest: Manifest, groups: Mapping[str, Mapping[str, str]], bases: Mapping[str, Mapping[str, t.Any]]
) -> dict[str, t.Any]:
    """What a host needs to clone and customise its groups of machines without the controller, and nothing of other
    groups: user data holds secrets.

    :param groups: the pool of each disk on this host, by group.
    """
    mine = [group for group in manifest["machines"] if group["name"] in groups]
    needed = {disk["base"] for group in mine for disk in group["disks"]}
    return {
        "bases": [
            {"name": base["name"], "version": base["version"], "sha256": bases[base["name"]]["sha256"] or base["sha256"]}
            for base in manifest["bases"]
            if base["name"] in needed
        ],
        "machines": [
            {
                **{key: group[key] for key in ("name", "cpus", "memory_mib", "networks", "cloud_init")},
                **{key: group[key] for key in customization.OTHERS if key in group},
                **({"hardware": group["hardware"]} if group.get("hardware") else {}),
                **({"after": group["after"]} if group.get("after") else {}),
                "disks": [
                    {
                        **{key: value for key, value in disk.items() if key not in ("place", "pool_labels")},
                        "pool": groups[group["name"]].get(disk["name"]) or disk["pool"] or "default",
                    }
                    for disk in group["disks"]
                ],
            }
            for group in mine
        ],
    }
