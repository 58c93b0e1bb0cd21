# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fresh placement instances, drawn with a seed: mixed hosts, local and shared pools, chains of bases, rules; tight but solvable."""

from __future__ import annotations

import random
import typing as t

LABELS = ("ssd", "gen2")
RATES = (25, 109, 125)  # MB/s to a site


def instance(machines: int, hosts: int, seed: int, load: float = 0.72) -> dict[str, t.Any]:
    """An instance of that many machines; they want ``load`` of the memory and processors that are free."""
    rng = random.Random(f"{machines}x{hosts}/{seed}")
    fleet = _hosts(rng, hosts)
    bases = _bases(rng, max(4, min(20, hosts // 5 + 4)))
    roles = _roles(rng, machines, max(3, min(60, machines // 12 + 3)), bases, fleet)
    _size(fleet, roles, load)
    pools = _pools(rng, fleet, roles, bases)
    rate = {site: rng.choice(RATES) for site in dict.fromkeys(host["site"] for host in fleet)}
    where = {host["id"]: host["site"] for host in fleet}
    bring = {base["id"]: {pool["id"]: -(-base["bytes"] // (1_000_000 * rate[where[pool["hosts"][0]]])) for pool in pools} for base in bases}
    presence = {base["id"]: sorted(rng.sample([pool["id"] for pool in pools], rng.randint(0, max(1, len(pools) // 6)))) for base in bases}
    for base in bases:
        if base["parent"] is not None:
            presence[base["id"]] = [pool for pool in presence[base["id"]] if pool in presence[base["parent"]]]
    return {
        "format": "placement/1",
        "name": f"fresh_{machines}x{hosts}_{seed}",
        "hosts": fleet,
        "pools": pools,
        "bases": bases,
        "presence": presence,
        "bring_seconds": bring,
        "machines": roles,
    }


def _hosts(rng: random.Random, count: int) -> list[dict[str, t.Any]]:
    sites = max(1, min(8, count // 4))
    return [
        {
            "id": f"h{at + 1:03d}",
            "cpus": rng.choice([2, 4, 6, 8]),
            "cpu_overcommit_pct": rng.choice([100, 200, 400]),
            "mem_mib": rng.choice([2, 3, 4, 6]),
            "site": f"s{at % sites + 1}",
            "labels": sorted(label for label in LABELS if rng.random() < 0.6),
        }
        for at in range(count)
    ]


def _bases(rng: random.Random, count: int) -> list[dict[str, t.Any]]:
    bases: list[dict[str, t.Any]] = []
    for at in range(count):
        parent = rng.choice(bases)["id"] if bases and rng.random() < 0.6 else None
        size = rng.choice([500, 1000, 2000, 3500]) if parent else rng.choice([200, 2400, 4800, 9600])
        bases.append({"id": f"b{at:02d}", "size_gib": rng.choice([20, 40]), "bytes": size * 1_000_000, "parent": parent})
    return bases


def _roles(
    rng: random.Random, machines: int, count: int, bases: list[dict[str, t.Any]], fleet: list[dict[str, t.Any]]
) -> list[dict[str, t.Any]]:
    cuts = sorted(rng.sample(range(1, machines), min(count, machines) - 1))
    roles = []
    for at, (low, high) in enumerate(zip([0, *cuts], [*cuts, machines], strict=True)):
        base = rng.choice(bases)
        role: dict[str, t.Any] = {
            "role": f"r{at:02d}",
            "count": high - low,
            "cpus": rng.choice([1, 2, 4]),
            "mem_mib": rng.choice([2048, 4096, 8192, 12288]),
            "disks": [{"base": base["id"], "size_gib": base["size_gib"], "differencing": rng.random() < 0.8}],
        }
        if rng.random() < 0.3:
            role["disks"].append({"base": None, "size_gib": rng.choice([10, 20]), "differencing": False})
        kind = rng.random()
        able = sum(1 for host in fleet if "ssd" in host["labels"])
        sites = len({host["site"] for host in fleet})
        if kind < 0.2 and able >= max(2, len(fleet) // 3) and role["count"] <= machines // 8:
            role["labels"] = ["ssd"]
        elif kind < 0.4 and role["count"] <= len(fleet) // 3:
            role["anti_affinity"] = f"a{at:02d}"
        elif kind < 0.6 and sites > 1:
            role["spread"] = {"group": f"g{at:02d}", "limit": -(-role["count"] * 2 // sites)}
        elif kind < 0.68 and role["count"] <= 3:
            role["affinity"] = {"group": f"t{at:02d}", "by": rng.choice(["host", "site"])}
        roles.append(role)
    return roles


def _size(fleet: list[dict[str, t.Any]], roles: list[dict[str, t.Any]], load: float) -> None:
    """Gives the hosts so much that the machines want the load of it."""
    memory = sum(role["count"] * role["mem_mib"] for role in roles) / load / sum(host["mem_mib"] for host in fleet)
    offered = sum(host["cpus"] * host["cpu_overcommit_pct"] / 100 for host in fleet)
    cpus = sum(role["count"] * role["cpus"] for role in roles) / load / offered
    for host in fleet:
        host["mem_mib"] = max(16384, int(host["mem_mib"] * memory) // 1024 * 1024)
        host["cpus"] = max(4, round(host["cpus"] * cpus))


def _pools(
    rng: random.Random, fleet: list[dict[str, t.Any]], roles: list[dict[str, t.Any]], bases: list[dict[str, t.Any]]
) -> list[dict[str, t.Any]]:
    """A pool for each host, or one that some hosts of a site share."""
    each = sum(role["count"] * (40 + sum(disk["size_gib"] for disk in role["disks"])) for role in roles) / len(fleet)
    pools: list[dict[str, t.Any]] = []
    waiting: dict[str, list[str]] = {}
    for host in fleet:
        if rng.random() < 0.4:
            waiting.setdefault(host["site"], []).append(host["id"])
        if rng.random() < 0.7 or host["id"] not in waiting.get(host["site"], []):
            pools.append(_pool(rng, len(pools), [host["id"]], each))
    pools += [_pool(rng, len(pools) + at, hosts, each) for at, hosts in enumerate(waiting.values())]
    return pools


def _pool(rng: random.Random, at: int, hosts: list[str], each: float) -> dict[str, t.Any]:
    free = int(each * len(hosts) * rng.uniform(1.0, 2.0)) + 40
    return {
        "id": f"p{at + 1:03d}",
        "hosts": hosts,
        "free_gib": free,
        "promised_gib": rng.choice([0, 0, free // 10]),
        "overcommit_pct": rng.choice([100, 150, 200, 300]),
    }
