# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a deployment came to, machine by machine, and whether that is what was asked for; also both as text."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ..types import Outcome, PlannedMachine, ServicePlan
from .drift import drift_text
from .next_steps import problems_of
from .run_details import Run, machine_details, run_details
from .ticket import ticket
from .wrapped_text import wrapped

FORMAT = 1

# States of a machine in a report: made by this run, only started by it, untouched by it; then what is missing.
DEPLOYED, STARTED, PRESENT = "deployed", "started", "present"
FAILED, UNREACHABLE, UNKNOWN, UNFIT, OUTSIDE = "failed", "unreachable", "unknown", "unfit", "outside"
UNPLACED = "unplaced"  # no host has room for it
THERE = (DEPLOYED, STARTED, PRESENT)


def deploy_report(
    plan: ServicePlan,
    outcomes: Mapping[str, Outcome],
    relay: Sequence[Mapping[str, t.Any]] | None = None,
    predicted: bool = False,
    fail_on_drift: bool = False,
    run: Run | None = None,
) -> dict[str, t.Any]:
    """The result of a run.

    :param plan: as service_plan returns it.
    :param outcomes: ``{host: {"state": "done"|"failed"|"unreachable", "step", "msg", "machines": [machine's], "relay":
        relay_info's or None}}``; a planned host without an outcome was lost on the way. Machines of a module that failed
        may also stand in ``failure.machines``, as the module returns them.
    :param relay: the relay plan that was run, if any.
    :param predicted: the run was in check mode: machines that it would deploy count as deployed.
    :param fail_on_drift: a machine that differs from the manifest makes the run fail.
    :param run: how the run went; with it the report tells that too, see ``run_details``.
    :returns: ``{"format", "service", "ok", "predicted", "machines": [{"machine", "host", "state", "reason", "report",
        "health", "drift"}], "missing": [names], "failures": [sentences], "hosts": {host: {"state", "step", "msg", "missing": [...]}},
        "surplus", "relay", "text": [lines]}``.
    """
    machines = [_machine_outcome(machine, outcomes, predicted) for machine in plan["machines"]]
    hosts: dict[str, dict[str, t.Any]] = {}
    for machine in machines:
        outcome = outcomes.get(machine["host"]) or {}
        host = hosts.setdefault(
            machine["host"],
            {"state": "done", "step": outcome.get("step"), "msg": outcome.get("msg"), "missing": [], "relay": outcome.get("relay")},
        )
        if machine["state"] not in THERE:
            host["missing"].append(machine["machine"])
            host["state"] = machine["state"]
            host["msg"] = host["msg"] or machine["reason"]
    machines += [
        {
            "machine": left["machine"],
            "host": "",
            "state": UNPLACED,
            "reason": " ".join(left["reasons"]),
            "report": None,
            "health": [],
            "drift": [],
        }
        for left in plan.get("unplaced") or []
    ]
    missing = [machine["machine"] for machine in machines if machine["state"] not in THERE]
    failures = list(_failures(plan, t.cast("list[PlannedMachine]", machines), missing, fail_on_drift))
    report = {
        "format": FORMAT,
        "service": plan["service"],
        "predicted": predicted,
        "ok": not failures,
        "machines": machines,
        "missing": missing,
        "failures": failures,
        "hosts": hosts,
        "surplus": list(plan["surplus"]),
        "relay": relay,
    }
    report["text"] = _report_text(report)
    if run is not None:
        of_machine = machine_details(plan, outcomes, run)
        report["machines"] = [{**machine, **of_machine.get(machine["machine"], {})} for machine in machines]
        report |= run_details(plan, outcomes, relay, run)
        report["problems"] = problems_of(report)
        report["ticket"] = ticket(report)
    return report


def _failures(plan: ServicePlan, machines: Sequence[PlannedMachine], missing: Sequence[str], fail_on_drift: bool) -> Iterator[str]:
    """Why the run is not what was asked for."""
    yield from plan["problems"]
    if missing:
        yield f"Missing: {', '.join(missing)}."
    if not machines:
        yield f"Service {plan['service']}: the manifest asks for no machine on any host of the inventory."
    drifted = [machine["machine"] for machine in machines if machine["drift"]]
    if fail_on_drift and drifted:
        yield f"Drift (basecast_fail_on_drift): {', '.join(drifted)}."


def _machine_outcome(machine: PlannedMachine, outcomes: Mapping[str, Outcome], predicted: bool) -> dict[str, t.Any]:
    outcome = outcomes.get(machine["host"]) or {}
    found = _told(outcome).get(machine["machine"]) or {}
    if machine["state"] in (UNREACHABLE, UNKNOWN, UNFIT, OUTSIDE):
        state, reason = machine["state"], machine["reason"]
    elif _is_there(found, predicted):
        state, reason = _what_was_done(found), ""
    elif found.get("problem"):
        state, reason = FAILED, _problem(found, outcome)
    elif outcome.get("state") == UNREACHABLE:
        state, reason = UNREACHABLE, _reason(outcome)
    elif outcome.get("state") == "done":
        state, reason = FAILED, _shortfall(found)
    elif outcome:
        state, reason = FAILED, _reason(outcome)
    elif predicted:
        # A host that check mode did not come to, since nothing stands in its way and nothing was tried.
        state, reason = (PRESENT if machine["state"] == "exists" else DEPLOYED), ""
    else:
        state, reason = FAILED, "the run ended before this host's turn"
    return {
        "machine": machine["machine"],
        "host": machine["host"],
        "state": state,
        "reason": reason,
        "report": found.get("report"),
        "health": list(found.get("health") or ()),
        "drift": machine["drift"],
    }


def _told(outcome: Outcome) -> dict[str, Mapping[str, t.Any]]:
    """What the host said of each machine, also where some of them failed."""
    said = outcome.get("machines") or (outcome.get("failure") or {}).get("machines") or []
    return {machine["machine"]: machine for machine in said if machine.get("machine")}


def _is_there(found: Mapping[str, t.Any], predicted: bool) -> bool:
    """It runs, nothing is wrong with it, and its guest has reported if its seed asks for that."""
    if not found.get("running") or found.get("problem"):
        return False
    return predicted or bool(found.get("report")) or not found.get("report_expected")


def _what_was_done(found: Mapping[str, t.Any]) -> str:
    actions = found.get("actions") or []
    return DEPLOYED if "defined" in actions else STARTED if "started" in actions else PRESENT


def _problem(found: Mapping[str, t.Any], outcome: Outcome) -> str:
    """What the host says; why no base came, only the controller knows, which has seen the others."""
    cause = one_line(outcome["cause"]) if outcome.get("cause") and found.get("reason") == "base_missing" else ""
    problem = one_line(found["problem"])
    return f"{problem.rstrip('.')}; {cause}" if cause and cause not in problem else problem


def _shortfall(found: Mapping[str, t.Any]) -> str:
    if not found:
        return "its host has said nothing of it"
    return "its guest has not reported" if found.get("running") else "it is not running"


def _reason(outcome: Outcome) -> str:
    message = one_line(outcome.get("msg"))
    return f"{outcome['step']}: {message}" if outcome.get("step") else message


def one_line(message: object) -> str:
    """The first line of a failure; Ansible's own messages bring ssh's whole talk along."""
    lines = [line.strip() for line in str(message or "").splitlines() if line.strip()] or ["no reason given"]
    return lines[0].removeprefix("Task failed: ")


# --- text --------------------------------------------------------------------------------------


def _report_text(report: Mapping[str, t.Any]) -> list[str]:
    machines = report["machines"]
    count = {state: sum(1 for m in machines if m["state"] == state) for state in THERE}
    there = sum(count.values())
    verb = "would be there" if report["predicted"] else "are there"
    lines = [
        f"Service {report['service']}: {there} of {len(machines)} machines {verb}"
        f" ({count[DEPLOYED]} deployed, {count[STARTED]} started by {'a real' if report['predicted'] else 'this'} run,"
        f" {count[PRESENT]} before)."
    ]
    width = max((len(m["machine"]) for m in machines), default=0)
    host_width = max((len(m["host"]) for m in machines), default=0)
    for machine in machines:
        who = f"  {machine['machine']:<{width}}  {machine['host']:<{host_width}}  "
        lines += wrapped(_machine_text(machine, report["predicted"]), who, "      ")
    lines += [line for drift in drift_text(machines) for line in wrapped(f"{drift}; nothing was rebuilt", "  ", "      ")]
    for surplus in report["surplus"]:
        lines.append(f"  surplus: {surplus['machine']} on {surplus['host']} is no longer asked for; it was left alone")
    return lines


def _machine_text(machine: PlannedMachine, predicted: bool) -> str:
    if machine["state"] in THERE:
        would = "would be " if predicted else ""
        text = {DEPLOYED: f"{would}deployed", STARTED: f"{would}started", PRESENT: "already there"}[machine["state"]]
        seen = machine["report"]
        if seen:
            addresses = ", ".join(seen.get("addresses") or [])
            text += f", came up as {seen.get('hostname')}" + (f" ({addresses})" if addresses else "")
        healthy = [str(one.get("check")) for one in machine.get("health") or () if one.get("ok")]
        if healthy:
            text += f", healthy: {', '.join(healthy)}"
        return text
    return f"MISSING, {machine['state']}: {machine['reason']}"
