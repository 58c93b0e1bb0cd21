# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whoever dies, everybody else still finds a way to a holder through the choices that the plan lists."""

from __future__ import annotations

import json
import pathlib
import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay import backup_parents, planner
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.planner import relay_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.replan import relay_replan
from hypothesis import Phase, given, settings
from hypothesis import strategies as some

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[6]))

from tests.plan import check

INSTANCES = pathlib.Path(__file__).resolve().parents[5] / "plan" / "instances"
Links = set[tuple[str, str]]
# Shrinking takes minutes here, and these networks are small enough to read.
QUICKLY = (Phase.explicit, Phase.reuse, Phase.generate)
# Searches take their steps, however busy the machine.
pytestmark = pytest.mark.timeout(400)


def links_of(matrix: dict[str, t.Any]) -> Links:
    hosts = matrix["hosts"]
    return {(a, b) for a, row in zip(hosts, matrix["seconds"], strict=True) for b, x in zip(hosts, row, strict=True) if a != b and x}


def reached(links: Links, sources: set[str], dead: set[str]) -> set[str]:
    """Who has a path of links from a living source."""
    found, todo = sources - dead, list(sources - dead)
    while todo:
        at = todo.pop()
        fresh = {b for a, b in links if a == at and b not in dead and b not in found}
        found |= fresh
        todo += fresh
    return found


def stranded(plan: dict[str, t.Any], links: Links, dead: set[str]) -> list[tuple[str, int]]:
    """Hosts and stripes that the network could still serve, but the listed choices do not."""
    possible = reached(links, set(plan["sources"]), dead)
    lost = []
    for stripe in range(len(plan["trees"])):
        chosen = {(u, v) for v, stripes in plan["parents"].items() for u in stripes[stripe]}
        assert chosen <= links
        lost += [(host, stripe) for host in sorted(possible - reached(chosen, set(plan["sources"]), dead))]
    return lost


@some.composite
def meshes(draw: t.Any) -> tuple[dict[str, t.Any], list[str]]:
    """Few links, two sites, one or two holders."""
    n = draw(some.integers(3, 9))
    hosts = [f"h{k}" for k in range(n)]
    link = some.one_of(some.none(), some.integers(1, 50))
    seconds = [[0 if i == j else draw(link) for j in range(n)] for i in range(n)]
    sites = {host: draw(some.sampled_from("ab")) for host in hosts}
    return {"format": 1, "hosts": hosts, "seconds": seconds, "sites": sites}, hosts[: draw(some.integers(1, 2))]


@settings(max_examples=60, deadline=None, phases=QUICKLY)
@given(meshes(), some.sampled_from(["staged", "cut_through"]))
def test_any_host_or_site_may_die(drawn: tuple[dict[str, t.Any], list[str]], mode: str) -> None:
    matrix, sources = drawn
    plan = relay_plan(matrix, sources, mode=mode, size_bytes=2**24)
    links = links_of(matrix)
    for host in matrix["hosts"]:
        assert stranded(plan, links, {host}) == []
    for site in "ab":
        assert stranded(plan, links, {host for host in matrix["hosts"] if matrix["sites"][host] == site}) == []


@pytest.mark.parametrize(("name", "mode"), [("sparse-n64-s1", "staged"), ("hubspoke-n32-s1", "staged"), ("wan-n16-s1", "cut_through")])
def test_any_host_of_an_instance_may_die(name: str, mode: str) -> None:
    instance = json.loads((INSTANCES / f"{name}.json").read_text())
    matrix = {"format": 1, "hosts": instance["hosts"], "seconds": instance["matrix_s"]}
    plan = relay_plan(matrix, [instance["source"]], mode=mode, size_bytes=2**28, effort=0.05)
    links = links_of(matrix)
    assert [host for host in matrix["hosts"] if stranded(plan, links, {host})] == []


@settings(max_examples=40, deadline=None, phases=QUICKLY)
@given(meshes(), some.sampled_from(["staged", "cut_through"]))
def test_nobody_asks_those_below_while_there_is_somebody_else(drawn: tuple[dict[str, t.Any], list[str]], mode: str) -> None:
    matrix, sources = drawn
    plan = relay_plan(matrix, sources, mode=mode, size_bytes=2**24)
    for stripe, tree in enumerate(plan["trees"]):
        parent = {edge["to"]: edge["from"] for edge in tree["edges"]}
        for host, stripes in plan["parents"].items():
            below = [v in parent and host in _above(v, parent) for v in stripes[stripe]]
            assert below == sorted(below), "those below come last"


def _above(host: str, parent: dict[str, str]) -> list[str]:
    out = []
    while host in parent:
        host = parent[host]
        out.append(host)
    return out


def test_a_choice_lies_in_another_branch_and_in_another_site() -> None:
    """The holder 0 serves 1 to 5 in one site and 7 in another; 1 serves 6, for which 7 is the worst of all choices."""
    ranked = [[], [], [], [], [], [], [2, 3, 4, 5, 7], []]
    rows = [[1.0] * 8 for _unused in range(8)]
    parent, at = [-1, 0, 0, 0, 0, 0, 1, 0], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0]
    assert backup_parents.Choices(ranked, rows, [0], [0, 1, 1, 1, 1, 1, 1, 2]).of_tree(parent, at)[6] == [1, 2, 3, 4, 7, 0]
    assert backup_parents.Choices(ranked, rows, [0], [0] * 8).of_tree(parent, at)[6] == [1, 2, 3, 4, 5, 0]
    below = [-1, 0, 1, 1, 1, 1, 1, 0]
    ranked[6] = [2, 3, 4, 5, 7]
    assert backup_parents.Choices(ranked, rows, [0], [0] * 8).of_tree(below, [0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 2.0])[6] == [
        1,
        2,
        3,
        4,
        7,
        0,
    ]


@pytest.mark.parametrize("limits", [None, {"sites": {"1": {"down_mbps": 300}}}])
def test_large_fleets_cut_through_by_classes(monkeypatch: pytest.MonkeyPatch, limits: t.Any) -> None:
    monkeypatch.setattr(planner, "DENSE_HOSTS", 3)
    hosts = [f"h{k}" for k in range(30)]
    matrix = {
        "format": 1, "hosts": hosts, "class_of": [k % 3 for k in range(30)], "size_bytes": 2**30, "limits": limits,
        "class_seconds": [[10, 60, 80], [60, 12, 90], [80, 90, 15]], "exceptions": [["h0", "h1", None]],
    }  # fmt: skip
    plan = relay_plan(matrix, ["h0"], mode="cut_through", chunk_bytes=2**20, effort=0.02)
    dense = {**matrix, "sites": {h: str(k % 3) for k, h in enumerate(hosts)}}
    finish, load = check.cut_through(dense, plan, 1024)
    assert finish == pytest.approx(plan["predicted_s"], rel=0.05)
    assert plan["lower_bound_s"] <= load * (1 + 1e-6)
    assert finish <= 2.2 * plan["lower_bound_s"]
    assert len(plan["parents"]) == 29
    assert all(len(stripes) == len(plan["trees"]) for stripes in plan["parents"].values())
    # After a host is lost the rest is planned by classes too.
    again = relay_replan(plan, matrix, {"at_s": 5, "lost_hosts": ["h7"], "progress": {"h3": {"bytes": 2**29, "from": "h0"}}})
    assert set(again["parents"]) == set(hosts) - {"h0", "h7"}
