# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts whose pools are the same storage get a base once."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network.estimate import deployment_matrix
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network.matrix import parse
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network.preferred_paths import preferred_paths
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay import planner
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.fleet import overview
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.parts import relay_parts, relay_stages
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.planner import relay_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.replan import relay_replan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.text import relay_plan_text

MODES = ["staged", "cut_through"]


def matrix_of(*groups: list[str], hosts: str = "Sabcd", **links: float) -> dict[str, t.Any]:
    """All links take 10 s but for those given as ab=seconds."""
    rows = [[0.0 if u == v else links.get(u + v, 10.0) for v in hosts] for u in hosts]
    return {"format": 1, "hosts": list(hosts), "seconds": rows, "size_bytes": 2**30, "shared_pools": list(groups)}


def receivers(plan: dict[str, t.Any]) -> set[str]:
    return {edge["to"] for tree in plan["trees"] for edge in tree["edges"]}


@pytest.mark.parametrize("mode", MODES)
def test_one_host_of_a_shared_pool_receives_and_the_others_have_it_then(mode: str) -> None:
    plan = relay_plan(matrix_of(["a", "b", "c"], Sb=8.0), ["S"], mode=mode, copies={"c": 2})
    assert receivers(plan) == {"b", "d"}, "the nearest of them"
    assert plan["shares"] == {"a": "b", "c": "b"}
    assert sorted(plan["targets"]) == ["a", "b", "c", "d"]
    assert plan["parents"]["a"] == plan["parents"]["b"]
    arrivals = overview(plan)["arrivals"]
    assert arrivals["c"] == {"at_s": arrivals["b"]["at_s"], "from": [], "shares": "b"}
    assert "  c has the same pool as b, and the base when that has it" in relay_plan_text(plan)
    assert plan["local"][0]["start_s"] == pytest.approx(arrivals["b"]["at_s"])
    assert relay_stages([plan])["a"] == relay_stages([plan])["b"]


@pytest.mark.parametrize("mode", MODES)
def test_who_shares_a_holders_pool_is_a_holder_too(mode: str) -> None:
    plan = relay_plan(matrix_of(["S", "a", "b"], hosts="Sab"), ["S"], mode=mode)
    assert (plan["sources"], receivers(plan), plan["predicted_s"]) == (["S", "a", "b"], set(), 0.0)
    served = relay_plan(matrix_of(["S", "a"], hosts="Sabc", Sb=90.0, Sc=90.0), ["S"], mode=mode)
    assert served["targets"] == ["b", "c"]
    assert served["predicted_s"] == pytest.approx(20.0 if mode == "staged" else 10.0, rel=0.01)


@pytest.mark.parametrize("mode", MODES)
def test_who_is_on_the_only_way_to_others_receives_too(mode: str) -> None:
    """b is nearer to the source than a, but only a reaches d; c is reached by nobody."""
    rows = [[0, 9, 5, None, None], [9, 0, None, None, 9], [5, None, 0, None, None], [9, 9, 9, 0, 9], [9, 9, 9, None, 0]]
    matrix = {"format": 1, "hosts": list("Sabcd"), "seconds": rows, "size_bytes": 2**30, "shared_pools": [["a", "b", "c"]]}
    plan = relay_plan(matrix, ["S"], mode=mode)
    assert (receivers(plan), plan["shares"], plan["unreachable"]) == ({"a", "b", "d"}, {"c": "b"}, [])


def test_a_group_that_no_path_leads_to_is_unreachable_as_a_whole() -> None:
    cut = {"seconds": [[0, None, None, 5], [5, 0, 5, 5], [5, 5, 0, 5], [5, None, None, 0]]}
    plan = relay_plan({**matrix_of(["a", "b"], hosts="Sabc"), **cut}, ["S"])
    assert sorted(plan["unreachable"]) == ["a", "b"]


def test_large_fleets_share_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "DENSE_HOSTS", 3)
    classes = {
        "format": 1,
        "hosts": list("Sabcdef"),
        "class_of": [0, 0, 0, 0, 1, 1, 1],
        "class_seconds": [[10, 60], [60, 12]],
        "size_bytes": 2**30,
    }
    plan = relay_plan({**classes, "shared_pools": [["a", "b"], ["d", "e", "f"]]}, ["S"], mode="cut_through", effort=0.01)
    assert len(receivers(plan)) == 3
    assert set(plan["parents"]) == set("abcdef")


@pytest.mark.parametrize("mode", MODES)
def test_when_the_receiver_of_a_shared_pool_is_lost_another_goes_on_with_what_is_there(mode: str) -> None:
    matrix = matrix_of(["a", "b"], hosts="Sab", Sa=8.0)
    plan = relay_plan(matrix, ["S"], mode=mode)
    assert receivers(plan) == {"a"}
    half = {"bytes": 2**29, "from": "S"}
    again = relay_replan(plan, matrix, {"at_s": 4, "lost_hosts": ["a"], "progress": {"a": half, "b": {"bytes": 2**29, "from": None}}})
    assert (receivers(again), again.get("shares")) == ({"b"}, None)
    assert again["predicted_s"] == pytest.approx(9.0, abs=0.2)
    # What two of them tell of the same copy is one transfer: of whoever is receiving it.
    both = relay_replan(plan, matrix, {"at_s": 4, "progress": {"a": {**half, "from": None}, "b": half}})
    assert (receivers(both), both["shares"]) == ({"b"}, {"a": "b"})
    twice = relay_replan(plan, matrix, {"at_s": 4, "progress": {"a": half, "b": half}})
    assert (receivers(twice), twice["shares"]) == ({"a"}, {"b": "a"})
    # As long as both live, whoever has most goes on.
    more = relay_replan(plan, matrix, {"at_s": 4, "progress": {"b": half}})
    assert (receivers(more), more["shares"], sorted(more["targets"])) == ({"b"}, {"a": "b"}, ["a", "b"])


@pytest.mark.parametrize("mode", MODES)
def test_who_cannot_be_served_does_not_receive_for_the_others_whatever_it_has(mode: str) -> None:
    matrix = matrix_of(["a", "b"], hosts="Sab")
    plan = relay_plan(matrix, ["S"], mode=mode)
    lost = [["S", "a"], ["b", "a"]]
    again = relay_replan(plan, matrix, {"at_s": 4, "lost_links": lost, "progress": {"a": {"bytes": 2**29, "from": "S"}}})
    assert (receivers(again), again["shares"], again["unreachable"]) == ({"b"}, {"a": "b"}, [])


@pytest.mark.parametrize("mode", MODES)
def test_what_a_lost_host_has_brought_is_there_for_the_others(mode: str) -> None:
    matrix = matrix_of(["a", "b"], hosts="Sabc", Sa=8.0, Sc=90.0)
    plan = relay_plan(matrix, ["S"], mode=mode)
    again = relay_replan(plan, matrix, {"at_s": 9, "holders": ["S", "a"], "lost_hosts": ["S", "a"]})
    assert (again["sources"], receivers(again)) == (["b"], {"c"})
    with pytest.raises(FleetError, match="no host that can still be reached holds the base"):
        relay_replan(plan, matrix, {"at_s": 9, "holders": ["S", "a"], "lost_hosts": ["S", "a", "b"]})
    # Who shares the storage but has no part in the relay cannot serve.
    few = relay_plan(matrix, ["S"], ["a", "c"], mode=mode)
    with pytest.raises(FleetError, match="no host that can still be reached holds the base"):
        relay_replan(few, matrix, {"at_s": 9, "holders": ["S", "a"], "lost_hosts": ["S", "a"]})


def test_the_table_of_preferred_paths_has_one_host_of_each_shared_pool() -> None:
    rows = preferred_paths(matrix_of(["a", "b"], hosts="Sabc", Sb=8.0), ["S"])
    assert {host for row in rows for host in row["link"]} == {"S", "b", "c"}


def test_everybody_of_a_shared_pool_is_told_whom_to_ask() -> None:
    relay_of = {"metadata": {}, "sources": {"S": "p"}, "targets": {"a": "p", "b": "p"}}
    plan = relay_plan(matrix_of(["a", "b"], hosts="Sab"), ["S"], mode="cut_through")
    parts = relay_parts([relay_of], [plan])
    assert parts["a"][0]["parents"] == parts["b"][0]["parents"] == [["S"]]


@pytest.mark.parametrize(
    ("value", "words"),
    [("a", "a list of lists of hosts"), ([["a", "x"]], "x"), ([["a", "b"], ["b", "c"]], "each host in one list only")],
    ids=["no list", "unknown host", "twice"],
)
def test_bad_groups_are_refused(value: t.Any, words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        parse({**matrix_of(), "shared_pools": value})


def test_a_matrix_from_measurements_keeps_the_groups() -> None:
    links = [{"from": a, "to": b, "mbps": 100} for a in "Sab" for b in "Sab" if a != b]
    matrix = deployment_matrix(links, 2**20, shared_pools=[["a", "b"]])
    assert relay_plan(matrix, ["S"])["shares"] == {"b": "a"}
