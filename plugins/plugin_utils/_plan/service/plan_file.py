# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""A plan that was written to a file, and whether it still fits."""

from __future__ import annotations

from collections.abc import Mapping

from ....module_utils._errors import InvalidOption
from ..types import ServicePlan


def saved_plan_changes(saved: object, plan: ServicePlan) -> list[str]:
    """What is not as it was when the plan was saved, one sentence each; empty if it can be run.

    :param saved: ``{"service": a plan of service_plan, "relay": the plans of relay_plans}``.
    :param plan: service_plan's plan of now.
    """
    if not isinstance(saved, Mapping) or not isinstance(saved.get("service"), Mapping) or not isinstance(saved.get("relay"), list):
        raise InvalidOption("plan_file", type(saved).__name__, "a file that the playbook plan wrote with basecast_plan_file is wanted")
    before = saved["service"]
    changes = []
    if (before.get("service"), before.get("tenant")) != (plan["service"], plan["tenant"]):
        changes.append(f"It is the plan of the service {before.get('service')}, not of {plan['service']}.")
    changes += _compared("machine", _machines(before), _machines(plan))
    changes += _compared("base", _holders(before), _holders(plan))
    return changes


def _machines(plan: ServicePlan) -> dict[str, str]:
    return {str(machine["machine"]): f"on {machine['host']}, {machine['state']}" for machine in plan.get("machines") or []}


def _holders(plan: ServicePlan) -> dict[str, str]:
    return {
        str(relay["sha256"] or relay["base"]): f"from {', '.join(sorted(relay['sources']))} to {', '.join(sorted(relay['targets']))}"
        for relay in plan.get("relays") or []
    }


def _compared(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = dict.fromkeys([*before, *now])
    return [
        f"The {what} {name} was {before.get(name, 'not planned')}, and is {now.get(name, 'not needed')} now."
        for name in names
        if before.get(name) != now.get(name)
    ]
