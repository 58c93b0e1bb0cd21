# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What each host has to do for a service, each part as the module of that step takes it."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._machine.hardware import drives
from ....module_utils._machine.media import CLOUDBASE
from ....module_utils._machine.owner import Owner
from ....module_utils._names import UNKNOWN_SHA256
from ..placement import Observed, disks_of
from ..types import Manifest
from . import machine_values, resources
from .addresses import network_config, network_data
from .customization import content_of, kind_of, seed_of
from .networks import hardware_of, macs_of, networks_of
from .start_order import health_of

# Of a URL or a file of the controller, for example.
UNKNOWN_DIGEST = UNKNOWN_SHA256

# A group of the manifest that is made from a template, and the bases of service_plan.
Group = Mapping[str, t.Any]
Bases = Mapping[str, Mapping[str, t.Any]]


def work_of(
    host: str,
    machines: Sequence[Mapping[str, t.Any]],
    bases: Mapping[str, Mapping[str, t.Any]],
    groups: Mapping[str, Mapping[str, t.Any]],
    hosts: Observed,
    manifest: Manifest,
) -> dict[str, t.Any]:
    work: dict[str, t.Any] = {"fetch": [], "clones": [], "references": [], "disks": [], "seeds": [], "variables": [], "machines": []}
    clones: dict[str, list[str]] = {}
    pool_of_base: dict[str, str] = {name: base["holders"][host] for name, base in bases.items() if host in base["holders"]}
    for machine in machines:
        group = groups[machine["group"]]
        new = machine["state"] == "create"
        disks = disks_of(machine, groups)
        first_pool = disks[0]["pool"]
        values = machine_values.values_of(machine["machine"], machine["group"], manifest, host)
        networks = networks_of(group, machine["machine"])
        macs = macs_of(networks, Owner(manifest["tenant"], manifest["service"], machine["machine"]))
        hardware = machine_values.hardware_of(group.get("hardware", {}), values)
        if "attached" in hardware:
            hardware["attached"] = resources.attached_of(group, machine["machine"], hosts.get(host) or {})
        for disk in disks if new else []:
            base = bases[disk["base"]] if disk["base"] else None
            if base is not None:
                name = base["name"]
                if name not in pool_of_base:
                    pool_of_base[name] = base["pool"] or disk["pool"]
                    work["fetch"].append({"base": name, "pool": pool_of_base[name]})
                needs_own_pool = not disk["differencing"] or disk["backend"] == "reflink"
                if needs_own_pool and disk["pool"] != pool_of_base[name]:
                    cloned = clones.setdefault(disk["pool"], [])
                    if (base["sha256"] or UNKNOWN_DIGEST) not in cloned:
                        cloned.append(base["sha256"] or UNKNOWN_DIGEST)
            work["disks"].append(
                {
                    "machine": machine["machine"],
                    "name": disk["name"],
                    "pool": disk["pool"],
                    "base": (base["sha256"] or UNKNOWN_DIGEST) if base else None,
                    "size_bytes": disk["size_bytes"],
                    "differencing": disk["differencing"],
                    "backend": disk["backend"],
                }
            )
        if new and content_of(group) is not None:
            seed = seed_of(group, values)
            if macs:
                if kind_of(group) == CLOUDBASE:
                    seed["network_data"] = network_data(networks, macs)
                else:
                    seed["network_config"] = network_config(networks, macs)
            work["seeds"].append({"machine": machine["machine"], "pool": first_pool, **seed})
        variables = _variables(group, bases) if new else None
        if variables is not None:
            _give_variables(work["variables"], machine["group"], hardware["firmware"], variables)
        work["machines"].append(
            {
                "machine": machine["machine"],
                "number": machine["number"],
                "group": machine["group"],
                "pool": first_pool,
                "cpus": group["cpus"],
                "memory_mib": group["memory_mib"],
                **hardware,
                **({"drives": asked} if (asked := drives.of_disks(resources.all_disks(group))) else {}),
                "networks": hardware_of(networks, macs),
                "seeded": content_of(group) is not None,
                "allow_degraded": bool((group["cloud_init"] or {}).get("allow_degraded")),
                **({"health": health} if (health := health_of(group, machine["machine"])) else {}),
                "new": new,
                "spec": machine["spec"],
            }
        )
    work["clones"] = [{"pool": pool, "bases": digests} for pool, digests in clones.items()]
    # Every base that a machine of the service has on this host stays referenced by the tenant.
    templates = dict(_template_texts(groups[machine["group"]], bases) for machine in machines if "template" in groups[machine["group"]])
    for name in dict.fromkeys(d["base"] for m in machines for d in groups[m["group"]]["disks"] if d["base"]):
        base = bases[name]
        if name in pool_of_base and (base["sha256"] or any(f["base"] == name for f in work["fetch"])):
            work["references"].append(
                {
                    "sha256": base["sha256"] or UNKNOWN_DIGEST,
                    "pool": pool_of_base[name],
                    "name": base["name"],
                    "version": base["version"],
                    **({"template": templates[name]} if name in templates else {}),
                }
            )
    return work


def _captured(group: Group, bases: Bases) -> Mapping[str, t.Any]:
    """The template as this run has captured it, or as hosts have it."""
    found = bases[group["template"]["name"]].get("template") if group["template"]["name"] in bases else None
    return t.cast("Mapping[str, t.Any]", found or group["template"]["content"])


def _variables(group: Group, bases: Bases) -> str | None:
    """Firmware variables of new machines, None where the manifest has chosen another firmware than the template."""
    if group.get("template", {}).get("variables") is None:
        return None
    return t.cast("str | None", _captured(group, bases).get("variables"))


def _give_variables(given: list[dict[str, t.Any]], group: str, firmware: str, content: str) -> None:
    """Note a group for them. They stand once, however many machines and groups get them: on aarch64 they are large."""
    for one in given:
        if (one["firmware"], one["content"]) == (firmware, content):
            if group not in one["groups"]:
                one["groups"].append(group)
            return
    given.append({"groups": [group], "firmware": firmware, "content": content})


def _template_texts(group: Group, bases: Bases) -> tuple[str, str]:
    """What the name of a template's first base stands for, so that each host of its machines has the template."""
    return group["template"]["name"], json.dumps(_captured(group, bases), sort_keys=True, separators=(",", ":"))


def machine_work(
    work: Mapping[str, t.Any], disks: Sequence[Mapping[str, t.Any]], seeds: Sequence[Mapping[str, t.Any]]
) -> list[dict[str, t.Any]]:
    """What the module machine takes: a host's machines joined with the disks and seeds that were made for them."""
    seed_of = {seed["machine"]: seed["path"] for seed in seeds}
    joined = []
    for machine in work["machines"]:
        mine = [disk for disk in disks if disk["machine"] == machine["machine"]]
        joined.append(
            {
                **{key: value for key, value in machine.items() if key not in ("new", "seeded", "health")},
                # In the manifest's order: the first disk is the one to boot from.
                "disks": [{key: disk[key] for key in ("name", "path", "image_format")} for disk in mine],
                "seed": seed_of.get(machine["machine"]),
            }
        )
    return joined
