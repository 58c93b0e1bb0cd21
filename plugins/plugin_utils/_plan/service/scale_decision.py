# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""How many machines a group is to have, from its rule, what is known of it, and one reading.

The clock is one of the arguments, and what is not known leads to no decision: a reading that is missing is no load of zero,
and a host that cannot be asked is no host without machines.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

# As ``scale_rules.normalised`` has it.
Rule = Mapping[str, t.Any]

UP, DOWN, KEEP, UNKNOWN = "up", "down", "keep", "unknown"
# Rounding must not ask for one machine more than the load fills, nor leave the tolerance.
_SLACK = 1e-9
# More than any bound: a load that is huge beside its target has no whole number.
_MANY = 1e6


@dataclass(frozen=True)
class State:
    """What is known of a group.

    :param count: how many machines it is meant to have.
    :param present: how many exist; None if that is not known.
    :param changed_at: when ``count`` was last changed, in seconds since 1970; None if it never was.
    :param now: the same clock.
    """

    count: int
    present: int | None
    changed_at: float | None
    now: float


@dataclass(frozen=True)
class Decision:
    """
    :param action: up, down, keep, or unknown where nothing can be decided.
    :param count: how many machines the group is meant to have from now on.
    """

    action: str
    count: int
    reasons: list[str]


def decide(rule: Rule, state: State, reading: float | None) -> Decision:
    """
    :param rule: as ``scale_rules.normalised`` has it.
    :param reading: of the rule's metric; None if it is not known.
    """
    count = state.count
    if reading is None or not math.isfinite(reading) or reading < 0:
        told = "none" if reading is None else f"{reading:g}, which is no load"
        return Decision(UNKNOWN, count, [f"the reading of {rule['metric']} is {told}"])
    if state.present is None:
        return Decision(UNKNOWN, count, ["how many machines exist is not known"])
    if state.present != count:
        return Decision(KEEP, count, [f"the number that exist is {state.present}, not {count}; the change before is not complete"])
    waits = _cooling(rule, state)
    if waits:
        return Decision(KEEP, count, [waits])
    load = reading / count if rule["of"] == "service" else reading
    wanted, why = _by_target(rule, count, load) if rule["target"] is not None else _by_thresholds(rule, count, load)
    reasons = [why]
    bounded = min(max(wanted, rule["min"]), rule["max"])
    if bounded != wanted:
        reasons.append(f"{wanted} would be outside of the bounds, {rule['min']} to {rule['max']}")
    stepped = min(max(bounded, count - rule["step"]), count + rule["step"])
    if stepped != bounded:
        reasons.append(f"{bounded} would be more than step, {rule['step']}, at once")
    action = UP if stepped > count else DOWN if stepped < count else KEEP
    return Decision(action, stepped, reasons)


def _cooling(rule: Rule, state: State) -> str:
    if state.changed_at is None:
        return ""
    passed = state.now - state.changed_at
    if passed >= rule["cool_down_s"]:
        return ""
    if passed < 0:
        return f"the last change lies {-passed:.0f} s ahead of this controller's clock; until then nothing is changed"
    return f"the last change was {passed:.0f} s ago; cool_down_s is {rule['cool_down_s']}"


def _by_target(rule: Rule, count: int, load: float) -> tuple[int, str]:
    target = rule["target"]
    told = f"{rule['metric']} is {load:g} for each machine, target {target:g}"
    if abs(load / target - 1) * 100 <= rule["tolerance_percent"] + _SLACK:
        return count, f"{told}, within {rule['tolerance_percent']} %"
    return max(math.ceil(min(count * load / target, _MANY) - _SLACK), 1), told


def _by_thresholds(rule: Rule, count: int, load: float) -> tuple[int, str]:
    told = f"{rule['metric']} is {load:g} for each machine"
    if load > rule["up"]:
        return count + rule["step"], f"{told}, above up, {rule['up']:g}"
    if load >= rule["down"]:
        return count, f"{told}, between down, {rule['down']:g}, and up, {rule['up']:g}"
    # The load of those that go comes to those that stay.
    least = max(math.ceil(count * load / rule["up"] - _SLACK), 1)
    fewer = max(count - rule["step"], least)
    if fewer >= count:
        return count, f"{told}, below down, {rule['down']:g}, and with fewer it would be above up, {rule['up']:g}"
    return fewer, f"{told}, below down, {rule['down']:g}"
