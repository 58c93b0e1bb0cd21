# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import typing as t

import pytest
from ansible.errors import AnsibleFilterError

MATRIX = {"format": 1, "hosts": ["a", "b"], "seconds": [[0, 10], [None, 0]]}
PLAN_ARGS = (MATRIX, ["a"])


def named(name: str) -> t.Callable[..., t.Any]:
    module = importlib.import_module(f"ansible_collections.basecast.fleet.plugins.filter.{name}")
    return module.FilterModule().filters()[name]


def plan() -> t.Any:
    return named("relay_plan")(*PLAN_ARGS)


def test_they_answer() -> None:
    assert named("probe_rounds")(["a", "b"]) == [[["a", "b"]]]
    made = named("deployment_matrix")([{"from": "a", "to": "b", "mbps": 8}], 1_000_000)
    assert made["seconds"] == [[0, 1], [None, 0]]
    assert named("preferred_paths")(*PLAN_ARGS) == [
        {"link": ["a", "b"], "seconds": 10, "preferred": True, "tie": False, "precondition": None}
    ]
    assert plan()["predicted_s"] == 10
    assert named("relay_replan")(plan(), MATRIX, {"at_s": 4})["stages"][0][0]["end_s"] == 10
    assert "a > b" in named("relay_plan_text")(plan(), MATRIX)


@pytest.mark.parametrize(("name", "bad"), [
    ("probe_rounds", "a"), ("deployment_matrix", 5), ("preferred_paths", ["a"]), ("relay_plan", None),
    ("relay_replan", []), ("relay_plan_text", 1),
])  # fmt: skip
def test_a_wrong_input_is_named(name: str, bad: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match=f"basecast.fleet.{name}: the input must be .*{type(bad).__name__}"):
        named(name)(bad)


@pytest.mark.parametrize(("name", "arguments", "words"), [
    ("probe_rounds", (["a", "a"],), "hosts: 'a'"),
    ("deployment_matrix", ([{"from": "a"}], 1), "probes"),
    ("deployment_matrix", ([], -1), "size_bytes: -1"),
    ("preferred_paths", (MATRIX, ["x"]), "sources: 'x'"),
    ("relay_plan", (MATRIX, ["x"]), "sources: 'x'"),
    ("relay_plan", ("/no/such/file", ["a"]), "readable JSON file"),
    ("relay_replan", ({}, MATRIX, {}), "plan"),
    ("relay_plan_text", ({},), "plan"),
])  # fmt: skip
def test_a_mistake_is_a_filter_error(name: str, arguments: tuple[t.Any, ...], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        named(name)(*arguments)


def test_an_unknown_observation_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="observed"):
        named("relay_replan")(plan(), MATRIX, {"when": 3})
    with pytest.raises(AnsibleFilterError, match="nothing more can be delivered"):
        named("relay_replan")(plan(), MATRIX, {"at_s": 3, "lost_hosts": ["a"]})
