# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which machines differ from their manifest, what each needs to become as it says, and in which order.

A machine is made anew under its own name, on its own host: it is stopped, its definition goes, and with it those of its disks whose
base has changed; then it is made as a deployment makes it. All other disks stay and are taken up again. A running machine of which
nothing but disks have to grow is not stopped.
"""

from __future__ import annotations

import math
import re
import typing as t
from collections.abc import Container, Iterator, Mapping, Sequence

from ..placement import Observed
from ..placement.observed import disks_of
from ..types import Manifest, PlannedMachine
from . import resources
from .drift import drift_text
from .machine_search import Request
from .preflight import crowded
from .removal_plan import names_of
from .service_plan import service_plan
from .user_options import empty_mistakes, foreign_mistakes

Plan = Mapping[str, t.Any]
Machines = Sequence[PlannedMachine]
Outcomes = Mapping[str, Mapping[str, t.Any]]

FORMAT = 1
# What is new in a disk that stays is made by the job; what changes one of these needs a new disk.
_NEW_DISK = ("base", "differencing", "backend")
THERE = ("deployed", "started", "present")


def update_plan(
    manifest: Manifest,
    hosts: Observed,
    request: Request,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, t.Any]:
    """
    :param hosts: what survey_info returned of each.
    :param request: ``role`` or ``machines`` that are meant, all by default; ``serial``, a number of machines or a share of them
        (``25%``) that are updated at a time, 1 by default; ``health_port``.
    :returns: ``{"format", "service", "tenant", "machines": [{"machine", "host", "disks": names of those that are made anew, "text",
        "stop": as the module machine takes it, "drop": as diff_disk takes it}],
        "batches": [[names]], "left": {name: why it is not touched}, "notes": pools that may fill up, "problems": [...],
        "text": [...], "seen": {host: facts}}``.
        ``seen`` are the hosts as they are without the machines that are updated: what a deployment has to do there is the update.
    """
    found = service_plan(manifest, hosts, groups)
    meant, problems = _meant(found["machines"], request)
    plan: dict[str, t.Any] = {
        "format": FORMAT,
        "service": manifest["service"],
        "tenant": manifest["tenant"],
        "machines": [],
        "batches": [],
        "left": {},
        "notes": [],
        "problems": problems,
    }
    for machine in meant:
        if machine["state"] != "exists":
            plan["left"][machine["machine"]] = machine["reason"] or "it is not there; a deployment makes it"
            continue
        if not machine["drift"]:
            continue
        problems += _impossible(machine)
        grow = _growing(machine) if _runs(hosts, machine) else {}
        anew = sorted({path[1] for one in machine["drift"] if (path := one["path"].split("."))[0] == "disks" and path[-1] in _NEW_DISK})
        plan["machines"].append(
            {
                "machine": machine["machine"],
                "host": machine["host"],
                "disks": anew,
                "grow": grow,
                "text": drift_text([machine]),
                "stop": {"machine": machine["machine"]},
                "drop": [{"machine": machine["machine"], "name": name} for name in anew],
            }
        )
    problems += _port_mistakes(request, manifest, {one["group"] for one in meant})
    size = _batch_size(request.get("serial"), len(plan["machines"]), problems)
    plan["notes"] = _crowded_pools(plan["machines"], meant, manifest, hosts)
    names = [one["machine"] for one in plan["machines"]]
    plan["batches"] = [names[start : start + size] for start in range(0, len(names), size)]
    return {
        **plan,
        "text": list(_text(plan, meant)),
        "seen": _without(hosts, {one["machine"]: one["host"] for one in plan["machines"] if not one["grow"]}, manifest),
    }


def _meant(machines: Machines, request: Request) -> tuple[list[PlannedMachine], list[str]]:
    role, names = request.get("role"), names_of(request.get("machines"))
    if role and names:
        return [], ["role: given together with machines; expected one of them"]
    mistakes = [*foreign_mistakes(request), *empty_mistakes(request, ("role", "machines"), "all machines would be updated")]
    if mistakes:
        return [], mistakes
    known = {machine["machine"] for machine in machines}
    roles = list(dict.fromkeys(machine["group"] for machine in machines))
    problems = [
        f"machines: {name!r} is not a machine of the manifest; these are: {', '.join(sorted(known))}" for name in names if name not in known
    ]
    if role and role not in roles:
        problems.append(f"role: {role!r} is not a role of the manifest; these are: {', '.join(roles)}")
    if problems:
        return [], problems
    return [one for one in machines if (not role or one["group"] == role) and (not names or one["machine"] in names)], []


def _runs(hosts: Observed, machine: PlannedMachine) -> bool:
    seen = hosts[machine["host"]].get("machines") or []
    return any(one["machine"] == machine["machine"] and one.get("running") for one in seen)


def _growing(machine: PlannedMachine) -> dict[str, int]:
    """New sizes by the name of the disk, where nothing else has to change."""
    found: dict[str, int] = {}
    for one in machine["drift"]:
        path = one["path"].split(".")
        if path[:1] != ["disks"] or path[2:] != ["size_bytes"] or not one["found"] or not one["wanted"] or one["wanted"] < one["found"]:
            return {}
        found[path[1]] = one["wanted"]
    return found


def _impossible(machine: PlannedMachine) -> Iterator[str]:
    for one in machine["drift"]:
        *above, key = one["path"].split(".")
        if above[:1] != ["disks"] or len(above) != 2:
            continue
        where = f"{machine['machine']}: disk {above[1]}"
        if key == "pool" and one["found"] and one["wanted"]:
            yield f"{where}: it lies in pool {one['found']}, and the manifest says {one['wanted']}; an update moves no disk to another pool"
        if key == "size_bytes" and one["found"] and one["wanted"] and one["wanted"] < one["found"]:
            sizes = f"{one['found'] / 2**30:g} GiB cannot become {one['wanted'] / 2**30:g} GiB"
            yield f"{where}: {sizes}; a disk does not shrink: keep its size, or name a new, smaller one"


def _port_mistakes(request: Request, manifest: Manifest, roles: Container[str]) -> Iterator[str]:
    port = request.get("health_port")
    if port in (None, ""):
        return
    if isinstance(port, bool) or not re.fullmatch(r"[0-9]{1,5}", str(port)) or not 1 <= int(str(port)) <= 65535:
        yield f"health_port: invalid value {port!r}; expected a TCP port, from 1 to 65535"
    silent = [role["name"] for role in manifest["machines"] if role["name"] in roles and role["cloud_init"] is None]
    if silent:
        yield f"health_port: {', '.join(silent)} has no cloud_init, so its guests report no address to ask; leave health_port out"


def _batch_size(serial: object, machines: int, problems: list[str]) -> int:
    """How many machines are updated at a time."""
    text = str(1 if serial in (None, "") else serial).strip()
    if re.fullmatch(r"[1-9][0-9]*", text):
        return int(text)
    if re.fullmatch(r"([1-9][0-9]?|100)%", text):
        return max(1, math.floor(machines * int(text[:-1]) / 100))
    problems.append(f"serial: invalid value {serial!r}; expected a number of machines, or a share of them such as 25%")
    return 1


def _without(hosts: Observed, leaving: Mapping[str, str], manifest: Manifest) -> dict[str, dict[str, t.Any]]:
    """The hosts as they will be when these machines have been stopped."""
    seen = {}
    for host, facts in hosts.items():
        going = {name for name, on in leaving.items() if on == host}
        anew = [(one["group"], one["number"]) for one in facts.get("machines") or () if one["machine"] in going]
        domains = {f"{manifest['service']}-{name}" for name in going}
        seen[host] = {
            **facts,
            **({"made_anew": anew} if anew else {}),
            **({"machines": [one for one in facts["machines"] if one["machine"] not in going]} if facts.get("machines") else {}),
            **({"domains": [one for one in facts["domains"] if one.get("domain") not in domains]} if facts.get("domains") else {}),
            **({"resources": resources.without_users(facts["resources"], domains)} if facts.get("resources") else {}),
        }
    return seen


def _text(plan: Plan, meant: Machines) -> Iterator[str]:
    count, batches = len(plan["machines"]), len(plan["batches"])
    if not count:
        same = len(meant) - len(plan["left"])
        yield f"Service {plan['service']}: nothing to update" + (
            f", {same} machine{'s' if same > 1 else ''} as the manifest says." if same else "."
        )
    else:
        yield f"Service {plan['service']}: {count} of {len(meant)} machines to update, in {batches} step{'s' if batches > 1 else ''}."
    drifting = [machine for machine in meant if any(one["machine"] == machine["machine"] for one in plan["machines"])]
    yield from (f"  {line.removeprefix('drift: ')}" for line in drift_text(drifting))
    for number, names in enumerate(plan["batches"], 1):
        yield f"  step {number}: {', '.join(names)}"
    for one in plan["machines"]:
        if one["grow"]:
            yield f"  {one['machine']}: goes on running while {', '.join(one['grow'])} grows"
        if one["disks"]:
            yield f"  {one['machine']}: what it wrote to {', '.join(one['disks'])} is lost; its other disks stay"
    for name, why in plan["left"].items():
        yield f"  {name}: not touched, {why}"
    yield from (f"  {note}" for note in plan["notes"])


def _crowded_pools(machines: Sequence[Plan], meant: Machines, manifest: Manifest, hosts: Observed) -> list[str]:
    """Pools that would not have room if every disk that grows here, and all before it, were written to its end."""
    groups = {group["name"]: group for group in manifest["machines"]}
    planned = {machine["machine"]: machine for machine in meant}
    more: dict[tuple[str, str], int] = {}
    for one in machines:
        machine = planned[one["machine"]]
        added = {change["path"].split(".")[1]: change["wanted"] - change["found"] for change in machine["drift"]} if one["grow"] else {}
        for disk in disks_of(machine, groups) if added else ():
            key = (one["host"], disk["pool"])
            more[key] = more.get(key, 0) + added.get(disk["name"], 0)
    return crowded(more, hosts, "growing disks may take another")


def update_report(plan: Plan, outcomes: Outcomes, predicted: bool = False) -> dict[str, t.Any]:
    """
    :param outcomes: ``{machine: {"job": host_job's}}``, ``{"grown": machine_resize's disks}``, or ``{"msg": why there is none}``; none
        for those that were not reached.
    :param predicted: whether the run was in check mode.
    :returns: ``{"ok", "machines": [{"machine", "host", "state", "reason"}], "text"}``; ``state`` is updated, failed, or waiting for
        machines that were left alone after a failure.
    """
    machines = []
    for one in plan["machines"]:
        name, outcome = one["machine"], outcomes.get(one["machine"])
        job: Mapping[str, t.Any] = (outcome or {}).get("job") or {}
        made = next((m for m in job.get("machines") or [] if m.get("machine") == name), None)
        done = (made is not None and made.get("state") in THERE) or "grown" in (outcome or {})
        good = (done and not (outcome or {}).get("msg")) or (predicted and outcome is None)
        reason = (
            "" if good or outcome is None else str(outcome.get("msg") or (made or {}).get("problem") or job.get("msg") or "no reason given")
        )
        machines.append(
            {
                "machine": name,
                "host": one["host"],
                "state": "updated" if good else "waiting" if outcome is None else "failed",
                "reason": reason,
            }
        )
    updated = [one for one in machines if one["state"] == "updated"]
    ok = len(updated) == len(machines) and not plan["left"]
    word = "would be" if predicted else "are"
    text = [f"Service {plan['service']}: {len(updated)} of {len(machines)} machines {word} updated."]
    for one in machines:
        words = {
            "updated": "would be updated" if predicted else "updated",
            "failed": f"FAILED: {one['reason']}",
            "waiting": "not touched, since another failed before",
        }
        text.append(f"  {one['machine']}  {one['host']}  {words[one['state']]}")
    text += [f"  {name}  not touched: {why}" for name, why in plan["left"].items()]
    if any(one["state"] == "failed" for one in machines):
        text.append("Mend the cause and run it again, or run it with the manifest of before; what was updated stays as it is.")
    return {"ok": ok, "machines": machines, "text": text}
