# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.filter.scale_plan import scale_plan as scale_plan_filter
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.removal_plan import removal_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.scale_plan import Fleet, scale_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.scaled import remembered, with_counts

RULE = {"metric": "requests", "of": "service", "target": 100, "step": 5, "max": 8}
GROUP: dict[str, t.Any] = {"name": "web", "hosts": ["a", "b"], "count": 2, "disks": [{"name": "data", "size_gib": 1}]}


def manifest(**changes: t.Any) -> dict[str, t.Any]:
    group = {key: value for key, value in {**GROUP, "scale": RULE, **changes}.items() if value is not None}
    other = {"name": "db", "hosts": ["a"], "disks": [{"name": "data", "size_gib": 1}]}
    return parse_manifest({"format": 1, "service": "shop", "machines": [group, other]})


def host(*numbers: int, scaled: dict[str, t.Any] | None = None, **changes: t.Any) -> dict[str, t.Any]:
    machines = [{"machine": f"web-{number}", "group": "web", "number": number} for number in numbers]
    record = {"service": "shop", "generation": 1, "assignments": {}, **({"scaled": scaled} if scaled else {})}
    return {"reachable": True, "known": True, "machines": machines, "record": record, **changes}


def remember(count: int, of: int = 2, generation: int = 1, at: int = 0) -> dict[str, t.Any]:
    return {"generation": generation, "groups": {"web": {"count": count, "of": of, "at": at}}}


def plan(hosts: dict[str, t.Any], now: float = 5000.0, wanted: dict[str, t.Any] | None = None, **request: t.Any) -> dict[str, t.Any]:
    asked = {"role": None, "count": None, "readings": None, "given": list(request), **request}
    return scale_plan(wanted or manifest(), Fleet(hosts, {}, list(hosts)), asked, now)


def test_a_rule_decides_and_says_what_is_to_be_remembered() -> None:
    found = plan({"a": host(1), "b": host(2)}, readings={"requests": 350})
    assert found["problems"] == []
    assert [(one["group"], one["action"], one["before"], one["count"]) for one in found["decisions"]] == [("web", "up", 2, 4)]
    assert (found["expected"], found["keepers"]) == (0, ["a", "b"])
    assert found["scaled"] == {"generation": 1, "groups": {"web": {"count": 4, "of": 2, "at": 5000}}}
    assert found["text"][1] == "  web: count from 2 to 4: requests is 175 for each machine, target 100"


def test_two_evaluators_expect_the_same_generation_so_only_one_is_heard() -> None:
    hosts = {"a": host(1, scaled=remember(2, generation=7)), "b": host(2)}
    first, second = (plan(hosts, readings={"requests": many}) for many in (350, 800))
    assert first["expected"] == second["expected"] == 7
    assert first["scaled"]["generation"] == second["scaled"]["generation"] == 8


def test_what_was_changed_a_moment_ago_rests() -> None:
    hosts = {"a": host(1, 2, scaled=remember(3, at=4900)), "b": host(3)}
    found = plan(hosts, readings={"requests": 900})
    assert (found["decisions"][0]["action"], found["scaled"]) == ("keep", None)
    assert plan(hosts, now=9000.0, readings={"requests": 900})["decisions"][0]["count"] == 8


@pytest.mark.parametrize(
    ("hosts", "readings", "words"),
    [
        ({"a": host(1), "b": host(2)}, {"requests": None}, "web: no decision, since the reading of requests is none; nothing was changed"),
        ({"a": {"reachable": False, "msg": "gone"}, "b": host(2)}, {"requests": 1}, "how many machines exist is not known"),
    ],
)
def test_what_is_not_known_is_a_problem(hosts: dict[str, t.Any], readings: dict[str, t.Any], words: str) -> None:
    hosts = copy.deepcopy(hosts)
    hosts["b"]["record"] = None if "gone" in str(hosts) else hosts["b"]["record"]
    found = plan(hosts, readings=readings)
    assert found["scaled"] is None
    assert any(words in problem for problem in found["problems"])


def test_a_machine_of_a_host_that_is_down_counts_as_there() -> None:
    kept = {f"web-{number}": {"host": at, "group": "web", "number": number} for number, at in ((1, "a"), (2, "b"), (3, "c"))}
    there = host(1, record={"service": "shop", "generation": 1, "assignments": kept})
    hosts = {"a": there, "b": {**there, "machines": host(2)["machines"]}, "c": {"reachable": False, "msg": "down"}}
    found = plan(hosts, wanted=manifest(count=3, hosts=["a", "b", "c"]), readings={"requests": 300})
    assert (found["decisions"][0]["present"], found["decisions"][0]["action"]) == (3, "keep")


def test_machines_that_cannot_go_now_are_not_decided_away() -> None:
    kept = {f"web-{number}": {"host": at, "group": "web", "number": number} for number, at in ((1, "a"), (2, "b"), (3, "c"), (4, "c"))}
    hosts = {name: host(number, record={"service": "shop", "generation": 1, "assignments": kept}) for name, number in (("a", 1), ("b", 2))}
    hosts["c"] = {"reachable": False, "msg": "down"}
    wanted = manifest(count=4, hosts=["a", "b", "c"])
    found = plan(hosts, wanted=wanted, role="web", count="1")
    assert found["problems"] == [
        "web: no decision, since for 1, 2 would have to go from hosts that cannot be asked in this run; nothing was changed"
    ]
    assert (found["scaled"], found["decisions"][0]["leaving"]) == (None, [])
    # As is a call with --limit.
    only = scale_plan(wanted, Fleet({"a": hosts["a"]}, {"all": ["a", "b", "c"]}, ["a", "b", "c"]), {"role": "web", "count": "3"}, 5000.0)
    assert only["scaled"] is None and "for 3, 1 would have to go" in only["problems"][0]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({}, "count: none given; expected how many machines"),
        ({"count": ""}, "count: given and empty; without it, nothing is decided"),
        ({"role": "", "count": "1"}, "role: given and empty; without it, every role that the call can mean is meant"),
        ({"role": None, "readings": {"requests": 1}}, "role: given and empty"),
        ({"role": "wbe", "count": "3"}, "role: 'wbe' is not a role of the manifest; these are: web, db"),
        ({"role": "db", "count": "3"}, "has no count in the manifest, but per_host"),
        ({"role": "web", "count": "0"}, "count: invalid value '0'; expected a whole number from 1 to 10000"),
        ({"role": "web", "count": "9"}, "count: 9 is outside of the bounds of web, 1 to 8"),
        ({"count": "3", "readings": {"requests": 1}}, "count: given together with readings"),
        ({"readings": {"reqests": 1}}, "'reqests' is the metric of no rule (did you mean requests?); these are: requests"),
        ({"readings": {"requests": "much"}}, "readings: invalid value 'much' of requests; expected a number of at least 0"),
        ({"readings": {"requests": True}}, "readings: invalid value True of requests"),
        ({"readings": "x"}, "readings: expected a mapping of metrics"),
        ({"readings": "[1]"}, "readings: expected a mapping of metrics"),
        ({"readings": "[" * 100_000}, "readings: expected a mapping of metrics"),
        ({"readings": {"requests": 10**400}}, "of requests; expected a number of at least 0"),
        ({"role": "web", "count": 0}, "count: invalid value '0'; expected a whole number from 1 to 10000"),
        ({"role": "web", "count": True}, "count: invalid value 'True'; expected"),
        ({"role": "db", "readings": {"requests": 1}}, "readings: db has no scale rule in the manifest"),
    ],
)
def test_a_request_that_cannot_be_meant_is_told(request_: dict[str, t.Any], words: str) -> None:
    found = plan({"a": host(1), "b": host(2)}, **request_)
    assert found["scaled"] is None
    assert any(words in problem for problem in found["problems"]), found["problems"]


def test_by_hand_several_groups_need_a_role() -> None:
    two = parse_manifest({"format": 1, "service": "shop", "machines": [GROUP, {**GROUP, "name": "app"}]})
    assert plan({"a": host(1)}, wanted=two, count="3")["problems"] == ["role: none given; expected one of web, app"]


def test_without_a_record_nothing_can_be_remembered() -> None:
    found = plan({"a": host(record=None), "b": host(record=None)}, role="web", count="3")
    assert found["problems"] == ["shop: no host has a record of it; deploy it first (basecast.fleet.deploy)"]


def test_by_hand_the_newest_go_from_the_fullest_host() -> None:
    found = plan({"a": host(1, 4, 5), "b": host(2, 3)}, wanted=manifest(count=5), role="web", count="2")
    assert found["decisions"][0]["leaving"] == [{"machine": f"web-{number}", "host": at} for number, at in ((3, "b"), (4, "a"), (5, "a"))]
    assert any("goes from a: web-4" in line for line in found["text"])
    fullest = plan({"a": host(1, 3, 4), "b": host(2, 5)}, wanted=manifest(count=5), role="web", count="4")
    assert [one["machine"] for one in fullest["decisions"][0]["leaving"]] == ["web-4"]
    assert found["drains"] == {}
    drained = plan({"a": host(1, 3), "b": host(2)}, wanted=manifest(scale={**RULE, "drain": ["x", "y"]}), role="web", count="2")
    assert drained["drains"] == {"a": [{"machines": ["web-3"], "command": ["x", "y"], "timeout_s": 60}]}
    texts = plan({"a": host(1), "b": host(2)}, role="web", count=" 2 ")
    assert (texts["decisions"][0]["action"], texts["scaled"]) == ("keep", None)


def test_a_change_that_was_cut_off_goes_on() -> None:
    hosts = {"a": host(1, 3, scaled=remember(2, of=4, at=4990)), "b": host(2)}
    found = plan(hosts, wanted=manifest(count=4), readings={"requests": 200})["decisions"][0]
    assert (found["action"], [one["machine"] for one in found["leaving"]]) == ("keep", ["web-3"])
    # A manifest that asks for less removes nothing by itself.
    assert plan({"a": host(1, 3), "b": host(2)}, readings={"requests": 200})["decisions"][0]["leaving"] == []


def test_of_two_runs_one_that_removes_and_one_that_keeps_only_one_goes_on() -> None:
    hosts = {"a": host(1, 3, scaled=remember(2, generation=7)), "b": host(2)}
    removes, keeps = plan(hosts, readings={"requests": 200}), plan(hosts, role="web", count="3")
    assert [one["machine"] for one in removes["decisions"][0]["leaving"]] == ["web-3"]
    assert removes["scaled"] == remember(2, generation=8)
    assert removes["expected"] == keeps["expected"] == 7
    assert keeps["scaled"]["generation"] == 8


# --- what is remembered ----------------------------------------------------------------------------


def test_a_deployment_keeps_to_what_is_remembered_until_the_manifest_s_count_changes() -> None:
    hosts = {"a": host(scaled=remember(5, generation=2)), "b": host(scaled=remember(4, generation=1))}
    counted, notes = with_counts(manifest(), hosts)
    assert counted["machines"][0]["count"] == 5
    assert counted["scaled"] == remember(5, generation=2)
    assert notes == [
        "web: its count is 5, as the playbook scale has set it; the manifest says 2. To go back: basecast.fleet.scale -e role=web -e count=2"
    ]
    assert with_counts(manifest(count=3), hosts)[0]["machines"][0]["count"] == 3
    assert with_counts(manifest(), hosts, remember(6, generation=3))[0]["machines"][0]["count"] == 6
    assert with_counts(manifest(), {"a": host()}) == (manifest(), [])
    assert remembered("blog", hosts) == {}


def test_surplus_is_what_is_remembered_as_too_many() -> None:
    def look(*numbers: int, scaled: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        known = {"running": True, "disks": [], "left": [], "problem": None}
        machines = [{**one, **known} for one in host(*numbers)["machines"]]
        return {"removal": {"machines": machines, "recorded": True, "jobs": [], "scaled": scaled}}

    request = {"remove": "surplus"}
    looks = {"a": look(1, 3), "b": look(2)}
    assert removal_plan(looks, request, manifest())["hosts"] == {"a": ["web-3"]}
    looks["b"] = look(2, scaled=remember(3))
    assert removal_plan(looks, request, manifest())["hosts"] == {}
    looks["b"]["removal"].update(scaled=None, problem="The record cannot be read.")
    assert removal_plan(looks, request, manifest())["problems"] == ["b: The record cannot be read."]
    assert removal_plan(looks, {"machines": ["web-3"]}, manifest())["problems"] == []


def test_the_rule_and_its_defaults() -> None:
    assert manifest()["machines"][0]["scale"] == {
        "metric": "requests", "of": "service", "target": 100, "up": None, "down": None, "tolerance_percent": 10, "step": 5,
        "cool_down_s": 300, "drain": None, "drain_timeout_s": 60, "min": 1, "max": 8,
    }  # fmt: skip
    assert "scale" not in manifest()["machines"][1]


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ({"scale": {"metric": "load"}}, "manifest: machines[0].scale: the key max is missing; needed are: metric, max"),
        ({"scale": {"metric": "load", "max": 3}}, "machines[0].scale: either target, or up and down, are wanted"),
        ({"scale": {**RULE, "up": 5, "down": 1}}, "machines[0].scale: either target, or up and down, are wanted"),
        ({"scale": {"metric": "load", "max": 3, "up": 5}}, "scale: the key down is missing; thresholds are up and down"),
        ({"scale": {"metric": "load", "max": 3, "up": 5, "down": 5}}, "scale.down: 5 is not below up, 5; leave room between the two"),
        (
            {"scale": {"metric": "load", "max": 3, "up": 5, "down": 1, "tolerance_percent": 5}},
            "scale.tolerance_percent: it is only accepted with target; leave it out",
        ),
        ({"scale": {**RULE, "drain_timeout_s": 5}}, "scale.drain_timeout_s: it is only accepted with drain; leave it out"),
        ({"scale": {**RULE, "drain": []}}, "scale.drain: [] is not accepted; a drain command is a list of a program of the guest"),
        ({"scale": {**RULE, "min": 9}}, "scale.min: 9 is more than max, 8; exchange the two"),
        ({"count": 9}, "machines[0].count: 9 is outside of the bounds of scale, 1 to 8; begin within them"),
        ({"count": None, "per_host": 2}, "scale: it needs count, the number of machines to begin with"),
        ({"scale": {**RULE, "metric": "a b"}}, "scale.metric: 'a b' is not accepted; the name of a reading begins with a letter"),
        ({"scale": {**RULE, "cooldown": 5}}, "scale.cooldown: unknown key (did you mean cool_down_s?)"),
        ({"scale": {**RULE, "target": 0}}, "scale.target: 0 is not accepted; a load of one machine is a number above 0"),
    ],
)
def test_a_mistake_in_a_rule_is_told_with_its_place(group: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest(**group)
    assert words in str(caught.value)


def test_the_filter_takes_what_templates_hand_over() -> None:
    found = scale_plan_filter(manifest(), {"a": host(1), "b": host(2)}, {"readings": '{"requests": "350"}'}, now=5000)
    assert found["decisions"][0]["count"] == 4
