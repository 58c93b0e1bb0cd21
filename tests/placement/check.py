# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether an assignment keeps every limit of its instance, and how good it is. Shares no code with the product.

All arithmetic is in integers: MiB, per cent, basis points. A machine that is not listed is unplaced.
"""

from __future__ import annotations

import collections
import typing as t

Instance = dict[str, t.Any]
COMPONENTS = ("unplaced", "new_copies_finish_s", "new_copies_bytes", "balance_bp")


def vector_of(instance: Instance, assignment: list[dict[str, str]]) -> tuple[list[str], dict[str, int]]:
    """The limits that are broken, as sentences, and the four components that are to be small."""
    hosts = {host["id"]: host for host in instance["hosts"]}
    pools = {pool["id"]: pool for pool in instance["pools"]}
    roles = _machines(instance)
    seen: set[str] = set()
    by_host: dict[str, list[dict[str, t.Any]]] = collections.defaultdict(list)
    by_pool: dict[str, list[dict[str, t.Any]]] = collections.defaultdict(list)
    broken: list[str] = []
    for row in assignment:
        if row["machine"] in seen or row["machine"] not in roles:
            broken.append(f"duplicate: {row['machine']} is placed twice or not asked for")
            continue
        seen.add(row["machine"])
        if row["host"] not in pools[row["pool"]]["hosts"]:
            broken.append(f"connection: {row['host']} is not connected to {row['pool']}")
        by_host[row["host"]].append(roles[row["machine"]])
        by_pool[row["pool"]].append(roles[row["machine"]])
    for name, mine in by_host.items():
        broken += _host_limits(hosts[name], mine)
    broken += _group_limits(instance, hosts, by_host)
    finish = size = 0
    for name, mine in by_pool.items():
        problems, seconds, more = _pool_limits(instance, pools[name], mine)
        broken += problems
        finish, size = max(finish, seconds), size + more
    vector = (len(roles) - len(seen), finish, size, _balance(instance, by_host))
    return broken, dict(zip(COMPONENTS, vector, strict=True))


def missed_ties(instance: Instance, assignment: list[dict[str, str]]) -> list[str]:
    """The machines that are not on one of the hosts that they are expected on."""
    where = {row["machine"]: row["host"] for row in assignment}
    return [tie["machine"] for tie in instance.get("expect", []) if where.get(tie["machine"]) not in tie["hosts"]]


def _machines(instance: Instance) -> dict[str, dict[str, t.Any]]:
    return {
        f"{role['role']}-{number:0{max(2, len(str(role['count'])))}d}": role
        for role in instance["machines"]
        for number in range(1, role["count"] + 1)
    }


def _host_limits(host: dict[str, t.Any], mine: list[dict[str, t.Any]]) -> list[str]:
    name, broken = host["id"], []
    cpus = host.get("used_cpus", 0) + sum(role["cpus"] for role in mine)
    memory = host.get("used_mem_mib", 0) + sum(role["mem_mib"] for role in mine)
    if host.get("maintenance"):
        broken.append(f"maintenance: {name}")
    if cpus > host["cpus"] * host.get("cpu_overcommit_pct", 100) // 100:
        broken.append(f"cpu: {name} has {cpus}")
    if memory > host["mem_mib"]:
        broken.append(f"memory: {name} has {memory} MiB of {host['mem_mib']}")
    if any(set(role.get("labels", [])) - set(host.get("labels", [])) for role in mine):
        broken.append(f"labels: {name}")
    apart = collections.Counter(role["anti_affinity"] for role in mine if role.get("anti_affinity"))
    broken += [f"anti_affinity: {name} has {group}" for group, count in apart.items() if count + host.get("members", {}).get(group, 0) > 1]
    return broken


def _group_limits(instance: Instance, hosts: dict[str, dict[str, t.Any]], by_host: dict[str, list[dict[str, t.Any]]]) -> list[str]:
    spread: collections.Counter[tuple[str, str]] = collections.Counter()
    together: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    limits: dict[str, int] = {}
    for role in instance["machines"]:
        if role.get("spread"):
            group, limit = role["spread"]["group"], role["spread"]["limit"]
            limits[group] = min(limit, limits.get(group, limit))
    for name, mine in by_host.items():
        site = str(hosts[name].get("site"))
        for role in mine:
            if role.get("spread"):
                spread[role["spread"]["group"], site] += 1
            if role.get("affinity"):
                by = role["affinity"]["by"]
                together[role["affinity"]["group"], by].add(name if by == "host" else site)
    broken = [f"spread: {count} of {group} in {site}" for (group, site), count in spread.items() if count > limits[group]]
    return broken + [f"affinity: {group} in {len(places)} places" for (group, _by), places in together.items() if len(places) > 1]


def _pool_limits(instance: Instance, pool: dict[str, t.Any], mine: list[dict[str, t.Any]]) -> tuple[list[str], int, int]:
    bases = {base["id"]: base for base in instance["bases"]}
    layers: set[str] = set()
    written = grown = 0
    for role in mine:
        for disk in role["disks"]:
            size, base = disk["size_gib"] * 1024, disk.get("base")
            if disk.get("differencing"):
                grown += max(size, bases[base]["size_gib"] * 1024)
            else:
                written += size
            while base is not None:
                if pool["id"] not in instance.get("presence", {}).get(base, []):
                    layers.add(base)
                base = bases[base].get("parent")
    times = {layer: instance.get("bring_seconds", {}).get(layer, {}).get(pool["id"]) for layer in layers}
    broken = [f"bring: {layer} to {pool['id']}" for layer, seconds in times.items() if seconds is None]
    written += sum(-(-bases[layer]["bytes"] // 2**20) for layer in layers)
    free = pool["free_gib"] * 1024
    if written > free:
        broken.append(f"pool_free: {pool['id']}")
    if grown + written and 100 * (pool.get("promised_gib", 0) * 1024 + grown) > pool["overcommit_pct"] * (free - written):
        broken.append(f"pool_growth: {pool['id']}")
    return broken, sum(seconds or 0 for seconds in times.values()), sum(bases[layer]["bytes"] for layer in layers)


def _balance(instance: Instance, by_host: dict[str, list[dict[str, t.Any]]]) -> int:
    live = [host for host in instance["hosts"] if not host.get("maintenance")]
    room = sum(host["mem_mib"] for host in live)
    want = sum(host.get("used_mem_mib", 0) for host in live) + sum(role["count"] * role["mem_mib"] for role in instance["machines"])
    over = 0
    for host in live:
        used = host.get("used_mem_mib", 0) + sum(role["mem_mib"] for role in by_host.get(host["id"], []))
        over += max(0, used - want * host["mem_mib"] // max(1, room))
    return 10000 * over // max(1, want)
