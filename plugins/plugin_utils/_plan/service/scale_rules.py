# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The rule by which a group of machines grows and shrinks: its form, what it can be wrong about, its defaults."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping

Group = Mapping[str, t.Any]

_DEFAULTS: dict[str, t.Any] = {
    "of": "machine",
    "tolerance_percent": 10,
    "step": 1,
    "cool_down_s": 300,
    "drain": None,
    "drain_timeout_s": 60,
}
_LOAD = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e15, "description": "a load of one machine is a number above 0"}
_BOUND = {"type": "integer", "minimum": 1, "maximum": 10000, "description": "a whole number from 1 to 10000 is wanted"}

SCHEMA: dict[str, t.Any] = {
    "type": "object",
    "description": "scale is a mapping of metric, max, and target or up and down",
    "examples": ["{metric: requests, target: 100, max: 8}"],
    "properties": {
        "metric": {
            "type": "string",
            "pattern": r"^[A-Za-z_][A-Za-z0-9_.:-]{0,62}$(?!\n)",
            "description": "the name of a reading begins with a letter or _ and has up to 63 letters, digits, and any of _ . : -",
        },
        "of": {
            "enum": ["machine", "service"],
            "description": "machine (the reading is the mean of the machines) or service (it is what all of them carry together) is wanted",
        },
        "target": _LOAD,
        "up": {**_LOAD, "description": "the load of one machine above which there are to be more is a number above 0"},
        "down": {
            "type": "number",
            "minimum": 0,
            "maximum": 1e15,
            "description": "the load of one machine below which there are to be fewer is a number of at least 0",
        },
        "tolerance_percent": {
            "type": "integer",
            "minimum": 0,
            "maximum": 90,
            "description": "how far the load may be from target, in percent of it, is a whole number from 0 to 90",
        },
        "step": {**_BOUND, "description": "how many machines more or fewer at once is a whole number from 1 to 10000"},
        "cool_down_s": {
            "type": "integer",
            "minimum": 0,
            "maximum": 604800,
            "description": "seconds after a change in which there is no other are a whole number from 0 to 604800",
        },
        "drain": {
            "type": "array",
            "minItems": 1,
            "maxItems": 64,
            "items": {"type": "string", "minLength": 1, "description": "a part of a command is a text that is not empty"},
            "description": "a drain command is a list of a program of the guest and its arguments, run before the machine is removed",
            "examples": ["[/usr/local/sbin/drain]"],
        },
        "drain_timeout_s": {
            "type": "integer",
            "minimum": 1,
            "maximum": 86400,
            "description": "seconds that draining a machine may take are a whole number from 1 to 86400",
        },
        "min": {**_BOUND, "description": "the smallest number of machines is a whole number from 1 to 10000"},
        "max": {**_BOUND, "description": "the largest number of machines is a whole number from 1 to 10000"},
    },
    "required": ["metric", "max"],
    "additionalProperties": False,
}


def mistakes(group: Group) -> Iterator[tuple[tuple[str, ...], str]]:
    """What a group's rule can be wrong about, beside its form: where below the group, and the sentence."""
    rule = group.get("scale")
    if rule is None:
        return
    if "count" not in group:
        yield ("scale",), "it needs count, the number of machines to begin with; give count, and no per_host"
    thresholds = [key for key in ("up", "down") if key in rule]
    if ("target" in rule) == bool(thresholds):
        yield ("scale",), "either target, or up and down, are wanted"
    elif len(thresholds) == 1:
        missing = "down" if thresholds == ["up"] else "up"
        yield ("scale",), f"the key {missing} is missing; thresholds are up and down"
    elif thresholds and rule["down"] >= rule["up"]:
        yield ("scale", "down"), f"{rule['down']:g} is not below up, {rule['up']:g}; leave room between the two"
    if thresholds and "tolerance_percent" in rule:
        yield ("scale", "tolerance_percent"), "it is only accepted with target; leave it out"
    if "drain_timeout_s" in rule and "drain" not in rule:
        yield ("scale", "drain_timeout_s"), "it is only accepted with drain; leave it out"
    least, most = rule.get("min", 1), rule["max"]
    if least > most:
        yield ("scale", "min"), f"{least} is more than max, {most}; exchange the two"
    elif "count" in group and not least <= group["count"] <= most:
        yield ("count",), f"{group['count']} is outside of the bounds of scale, {least} to {most}; begin within them"


def normalised(group: Group) -> dict[str, t.Any]:
    """The rule with its defaults: ``metric, of, target | None, up | None, down | None, tolerance_percent, step, cool_down_s, drain | None,
    drain_timeout_s, min, max``;
    empty where the group has none."""
    rule = group.get("scale")
    if rule is None:
        return {}
    return {"scale": {"target": None, "up": None, "down": None, "min": 1, **_DEFAULTS, **rule}}
