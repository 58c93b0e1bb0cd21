# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What a tenant may have altogether: machines, processors, memory and disks."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ..json_data import number
from .build import Group, Standing, Wish
from .observed import Observed

GIB = 1024**3
LIMITS = {"machines": "machines", "cpus": "virtual processors", "memory_mib": "MiB of memory", "disk_gib": "GiB of disks"}

Amounts = dict[str, float]


def within_quota(
    manifest: Mapping[str, t.Any],
    hosts: Observed,
    standing: Sequence[Standing],
    wishes: Sequence[Wish],
    quotas: Mapping[str, Mapping[str, t.Any]],
) -> tuple[list[Wish], dict[str, tuple[int, str]]]:
    """The wishes cut to the tenant's quota, in the manifest's order; and what was cut: ``{group: (count, sentence)}``."""
    quota = _of(manifest["tenant"], quotas)
    if not quota:
        return list(wishes), {}
    used = _used(manifest, hosts, standing)
    allowed, refused = [], {}
    for wish in wishes:
        one = _amounts(wish.group)
        room = min([wish.number, *(int((quota[what] - used[what] + 1e-9) // one[what]) for what in quota if one.get(what))])
        fits = max(0, room)
        for what, amount in one.items():
            used[what] += fits * amount
        if fits:
            allowed.append(wish._replace(number=fits))
        if fits < wish.number:
            left = wish.number - fits
            who = f"{left} machine{'s' if left > 1 else ''} of {wish.group['name']}"
            refused[wish.group["name"]] = (left, _sentence(manifest["tenant"], who, one, quota, used))
    return allowed, refused


def beyond_quota(tenant: str, name: str, group: Group, hosts: Observed, quotas: Mapping[str, Mapping[str, t.Any]]) -> str | None:
    """Why the tenant may not have one more machine, of this name and as those of the group; None where it may."""
    quota, one = _of(tenant, quotas), _amounts(group)
    used = _used({"tenant": tenant, "machines": []}, hosts, [])
    return _sentence(tenant, name, one, quota, used) if _binding(one, quota, used) else None


def _of(tenant: str, quotas: Mapping[str, Mapping[str, t.Any]]) -> dict[str, float]:
    return {what: number(f"basecast_quotas.{tenant}.{what}", value) for what, value in (quotas.get(tenant) or {}).items()}


def _amounts(group: Group) -> Amounts:
    disks = sum(disk["size_bytes"] or 0 for disk in group["disks"]) / GIB
    return {"machines": 1, "cpus": group["cpus"], "memory_mib": group["memory_mib"], "disk_gib": disks}


def _used(manifest: Mapping[str, t.Any], hosts: Observed, standing: Sequence[Standing]) -> Amounts:
    """What the tenant has, or will have before the wishes are placed."""
    used: Amounts = dict.fromkeys(LIMITS, 0.0)
    for facts in hosts.values():
        for domain in facts.get("domains") or []:
            if domain.get("tenant") == manifest["tenant"]:
                used["machines"] += 1
                used["cpus"] += domain.get("cpus") or 0
                used["memory_mib"] += domain.get("memory_mib") or 0
                used["disk_gib"] += (domain.get("disk_bytes") or 0) / GIB
        for claim in facts.get("claims") or []:
            if claim.get("tenant") == manifest["tenant"]:
                used["machines"] += claim.get("machines") or 0
                used["cpus"] += claim.get("cpus") or 0
                used["memory_mib"] += claim.get("memory_mib") or 0
                used["disk_gib"] += (claim.get("disk_bytes") or 0) / GIB
    groups = {group["name"]: group for group in manifest["machines"]}
    for machine in standing:
        if not machine.counted and machine.group in groups:
            for what, amount in _amounts(groups[machine.group]).items():
                used[what] += amount
    return used


def _binding(one: Amounts, quota: Mapping[str, float], used: Amounts) -> list[str]:
    return [what for what in quota if one.get(what) and used[what] + one[what] > quota[what] + 1e-9]


def _sentence(tenant: str, who: str, one: Amounts, quota: Mapping[str, float], used: Amounts) -> str:
    told = "; ".join(
        f"{used[what]:g} of {quota[what]:g} {LIMITS[what]} are used, {one[what]:g} are needed" for what in _binding(one, quota, used)
    )
    return f"{who} would pass the quota of tenant {tenant}: {told}"
