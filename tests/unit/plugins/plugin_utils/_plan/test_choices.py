# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whoever dies, everybody else still finds a way to a holder through the choices that the plan lists."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay import relay_plan
from hypothesis import Phase, given, settings
from hypothesis import strategies as some

INSTANCES = pathlib.Path(__file__).resolve().parents[4] / "plan" / "instances"
Links = set[tuple[str, str]]
# Shrinking takes minutes here, and these networks are small enough to read.
QUICKLY = (Phase.explicit, Phase.reuse, Phase.generate)


def links_of(matrix: dict[str, t.Any]) -> Links:
    hosts = matrix["hosts"]
    return {
        (a, b) for a, row in zip(hosts, matrix["seconds"], strict=True) for b, x in zip(hosts, row, strict=True) if a != b and x
    }


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


def test_a_choice_lies_in_another_site() -> None:
    hosts = [f"{site}{k}" for site in "xyz" for k in range(6)]
    near, far = 10, 100
    seconds = [[0 if a == b else near if a[0] == b[0] else far for b in hosts] for a in hosts]
    matrix = {"format": 1, "hosts": hosts, "seconds": seconds, "sites": {host: host[0] for host in hosts}}
    plan = relay_plan(matrix, ["x0"])
    late = [host for stage in plan["stages"][2:] for host in (move["to"] for move in stage) if host[0] != "x"]
    assert late
    for host in late:
        parent, *others = plan["parents"][host][0]
        assert any(other[0] != parent[0] for other in others if other != "x0"), plan["parents"][host]
