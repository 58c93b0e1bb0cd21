# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which host has a machine, from what every host says of its own; a host that cannot be asked may have it too."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._names import HOST_LABEL_RULE, NAME_RULE, is_host_label, is_name
from ..placement import Observed, answers, held_base
from .identity import moving_machines
from .report import one_line
from .status_text import size
from .user_options import flag_mistakes

# What a user asked for, and what a module returned, see the functions.
Request = Mapping[str, t.Any]
Result = Mapping[str, t.Any]


def find_machine(hosts: Observed, request: Request, needs: Sequence[str] = ()) -> dict[str, t.Any]:
    """
    :param hosts: what survey_info returned of each. Empty to see whether the request can be meant.
    :param request: ``service``, ``tenant`` and ``machine``, as the user gave them, and what else is needed.
    :param needs: further keys of the request that are names.
    :returns: ``{"host", "running", "unknown": {host: why}, "problems": [...]}``. Unless there is a problem, ``host`` has the machine.
    """
    problems = list(_mistakes(request, needs))
    found: dict[str, t.Any] = {"host": None, "running": False, "unknown": {}, "problems": problems}
    if problems or not hosts:
        return found
    machine = request["machine"]
    machines = {host: (facts.get("machines") or ()) if facts.get("reachable") else () for host, facts in hosts.items()}
    holders = {host: one for host, own in machines.items() for one in own if one["machine"] == machine and one.get("domain")}
    found["unknown"] = {
        host: one_line((facts.get("reason") if facts.get("reachable") else facts.get("msg")) or "no reason given")
        for host, facts in hosts.items()
        if host not in holders and not answers(facts)
    }
    unknown = "; ".join(f"{host}: {why}" for host, why in found["unknown"].items())
    moving = moving_machines(hosts, request["tenant"], request["service"])
    if machine in moving:
        problems.append(moving[machine])
    elif len(holders) > 1:
        problems.append(f"machine: {machine} of service {request['service']} is on {' and on '.join(holders)}; remove the wrong one first")
    elif not holders:
        there = ", ".join(sorted({one["machine"] for own in machines.values() for one in own}))
        service = request["service"]
        names = f"the machines of {service} are: {there}" if there else f"no host has a machine of {service}"
        more = f"; not all could be asked ({unknown})" if unknown else ""
        problems.append(f"machine: {machine} is on no host that could be asked; {names}{more}")
    for host, one in holders.items():
        found.update(host=host, running=bool(one["running"]))
    return found


def _mistakes(request: Request, needs: Sequence[str]) -> Iterator[str]:
    for key in ("service", "tenant", *needs):
        value = request.get(key)
        if value in (None, ""):
            yield f"{key}: none given; expected a name (-e {key}=NAME)"
        elif not is_name(str(value)):
            yield f"{key}: invalid value {value!r}; a name has {NAME_RULE}"
    machine = request.get("machine")
    if machine in (None, ""):
        yield "machine: none given; expected the name of a machine (-e machine=NAME)"
    elif not is_host_label(machine):
        yield f"machine: invalid value {machine!r}; a machine's name has {HOST_LABEL_RULE}"


def maybe_elsewhere(title: str, silent: Sequence[str]) -> str:
    """Why nothing is captured under a name and version while hosts are silent that may have it, as another content."""
    names = ", ".join(silent)
    return (
        f"{title} would be captured, but hosts that could not be asked may have it already: {names}; wait until they answer, or leave"
        f" them out of the run (--limit '{':'.join(['all', *(f'!{host}' for host in silent)])}')"
    )


def capture_plan(hosts: Observed, request: Request) -> dict[str, t.Any]:
    """find_machine's result for a capture: no other host may have something else under the base's name.

    :param request: ``base`` and ``version`` besides.
    """
    plan = find_machine(hosts, request, ("base", "version"))
    plan["problems"] += flag_mistakes(request, ("flatten", "seal", "template"))
    if plan["problems"] or not hosts:
        return plan
    base = {"name": str(request["base"]), "version": str(request["version"]), "sha256": None}
    if plan["unknown"] and held_base(hosts[plan["host"]], base, request["tenant"]) is None:
        plan["problems"].append("base: " + maybe_elsewhere(f"{base['name']} {base['version']}", list(plan["unknown"])))
    for host, facts in hosts.items():
        held = held_base(facts, base, request["tenant"]) if host != plan["host"] else None
        own = held_base(hosts[plan["host"]], base, request["tenant"])
        if held is not None and (own is None or own["sha256"] != held["sha256"]):
            plan["problems"].append(
                f"base: {base['name']} {base['version']} is a base disk on {host} ({held['sha256']}); give another version"
            )
    return plan


def capture_text(captured: Result, request: Request, host: str) -> list[str]:
    """What became of a capture, as lines.

    :param captured: the result of machine_capture.
    """
    title, base = f"{request['base']} {request['version']}", captured.get("base")
    if captured.get("template"):
        return _template_text(captured, request, host)
    if not captured.get("changed"):
        return [
            f"{title} is a base disk already ({base['sha256'] if base else 'no digest'} on {host}, pool {base['pool'] if base else '-'})."
        ]
    disk = captured["disk"]
    where = f"disk {disk['name']} of {request['machine']} on {host}"
    if base is None:
        return [f"{title} would be captured from {where}."]
    parent = f"child of {base['parent']}" if base.get("parent") else "without a parent"
    lines = [
        f"{title} was captured from {where}.",
        f"  SHA-256   {base['sha256']}",
        f"  pool      {base['pool']}, {size(base['size_bytes'])}, {parent}",
    ]
    if captured["running"]:
        state = "were brought to rest by its agent" if captured["quiesced"] else "were not brought to rest: it has no guest agent"
        lines.append(f"  machine   went on running; its file systems {state}")
    return [*lines, f"  manifest  {{name: {request['base']}, version: {request['version']!r}, sha256: {base['sha256']}}}"]


def _template_text(captured: Result, request: Request, host: str) -> list[str]:
    title, bases, content = f"{request['base']} {request['version']}", captured.get("bases") or {}, captured["template"]
    if not captured.get("changed"):
        return [f"{title} is a template of {request['machine']} already (on {host})."]
    names = ", ".join(disk["name"] for disk in content["disks"])
    if not bases:
        return [f"{title} would be captured as a template of {request['machine']} on {host}, with the disks {names}."]
    lines = [f"{title} was captured as a template of {request['machine']} on {host}."]
    for disk in content["disks"]:
        base = bases[disk["name"]]
        parent = f"child of {base['parent']}" if base.get("parent") else "without a parent"
        lines += [f"  disk {disk['name']}  {base['sha256']}", f"  pool {base['pool']}, {size(base['size_bytes'])}, {parent}"]
    hardware = ", ".join(content["hardware"]) or "nothing beside the usual"
    lines.append(f"  hardware  {content['cpus']} CPUs, {content['memory_mib']} MiB; {hardware}")
    if captured["running"]:
        state = "were brought to rest by its agent" if captured["quiesced"] else "were not brought to rest: it has no guest agent"
        lines.append(f"  machine   went on running; its file systems {state}")
    return [*lines, f"  manifest  source: {{template: {request['base']}, version: {request['version']!r}}}"]
