# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.fleet import Network, relay_plans
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.parts import relay_parts
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.text import relay_plan_text

SIZE = 1_250_000_000  # 10 s at 1 Gbit/s


def relay(sources: list[str], targets: list[str]) -> dict[str, t.Any]:
    return {
        "base": "debian 1", "sha256": "a" * 64, "size_bytes": SIZE, "estimated": False, "metadata": {"sha256": "a" * 64},
        "sources": dict.fromkeys(sources, "default"), "targets": dict.fromkeys(targets, "default"), "shared_pools": [],
    }  # fmt: skip


def links(hosts: list[str], mbps: t.Callable[[str, str], float]) -> list[dict[str, t.Any]]:
    return [{"from": a, "to": b, "mbps": mbps(a, b)} for a in hosts for b in hosts if a != b]


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
@pytest.mark.parametrize("fast", range(10))
def test_the_fast_one_of_ten_holders_serves(mode: str, fast: int) -> None:
    sources = [f"h{k}" for k in range(10)]
    known = links([*sources, "t"], lambda a, b: 1000 if a == f"h{fast}" else 10)
    (plan,) = relay_plans([relay(sources, ["t"])], Network(known), mode=mode)
    assert plan["predicted_s"] == pytest.approx(10, rel=0.05)
    assert {edge["from"] for tree in plan["trees"] for edge in tree["edges"]} == {f"h{fast}"}
    assert len(plan["standby"]) == 2
    parts = relay_parts([relay(sources, ["t"])], [plan])
    assert set(parts) == {*plan["standby"], f"h{fast}", "t"}
    assert parts["t"][0]["parents"][0][0] == f"h{fast}"


def test_the_nearest_idle_holders_stand_by() -> None:
    rates = {"h0": 1000, "h1": 10, "h2": 20, "h3": 500, "h4": 400}
    (plan,) = relay_plans([relay([*rates], ["t"])], Network(links([*rates, "t"], lambda a, b: rates.get(a, 5))), mode="staged")
    assert plan["standby"] == ["h3", "h4"]
    assert set(plan["sources"]) == {"h0", "h3", "h4"}


EXAMPLE_1 = {
    "S>1": 10, "S>2": 30, "S>3": 45, "1>2": 10, "2>1": 10, "1>3": 15, "3>1": 15, "2>3": 5, "3>2": 5,
}  # fmt: skip


def of_minutes(minutes: dict[str, float]) -> Network:
    return Network([{"from": link[0], "to": link[2], "mbps": SIZE * 8e-6 / (60 * m)} for link, m in minutes.items()])


def edges(plan: dict[str, t.Any]) -> set[tuple[str, str]]:
    return {(edge["from"], edge["to"]) for tree in plan["trees"] for edge in tree["edges"]}


def receivers(plan: dict[str, t.Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for a, b in edges(plan):
        found.setdefault(a, set()).add(b)
    return found


def test_whole_paths_of_example_1_with_their_totals() -> None:
    options = {"mode": "staged", "strategy": "preferred_paths", "contention": "independent"}
    (plan,) = relay_plans([relay(["S"], ["1", "2", "3"])], of_minutes(EXAMPLE_1), paths=True, **options)
    found = {(row["from"], row["to"]): (row["path"], round(row["seconds"] / 60), row["tie"]) for row in plan["whole_paths"]}
    assert found["S", "2"] == (["S", "1", "2"], 20, False)
    assert found["S", "3"] == (["S", "1", "3"], 25, True)
    assert found["1", "3"] == (["1", "3"], 15, True)
    assert found["3", "1"] == (["3", "1"], 15, True)
    text = relay_plan_text(plan)
    assert "  S > 1 > 2:  20.0 min\n" in text
    assert "  S > 1 > 3:  25.0 min (tie)\n" in text
    assert {tuple(row["link"]) for row in plan["paths"] if row["used"]} == edges(plan)


def test_the_table_marks_what_another_strategy_uses() -> None:
    (plan,) = relay_plans([relay(["S"], ["1", "2", "3"])], of_minutes(EXAMPLE_1), paths=True)
    used = {tuple(row["link"]): row["used"] for row in plan["paths"] if row["used"]}
    assert set(used) == edges(plan)
    for host in "123":
        assert sum(share for (_a, b), share in used.items() if b == host) == pytest.approx(1.0)


def test_without_measurements_no_time_is_claimed() -> None:
    (plan,) = relay_plans([relay(["S"], ["1", "2"])], paths=True)
    assert plan["assumed"]
    text = relay_plan_text(plan)
    assert "times are unknown" in text
    assert not [word for word in text.split() if word in ("s", "min", "h")]


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
@pytest.mark.parametrize("streams", [1, 2, 3])
@pytest.mark.parametrize("count", [5, 12, 30])
def test_no_host_serves_more_than_its_streams(mode: str, streams: int, count: int) -> None:
    hosts = [f"h{k}" for k in range(count)]
    network = Network(
        links(hosts, lambda a, b: 1000 if int(a[1:]) % 3 == int(b[1:]) % 3 else 200),
        settings={host: {"rate_mbps": 0, "link_mbps": {}, "streams": streams} for host in hosts},
    )
    (plan,) = relay_plans([relay(["h0"], hosts[1:])], network, mode=mode, contention="port")
    assert not plan["unreachable"]
    if mode == "cut_through":
        assert max(len(served) for served in receivers(plan).values()) <= streams
    else:
        assert most_at_once(plan) <= streams


def most_at_once(plan: dict[str, t.Any]) -> int:
    moves = [move for stage in plan["stages"] for move in stage]
    return max(sum(o["from"] == m["from"] and o["start_s"] <= m["start_s"] < o["end_s"] - 1e-6 for o in moves) for m in moves)


@pytest.mark.parametrize("streams", [1, 2])
def test_independent_links_keep_to_streams_too(streams: int) -> None:
    hosts = [f"h{k}" for k in range(6)]
    settings = {"h0": {"streams": streams}}
    network = Network([{"from": "h0", "to": b, "mbps": 100} for b in hosts[1:]], settings=settings)
    options = {"mode": "staged", "strategy": "preferred_paths", "contention": "independent"}
    (plan,) = relay_plans([relay(["h0"], hosts[1:])], network, **options)
    assert most_at_once(plan) == streams
    assert plan["predicted_s"] == pytest.approx(100 * -(-5 // streams))


def test_streams_of_one_sender_leave_the_others_free() -> None:
    hosts = [f"h{k}" for k in range(8)]
    network = Network(links(hosts, lambda _a, _b: 1000), settings={"h0": {"streams": 1}})
    (plan,) = relay_plans([relay(["h0"], hosts[1:])], network)
    assert len(receivers(plan)["h0"]) == 1


def test_limits_of_sites_and_between_them_slow_the_plan() -> None:
    hosts = ["a1", "a2", "b1", "b2"]
    sites = {host: host[0] for host in hosts}
    plans = {}
    for name, limits in {
        "none": None,
        "out": {"sites": {"a": {"up_mbps": 100}}},
        "in": {"sites": {"b": {"down_mbps": 100}}},
        "between": {"between": [["a", "b", 50]]},
    }.items():
        network = Network(links(hosts, lambda _a, _b: 1000), sites, site_limits=limits)
        (plans[name],) = relay_plans([relay(["a1"], hosts[1:])], network, paths=True)
    assert plans["none"]["predicted_s"] < 25
    assert plans["out"]["predicted_s"] == pytest.approx(100, rel=0.05)
    assert plans["in"]["predicted_s"] == pytest.approx(100, rel=0.05)
    assert plans["between"]["predicted_s"] == pytest.approx(200, rel=0.05)
    # The tables tell what can be reached: nobody carries more between the sites than the limit.
    for table in ("paths", "whole_paths"):
        ends = {tuple(row.get("link") or (row["from"], row["to"])): row["seconds"] for row in plans["between"][table]}
        assert ends["a1", "b1"] == pytest.approx(200, rel=0.05)
        assert ends["a1", "a2"] < 25


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_permitted_host_passes_on_where_that_is_sooner(mode: str) -> None:
    needs = {**relay(["S"], ["t"]), "helpers": {"x": "default", "y": "default"}}
    rates = {("S", "x"): 1000, ("x", "t"): 1000}
    network = Network(links(["S", "t", "x", "y"], lambda a, b: rates.get((a, b), 50)))
    (alone,) = relay_plans([relay(["S"], ["t"])], network, mode=mode)
    (helped,) = relay_plans([needs], network, mode=mode)
    assert helped["helpers"] == ["x"]
    assert helped["predicted_s"] < alone["predicted_s"] / 5
    parts = relay_parts([needs], [helped])
    assert parts["t"][0]["parents"][0][0] == "x"
    assert parts["x"][0]["pool"] == "default"
    assert "y" not in parts
    (lost,) = relay_plans([needs], network, alive=["S", "t", "y"], mode=mode)
    assert "helpers" not in lost


def test_a_permitted_host_that_helps_nobody_gets_nothing() -> None:
    needs = {**relay(["S"], ["t"]), "helpers": {"x": "default"}}
    (plan,) = relay_plans([needs], Network(links(["S", "t", "x"], lambda _a, _b: 1000)))
    assert "helpers" not in plan
    assert set(relay_parts([needs], [plan])) == {"S", "t"}


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_users_path_is_taken_whatever_was_measured(mode: str) -> None:
    needs = {**relay(["S"], ["1", "2", "3"]), "fixed": [("S", "3"), ("3", "1")]}
    (plan,) = relay_plans([needs], of_minutes(EXAMPLE_1), mode=mode)
    assert {a for a, b in edges(plan) if b == "3"} == {"S"}
    assert {a for a, b in edges(plan) if b == "1"} == {"3"}
    (without,) = relay_plans([needs], of_minutes(EXAMPLE_1), alive=["S", "1", "2"], mode=mode)
    assert not without["unreachable"]


def test_plans_show_whole_copies_that_stay_on_a_host() -> None:
    """Worked example 5: one host, two pools, three whole copies in each."""
    needs = {**relay(["S"], ["h"]), "copies": {"h": {"first": 3, "second": 3}}}
    known = {"S": {"links": links(["S", "h"], lambda _a, _b: 1000)}, "h": {"disk_read_mbps": 2000, "disk_write_mbps": 2000, "links": []}}
    (plan,) = relay_plans([needs], Network(known), mode="staged")
    shown = [(e["stage"], e["pool"], e["from_pool"], e["count"], round(e["start_s"]), round(e["end_s"])) for e in plan["local"]]
    assert shown == [(2, "first", "first", 3, 10, 40), (2, "second", "first", 1, 10, 20), (3, "second", "second", 3, 20, 50)]
    assert plan["copied_s"] == pytest.approx(50, rel=0.02)
    assert "h: 3 local copies in second from second, stage 3, from 20.0 s to 50.0 s" in relay_plan_text(plan)


def test_times_of_links_that_nobody_measured_are_marked() -> None:
    known = links(["a", "b", "c"], lambda a, b: 100)
    for missing, marked in ((None, []), (("c", "b"), [["c", "b"]]), (("b", "a"), [["b", "a"]])):
        rows = [row for row in known if (row["from"], row["to"]) != missing]
        (plan,) = relay_plans([relay(["a"], ["b", "c"])], Network(rows), paths=True)
        assert [row["path"] for row in plan["whole_paths"] if row.get("estimated")] == marked
        tables = relay_plan_text(plan).partition("Preferred paths:")[2]
        told = [line for line in tables.splitlines() if "~" in line]
        assert bool(told) == bool(marked)
        assert all(" > ".join(marked[0]) in line or line.startswith("~ is estimated") for line in told)
    # Where nothing is known no time is told at all.
    (plan,) = relay_plans([relay(["a"], ["b", "c"])], Network([]), paths=True)
    assert "~" not in relay_plan_text(plan)


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_plan_over_links_that_nobody_measured_promises_no_time_and_no_optimum(mode: str) -> None:
    known = [row for row in links(["a", "b", "c"], lambda a, b: 300 if a == "c" else 100) if (row["from"], row["to"]) != ("a", "b")]
    needs = {**relay(["a", "c"], ["b"]), "copies": {"b": {"default": 2}, "a": {"default": 2}}}
    for rows, guessed in ((known, []), ([row for row in known if row["to"] != "b"], ["b"])):
        (plan,) = relay_plans([needs], Network(rows), mode=mode)
        assert [link["to"] for link in plan["links"] if link.get("estimated")] == guessed
        told = relay_plan_text(plan).splitlines()
        finish = next(line for line in told if "predicted finish" in line)
        assert ("proven optimal" in finish, "lower bound" in finish, "~" in finish) == (not guessed, not guessed, bool(guessed))
        marked = [line.split()[0] for line in told if "~" in line and "predicted" not in line]
        assert marked == ([plan["links"][0]["from"], "b", "b:", "~"] if guessed else []), told
