# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every filter says what is wrong with what it was given, whatever that is; none fails with an error of Python's."""

from __future__ import annotations

import importlib
import inspect
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.basecast.fleet.plugins import filter as filters

NAMES = sorted(path.stem for path in Path(next(iter(filters.__path__))).glob("[a-z]*.py"))
# Their functions read what they are given themselves, with texts of their own, or take anything.
OWN_DOORS = {"deployment_matrix", "preferred_paths", "probe_rounds", "relay_plan", "relay_plan_text", "relay_replan", "shown"}
GARBAGE: list[t.Any] = [5, "x", [1], {"x": 1}, {"x": {"y": 1}}, None, [{"a": 1}], {"x": [{"y": None}]}, [[]], {}, True]


def function_of(name: str) -> t.Callable[..., t.Any]:
    module = importlib.import_module(f"ansible_collections.basecast.fleet.plugins.filter.{name}")
    return t.cast("t.Callable[..., t.Any]", module.FilterModule().filters()[name])


def required(function: t.Callable[..., t.Any]) -> int:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sum(one.default is one.empty and one.kind not in kinds for one in inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_expected_is_told(name: str) -> None:
    function = function_of(name)
    for value in GARBAGE:
        for other in (value, {}, [], "x"):
            arguments = [value, *[other] * (required(function) - 1)]
            try:
                function(*arguments)
            except AnsibleFilterError as error:
                assert str(error).strip(), arguments


@pytest.mark.parametrize("name", sorted(set(NAMES) - OWN_DOORS))
def test_what_a_filter_is_called_with_is_checked(name: str) -> None:
    function = function_of(name)
    assert hasattr(function, "__wrapped__")
    with pytest.raises(AnsibleFilterError, match=f"basecast.fleet.{name}: called with other parameters than it has"):
        function(*[None] * 20)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("relay_parts", (5, []), "relays: 5 is not accepted; a list of relays"),
        (
            "relay_parts",
            ([{"sources": {}}], []),
            r"relays\[0\]: .* a relay with base, sha256, sources and targets is wanted; targets is missing",
        ),
        (
            "service_plan",
            ({"service": "x"}, {}),
            "manifest: .* a manifest that service_manifest has read is wanted; tenant, bases, machines are missing",
        ),
        ("deploy_report", ([], {}), "plan: .* a plan of service_plan"),
        (
            "removal_report",
            ({}, {}),
            "plan: {} is not accepted; a plan of removal_plan is wanted; service, hosts, machines, unknown are missing",
        ),
        ("removal_plan", ({"kvm1": "gone"}, {}), r"looks\[kvm1\]: 'gone' is not accepted; a dictionary of what the host told"),
        ("prune_plan", ({}, {"unused_days": "x"}, []), r"policy\[unused_days\]: 'x' is not accepted; a number"),
        ("machine_work", ({"machines": []}, [{"machine": "a"}], []), r"disks\[0\]: .*path is missing"),
        ("source_files", ([{}],), r"results\[0\]: .*item is missing"),
    ],
)
def test_a_mistake_is_told_with_its_place(name: str, arguments: tuple[t.Any, ...], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"basecast.fleet.{name}: {words}"):
        function_of(name)(*arguments)
