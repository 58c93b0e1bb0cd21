# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which machine goes to which host, and which number it has there.

A number once given stays with its machine: numbers come from the machines that exist, then from the records that every
host of the service keeps (so that those of an unreachable host are not given away), and only then from the lowest free.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

# Observed hosts, as the deployment's first play collects them:
#   {host: {"reachable": bool, "msg": str, "known": bool, "reason": str, "capacity": host_capacity_info's,
#           "pools": base_disk_info's, "machines", "domains", "networks", "bridges": machine_info's,
#           "record": service_record's or None}}
Observed = Mapping[str, Mapping[str, t.Any]]


def answers(facts: Mapping[str, t.Any]) -> bool:
    """Whether the host could be asked and its machines are known. An empty list of any other host means nothing."""
    return bool(facts.get("reachable")) and bool(facts.get("known", True))


def place_machines(
    manifest: Mapping[str, t.Any], hosts: Observed, groups: Mapping[str, Sequence[str]] | None = None
) -> dict[str, t.Any]:
    """The host and the number of every machine that the manifest asks for.

    :param manifest: as parse_manifest returns it.
    :param hosts: observed hosts by inventory name, in inventory order.
    :param groups: the inventory's groups, for a manifest that names groups.
    :returns: ``{"assignments": [{"machine", "group", "number", "host", "exists", "place"}], "ratings": {machine:
        [{"host", "pool", "rating", "reasons"}]}, "surplus": [{"machine", "host"}], "problems": [str]}``.
    """
    groups = groups or {}
    known = _known_numbers(manifest["service"], hosts)
    placed: dict[str, int] = {}  # how many machines of this service each host has by now
    result: dict[str, t.Any] = {"assignments": [], "ratings": {}, "surplus": [], "problems": []}
    for group in manifest["machines"]:
        candidates, problems = _candidates(group, hosts, groups)
        result["problems"] += problems
        if candidates:
            _place_group(group, candidates, known.get(group["name"], {}), hosts, manifest, placed, result)
    wanted_groups = {group["name"] for group in manifest["machines"]}
    for name in sorted(set(known) - wanted_groups):
        result["surplus"] += [
            {"machine": f"{name}-{number}", "host": host} for number, (host, exists) in sorted(known[name].items()) if exists
        ]
    return result


def _known_numbers(service: str, hosts: Observed) -> dict[str, dict[int, tuple[str, bool]]]:
    """``{group: {number: (host, exists)}}`` from records, overruled by the machines that exist."""
    known: dict[str, dict[int, tuple[str, bool]]] = {}
    newest: Mapping[str, t.Any] = {}
    for facts in hosts.values():
        record = facts.get("record") or {}
        if record.get("service") == service and record.get("generation", 0) > newest.get("generation", 0):
            newest = record
    for entry in (newest.get("assignments") or {}).values():
        known.setdefault(entry["group"], {})[int(entry["number"])] = (entry["host"], False)
    for host, facts in hosts.items():
        for machine in facts.get("machines") or []:
            if machine.get("group") is not None and machine.get("number") is not None:
                known.setdefault(machine["group"], {})[int(machine["number"])] = (host, True)
    return known


def _candidates(
    group: Mapping[str, t.Any], hosts: Observed, groups: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[str]]:
    """The hosts that a group of machines may use, and what is wrong with the names."""
    if group["hosts"] is None:
        # A count alone leaves the choice among the fleet; who cannot be asked is not chosen.
        usable = [host for host, facts in hosts.items() if answers(facts)]
        return usable, [] if usable else [f"{group['place']}: no host of this run can be asked for its machines"]
    names: list[str] = []
    problems: list[str] = []
    for name in group["hosts"]:
        if name in hosts or name in groups.get("all", ()):
            members: Sequence[str] = [name]
        elif name in groups:
            members = groups[name]
        else:
            accepted = ", ".join([*hosts, *(g for g in sorted(groups) if g not in ("all", "ungrouped"))])
            problems.append(f"{group['places']['hosts']}: {name!r} is neither a host nor a group of the inventory; these are: {accepted}")
            continue
        names += [member for member in members if member not in names]
    return names, problems


def _place_group(
    group: Mapping[str, t.Any],
    candidates: Sequence[str],
    known: Mapping[int, tuple[str, bool]],
    hosts: Observed,
    manifest: Mapping[str, t.Any],
    placed: dict[str, int],
    result: dict[str, t.Any],
) -> None:
    reserved = {
        number: (host, exists)
        for number, (host, exists) in known.items()
        # What was only recorded for a reachable host that is no longer wanted was never made.
        if exists or host in candidates or not answers(hosts.get(host, {}))
    }
    kept: dict[int, str] = {}
    surplus: list[int] = []
    quota = dict.fromkeys(candidates, group["per_host"]) if group["per_host"] else None
    budget = group["count"] or 0
    # Machines that exist come before those that were only recorded.
    for number, (host, exists) in sorted(reserved.items(), key=lambda item: (not item[1][1], item[0])):
        if quota is not None:
            room = quota.get(host, 0) > sum(1 for other in kept.values() if other == host)
        else:
            # A host that answers but cannot tell its machines most likely has those that were recorded for it.
            silent = bool(hosts.get(host, {}).get("reachable")) and not answers(hosts[host])
            room = len(kept) < budget and (exists or silent or host in candidates)
        if room:
            kept[number] = host
        elif exists:
            surplus.append(number)
    used = set(kept) | {n for n, (host, exists) in reserved.items() if exists or not answers(hosts.get(host, {}))}
    for host in kept.values():
        placed[host] = placed.get(host, 0) + 1
    free = (number for number in range(1, 10**6) if number not in used)

    def give(host: str) -> int:
        number = next(free)
        kept[number] = host
        placed[host] = placed.get(host, 0) + 1
        return number

    if quota is not None:
        for host in candidates:
            for _dummy in range(quota[host] - sum(1 for other in kept.values() if other == host)):
                number = give(host)
                reasons = ["the manifest names this host"]
                result["ratings"][f"{group['name']}-{number}"] = [
                    {"host": host, "pool": group["disks"][0]["pool"], "rating": 1.0, "reasons": reasons}
                ]
    else:
        for _dummy in range(budget - len(kept)):
            ratings = rate_hosts(group, candidates, hosts, manifest, kept, placed)
            result["ratings"][f"{group['name']}-{give(ratings[0]['host'])}"] = ratings
    result["assignments"] += [
        {
            "machine": f"{group['name']}-{number}",
            "group": group["name"],
            "number": number,
            "host": host,
            "exists": bool(known.get(number, ("", False))[1]),
            "place": group["place"],
        }
        for number, host in sorted(kept.items())
    ]
    result["surplus"] += [{"machine": f"{group['name']}-{number}", "host": known[number][0]} for number in sorted(surplus)]


def rate_hosts(
    group: Mapping[str, t.Any],
    candidates: Sequence[str],
    hosts: Observed,
    manifest: Mapping[str, t.Any],
    kept: Mapping[int, str],
    placed: Mapping[str, int],
) -> list[dict[str, t.Any]]:
    """Candidates for one more machine of a group, best first, each with its reasons.

    Spreads evenly; among hosts with as many machines, one that has the base wins, then the inventory's order. A
    rating is between 0 and 1. This is the one place to change for another policy.
    """
    wanted = {disk["base"] for disk in group["disks"] if disk["base"]}
    rated = []
    for order, host in enumerate(candidates):
        mine = sum(1 for other in kept.values() if other == host)
        having = wanted & base_names(hosts.get(host, {}), manifest)
        rating = 1.0 / (1 + mine) * 0.9 + 0.05 / (1 + placed.get(host, 0)) + 0.05 * (len(having) / len(wanted) if wanted else 1.0)
        reasons = [f"has {mine} of this group", f"has {placed.get(host, 0)} of this service"]
        if wanted:
            reasons.append(f"holds {', '.join(sorted(having))}" if having else "holds none of the bases")
        rated.append((-rating, order, {"host": host, "pool": group["disks"][0]["pool"], "rating": round(rating, 4), "reasons": reasons}))
    return [item[2] for item in sorted(rated, key=lambda item: item[:2])]


def base_names(facts: Mapping[str, t.Any], manifest: Mapping[str, t.Any]) -> set[str]:
    """Which of the manifest's bases a host has, by the manifest's names."""
    return {base["name"] for base in manifest["bases"] if held_base(facts, base, manifest["tenant"]) is not None}


def held_base(
    facts: Mapping[str, t.Any], base: Mapping[str, t.Any], tenant: str, sha256: str | None = None
) -> Mapping[str, t.Any] | None:
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
