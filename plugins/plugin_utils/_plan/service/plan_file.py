# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""A plan that was written to a file, and how much of it still fits."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ....module_utils._errors import InvalidOption
from ..types import ServicePlan


class Fit(t.NamedTuple):
    """How a saved plan fits the plan of now, in sentences; it can be run while there are no ``problems``.

    ``notes``: what is not as it was because hosts cannot be used any more. ``relay``: its relay, empty where such a host had a part in it.
    """

    problems: list[str]
    notes: list[str]
    relay: list[t.Any]


def fit_of(saved: object, plan: ServicePlan) -> Fit:
    """Compare a saved plan with the plan of now.

    :param saved: ``{"service": a plan of service_plan, "relay": the plans of relay_plans}``.
    :param plan: service_plan's plan of now.
    """
    if not isinstance(saved, Mapping) or not isinstance(saved.get("service"), Mapping) or not isinstance(saved.get("relay"), list):
        raise InvalidOption("plan_file", type(saved).__name__, "a file that the playbook plan wrote with basecast_plan_file is wanted")
    before = saved["service"]
    lost = {*(plan.get("silent") or ()), *(plan.get("bad_hosts") or ())}
    fit = Fit([], [], [])
    if (before.get("service"), before.get("tenant")) != (plan["service"], plan["tenant"]):
        fit.problems.append(f"It is the plan of the service {before.get('service')}, not of {plan['service']}.")
    _compare_machines(fit, _machines(before), _machines(plan), lost)
    spoilt = _compare_relays(fit, _relays(before), _relays(plan), lost)
    return fit if spoilt else fit._replace(relay=saved["relay"])


# --- machines


def _machines(plan: ServicePlan) -> dict[str, tuple[str, str]]:
    return {str(machine["machine"]): (str(machine["host"]), str(machine["state"])) for machine in plan.get("machines") or []}


def _compare_machines(fit: Fit, before: Mapping[str, tuple[str, str]], now: Mapping[str, tuple[str, str]], lost: set[str]) -> None:
    for name in dict.fromkeys([*before, *now]):
        was, is_now = before.get(name), now.get(name)
        if was == is_now:
            continue
        texts = [f"on {place[0]}, {place[1]}" if place else "" for place in (was, is_now)]
        told = fit.notes if was and was[0] in lost else fit.problems
        told.append(f"The machine {name} was {texts[0] or 'not planned'}, and is {texts[1] or 'not placed'} now.")


# --- relays


class _Relay(t.NamedTuple):
    sha256: str | None
    sources: frozenset[str]
    targets: frozenset[str]

    def __str__(self) -> str:
        digest = f" ({self.sha256})" if self.sha256 else ""
        return f"from {', '.join(sorted(self.sources))} to {', '.join(sorted(self.targets))}{digest}"


_NONE = _Relay(None, frozenset(), frozenset())


def _relays(plan: ServicePlan) -> dict[str, _Relay]:
    return {
        str(relay["base"]): _Relay(relay["sha256"], frozenset(relay["sources"]), frozenset(relay["targets"]))
        for relay in plan.get("relays") or []
    }


def _compare_relays(fit: Fit, before: Mapping[str, _Relay], now: Mapping[str, _Relay], lost: set[str]) -> bool:
    """Whether a lost host had a part in any of them."""
    for base in dict.fromkeys([*before, *now]):
        was, is_now = before.get(base, _NONE), now.get(base, _NONE)
        same_content = None in (was.sha256, is_now.sha256) or was.sha256 == is_now.sha256
        if same_content and (was.sources, was.targets) == (is_now.sources, is_now.targets):
            continue
        told = fit.notes if same_content and _is_remainder(was, is_now, lost) else fit.problems
        texts = [str(relay) if relay.targets else "" for relay in (was, is_now)]
        told.append(f"The base {base} was {texts[0] or 'not planned'}, and is {texts[1] or 'not needed'} now.")
    return any((relay.sources | relay.targets) & lost for relay in before.values())


def _is_remainder(was: _Relay, is_now: _Relay, lost: set[str]) -> bool:
    """Whether it is what lost hosts have left of it. One that was to fetch it may have to import it now, and serves it then, even if it
    could not do another part of its own."""
    members = was.sources | was.targets
    return bool(members & lost) and is_now.targets <= was.targets - lost and is_now.sources <= members
