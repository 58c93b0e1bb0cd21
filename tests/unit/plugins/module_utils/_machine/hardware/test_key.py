# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.key import argument, given, mistakes

SCHEMA: dict[str, t.Any] = {
    "type": "object",
    "description": "a mapping",
    "properties": {
        "kind": {"enum": ["a", "b"], "description": "a or b"},
        "count": {"type": "integer", "minimum": 1, "maximum": 4, "description": "1 to 4"},
        "on": {"type": "boolean", "description": "true or false"},
        "name": {"type": "string", "pattern": "^[a-z]+$", "description": "letters"},
        "list": {"type": "array", "minItems": 1, "description": "a list", "items": {"type": "integer", "description": "a number"}},
    },
    "required": ["kind"],
}


def test_a_schema_is_an_argument_spec() -> None:
    assert argument(SCHEMA) == {
        "type": "dict",
        "options": {
            "kind": {"type": "str", "choices": ["a", "b"], "required": True},
            "count": {"type": "int"},
            "on": {"type": "bool"},
            "name": {"type": "str"},
            "list": {"type": "list", "elements": "int"},
        },
    }


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ({"kind": "a", "count": 4, "on": False, "name": "x", "list": [0]}, []),
        ({}, ["o.kind"]),
        ({"kind": "c"}, ["o.kind"]),
        ({"kind": "a", "count": 0}, ["o.count"]),
        ({"kind": "a", "count": 5}, ["o.count"]),
        ({"kind": "a", "count": True}, ["o.count"]),
        ({"kind": "a", "name": ""}, ["o.name"]),
        ({"kind": "a", "name": "X"}, ["o.name"]),
        ({"kind": "a", "on": 1}, ["o.on"]),
        ({"kind": "a", "list": []}, ["o.list"]),
        ({"kind": "a", "list": [1, "x"]}, ["o.list[1]"]),
        ("a", ["o"]),
    ],
)
def test_values_are_checked_by_the_schema(value: t.Any, places: list[str]) -> None:
    assert [path for path, _value, _accepted in mistakes(SCHEMA, value, "o")] == places


def test_options_that_were_left_out_are_none() -> None:
    assert given({"a": None, "b": {"c": None, "d": 0}, "e": [{"f": None}]}) == {"b": {"d": 0}, "e": [{}]}
