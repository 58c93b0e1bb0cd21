# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A placement instance (``placement/1``) as the filter place_machines takes it, and its answer as an assignment."""

from __future__ import annotations

import typing as t

GIB = 1024**3
MIB = 1024**2


def manifest_of(instance: dict[str, t.Any]) -> dict[str, t.Any]:
    """The instance's machines and bases, as parse_manifest would return them."""
    bases = {base["id"]: base for base in instance["bases"]}
    return {
        "format": 1,
        "service": "instance",
        "tenant": "default",
        "placement": {"prefer": "soonest", "partial": True},
        "bases": [_base(base, bases) for base in instance["bases"]],
        "machines": [_group(role, instance["machines"]) for role in instance["machines"]],
    }


def _base(base: dict[str, t.Any], bases: dict[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    chain = [base]
    while chain[0].get("parent") is not None:
        chain.insert(0, bases[chain[0]["parent"]])
    layers = [{"id": layer["id"], "size_bytes": layer["bytes"], "virtual_size_bytes": layer["size_gib"] * GIB} for layer in chain]
    return {"name": base["id"], "version": "1", "sha256": None, "source": {}, "place": base["id"], "layers": layers}


def _group(role: dict[str, t.Any], roles: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    rules: dict[str, t.Any] = {"labels": role.get("labels", [])}
    if role.get("anti_affinity"):
        rules["anti_affinity"] = role["anti_affinity"]
    if role.get("spread"):
        rules["spread"] = {"by": "site", "at_most": role["spread"]["limit"], "of": role["spread"]["group"]}
    if role.get("affinity"):
        together = [other["role"] for other in roles if other.get("affinity") == role["affinity"]]
        rules["together_with"] = {"groups": together, "by": role["affinity"]["by"]}
    return {
        "name": role["role"],
        "hosts": None,
        "per_host": None,
        "count": role["count"],
        "cpus": role["cpus"],
        "memory_mib": role["mem_mib"],
        "placement": rules,
        "disks": [
            {
                "name": f"d{at}",
                "base": disk.get("base"),
                "size_bytes": disk["size_gib"] * GIB,
                "differencing": bool(disk.get("differencing")),
                "full": not disk.get("differencing"),
                "pool": None,
                "backend": "qcow2",
            }
            for at, disk in enumerate(role["disks"])
        ],
        "place": role["role"],
        "places": {},
    }


def hosts_of(instance: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """The instance's hosts and pools, as they would be observed."""
    held: dict[str, list[str]] = {}
    for base, pools in instance.get("presence", {}).items():
        for pool in pools:
            held.setdefault(pool, []).append(base)
    hosts = {host["id"]: _host(host) for host in instance["hosts"]}
    for pool in instance["pools"]:
        for host in pool["hosts"]:
            facts = hosts[host]
            facts["capacity"]["pools"][pool["id"]] = {
                "exists": True,
                "writable": True,
                "free_bytes": pool["free_gib"] * GIB,
                "promised_bytes": pool.get("promised_gib", 0) * GIB,
            }
            facts["overcommit"]["pools"][pool["id"]] = pool["overcommit_pct"] / 100
            bases = [{"sha256": base, "names": []} for base in held.get(pool["id"], [])]
            facts["pools"][pool["id"]] = {"storage": pool["id"], "bases": bases}
    return hosts


def _host(host: dict[str, t.Any]) -> dict[str, t.Any]:
    return {
        "reachable": True,
        "site": host.get("site"),
        "labels": host.get("labels", []),
        "maintenance": bool(host.get("maintenance")),
        "members": host.get("members", {}),
        "capacity": {"cpus": host["cpus"], "memory_mib": host["mem_mib"], "pools": {}},
        "domains": [{"domain": "foreign", "cpus": host.get("used_cpus", 0), "memory_mib": host.get("used_mem_mib", 0)}],
        "overcommit": {"cpus": host.get("cpu_overcommit_pct", 100) / 100, "memory": 1.0, "pools": {}},
        "pools": {},
        "machines": [],
    }


def assignment_of(instance: dict[str, t.Any], answer: dict[str, t.Any]) -> list[dict[str, str]]:
    """The filter's answer in the checker's form."""
    widths = {role["role"]: max(2, len(str(role["count"]))) for role in instance["machines"]}
    return [
        {
            "machine": f"{entry['group']}-{entry['number']:0{widths[entry['group']]}d}",
            "host": entry["host"],
            "pool": next(iter(entry["pools"].values())),
        }
        for entry in answer["assignments"]
    ]
