# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What it takes to clone a machine: where it is, what the clone is called, and the work of its host.

The host keeps its part of the manifest, so the clone is customised as its machine was, under a name and an identity of its own.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Mapping

from ....module_utils._machine.flattening import MOST_MBPS
from ....module_utils._machine.hardware import table
from ....module_utils._machine.hardware.host_devices import name_of, title_of
from ....module_utils._names import HOST_LABEL_RULE, is_host_label
from ..placement import Observed, Settings, place_machines
from ..placement.quota import beyond_quota
from .addresses import address_problems, is_fixed
from .claims import claims_of
from .dns_entries import dns_problems
from .host_work import work_of
from .machine_search import Request, Result, find_machine
from .networks import networks_of
from .preflight import host_problems
from .user_options import flag

Plan = dict[str, t.Any]
Machine = Mapping[str, t.Any]
Group = Mapping[str, t.Any]
Facts = Mapping[str, t.Any]

FORMAT = 1
BEFORE, BACKGROUND = "before", "background"  # when disks lose their bases: before the clone starts, or afterwards
_PLACES = ("hosts", "memory_mib", "cpus", "per_host", "count", "networks")


class Limits(t.NamedTuple):
    """What a fleet's settings allow."""

    memory_overcommit: float = 1.0  # where a host's facts do not say
    quotas: Mapping[str, Mapping[str, t.Any]] = {}  # by tenant


def clone_plan(hosts: Observed, request: Request, limits: Limits | None = None) -> dict[str, t.Any]:
    """
    :param hosts: what survey_info returned of each. Empty to see whether the request can be meant.
    :param request: ``service``, ``tenant`` and ``machine``; ``name`` of the clone, or None for the next number; ``flatten``,
        ``flatten_mbps``, and ``predicted`` in check mode.
    :returns: ``{"format", "service", "tenant", "machine", "name", "host", "running", "hosts": {host: work}, "claims": {host: claim},
        "unknown": {host: why},
        "exists", "problems", "text"}``. ``work`` is what host_job takes; ``exists`` says that the clone is there already.
    """
    limits = limits or Limits()
    found = find_machine(hosts, request)
    problems = [*found["problems"], *_name_mistakes(request), *_flatten_mistakes(request)]
    how = _flatten(request)
    plan: Plan = {
        "format": FORMAT,
        **{key: request.get(key) for key in ("service", "tenant", "machine", "name")},
        **{key: found[key] for key in ("host", "running", "unknown")},
        "hosts": {},
        "claims": {},
        "exists": False,
        "predicted": bool(request.get("predicted")),
        "flatten": how == BEFORE,
        "background": how == BACKGROUND,
        "flatten_mbps": _mbps(request),
        "problems": problems,
        "text": [],
    }
    if problems or not hosts:
        return plan
    facts = hosts[found["host"]]
    source = next(one for one in facts["machines"] if one["machine"] == request["machine"])
    problems += _name_problems(plan, source, hosts)
    group = _group_of(source, facts)
    if group is None:
        problems.append(
            f"{found['host']}: it keeps no record of how {request['machine']} was made; deploy {request['service']} with its manifest"
        )
    if source["spec"].get("attached"):
        names = ", ".join(source["spec"]["attached"])
        problems.append(
            f"{found['host']}: {request['machine']} has the disk {names} from outside of the pools' machines, which a clone would share"
            " with it; take that out of the manifest and update the machine, and clone it then"
        )
    if source["spec"].get("host_devices"):
        names = ", ".join(title_of(name_of(device)) for device in source["spec"]["host_devices"])
        problems.append(
            f"{found['host']}: {request['machine']} has the {names} of the host, which one machine has; take that out of the manifest and"
            " update the machine, and clone it then"
        )
    if source["spec"].get("shares"):
        names = ", ".join(share["name"] for share in source["spec"]["shares"])
        problems.append(
            f"{found['host']}: {request['machine']} shares {names} with the host, which its administrator permits for each machine; take"
            " that out of the manifest and update the machine, and clone it then"
        )
    if problems or group is None:
        return plan
    work = _work(plan, source, group, hosts)
    problems += [f"{found['host']}: {one['base']} of {request['machine']} is not on it any more; deploy it first" for one in work["fetch"]]
    machine = {"machine": plan["name"], "group": group["name"], "host": found["host"], "number": _number(plan["name"])}
    if not plan["exists"]:
        asked = t.cast(t.Any, {"tenant": plan["tenant"], "service": plan["service"], "machines": [group]})
        new = [{**machine, "state": "create", "spec": work["machines"][0]["spec"]}]
        problems += [*address_problems(asked, new, hosts), *dns_problems(asked, new, hosts)]
    if not plan["exists"] and not problems:
        groups, here = {group["name"]: group}, {found["host"]: facts}
        told = host_problems([machine], groups, {}, {found["host"]: work}, [], here, limits.memory_overcommit)
        problems += [sentence for sentences in told.values() for sentence in sentences] or _no_room(plan, group, hosts, limits)
        pools = {disk["name"]: disk["pool"] for disk in work["disks"]}
        bases = _bases_of(found["host"], hosts)
        quota = bool(limits.quotas.get(plan["tenant"]))
        plan["claims"] = claims_of([{**machine, "pools": pools}], groups, bases, {}, hosts, quota=quota)
    plan["hosts"] = {found["host"]: work}
    return {**plan, "text": list(_text(plan, source, work))}


def _no_room(plan: Plan, group: Group, hosts: Observed, limits: Limits) -> list[str]:
    """Why the clone would be more than its tenant may have, or its host has room for; its disks may grow as those of any machine."""
    refused = beyond_quota(plan["tenant"], plan["name"], group, hosts, limits.quotas)
    if refused:
        return [refused]
    host = plan["host"]
    manifest = {
        **hosts[host]["record"]["manifest"],
        **{key: plan[key] for key in ("service", "tenant")},
        # On its machine's host, whatever the manifest says of others.
        "placement": {},
        "machines": [{**group, "name": plan["name"], "hosts": [host], "count": 1, "per_host": None, "placement": {}}],
    }
    placed = place_machines(manifest, {host: hosts[host]}, settings=Settings(memory_overcommit=limits.memory_overcommit))
    return [f"{host}: {plan['name']} does not fit: {one['hosts'].get(host, one['reasons'][0])}" for one in placed["unplaced"]]


def _flatten(request: Request) -> str | None:
    asked = request.get("flatten")
    return BACKGROUND if asked == BACKGROUND else BEFORE if flag(asked) else None


def _mbps(request: Request) -> float | None:
    """None where none was given, or what was given is no number."""
    try:
        return float(str(request.get("flatten_mbps")))
    except ValueError:
        return None


def _flatten_mistakes(request: Request) -> Iterator[str]:
    asked, mbps = request.get("flatten"), request.get("flatten_mbps")
    if asked not in (None, "", BACKGROUND) and flag(asked) is None:
        yield f"flatten: invalid value {asked!r}; expected true, false or {BACKGROUND}"
    if mbps in (None, ""):
        return
    number = _mbps(request)
    if number is None or not 0 <= number <= MOST_MBPS:
        yield f"flatten_mbps: invalid value {mbps!r}; expected 10^6 bit/s, at most {MOST_MBPS}, or 0 for no limit"
    elif asked != BACKGROUND:
        yield f"flatten_mbps: invalid value {mbps!r}; expected none without flatten={BACKGROUND}, which it limits"


def _name_mistakes(request: Request) -> Iterator[str]:
    name = request.get("name")
    if name and not is_host_label(name):
        yield f"name: invalid value {name!r}; a machine's name has {HOST_LABEL_RULE}"
    elif name and name == request.get("machine"):
        yield f"name: {name} is the machine itself; choose another name, or leave it out"


def _name_problems(plan: Plan, source: Machine, hosts: Observed) -> Iterator[str]:
    """Gives the clone the next number, unless the user named it. Numbers of hosts that could not be asked are known from records."""
    group = source["group"]
    taken: dict[str, str] = {}
    for host, facts in hosts.items():
        for name, entry in ((facts.get("record") or {}).get("assignments") or {}).items():
            taken.setdefault(name, entry["host"])
        for one in facts.get("machines") or []:
            taken[one["machine"]] = host
    numbers = [_number(name) for name in taken if re.fullmatch(re.escape(group) + r"-[0-9]+", name)]
    free = f"{group}-{max(numbers, default=0) + 1}"
    if not plan["name"]:
        plan["name"] = free
    if not re.fullmatch(re.escape(group) + r"-[1-9][0-9]*", plan["name"]):
        yield f"name: invalid value {plan['name']!r}; a clone of {plan['machine']} is called {group}-NUMBER, the next one {free}"
    elif plan["name"] in taken:
        there = hosts.get(taken[plan["name"]], {}).get("machines") or []
        plan["exists"] = taken[plan["name"]] == plan["host"] and any(one["machine"] == plan["name"] for one in there)
        if not plan["exists"]:
            yield f"name: {plan['name']} is a machine on {taken[plan['name']]}; choose another name, the next one is {free}"
    if plan["unknown"] and not plan["exists"]:
        names = ", ".join(f"{host} ({why})" for host, why in plan["unknown"].items())
        yield f"name: {plan['name']} may exist on hosts that could not be asked: {names}"


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _group_of(source: Machine, facts: Facts) -> dict[str, t.Any] | None:
    """The machine's group as the host's part of the manifest has it, with the machine's own hardware."""
    record = facts.get("record") or {}
    kept = next((one for one in (record.get("manifest") or {}).get("machines") or [] if one["name"] == source["group"]), None)
    if kept is None:
        return None
    place = f"machine {source['machine']}"
    return {
        **kept,
        "cpus": source["cpus"],
        "memory_mib": source["memory_mib"],
        "hardware": {name: source["spec"][name] for name in table.NAMES if name in source["spec"]},
        "disks": [{**disk, **_as_made(disk, source), "place": place} for disk in kept["disks"]],
        "place": place,
        "places": dict.fromkeys(_PLACES, place),
    }


def _as_made(disk: Mapping[str, t.Any], source: Machine) -> dict[str, t.Any]:
    """Pool and size of a machine's disk, which a clone's will have."""
    made = (source["spec"].get("disks") or {}).get(disk["name"]) or {}
    return {key: made[key] for key in ("pool", "size_bytes") if made.get(key)}


def _bases_of(host: str, hosts: Observed) -> dict[str, dict[str, t.Any]]:
    """The bases that the host's part of the manifest names, all of which the host has, or the clone is refused."""
    facts = hosts[host]
    held = {base["sha256"]: (pool, base) for pool, content in (facts.get("pools") or {}).items() for base in content.get("bases") or []}
    found = {}
    for base in facts["record"]["manifest"]["bases"]:
        pool, metadata = held.get(base["sha256"], (None, None))
        known = {"holders": {host: pool} if pool else {}, "metadata": metadata, "source_bytes": None}
        found[base["name"]] = {**base, **known, "pool": None, "import_on": None, "import_pool": None}
    return found


def _work(plan: Plan, source: Machine, group: Group, hosts: Observed) -> dict[str, t.Any]:
    """What host_job takes for the clone, whose disks are there by then; of one that is there, that it runs."""
    host = plan["host"]
    bases = _bases_of(host, hosts)
    pools = {name: disk["pool"] for name, disk in (source["spec"].get("disks") or {}).items() if disk.get("pool")}
    machine = {
        "machine": plan["name"],
        "number": _number(plan["name"]),
        "group": group["name"],
        "state": "exists" if plan["exists"] else "create",
        "pools": pools,
        "spec": {**source["spec"], **({"networks": networks_of(group, plan["name"])} if is_fixed(group["networks"]) else {})},
    }
    work = work_of(
        host, [machine], bases, {group["name"]: group}, hosts, t.cast(t.Any, {"tenant": plan["tenant"], "service": plan["service"]})
    )
    work["clones"] = []
    for disk in work["disks"]:
        disk["differencing"] = disk["differencing"] and not plan["flatten"]
        if plan["exists"] or not plan["predicted"]:
            disk["size_bytes"] = None  # as the machine's is; in check mode there is none yet that could have it
    work["record"] = None  # it says what the manifest asks for, which is no more than before
    return work


def _text(plan: Plan, source: Machine, work: Plan) -> Iterator[str]:
    if plan["exists"]:
        yield f"{plan['name']} of service {plan['service']} is there already, on {plan['host']}."
        if plan["background"]:
            yield "  Disks of it that have a base lose it in the background."
        return
    state = "goes on running" if source["running"] else "is off"
    yield f"{plan['name']} of service {plan['service']} becomes a clone of {plan['machine']} on {plan['host']}; {plan['machine']} {state}."
    how = "a copy without a base" if plan["flatten"] else "over the same base, with what was written to it"
    how += "; it loses the base in the background" if plan["background"] else ""
    for disk in work["disks"]:
        yield f"  disk {disk['name']}: pool {disk['pool']}, {how if disk['base'] else 'a copy'}"
    yield f"  seed: that of {plan['machine']} with a name and an instance id of its own" if work["seeds"] else "  no seed"


def clone_report(plan: Plan, outcome: Result, predicted: bool = False) -> dict[str, t.Any]:
    """
    :param predicted: whether the run was in check mode.
    :param outcome: ``{"job": host_job's}``, or ``{"msg": why there is none}``.
    :returns: ``{"ok", "text"}``.
    """
    job = outcome.get("job") or {}
    made = next((one for one in job.get("machines") or [] if one["machine"] == plan["name"]), None)
    if made is not None and made["state"] in ("deployed", "started", "present"):
        seen = made.get("report") or {}
        addresses = ", ".join(str(address) for address in seen.get("addresses") or [])
        came_up = f", came up as {seen['hostname']}" + (f" ({addresses})" if addresses else "") if seen else ""
        word = "would be there" if predicted else "is there"
        text = [f"{plan['name']}, the clone of {plan['machine']}, {word} on {plan['host']}{came_up}."]
        if plan.get("background"):
            lose = "would lose" if predicted else "lose"
            text.append(f"Its disks {lose} their bases in the background; basecast.fleet.status shows how far they are.")
        return {"ok": True, "text": text}
    reason = (made or {}).get("problem") or job.get("msg") or outcome.get("msg") or "no reason given"
    return {"ok": False, "text": [f"{plan['name']}, the clone of {plan['machine']}, is MISSING on {plan['host']}: {reason}"]}
