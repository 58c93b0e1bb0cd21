# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.machine_search import capture_plan, capture_text, find_machine

REQUEST = {"service": "shop", "tenant": "default", "machine": "web-1", "base": "golden", "version": "1"}
WEB_1 = {"machine": "web-1", "domain": "shop-web-1", "running": True}
HAS: dict[str, t.Any] = {"reachable": True, "known": True, "machines": [WEB_1], "pools": {}}
MOVE = {"machine": "web-1", "side": "source", "peer": "b"}
NOTHING: dict[str, t.Any] = {**HAS, "machines": []}
SILENT: dict[str, t.Any] = {**NOTHING, "known": False, "reason": "Cannot connect to libvirt"}
AWAY: dict[str, t.Any] = {"reachable": False, "msg": "cannot be reached: timed out"}


@pytest.mark.parametrize(
    ("looks", "host", "problem"),
    [
        ({"a": NOTHING, "b": HAS}, "b", ""),
        ({"a": AWAY, "b": HAS}, "b", ""),
        ({"a": HAS, "b": HAS}, "b", "web-1 of service shop is on a and on b; remove the wrong one first"),
        ({"a": {**HAS, "moves": [MOVE]}, "b": HAS}, "b", "machine web-1: its migration from a to b has not ended"),
        ({"a": {**HAS, "moves": [{**MOVE, "machine": "web-2"}]}}, "a", ""),
        ({"a": NOTHING}, None, "web-1 is on no host that could be asked; no host has a machine of shop"),
        ({"a": NOTHING, "b": AWAY}, None, r"not all could be asked (b: cannot be reached: timed out)"),
        ({"a": SILENT}, None, "not all could be asked (a: Cannot connect to libvirt)"),
        ({"a": {**HAS, "machines": [{**WEB_1, "machine": "web-2"}]}}, None, "the machines of shop are: web-2"),
    ],
)
def test_a_machine_is_on_exactly_one_host(looks: dict[str, t.Any], host: str | None, problem: str) -> None:
    found = find_machine(looks, REQUEST)
    assert found["host"] == host
    assert problem in "\n".join(found["problems"]) and bool(found["problems"]) is bool(problem)


def test_hosts_that_were_not_asked_are_told() -> None:
    assert find_machine({"a": AWAY, "b": HAS, "c": SILENT}, REQUEST)["unknown"] == {"a": AWAY["msg"], "c": SILENT["reason"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"service": None}, "service: none given; expected a name (-e service=NAME)"),
        ({"service": "../x"}, "service: invalid value '../x'; a name has"),
        ({"tenant": "a b"}, "tenant: invalid value 'a b'"),
        ({"machine": ""}, "machine: none given; expected the name of a machine (-e machine=NAME)"),
        ({"machine": "WEB"}, "machine: invalid value 'WEB'; a machine's name has"),
        ({"base": None}, "base: none given"),
        ({"version": "\x1b[2J"}, "version: invalid value '\\x1b[2J'"),
    ],
)
def test_a_request_that_cannot_be_meant(change: dict[str, t.Any], words: str) -> None:
    found = find_machine({}, {**REQUEST, **change}, ["base", "version"])
    assert len(found["problems"]) == 1 and words in found["problems"][0]


def with_base(facts: dict[str, t.Any], sha256: str, tenant: str = "default") -> dict[str, t.Any]:
    names = [{"tenant": tenant, "name": "golden", "version": "1"}]
    return {**facts, "pools": {"default": {"bases": [{"sha256": sha256, "names": names}]}}}


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        ({"a": HAS, "b": with_base(NOTHING, "b" * 64)}, f"golden 1 is a base disk on b ({'b' * 64}); give another version"),
        ({"a": with_base(HAS, "a" * 64), "b": with_base(NOTHING, "b" * 64)}, "golden 1 is a base disk on b"),
        ({"a": with_base(HAS, "a" * 64), "b": with_base(NOTHING, "a" * 64)}, ""),
        ({"a": with_base(HAS, "a" * 64), "b": NOTHING}, ""),
        ({"a": HAS, "b": with_base(NOTHING, "b" * 64, "other")}, ""),
        ({"a": NOTHING}, "web-1 is on no host that could be asked"),
        ({"a": HAS, "b": AWAY}, "golden 1 would be captured, but hosts that could not be asked may have it already: b; wait until"),
        ({"a": with_base(HAS, "a" * 64), "b": AWAY}, ""),
    ],
)
def test_a_name_stands_for_one_base_in_the_fleet(hosts: dict[str, t.Any], problem: str) -> None:
    found = capture_plan(hosts, REQUEST)["problems"]
    assert problem in "\n".join(found) and bool(found) is bool(problem)


def test_numbers_of_a_command_line_are_names_too() -> None:
    assert find_machine({"a": HAS}, {**REQUEST, "version": 7}, ["base", "version"])["problems"] == []


BASE = {"sha256": "a" * 64, "pool": "default", "size_bytes": 3 << 20, "parent": "b" * 64}
DONE = {"changed": True, "base": BASE, "disk": {"name": "root"}, "running": True, "quiesced": False}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ["golden 1 was captured from disk root of web-1 on kvm1.", "3.0 MiB, child of " + "b" * 64, "it has no guest agent"]),
        ({"quiesced": True}, ["were brought to rest by its agent"]),
        ({"base": {**BASE, "parent": None}}, ["without a parent", "{name: golden, version: '1', sha256: " + "a" * 64 + "}"]),
        ({"base": None}, ["golden 1 would be captured from disk root of web-1 on kvm1."]),
        ({"changed": False, "disk": None}, ["golden 1 is a base disk already (" + "a" * 64 + " on kvm1, pool default)."]),
    ],
)
def test_what_was_captured_is_told(change: dict[str, t.Any], words: list[str]) -> None:
    text = "\n".join(capture_text({**DONE, **change}, REQUEST, "kvm1"))
    assert all(word in text for word in words), text


@pytest.mark.parametrize("option", ["flatten", "seal"])
def test_a_misspelt_flag_is_refused(option: str) -> None:
    assert capture_plan({}, {**REQUEST, option: "ture"})["problems"] == [f"{option}: invalid value 'ture'; expected true or false"]
