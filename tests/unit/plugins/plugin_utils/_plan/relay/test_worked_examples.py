# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The worked examples: minutes, S the source, preferred paths, transfers that do not slow each other."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network.preferred_paths import preferred_paths
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.planner import relay_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.replan import relay_replan

HOSTS = ["S", "1", "2", "3"]
FIRST = {
    ("S", "1"): 10, ("S", "2"): 30, ("S", "3"): 45, ("1", "2"): 10, ("2", "1"): 10, ("1", "3"): 15, ("3", "1"): 15,
    ("2", "3"): 5, ("3", "2"): 5,
}  # fmt: skip
Links = Mapping[tuple[str, str], float]


def matrix(links: Links) -> dict[str, t.Any]:
    seconds = [[0 if a == b else links.get((a, b)) for b in HOSTS] for a in HOSTS]
    return {"format": 1, "hosts": HOSTS, "seconds": seconds}


def planned(links: Links, **more: t.Any) -> dict[str, t.Any]:
    return relay_plan(matrix(links), ["S"], strategy="preferred_paths", contention="independent", **more)


def moves(plan: dict[str, t.Any]) -> list[list[tuple[str, float, float]]]:
    return [[(f"{m['from']}>{m['to']}", m["start_s"], m["end_s"]) for m in stage] for stage in plan["stages"]]


def words(links: Links) -> dict[str, str]:
    out = {}
    for row in preferred_paths(matrix(links), ["S"]):
        word = ("tie" if row["tie"] else "yes") if row["preferred"] else "no"
        out[">".join(row["link"])] = word + (f" after {row['precondition']}" if row["precondition"] else "")
    return out


def test_example_1_table() -> None:
    assert words(FIRST) == {
        "S>1": "yes", "S>2": "no", "S>3": "no", "1>2": "yes after 1", "1>3": "tie after 1", "2>1": "no",
        "2>3": "tie after 2", "3>1": "no", "3>2": "no",
    }  # fmt: skip


def test_example_1_stages_and_local_copies() -> None:
    plan = planned(FIRST, copies={"1": 2, "2": 2, "3": 2})
    assert moves(plan) == [[("S>1", 0, 10)], [("1>2", 10, 20), ("1>3", 10, 25)]]
    assert plan["local"] == [
        {"host": "1", "stage": 2, "count": 2, "start_s": 10},
        {"host": "2", "stage": 3, "count": 2, "start_s": 20},
        {"host": "3", "stage": 3, "count": 2, "start_s": 25},
    ]
    assert plan["predicted_s"] == plan["lower_bound_s"] == 25


def test_example_2_a_link_gets_faster_while_a_transfer_runs() -> None:
    now = {**FIRST, ("S", "3"): 10}
    assert words(now) == {
        "S>1": "yes", "S>2": "no", "S>3": "yes", "1>2": "no", "1>3": "no", "2>1": "no", "2>3": "no", "3>1": "no",
        "3>2": "yes after 3",
    }  # fmt: skip
    for observed in ({"at_s": 2}, {"at_s": 2, "holders": ["S"], "progress": {"1": {"bytes": 1, "from": "S"}}}):
        plan = relay_replan(planned(FIRST), matrix(now), observed)
        assert moves(plan) == [[("S>1", 0, 10), ("S>3", 2, 12)], [("3>2", 12, 17)]]


def test_example_3_a_link_fails_under_a_transfer() -> None:
    before = {**FIRST, ("1", "3"): 25, ("S", "2"): 45}
    now = {link: time for link, time in before.items() if set(link) != {"1", "2"}}
    assert words(now) == {
        "S>1": "yes", "S>2": "no", "S>3": "no", "1>3": "yes after 1", "2>3": "no", "3>1": "no", "3>2": "yes after 3",
    }  # fmt: skip
    plan = planned(before)
    assert moves(plan) == [[("S>1", 0, 10)], [("1>2", 10, 20)], [("2>3", 20, 25)]]
    lost = {"at_s": 11, "lost_links": [["1", "2"], ["2", "1"]]}
    after = relay_replan(plan, matrix(before), lost, copies={"1": 2, "2": 2, "3": 2})
    assert after["sources"] == ["S", "1"]
    # A tenth of the base came over the failed link and is resumed.
    assert moves(after) == [[("1>3", 11, 36)], [("3>2", 36, pytest.approx(40.5))]]
    assert after["stages"][1][0]["share"] == pytest.approx(0.9)
    assert after["parents"]["2"] == [["3", "S"]]
    assert [(c["host"], c["stage"], c["start_s"]) for c in after["local"]] == [
        ("1", 1, 11), ("3", 2, 36), ("2", 3, pytest.approx(40.5)),
    ]  # fmt: skip


def test_example_4_the_source_dies() -> None:
    links = {(a, b): 15 for a in HOSTS for b in HOSTS if b not in (a, "S")}
    links.update({("S", "1"): 10, ("S", "2"): 20, ("S", "3"): 20})
    plan = planned(links)
    assert moves(plan) == [[("S>1", 0, 10), ("S>2", 0, 20), ("S>3", 0, 20)]]
    after = relay_replan(plan, matrix(links), {"at_s": 12, "lost_hosts": ["S"]}, copies={"1": 2, "2": 2, "3": 2})
    # 12 of 20 minutes had come from S.
    assert moves(after) == [[("1>2", 12, pytest.approx(18)), ("1>3", 12, pytest.approx(18))]]
    assert all("S" not in choices for stripes in after["parents"].values() for choices in stripes)
    assert [(c["host"], c["stage"]) for c in after["local"]] == [("1", 1), ("2", 2), ("3", 2)]
    again = relay_replan(plan, matrix(links), {"at_s": 12, "holders": ["1"], "lost_hosts": ["S"], "progress": {"2": {}}})
    assert moves(again) == [[("1>2", 12, 27), ("1>3", 12, 27)]]
    with pytest.raises(FleetError, match="holds the base") as error:
        relay_replan(plan, matrix(links), {"at_s": 5, "lost_hosts": ["S"]})
    assert error.value.fields["kind"] == "no_holder"


def test_example_5_two_pools_on_one_host() -> None:
    links = {"format": 1, "hosts": ["S", "h"], "seconds": [[0, 10], [None, 0]]}
    plan = relay_plan(links, ["S"], copies={"h": {"first": 2, "second": 2}})
    assert moves(plan) == [[("S>h", 0, 10)]]
    assert [(c["stage"], c["from_pool"], c["pool"], c["count"]) for c in plan["local"]] == [
        (2, "first", "first", 2), (2, "first", "second", 1), (3, "second", "second", 2),
    ]  # fmt: skip
