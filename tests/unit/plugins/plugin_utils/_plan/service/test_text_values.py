# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.processor import SET_PATTERN
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.text_values import as_meant

SET = {"type": "string", "pattern": SET_PATTERN}
INTEGER, NUMBER, TRUTH, TEXT = ({"type": kind} for kind in ("integer", "number", "boolean", "string"))


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ("4", INTEGER, 4),
        ("-4", INTEGER, -4),
        ("4.5", INTEGER, "4.5"),
        ("four", INTEGER, "four"),
        ("٤", INTEGER, "٤"),
        ("9" * 5000, INTEGER, "9" * 5000),
        ("4.5", NUMBER, 4.5),
        ("4", NUMBER, 4),
        ("yes", TRUTH, True),
        ("False", TRUTH, False),
        ("maybe", TRUTH, "maybe"),
        ("4", TEXT, "4"),
        (4, TEXT, 4),
        (2.0, {"enum": ["2.0"]}, "2.0"),
        (3, SET, "3"),
        (-3, SET, -3),
        (3.0, SET, 3.0),
        (True, SET, True),
        ([0, "1-3"], {"items": SET}, ["0", "1-3"]),
        (2.1, {"enum": ["2.0"]}, 2.1),
        (True, {"enum": ["True"]}, True),
        ({"a": "1", "b": "1"}, {"properties": {"a": INTEGER}}, {"a": 1, "b": "1"}),
        ({"a": "1"}, {"additionalProperties": INTEGER}, {"a": 1}),
        ({"a": "1"}, {"additionalProperties": False}, {"a": "1"}),
        (["1", "x"], {"items": INTEGER}, [1, "x"]),
        (["1"], {}, ["1"]),
        ("1", {"type": ["object", "string"]}, "1"),
        (None, INTEGER, None),
    ],
)
def test_texts_become_what_is_meant(value: t.Any, schema: dict[str, t.Any], expected: t.Any) -> None:
    found = as_meant(value, schema)
    assert found == expected and type(found) is type(expected)
