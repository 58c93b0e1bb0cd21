# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import json_schema
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.json_schema import check

NUMBER = {"type": "number", "description": "a number"}
SCHEMA = {
    "type": "object",
    "description": "a mapping",
    "additionalProperties": {
        "type": "object",
        "description": "a mapping",
        "properties": {"sizes": {"items": NUMBER}, "a b": NUMBER, "n": {"additionalProperties": NUMBER}},
    },
}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "opt: [] is not accepted; a mapping is wanted"),
        ({"kvm1.example.org": 5}, "opt[kvm1.example.org]: 5 is not accepted; a mapping is wanted"),
        ({"k": {"sizes": [1, "x"]}}, "opt[k].sizes[1]: 'x' is not accepted; a number is wanted"),
        ({"k": {"a b": None}}, "opt[k][a b]: none given; a number is wanted"),
        ({"k": {"n": {1.5: "x"}}}, "opt[k].n[1.5]: 'x' is not accepted; a number is wanted"),
    ],
    ids=["a list", "host", "inside", "blank", "a number as a key"],
)
def test_the_first_mistake_has_its_place(value: object, message: str) -> None:
    with pytest.raises(InvalidOption) as error:
        check("opt", value, SCHEMA)
    assert str(error.value) == message


def test_what_the_schema_accepts_passes() -> None:
    check("opt", {"k": {"sizes": [1, 2.5], "other": None}}, SCHEMA)


def test_nothing_is_checked_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "jsonschema", None)
    with pytest.raises(FleetError, match="jsonschema: this Python package is missing"):
        check("opt", {}, SCHEMA)
