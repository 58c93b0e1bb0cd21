# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a run takes back if its service is to be there as a whole or not at all, and what its report says of it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ..types import Outcome, ServicePlan
from .report import DEPLOYED, STARTED, deploy_report, one_line

ROLLED_BACK = "rolled_back"


def roll_back(plan: ServicePlan, outcomes: Mapping[str, Outcome], removals: Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """
    :param plan: as service_plan returns it.
    :param outcomes: as deploy_report takes them.
    :param removals: by host a list of ``{"removal": host_removal's}`` or ``{"msg": why it failed}``, once it was tried.
    :returns: ``{"needed", "missing": [names], "steps": [{host: [names]}], "outcomes": {host: outcome}}``: whom to ask, the last role
        first, and what the report is to be made of.
    """
    order = plan.get("order") or {}
    missing = deploy_report(plan, outcomes)["missing"] if order.get("on_failure") == "roll_back" else []
    if not missing:
        return {"needed": False, "missing": [], "steps": [], "outcomes": {}}
    touched = {
        (host, machine["machine"])
        for host, outcome in outcomes.items()
        for machine in outcome.get("machines") or ()
        if _was_touched(machine)
    }
    steps: list[dict[str, list[str]]] = []
    for roles in reversed(order.get("stages") or [list({machine["group"]: None for machine in plan["machines"]})]):
        step: dict[str, list[str]] = {}
        for machine in plan["machines"]:
            if machine["group"] in roles and (machine["host"], machine["machine"]) in touched:
                step.setdefault(machine["host"], []).append(machine["machine"])
        if step:
            steps.append(step)
    after = {host: _after(outcome, missing, (removals or {}).get(host)) for host, outcome in outcomes.items()}
    return {"needed": True, "missing": missing, "steps": steps, "outcomes": after}


def _was_touched(machine: Mapping[str, t.Any]) -> bool:
    """Whether the run may have made something of it, or has started it."""
    return bool(machine.get("new_disks")) or not {"defined", "started"}.isdisjoint(machine.get("actions") or ())


def _after(outcome: Outcome, missing: list[str], removals: t.Any) -> Outcome:
    if not removals:
        return outcome
    told = [one for removal in removals for one in (removal.get("removal") or {}).get("machines") or ()]
    # Each step tells of all machines of the host.
    gone = {one["machine"]: one for one in told if one.get("actions") or one.get("problem")}
    failed = "; ".join(one_line(removal["msg"]) for removal in removals if removal.get("msg"))
    why = f"{', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''} failed"
    machines = []
    for machine in outcome.get("machines") or ():
        name = machine.get("machine")
        if not _was_touched(machine):
            machines.append(machine)
            continue
        came_up = machine.get("state") in (DEPLOYED, STARTED)
        cause = f"it had come up, and {why}" if came_up else one_line(machine.get("problem"))
        if name in gone and not gone[name].get("problem"):
            done = "powered off again" if {"stopped", "forced"}.issuperset(gone[name]["actions"]) else "removed again"
            machines.append({**machine, "running": False, "reason": ROLLED_BACK, "problem": f"{done} (on_failure: roll_back): {cause}"})
        else:
            left = one_line((gone.get(name) or {}).get("problem") or failed or "its host has said nothing of it")
            machines.append({**machine, "problem": f"{cause}; it was not rolled back: {left}"})
    return t.cast("Outcome", {**outcome, "machines": machines})
