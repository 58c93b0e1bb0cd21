# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import place_machines
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_manifest


def manifest(**group: t.Any) -> dict[str, t.Any]:
    group = {"name": "web", "disks": [{"name": "root", "base": "tiny"}], **group}
    bases = [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "tiny.qcow2"}}]
    return parse_manifest({"format": 1, "service": "shop", "bases": bases, "machines": [group]})


def host(*numbers: int, reachable: bool = True, held: bool = False, **facts: t.Any) -> dict[str, t.Any]:
    base = {"sha256": "a" * 64, "source_sha256": "a" * 64, "names": [{"tenant": "default", "name": "tiny", "version": "1"}]}
    return {
        "reachable": reachable,
        "machines": [{"machine": f"web-{n}", "group": "web", "number": n} for n in numbers],
        "pools": {"default": {"bases": [base] if held else []}},
        **facts,
    }


def placed(result: dict[str, t.Any]) -> dict[str, str]:
    return {entry["machine"]: entry["host"] for entry in result["assignments"]}


def record(generation: int, **assignments: tuple[str, int]) -> dict[str, t.Any]:
    return {
        "service": "shop",
        "generation": generation,
        "assignments": {name: {"host": where, "group": "web", "number": n} for name, (where, n) in assignments.items()},
    }


def test_numbers_follow_the_order_of_hosts() -> None:
    result = place_machines(manifest(hosts=["b", "a"], per_host=2), {"a": host(), "b": host()})
    assert placed(result) == {"web-1": "b", "web-2": "b", "web-3": "a", "web-4": "a"}


def test_machines_keep_their_number_when_hosts_are_added_before_them() -> None:
    result = place_machines(manifest(hosts=["new", "a", "b"]), {"new": host(), "a": host(1), "b": host(2)})
    assert placed(result) == {"web-1": "a", "web-2": "b", "web-3": "new"}


def test_a_gap_is_filled_before_new_numbers() -> None:
    result = place_machines(manifest(hosts=["a", "b", "c"]), {"a": host(1), "b": host(), "c": host(3)})
    assert placed(result) == {"web-1": "a", "web-2": "b", "web-3": "c"}


def test_the_numbers_of_an_unreachable_host_are_not_given_away() -> None:
    others = record(2, web_3=("dead", 3), web_1=("a", 1))
    hosts = {"new": host(), "a": host(1, record=others), "dead": host(reachable=False)}
    result = place_machines(manifest(hosts=["new", "a", "dead"]), hosts)
    assert placed(result) == {"web-1": "a", "web-2": "new", "web-3": "dead"}


def test_the_newest_record_counts() -> None:
    hosts = {
        "a": host(1, record=record(1, old=("dead", 2))),
        "b": host(record=record(5, new=("dead", 7))),
        "dead": host(reachable=False),
    }
    assert placed(place_machines(manifest(hosts=["a", "b", "dead"]), hosts))["web-7"] == "dead"


def test_what_was_recorded_for_a_reachable_host_but_never_made_keeps_its_number() -> None:
    hosts = {"a": host(record=record(1, x=("b", 1), y=("a", 2))), "b": host()}
    assert placed(place_machines(manifest(hosts=["a", "b"]), hosts)) == {"web-1": "b", "web-2": "a"}


def test_fewer_machines_asked_for_leaves_the_surplus_alone_and_says_so() -> None:
    result = place_machines(manifest(hosts=["a"], per_host=1), {"a": host(1, 2), "b": host(3)})
    assert placed(result) == {"web-1": "a"}
    assert result["surplus"] == [{"machine": "web-2", "host": "a"}, {"machine": "web-3", "host": "b"}]


def test_a_count_is_spread_evenly_over_reachable_hosts() -> None:
    result = place_machines(manifest(count=5), {"a": host(), "dead": host(reachable=False), "b": host(), "c": host()})
    assert [list(placed(result).values()).count(h) for h in ("a", "b", "c", "dead")] == [2, 2, 1, 0]


def test_among_equals_the_host_that_has_the_base_wins_and_the_reason_can_be_read() -> None:
    result = place_machines(manifest(count=1), {"a": host(), "b": host(held=True)})
    assert placed(result) == {"web-1": "b"}
    best, other = result["ratings"]["web-1"]
    assert (best["host"], other["host"]) == ("b", "a")
    assert best["rating"] > other["rating"]
    assert "holds tiny" in best["reasons"]


def test_a_group_of_the_inventory_stands_for_its_hosts() -> None:
    result = place_machines(manifest(hosts=["rack"]), {"a": host(), "b": host(), "c": host()}, {"rack": ["c", "b"], "all": ["a", "b", "c"]})
    assert placed(result) == {"web-1": "c", "web-2": "b"}


def test_an_unknown_host_is_a_problem_with_its_place() -> None:
    result = place_machines(manifest(hosts=["a", "nope"]), {"a": host()})
    assert len(result["problems"]) == 1
    assert result["problems"][0].startswith("manifest: machines[0].hosts: 'nope' is neither")


@pytest.mark.parametrize("per_host", [1, 3])
def test_a_second_look_changes_nothing(per_host: int) -> None:
    hosts: dict[str, t.Any] = {"a": host(), "b": host()}
    wanted = manifest(hosts=["a", "b"], per_host=per_host)
    first = placed(place_machines(wanted, hosts))
    for name in hosts:
        hosts[name] = host(*(int(m[4:]) for m, h in first.items() if h == name))
    again = place_machines(wanted, hosts)
    assert placed(again) == first
    assert all(entry["exists"] for entry in again["assignments"])
