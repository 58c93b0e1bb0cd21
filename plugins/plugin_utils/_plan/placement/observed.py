# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What was seen of the hosts, and how a base is found in it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

# Observed hosts, as the deployment's first play collects them:
#   {host: {"reachable": bool, "msg": str, "known": bool, "reason": str, "capacity": host_capacity_info's,
#           "pools": base_disk_info's, "machines", "domains", "networks", "bridges": machine_info's,
#           "made_anew": [(group, number)] of an update,
#           "record": service_record's or None, and for placement: "site", "labels", "maintenance", "pool_labels",
#           "overcommit": {"cpus", "memory", "pools"},
#           "claims": [{"cpus", "memory_mib", "hugepages_mib": {size: MiB}, "pools": {pool: {"bytes", "growth_bytes"}}}]}}
Observed = Mapping[str, Mapping[str, t.Any]]


def answers(facts: Mapping[str, t.Any]) -> bool:
    """Whether the host could be asked and its machines are known. An empty list of any other host means nothing."""
    return bool(facts.get("reachable")) and bool(facts.get("known", True))


def disks_of(machine: Mapping[str, t.Any], groups: Mapping[str, Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The disks of a machine, each with the pool that was decided.

    :param machine: an assignment of place_machines, or what was made of it: with ``group`` and ``pools``.
    """
    pools = machine.get("pools") or {}
    return [{**disk, "pool": pools.get(disk["name"]) or disk["pool"] or "default"} for disk in groups[machine["group"]]["disks"]]


def base_names(facts: Mapping[str, t.Any], manifest: Mapping[str, t.Any]) -> set[str]:
    """Which of the manifest's bases a host has, by the manifest's names."""
    return {base["name"] for base in manifest["bases"] if held_base(facts, base, manifest["tenant"]) is not None}


def held_base(facts: Mapping[str, t.Any], base: Mapping[str, t.Any], tenant: str, sha256: str | None = None) -> Mapping[str, t.Any] | None:
    """What base_disk_info said of a base on this host: found by digest, or by the tenant's name and version."""
    digests = {digest for digest in (sha256, base.get("sha256")) if digest}
    for pool, content in (facts.get("pools") or {}).items():
        for held in content.get("bases") or []:
            named = any(
                name["tenant"] == tenant and name["name"] == base["name"] and name["version"] == base["version"]
                for name in held.get("names") or []
            )
            if named or digests & {held["sha256"], held.get("source_sha256")}:
                return {**held, "pool": pool}
    return None
