# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.monitor.stages import hosts_of_stage, stage_has_ended
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.monitor.state import STAGED, Watch, watch_of


def state(depths: dict[str, int], unplanned: t.Sequence[str] = (), **more: t.Any) -> Watch:
    """A relay in which each host is at a depth."""
    stages: list[list[dict[str, t.Any]]] = [[] for _unused in range(max(depths.values()))]
    for host, depth in depths.items():
        stages[depth - 1].append({"from": "src", "to": host, "start_s": 0.0, "end_s": 1.0})
    plan = {"stages": stages, "targets": list(depths)}
    relay = {"sha256": "x", "targets": dict.fromkeys([*depths, *unplanned], "p"), "sources": {"src": "p"}}
    return watch_of({"relays": [relay], "plans": [plan], **more}, STAGED)


def fleet(**states: str) -> dict[str, t.Any]:
    return {host: {"bases": {"x": {"state": told, "bytes": 0}}} for host, told in states.items()}


def test_hosts_follow_the_plan_in_force() -> None:
    before, after = state({"a": 1, "b": 2, "c": 3}), state({"a": 1, "b": 1, "c": 2})
    assert hosts_of_stage(before, 1) == ["a"]
    assert hosts_of_stage(after, 2, ["a"]) == ["b", "c"]


def test_the_last_stage_serves_all_deeper_ones() -> None:
    deep = state({f"h{depth}": depth for depth in range(1, 12)})
    assert hosts_of_stage(deep, 6, ["h1", "h2", "h3", "h4", "h5"]) == ["h6", "h7", "h8", "h9", "h10", "h11"]


def test_a_lost_host_is_waited_for_in_the_last_stage() -> None:
    lost = state({"a": 1, "b": 1}, lost={"a": {}})
    assert hosts_of_stage(lost, 1) == ["b"]
    assert hosts_of_stage(lost, 6, ["b"]) == ["a"]


@pytest.mark.parametrize(
    ("told", "ended"),
    [
        ({"a": "holding", "b": "fetching"}, True),
        ({"a": "failed"}, True),
        ({"a": "fetching", "b": "holding"}, False),
        ({}, False),
    ],
)
def test_a_stage_ends_when_its_own_hosts_have(told: dict[str, str], ended: bool) -> None:
    assert stage_has_ended(state({"a": 1, "b": 2}, fleet=fleet(**told)), 1) is ended


def test_the_last_stage_ends_with_the_watch() -> None:
    all_there = state({"a": 1}, fleet=fleet(a="holding"))
    assert not stage_has_ended(all_there, 6)
    assert stage_has_ended(dataclasses.replace(all_there, done=True), 6)


def test_a_host_that_a_new_plan_does_not_name_is_waited_for() -> None:
    assert sorted(hosts_of_stage(state({"b": 1}, unplanned=["a"]), 1)) == ["a", "b"]
