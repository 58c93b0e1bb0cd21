# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import math
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network import matrix as mx
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network.estimate import deployment_matrix, probe_rounds
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.planner import relay_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.text import relay_plan_text

GOOD: dict[str, t.Any] = {"format": 1, "hosts": ["a", "b"], "seconds": [[0, 10], [None, 0]]}


@pytest.mark.parametrize(("change", "words"), [
    ({"seconds": [[0, 10]]}, ["matrix.seconds", "2 rows"]),
    ({"seconds": [[0, 10], [None]]}, ["matrix.seconds[b]", "the matrix is square"]),
    ({"seconds": [[0, -1], [None, 0]]}, ["matrix.seconds[a][b]", "-1", "at least 0"]),
    ({"seconds": [[0, math.nan], [None, 0]]}, ["matrix.seconds[a][b]", "nan"]),
    ({"seconds": [[0, math.inf], [None, 0]]}, ["matrix.seconds[a][b]", "inf", "null for no link"]),
    ({"seconds": [[0, "ten"], [None, 0]]}, ["matrix.seconds[a][b]", "ten"]),
    ({"seconds": [[0, True], [None, 0]]}, ["matrix.seconds[a][b]", "True"]),
    ({"seconds": [[5, 1], [None, 0]]}, ["matrix.seconds[a][a]", "5", "0 is"]),
    ({"hosts": ["a", "a"]}, ["matrix.hosts", "'a'"]),
    ({"format": 2}, ["matrix.format", "2", "format 1"]),
    ({"limits": {"hosts": {"c": {"up_mbps": 1}}}}, ["matrix.limits", "'c'", "a, b"]),
    ({"limits": {"hosts": {"a": {"up_mbps": 0}}}}, ["up_mbps", "0", "above 0"]),
])  # fmt: skip
def test_a_bad_matrix_is_named(change: dict[str, t.Any], words: list[str]) -> None:
    with pytest.raises(InvalidOption) as error:
        mx.parse({**GOOD, **change})
    for word in words:
        assert word in error.value.message


@pytest.mark.parametrize(("options", "words"), [
    ({"sources": ["c"]}, ["sources", "'c'", "a, b"]),
    ({"sources": []}, ["sources", "at least one"]),
    ({"targets": ["x"]}, ["targets", "'x'"]),
    ({"mode": "fast"}, ["mode", "'fast'", "cut_through, staged"]),
    ({"strategy": "worst"}, ["strategy", "best, preferred_paths"]),
    ({"contention": "none"}, ["contention", "port, independent"]),
    ({"size_bytes": 0}, ["size_bytes", "0"]),
    ({"size_bytes": "4G"}, ["size_bytes", "4G"]),
    ({"limits": {"a": {"up_mbps": 100}}}, ["size_bytes"]),
    ({"copies": {"b": -1}}, ["copies.b", "-1"]),
])  # fmt: skip
def test_a_bad_option_is_named(options: dict[str, t.Any], words: list[str]) -> None:
    with pytest.raises(InvalidOption) as error:
        relay_plan(GOOD, **{"sources": ["a"], **options})
    for word in words:
        assert word in error.value.message


def test_a_matrix_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "matrix.json"
    path.write_text(json.dumps(GOOD))
    assert relay_plan(str(path), ["a"]) == relay_plan(GOOD, ["a"])
    with pytest.raises(InvalidOption, match="readable JSON"):
        relay_plan(str(tmp_path / "none.json"), ["a"])


def test_limits_slow_a_link() -> None:
    plan = relay_plan(GOOD, ["a"], limits={"a": {"up_mbps": 8}}, size_bytes=20_000_000)
    assert plan["predicted_s"] == 20
    by_link = relay_plan({**GOOD, "limits": {"links": [["a", "b", 4]]}}, ["a"], size_bytes=20_000_000)
    assert by_link["predicted_s"] == 40


def test_a_matrix_scales_to_the_base() -> None:
    assert relay_plan({**GOOD, "size_bytes": 1000}, ["a"], size_bytes=500)["predicted_s"] == 5


def test_hierarchical_matrices() -> None:
    given = {
        "format": 1, "hosts": ["a", "b", "c"], "class_of": [0, 0, 1], "class_seconds": [[1, 5], [5, 1]],
        "exceptions": [["a", "c", None]],
    }  # fmt: skip
    plan = relay_plan(given, ["a"])
    assert [(m["from"], m["to"], m["end_s"]) for stage in plan["stages"] for m in stage] == [("a", "b", 1), ("b", "c", 6)]


def test_large_hierarchical_plans_are_carried_out_like_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay import planner

    hosts = [f"h{k}" for k in range(24)]
    given = {
        "format": 1, "hosts": hosts, "class_of": [k % 3 for k in range(24)],
        "class_seconds": [[2, 9, 20], [9, 2, 9], [20, 9, 2]], "exceptions": [["h0", "h1", None], ["h0", "h5", 1]],
    }  # fmt: skip
    spread = relay_plan(given, ["h0"])
    monkeypatch.setattr(planner, "DENSE_HOSTS", 3)
    by_class = relay_plan(given, ["h0"])
    assert len({m["to"] for stage in by_class["stages"] for m in stage}) == 23
    assert by_class["predicted_s"] <= spread["predicted_s"] * 1.1
    assert by_class["lower_bound_s"] <= spread["predicted_s"] * (1 + 1e-9)


def test_deployment_matrix_from_links() -> None:
    links = [
        {"from": "a", "to": "b", "mbps": 800, "latency_s": 0.5},
        {"from": "b", "to": "a", "seconds": 2, "bytes": 10_000_000},
        {"from": "a", "to": "c", "seconds": 7},
        {"from": "c", "to": "a", "mbps": 0},
    ]
    made = deployment_matrix(links, 100_000_000)
    assert made["hosts"] == ["a", "b", "c"]
    assert made["seconds"] == [[0, 1.5, 7], [20, 0, None], [None, None, 0]]
    by_host = deployment_matrix({"a": {"links": links[:1], "disk_read_mbps": 400}, "b": links[1:2], "c": []}, 100_000_000)
    assert by_host["seconds"][0][1] == 2.5
    assert by_host["seconds"][1][0] == 20
    assert deployment_matrix([], 1, hosts=["x", "y"])["seconds"] == [[0, None], [None, 0]]


def test_deployment_matrix_by_sites_marks_what_is_estimated() -> None:
    links = [{"from": "a", "to": "b", "mbps": 8}, {"from": "a", "to": "c", "mbps": 4}]
    sites = {"a": "x", "b": "x", "c": "y", "d": "y"}
    made = deployment_matrix(links, 1_000_000, hosts=["a", "b", "c", "d"], sites=sites)
    assert made["seconds"][1] == [1, 0, 2, 2]
    assert ["b", "a"] in made["uncertain"]
    assert ["a", "b"] not in made["uncertain"]
    flat = deployment_matrix(links, 1_000_000, hosts=["a", "b", "c", "d"], sites=sites, hierarchical=True)
    assert flat["class_seconds"] == [[1, 2], [None, None]]
    for matrix in (made, flat):
        parsed = mx.parse(matrix)
        assert [parsed.is_estimated(0, 1), parsed.is_estimated(1, 0), parsed.is_estimated(0, 2), parsed.is_estimated(1, 2)] == [
            False, True, False, True,
        ]  # fmt: skip
    # What was estimated once is not measured because it was written down.
    again = mx.parse(deployment_matrix([], 1_000_000, hosts=["a", "b"], previous=made))
    assert [again.is_estimated(0, 1), again.is_estimated(1, 0)] == [False, True]
    assert relay_plan(flat, ["a"])["unreachable"] == []


def test_deployment_matrix_keeps_what_was_known() -> None:
    before = deployment_matrix([{"from": "a", "to": "b", "seconds": 5}], 10)
    after = deployment_matrix([{"from": "b", "to": "a", "seconds": 3}], 20, previous=before)
    assert after["seconds"] == [[0, 10], [3, 0]]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 9, 32])
def test_probe_rounds_cover_all_pairs_in_disjoint_rounds(count: int) -> None:
    hosts = [f"h{k}" for k in range(count)]
    rounds = probe_rounds(hosts)
    for r in rounds:
        flat = [h for pair in r for h in pair]
        assert len(flat) == len(set(flat))
    pairs = [frozenset(pair) for r in rounds for pair in r]
    assert len(pairs) == len(set(pairs)) == count * (count - 1) // 2
    assert len(rounds) <= max(count - 1 + count % 2, 0)


def test_large_fleets_are_sampled() -> None:
    hosts = [f"h{k}" for k in range(200)]
    sites = {h: f"s{k % 5}" for k, h in enumerate(hosts)}
    rounds = probe_rounds(hosts, sites=sites, sample_rounds=4)
    assert len(rounds) == 4 + 5
    seen = {frozenset({sites[a], sites[b]}) for r in rounds for a, b in r}
    assert len(seen) == 5 + 10
    for r in rounds:
        flat = [h for pair in r for h in pair]
        assert len(flat) == len(set(flat))
    assert len(probe_rounds(hosts, sample_rounds=4)) == 4


def test_plan_text() -> None:
    matrix = {"format": 1, "hosts": ["S", "1"], "seconds": [[0, 600], [None, 0]]}
    text = relay_plan_text(relay_plan(matrix, ["S"], size_bytes=2**30, copies={"1": 2}), matrix)
    for words in ("S > 1  1.0 GiB  10.0 min", "proven optimal", "1: 2 local copies, stage 2, from 10.0 min", "yes"):
        assert words in text
    through = relay_plan_text(relay_plan(matrix, ["S"], size_bytes=2**30, mode="cut_through"))
    assert "100.0%" in through


def link(a: str, b: str, mbps: float = 100.0, age_s: float = 0.0) -> dict[str, t.Any]:
    return {"from": a, "to": b, "mbps": mbps, "age_s": age_s}


def test_pairs_that_are_known_both_ways_and_fresh_are_not_measured_again() -> None:
    known = [link("a", "b"), link("b", "a"), link("a", "c"), link("b", "c"), link("c", "b", age_s=700)]
    pairs = {tuple(sorted(pair)) for r in probe_rounds(["a", "b", "c"], known=known, max_age_s=600) for pair in r}
    assert pairs == {("a", "c"), ("b", "c")}
    assert {tuple(sorted(pair)) for r in probe_rounds(["a", "b", "c"], known=known) for pair in r} == {("a", "c")}


def test_links_that_nobody_measured_are_estimated_by_the_slower_end_and_marked() -> None:
    rows = [link("a", "b"), link("b", "a"), link("a", "c", 10.0), link("c", "a", 50.0, age_s=900)]
    matrix = deployment_matrix(rows, 12_500_000, hosts=["a", "b", "c"], estimate=True, max_age_s=600)
    assert matrix["uncertain"] == [["b", "c"], ["c", "a"], ["c", "b"]]
    assert matrix["seconds"][1][2] == pytest.approx(10.0)  # as slow as what reaches c
    assert matrix["seconds"][2][1] == pytest.approx(2.0)  # as slow as what leaves c
    assert deployment_matrix(rows, 12_500_000, hosts=["a", "b", "c"])["seconds"][1][2] is None


def test_a_link_that_was_found_missing_is_not_estimated() -> None:
    rows = [link("a", "b"), link("b", "a"), {"from": "a", "to": "c", "mbps": None}]
    matrix = deployment_matrix(rows, 1_000_000, hosts=["a", "b", "c"], estimate=True)
    assert matrix["seconds"][0][2] is None
    assert matrix["seconds"][1][2] is not None


@pytest.mark.parametrize(
    ("facts", "seconds"),
    [
        ({}, 1.0),
        ({"disk_write_mbps": 50.0}, 2.0),
        ({"disk_write_mbps": 50.0, "cpus": 2, "load_1m": 4.0}, 4.0),
        ({"disk_write_mbps": 50.0, "cpus": 2, "load_1m": 4.0, "disks_age_s": 5.0}, 2.0),
        ({"disk_write_mbps": 50.0, "disk_read_mbps": 50.0, "memory_available_mib": 4096}, 2.0),
        ({"disk_write_mbps": 50.0, "disk_read_mbps": 50.0, "memory_available_mib": 8}, 4.0),
    ],
    ids=["link", "disk", "load", "load-measured", "memory", "no-memory"],
)
def test_disk_load_and_memory_of_the_receiver_count(facts: dict[str, t.Any], seconds: float) -> None:
    probes = {"a": {"links": [link("a", "b")]}, "b": {"links": [], **facts}}
    assert deployment_matrix(probes, 12_500_000)["seconds"][0][1] == pytest.approx(seconds)


def test_a_slow_disk_of_the_sender_counts() -> None:
    probes = {"a": {"links": [link("a", "b")], "disk_read_mbps": 25.0}, "b": {"links": []}}
    assert deployment_matrix(probes, 12_500_000)["seconds"][0][1] == pytest.approx(4.0)
