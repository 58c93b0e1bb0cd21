# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits of hosts, links and sites, and senders that serve several: replayed by the checker, which knows them too."""

from __future__ import annotations

import math
import pathlib
import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network.estimate import deployment_matrix
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay import planner
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.planner import relay_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.replan import relay_replan
from hypothesis import given, settings
from hypothesis import strategies as some

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[6]))

from tests.plan import check

SIZE = 125_000_000  # 1000 Mbit: at n mbps it takes 1000 / n seconds
QUICK = settings(max_examples=20, deadline=None)
# Searches take their steps, however busy the machine.
pytestmark = pytest.mark.timeout(400)


def star(n: int, mbps: float, **limits: t.Any) -> dict[str, t.Any]:
    """Hosts that all have links of ``mbps`` to each other."""
    hosts = [f"h{k}" for k in range(n)]
    seconds = [[0 if a == b else 1000 / mbps for b in hosts] for a in hosts]
    return {"format": 1, "hosts": hosts, "seconds": seconds, "size_bytes": SIZE, "limits": limits}


@pytest.mark.parametrize("limits", [5, {"hosts": 5}, {"hosts": {"h0": {"mbps": 5}}}], ids=["all", "hosts", "one host"])
def test_what_limits_look_like_is_said(limits: t.Any) -> None:
    with pytest.raises(InvalidOption, match=r'is not accepted; .*\{"up_mbps": n, "down_mbps": n, "streams": n\}.* is wanted$'):
        relay_plan(star(2, 100), ["h0"], limits=limits)


def test_several_at_a_time_only_where_the_port_has_room() -> None:
    wide = star(5, 100, hosts={f"h{k}": {"up_mbps": 400} for k in range(5)})
    assert relay_plan(wide, ["h0"])["predicted_s"] == 30
    four = relay_plan(wide, ["h0"], streams=4)
    assert four["predicted_s"] == pytest.approx(10)
    assert check.staged(wide, four) == pytest.approx(10)
    assert relay_plan(wide, ["h0"], streams=2)["predicted_s"] == pytest.approx(20)
    # Two and a half links fit into a port of 250: two at a time.
    narrow = star(5, 100, hosts={f"h{k}": {"up_mbps": 250} for k in range(5)})
    assert relay_plan(narrow, ["h0"], streams=4)["predicted_s"] == pytest.approx(20)
    # Where the port is no wider than the link a second stream would halve the first one's rate.
    alike = star(5, 100, hosts={f"h{k}": {"up_mbps": 100} for k in range(5)})
    assert relay_plan(alike, ["h0"], streams=4)["predicted_s"] == relay_plan(alike, ["h0"])["predicted_s"]
    # Without a limit nobody knows that the port has room.
    assert relay_plan(star(5, 100), ["h0"], streams=4)["predicted_s"] == 30


@some.composite
def limited(draw: t.Any) -> dict[str, t.Any]:
    """Up to seven hosts in two sites with links, ports and sites of any speed."""
    n = draw(some.integers(3, 7))
    hosts = [f"h{k}" for k in range(n)]
    seconds = [[0 if a == b else draw(some.integers(5, 60)) for b in hosts] for a in hosts]
    rate = some.integers(10, 400)
    ports = {h: {"up_mbps": draw(rate), "down_mbps": draw(rate)} for h in hosts if draw(some.booleans())}
    sites = {h: draw(some.sampled_from("ab")) for h in hosts}
    limits = {"hosts": ports}
    if len(set(sites.values())) == 2:
        limits["sites"] = {"b": {"up_mbps": draw(rate), "down_mbps": draw(rate)}}
        limits["between"] = [["a", "b", draw(rate)]]
    return {"format": 1, "hosts": hosts, "seconds": seconds, "size_bytes": SIZE, "sites": sites, "limits": limits}


@QUICK
@given(limited(), some.integers(1, 4))
def test_staged_plans_keep_within_all_limits(matrix: dict[str, t.Any], streams: int) -> None:
    plan = relay_plan(matrix, ["h0"], streams=streams)
    assert check.staged(matrix, plan) == pytest.approx(plan["predicted_s"])
    assert plan["lower_bound_s"] <= plan["predicted_s"] * (1 + 1e-9)
    one = relay_plan(matrix, ["h0"], streams=1)
    assert plan["predicted_s"] <= one["predicted_s"] * (1 + 1e-9)


@QUICK
@given(limited())
def test_cut_through_plans_know_what_sites_share(matrix: dict[str, t.Any]) -> None:
    chunk = SIZE // 64
    plan = relay_plan(matrix, ["h0"], mode="cut_through", chunk_bytes=chunk, effort=0.2)
    ports = None
    if matrix["limits"]["hosts"]:
        columns = list(zip(*matrix["seconds"], strict=True))

        def port(host: str, key: str, links: t.Sequence[float]) -> float:
            """As the planner takes it: a host without a limit is as fast as its fastest link, with all limits."""
            mbps = matrix["limits"]["hosts"].get(host, {}).get(key)
            return 1000 / mbps if mbps else min(x for x in links if x)

        view = planner.problem(planner.check(matrix, ["h0"]), {"h0": 0.0}, matrix["hosts"][1:])[0]
        at = {h: k for k, h in enumerate(view.hosts)}
        assert len(columns) == len(at)
        rows = view.rows
        ports = {h: (port(h, "up_mbps", rows[at[h]]), port(h, "down_mbps", [row[at[h]] for row in rows])) for h in matrix["hosts"]}
        matrix = {**matrix, "seconds": [[0 if a == b else rows[at[a]][at[b]] for b in matrix["hosts"]] for a in matrix["hosts"]]}
    finish, load = check.cut_through(matrix, plan, math.ceil(SIZE / chunk), ports)
    # A few chunks, by the slowest link or limit of a site.
    shared = [1000 / mbps for _a, _b, mbps in matrix["limits"].get("between") or []]
    shared += [1000 / mbps for site in (matrix["limits"].get("sites") or {}).values() for mbps in site.values()]
    slack = len(matrix["hosts"]) * max([*map(max, matrix["seconds"]), *shared]) / 64 + 1e-6
    assert abs(finish - plan["predicted_s"]) <= 2 * slack
    assert plan["lower_bound_s"] <= load * (1 + 1e-6)


def test_what_crosses_between_sites_shares_their_limit() -> None:
    hosts = [*(f"a{k}" for k in range(4)), *(f"b{k}" for k in range(4))]
    seconds = [[0 if a == b else 10 + (a[0] == b[0]) for b in hosts] for a in hosts]
    matrix = {"format": 1, "hosts": hosts, "seconds": seconds, "size_bytes": SIZE, "sites": {h: h[0] for h in hosts}}
    crossed = {}
    for name, limits in (("free", None), ("tight", {"sites": {"b": {"down_mbps": 100}}})):
        plan = relay_plan(matrix, ["a0"], mode="cut_through", limits=limits, chunk_bytes=SIZE // 500, effort=0.3)
        total = sum(tree["weight"] for tree in plan["trees"])
        cut = [(tree["weight"] / total, sum(e["from"][0] == "a" and e["to"][0] == "b" for e in tree["edges"])) for tree in plan["trees"]]
        crossed[name] = sum(weight * count for weight, count in cut)
        assert check.cut_through(matrix, plan, 500)[0] == pytest.approx(plan["predicted_s"], rel=0.01)
    # The site takes the base in once in ten seconds; links between the sites are the quicker ones.
    assert crossed["free"] > 1.5
    assert crossed["tight"] < 1.2
    assert plan["predicted_s"] < 13


def test_two_transfers_that_do_not_go_through_together_follow_each_other() -> None:
    hosts = ["a0", "a1", "b0", "b1"]
    seconds = [[0 if a == b else None if b[0] == "a" or a[0] == b[0] else 10 for b in hosts] for a in hosts]
    matrix = {"format": 1, "hosts": hosts, "seconds": seconds, "size_bytes": SIZE, "sites": {h: h[0] for h in hosts}}
    for limits, finish in (
        ({"sites": {"a": {"up_mbps": 200}}}, 10), ({"sites": {"a": {"up_mbps": 150}}}, 20),
        ({"sites": {"b": {"down_mbps": 150}}}, 20), ({"between": [["a", "b", 150]]}, 20), ({"between": [["b", "a", 150]]}, 10),
    ):  # fmt: skip
        plan = relay_plan(matrix, ["a0", "a1"], limits=limits)
        assert check.staged(matrix, plan) == pytest.approx(finish)
        assert plan["predicted_s"] == pytest.approx(finish)


def test_limits_go_on_in_a_new_plan() -> None:
    matrix = star(4, 100)
    plan = relay_plan(matrix, ["h0"], limits={"h0": {"up_mbps": 50}})
    assert plan["stages"][0][0]["end_s"] == 20
    again = relay_replan(plan, star(4, 100), {"at_s": 0})
    assert again["limits"] == plan["limits"]
    assert again["stages"][0][0]["end_s"] == 20


def test_a_measured_matrix_keeps_sites_and_their_limits() -> None:
    links = [{"from": a, "to": b, "mbps": 100} for a in "xyz" for b in "xyz" if a != b]
    made = deployment_matrix(links, SIZE, sites={"x": "one", "y": "two", "z": "two"}, limits={"sites": {"two": {"down_mbps": 20}}})
    assert made["sites"] == {"x": "one", "y": "two", "z": "two"}
    assert relay_plan(made, ["x"])["stages"][0][0]["end_s"] == 50


@pytest.mark.parametrize(("limits", "words"), [
    ({"sites": {"nowhere": {"up_mbps": 1}}}, ["nowhere", "the matrix has the sites"]),
    ({"sites": {"a": 5}}, ["limits.sites.a", "up_mbps"]),
    ({"between": [["a", "b"]]}, ["limits.between", "[from, to, mbps]"]),
    ({"hosts": {"h9": {"up_mbps": 1}}}, ["limits.hosts", "h9"]),
    (7, ["limits", "7", "sites"]),
])  # fmt: skip
def test_a_bad_limit_is_named(limits: t.Any, words: list[str]) -> None:
    with pytest.raises(InvalidOption) as error:
        relay_plan(star(3, 100), ["h0"], limits=limits)
    for word in words:
        assert word in error.value.message


@pytest.mark.parametrize(("options", "words"), [
    ({"streams": 0}, "streams"), ({"relay_risk": 1.5}, "relay_risk"), ({"effort": 0}, "effort"), ({"certify": "yes"}, "certify"),
    ({"sites": [1]}, "sites"), ({"speed": 1}, "speed"),
])  # fmt: skip
def test_a_bad_option_is_named(options: dict[str, t.Any], words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        relay_plan(star(3, 100), ["h0"], **options)


def test_a_risky_fleet_gets_flatter_trees() -> None:
    matrix = star(16, 100)
    safe = relay_plan(matrix, ["h0"], mode="cut_through")
    risky = relay_plan(matrix, ["h0"], mode="cut_through", relay_risk=0.05, recovery_s=60)
    assert risky["relays"] < safe["relays"]
    assert risky["depth"] < safe["depth"]
    assert risky["predicted_s"] > safe["predicted_s"]
