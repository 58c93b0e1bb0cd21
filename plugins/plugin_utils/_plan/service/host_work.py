# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What each host has to do for a service, each part as the module of that step takes it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._machine.hardware import drives
from ....module_utils._names import UNKNOWN_SHA256
from ..placement import Observed, disks_of
from ..types import Manifest
from .networks import networks_of

# Of a URL or a file of the controller, for example.
UNKNOWN_DIGEST = UNKNOWN_SHA256


def work_of(
    host: str,
    machines: Sequence[Mapping[str, t.Any]],
    bases: Mapping[str, Mapping[str, t.Any]],
    groups: Mapping[str, Mapping[str, t.Any]],
    hosts: Observed,
    manifest: Manifest,
) -> dict[str, t.Any]:
    work: dict[str, t.Any] = {"fetch": [], "clones": [], "references": [], "disks": [], "seeds": [], "machines": []}
    clones: dict[str, list[str]] = {}
    pool_of_base: dict[str, str] = {name: base["holders"][host] for name, base in bases.items() if host in base["holders"]}
    for machine in machines:
        group = groups[machine["group"]]
        new = machine["state"] == "create"
        disks = disks_of(machine, groups)
        first_pool = disks[0]["pool"]
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
        if new and group["cloud_init"] is not None:
            work["seeds"].append(
                {
                    "machine": machine["machine"],
                    "pool": first_pool,
                    "meta_data": group["cloud_init"].get("meta_data") or {},
                    "user_data": group["cloud_init"].get("user_data"),
                    "vendor_data": group["cloud_init"].get("vendor_data"),
                    "network_config": group["cloud_init"].get("network_config"),
                }
            )
        work["machines"].append(
            {
                "machine": machine["machine"],
                "number": machine["number"],
                "group": machine["group"],
                "pool": first_pool,
                "cpus": group["cpus"],
                "memory_mib": group["memory_mib"],
                **group.get("hardware", {}),
                **({"drives": asked} if (asked := drives.of_disks(group["disks"])) else {}),
                "networks": networks_of(group, machine["machine"]),
                "seeded": group["cloud_init"] is not None,
                "allow_degraded": bool((group["cloud_init"] or {}).get("allow_degraded")),
                "new": new,
                "spec": machine["spec"],
            }
        )
    work["clones"] = [{"pool": pool, "bases": digests} for pool, digests in clones.items()]
    # Every base that a machine of the service has on this host stays referenced by the tenant.
    for name in dict.fromkeys(d["base"] for m in machines for d in groups[m["group"]]["disks"] if d["base"]):
        base = bases[name]
        if name in pool_of_base and (base["sha256"] or any(f["base"] == name for f in work["fetch"])):
            work["references"].append(
                {
                    "sha256": base["sha256"] or UNKNOWN_DIGEST,
                    "pool": pool_of_base[name],
                    "name": base["name"],
                    "version": base["version"],
                }
            )
    return work


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
                **{key: value for key, value in machine.items() if key not in ("new", "seeded")},
                # In the manifest's order: the first disk is the one to boot from.
                "disks": [{key: disk[key] for key in ("name", "path", "image_format")} for disk in mine],
                "seed": seed_of.get(machine["machine"]),
            }
        )
    return joined
