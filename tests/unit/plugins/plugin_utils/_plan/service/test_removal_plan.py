# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.filter.power_off_report import power_off_report
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.removal_plan import (
    names_of,
    removal_plan,
    removal_report,
)
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import manifest


def machine(name: str, **changes: t.Any) -> dict[str, t.Any]:
    group, _dash, number = name.rpartition("-")
    disks = [{"path": f"/pool/{name}/root.qcow2", "allocated_bytes": 2**20, "state": "absent"}]
    known: dict[str, t.Any] = {"machine": name, "group": group, "number": int(number), "running": True, "disks": disks, "left": []}
    return {**known, "problem": None, "wanted": True, "actions": ["removed"], **changes}


def look(*names: str, recorded: bool = True, jobs: t.Sequence[str] = (), **changes: t.Any) -> dict[str, t.Any]:
    found = {"machines": [machine(name) for name in names], "recorded": recorded, "jobs": list(jobs), "problem": None}
    return {"removal": {**found, **changes}}


SILENT = {"msg": "Connection timed out"}
TWO = {"a": look("web-1", "db-1"), "b": look("web-2", "web-3")}


@pytest.mark.parametrize(
    ("request_", "hosts"),
    [
        ({}, {"a": None, "b": None}),
        ({"role": "web"}, {"a": ["web-1"], "b": ["web-2", "web-3"]}),
        ({"role": "we"}, {}),
        ({"machines": ["web-3", "db-1"]}, {"a": ["db-1"], "b": ["web-3"]}),
        ({"machines": "web-3, db-1"}, {"a": ["db-1"], "b": ["web-3"]}),
        ({"machines": "web-9"}, {}),
    ],
)
def test_hosts_get_the_machines_that_are_meant(request_: dict[str, t.Any], hosts: dict[str, t.Any]) -> None:
    plan = removal_plan(TWO, {"service": "shop", **request_})
    assert (plan["problems"], plan["hosts"], plan["whole"]) == ([], hosts, not request_)


@pytest.mark.parametrize(
    ("other", "elsewhere", "named", "kept"),
    [
        (look("web-1"), {"a": ["web-1"]}, [("web-1", "b")], []),
        (look(), {}, [("web-1", "a")], []),
        (SILENT, {"a": ["web-1"]}, [], ["web-1"]),
    ],
    ids=["another's", "nobody's", "perhaps another's"],
)
def test_files_in_a_shared_pool_are_their_machine_s_host_s(
    other: dict[str, t.Any], elsewhere: dict[str, t.Any], named: list[tuple[str, str]], kept: list[str]
) -> None:
    looks = {"a": look(recorded=False, machines=[machine("web-1", domain=None)]), "b": other}
    for request in ({}, {"machines": ["web-1"]}, {"role": "web"}):
        plan = removal_plan(looks, {"service": "shop", **request})
        assert (plan["elsewhere"], [(one["machine"], one["host"]) for one in plan["machines"]], plan["kept"]) == (elsewhere, named, kept)
        assert any("web-1 stays" in line for line in plan["text"]) is bool(kept)


def test_a_host_with_a_record_only_forgets_the_service() -> None:
    looks = {"a": look(), "b": look(recorded=False)}
    assert removal_plan(looks, {"service": "shop"})["hosts"] == {"a": None}
    assert removal_plan(looks, {"service": "shop", "role": "web"})["hosts"] == {}


@pytest.mark.parametrize(
    ("group", "gone"),
    [
        ({"hosts": ["a", "b"], "count": 1}, {"b": ["web-2", "web-3"]}),
        ({"hosts": ["a", "b"], "per_host": 1}, {"b": ["web-3"]}),
        ({"hosts": ["a"], "per_host": 1}, {"b": ["web-2", "web-3"]}),
        ({"hosts": ["a", "b"], "count": 3}, {}),
        ({"name": "app", "hosts": ["a"], "per_host": 1}, {"a": ["web-1"], "b": ["web-2", "web-3"]}),
    ],
)
def test_surplus_is_what_the_manifest_no_longer_wants(group: dict[str, t.Any], gone: dict[str, t.Any]) -> None:
    looks = {"a": look("web-1"), "b": look("web-2", "web-3")}
    plan = removal_plan(looks, {"remove": "surplus"}, manifest(**group), {"all": ["a", "b"]})
    assert (plan["problems"], plan["hosts"]) == ([], gone)


def test_a_misspelt_host_makes_nothing_surplus() -> None:
    plan = removal_plan({"a": look("web-1")}, {"remove": "surplus"}, manifest(hosts=["aa"], per_host=1), {"all": ["a"]})
    assert "'aa' is neither a host nor a group of the inventory" in plan["problems"][0]


@pytest.mark.parametrize(
    ("request_", "given", "words"),
    [
        ({}, None, "service: none given; expected the name of a service"),
        ({"service": "a/b"}, None, "service: invalid value 'a/b'; expected a name"),
        ({"service": ["shop"]}, None, "service: invalid value ['shop']; expected a name"),
        ({"service": "s", "tenant": ".."}, None, "tenant: invalid value '..'; expected a name"),
        ({"service": "s", "role": "../x"}, None, "role: invalid value '../x'; expected a name"),
        ({"service": "other"}, "shop", "service: 'other' is not the service of the manifest, 'shop'"),
        ({"service": "s", "remove": "all"}, None, "remove: invalid value 'all'; expected surplus, or nothing"),
        ({"service": "s", "remove": "surplus"}, None, "remove: surplus needs the manifest"),
        ({"service": "s", "role": "web", "machines": "web-1"}, None, "role: given together with machines"),
        ({"remove": "surplus", "machines": "web-1"}, "shop", "machines: given together with remove"),
        ({"service": "s", "machines": ["Web-1"]}, None, "machines: invalid value 'Web-1'; a machine's name has"),
        ({"service": "s", "machines": "web-1,,"}, None, "machines: invalid value ''"),
        ({"service": "s", "machines": [], "given": ["machines"]}, None, "machines: given and empty; without it, the whole service"),
        ({"service": "s", "role": "", "given": ["role"]}, None, "role: given and empty; without it, the whole service"),
        ({"service": "s", "given": ["machine"]}, None, "machine: this playbook has no such option, and would do more than was meant; name"),
        ({"service": "s", "role": "web", "given": ["role", "host"]}, None, "host: this playbook has no such option"),
        ({"service": "s", "keep_disks": "ture"}, None, "keep_disks: invalid value 'ture'; expected true or false"),
    ],
)
@pytest.mark.parametrize("looks", [{}, TWO], ids=["before", "after"])
def test_what_cannot_be_meant_is_refused(looks: t.Any, request_: dict[str, t.Any], given: str | None, words: str) -> None:
    plan = removal_plan(looks, request_, manifest(hosts=["a"], per_host=1) if given else None)
    assert plan["problems"] and words in plan["problems"][0] and plan["hosts"] == {}


def test_a_deployment_at_work_stands_in_the_way() -> None:
    plan = removal_plan({"a": look("web-1", jobs=["nightly"])}, {"service": "shop"})
    assert plan["problems"] == [
        "a: shop is being deployed by the run nightly; wait until that has ended, or end it (basecast.fleet.stop -e run=nightly)"
    ]


def test_a_migration_stands_in_the_way_of_the_whole_service() -> None:
    """Of machines that are named, the others go."""
    moving = machine("web-1", moving=True, problem="web-1: its migration to b has not ended.")
    looks = {"a": look("web-2"), "b": look()}
    looks["a"]["removal"]["machines"].append(moving)
    assert removal_plan(looks, {"service": "shop"})["problems"] == ["web-1: its migration to b has not ended."]
    assert removal_plan(looks, {"service": "shop", "machines": "web-1,web-2"})["problems"] == []


def test_a_silent_host_is_left_out_or_ends_the_run() -> None:
    looks = {"a": look("web-1"), "b": SILENT}
    plan = removal_plan(looks, {"service": "shop"})
    assert (plan["hosts"], plan["problems"], plan["unknown"]) == ({"a": None}, [], {"b": "Connection timed out"})
    report = removal_report(plan, {"a": look("web-1")})
    assert not report["ok"] and report["failures"] == ["b could not be asked: Connection timed out"]
    assert removal_plan(looks, {"service": "shop"}, skip_bad_hosts=False)["problems"] == ["b: Connection timed out"]


@pytest.mark.parametrize(
    ("outcome", "state", "failure"),
    [
        (look("web-1"), "removed", None),
        ({"removal": {"machines": [], "problem": None}}, "removed", None),
        ({"removal": {"machines": [machine("web-1", problem="it is a parent")], "problem": None}}, "failed", "web-1 on a: it is a parent"),
        ({"removal": {"machines": [machine("web-1")], "problem": "The record is full."}}, "removed", "a: The record is full."),
        (SILENT, "unknown", "a: Connection timed out"),
        (None, "unknown", "a: the run ended before this host's turn"),
    ],
    ids=["gone", "gone-meanwhile", "parent", "record", "lost", "never-asked"],
)
def test_only_what_is_gone_counts(outcome: t.Any, state: str, failure: str | None) -> None:
    plan = removal_plan({"a": look("web-1")}, {"service": "shop"})
    report = removal_report(plan, {} if outcome is None else {"a": outcome})
    assert [one["state"] for one in report["machines"]] == [state]
    assert report["failures"] == ([failure] if failure else []) and report["ok"] == (failure is None)
    assert not failure or any(failure.split(": ", 1)[1] in line for line in report["text"])


@pytest.mark.parametrize(
    ("silent", "where"),
    [({}, "there"), ({"b": SILENT}, "on the hosts that were asked")],
    ids=["all-asked", "one-silent"],
)
def test_nothing_is_said_of_hosts_that_were_not_asked(silent: dict[str, t.Any], where: str) -> None:
    assert f"  nothing of it is {where}" in removal_plan({"a": look(), **silent}, {"service": "shop", "machines": "web-1"})["text"]


def test_what_was_not_the_machines_own_is_shown() -> None:
    found = machine("web-1", left=["/pool/notes.txt"], actions=["stopped", "forced", "removed"])
    looks = {"a": {"removal": {"machines": [found], "recorded": True, "jobs": [], "problem": None}}}
    plan = removal_plan(looks, {"service": "shop", "machines": "web-1,web-7"})
    assert plan["text"] == [
        "Service shop (tenant default): 1 machine to be removed",
        "  web-1  a  running, 1 disk with 1.0 MiB",
        "    not the machine's own, stays: /pool/notes.txt",
        "  web-7 is on no host that was asked",
    ]
    assert removal_report(plan, looks)["text"] == [
        "Service shop: 1 of 1 machines are removed, 1.0 MiB of disks.",
        "  web-1  a  removed, power was cut",
        "    not the machine's own, left: /pool/notes.txt",
        "  web-7 was on no host that was asked",
    ]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, []),
        ("", []),
        ("a-1", ["a-1"]),
        ("a-1,a-1", ["a-1"]),
        (["a-1", "b-2"], ["a-1", "b-2"]),
        ('["a-1", "b-2"]', ["a-1", "b-2"]),
        ("[a-1,b-2]", ["a-1", "b-2"]),
        ("['a-1']", ["a-1"]),
        (7, ["7"]),
    ],
)
def test_names_come_as_a_list_or_with_commas(given: t.Any, names: list[str]) -> None:
    assert names_of(given) == names


@pytest.mark.parametrize(
    ("actions", "predicted", "words"),
    [(["removed"], False, "removed"), (["removed"], True, "would be removed"), ([], False, "had gone before")],
)
def test_what_was_done_is_told_apart(actions: list[str], predicted: bool, words: str) -> None:
    looks = {"a": {"removal": {"machines": [machine("web-1", actions=actions)], "recorded": True, "jobs": [], "problem": None}}}
    report = removal_report(removal_plan(looks, {"service": "shop"}), looks, predicted)
    assert report["text"][1] == f"  web-1  a  {words}"


WEB_AFTER_DB = {"name": "web", "after": ["db"]}


@pytest.mark.parametrize(
    ("kept", "roles", "request_", "stops"),
    [
        ({"web": ["db"]}, None, {}, [{"kvm2": ["web-1", "web-2"]}, {"kvm1": ["db-1"]}]),
        ({}, None, {}, []),
        ({}, [WEB_AFTER_DB, {"name": "db"}], {}, [{"kvm2": ["web-1", "web-2"]}, {"kvm1": ["db-1"]}]),
        ({"db": ["web"]}, [WEB_AFTER_DB, {"name": "db"}], {}, [{"kvm2": ["web-1", "web-2"]}, {"kvm1": ["db-1"]}]),
        ({"web": ["db"]}, None, {"role": "web"}, []),  # all of them at once
        ({"web": ["db"], "db": ["web"]}, None, {}, []),  # a host may say anything
    ],
)
def test_what_starts_last_is_powered_off_first(kept: t.Any, roles: t.Any, request_: t.Any, stops: t.Any) -> None:
    def one(name: str, running: bool = True) -> dict[str, t.Any]:
        more = {"disks": [], "left": [], "problem": None, "wanted": True, "domain": f"shop-{name}"}
        return {"machine": name, "group": name.rpartition("-")[0], "number": int(name[-1]), "running": running, **more}

    looks = {
        "kvm1": {"removal": {"machines": [one("db-1"), one("db-2", running=False)], "jobs": [], "recorded": True, "after": {}}},
        "kvm2": {"removal": {"machines": [one("web-1"), one("web-2")], "jobs": [], "recorded": True, "after": kept}},
    }
    manifest = {"service": "shop", "tenant": "default", "machines": roles} if roles else None
    plan = removal_plan(looks, {"service": "shop", **request_}, manifest)
    assert plan["problems"] == [] and plan["stops"] == stops
    assert ("  stop order: web-1…2; then db-1" in plan["text"]) == bool(stops)
    assert not roles or len(removal_plan(looks, {"service": "shop", "role": "web", "stop": True}, manifest)["stops"]) == 1


def test_a_service_is_powered_off_as_a_whole_and_says_what_is_not() -> None:
    entries = [("web-1", True, None), ("db-1", True, None), ("db-2", False, None), ("db-3", True, "it moves")]
    plan = {
        "service": "shop",
        "tenant": "default",
        "hosts": {},
        "machines": [{"machine": name, "host": "kvm1", "running": runs, "problem": why} for name, runs, why in entries],
        "unknown": {},
        "absent": [],
    }
    off = {"machines": ["web-1"], "msg": "", "told": [{"machine": "web-1", "running": False}]}
    done = power_off_report(plan, {"kvm1": [off, {"machines": ["db-1"], "msg": "libvirt is away"}]})
    assert [one["state"] for one in done["machines"]] == ["off", "unknown", "off_before", "left"] and not done["ok"]
    assert done["failures"] == ["db-1 on kvm1: libvirt is away", "db-3 on kvm1: it moves"]
    assert "  db-1  kvm1  NOT KNOWN TO BE OFF: libvirt is away" in done["text"]
    good = {**plan, "machines": plan["machines"][:1]}
    for silent in ([], [{"machine": "web-2", "running": False}], [{"machine": "web-1"}]):
        (found,) = power_off_report(good, {"kvm1": [{**off, "told": silent}]})["machines"]
        assert (found["state"], found["reason"]) == ("unknown", "the host did not say whether it is off")
    assert power_off_report(good, {}, predicted=True)["ok"] and not power_off_report(good, {})["ok"]
    assert not power_off_report({**good, "machines": [], "unknown": {"kvm2": "no route"}}, {})["ok"]


def test_of_a_failed_step_each_machine_is_told_as_it_is() -> None:
    plan = {
        "service": "shop",
        "tenant": "default",
        "machines": [{"machine": f"web-{n}", "host": "kvm1", "group": "web", "running": True, "problem": None} for n in range(1, 5)],
        "unknown": {},
        "absent": [],
    }
    told = [
        {"machine": "web-1", "running": False, "problem": None},
        {"machine": "web-2", "running": True, "problem": "web-2 has not powered off"},
        {"machine": "web-3", "running": True, "problem": None},
    ]
    step = {"machines": ["web-1", "web-2", "web-3", "web-4"], "msg": "1 of 4 machines failed", "told": told}
    done = power_off_report(plan, {"kvm1": [step]})
    assert [(one["state"], one["reason"]) for one in done["machines"]] == [
        ("off", ""),
        ("failed", "web-2 has not powered off"),
        ("failed", "1 of 4 machines failed"),
        ("unknown", "1 of 4 machines failed"),
    ]
    assert done["text"][0] == "Service shop: 1 of 4 machines are powered off." and len(done["failures"]) == 3


def _stopped(name: str, fails: str) -> dict[str, t.Any]:
    if name == fails:
        return {"machines": [name], "msg": "no answer"}
    return {"machines": [name], "msg": "", "told": [{"machine": name, "running": False}]}


@pytest.mark.parametrize(
    ("fails", "moves", "on", "why"),
    [
        ("", "", [], ""),
        ("proxy-1", "", ["proxy-1", "web-1", "db-1"], "it stays on, as proxy-1 on kvm1, which starts after it, is not known to be off"),
        ("web-1", "", ["web-1", "db-1"], "it stays on, as web-1 on kvm1, which starts after it, is not known to be off"),
        ("db-1", "", ["db-1"], ""),
        ("", "proxy-1", ["proxy-1", "web-1", "db-1"], "it stays on, as proxy-1 on kvm1, which starts after it, is not off"),
        ("other-1", "", ["other-1"], ""),
    ],
)
def test_what_a_running_machine_relies_on_stays_on(fails: str, moves: str, on: list[str], why: str) -> None:
    def one(name: str) -> dict[str, t.Any]:
        group = name.rpartition("-")[0]
        problem = "it moves" if name == moves else None
        return {"machine": name, "group": group, "number": 1, "running": True, "disks": [], "left": [], "problem": problem, "wanted": True}

    names = ["proxy-1", "web-1", "db-1", "other-1"]
    looks = {"kvm1": {"removal": {"machines": [one(name) for name in names], "jobs": [], "recorded": True}}}
    roles = [{"name": "db"}, {"name": "web", "after": ["db"]}, {"name": "proxy", "after": ["web"]}, {"name": "other"}]
    manifest = {"service": "shop", "tenant": "default", "machines": roles}
    plan = removal_plan(looks, {"service": "shop", "stop": True}, manifest)
    outcomes: dict[str, list[dict[str, t.Any]]] = {"kvm1": []}
    asked = []
    for step in plan["stops"]:
        held = [found for found in power_off_report(plan, outcomes)["held"] if found["machines"][0] in step["kvm1"]]
        left = [name for name in step["kvm1"] if [name] not in [found["machines"] for found in held]]
        asked += left
        outcomes["kvm1"] += [*held, *(_stopped(name, fails) for name in left)]
    report = power_off_report(plan, outcomes)
    assert [entry["machine"] for entry in report["machines"] if entry["state"] != "off"] == on
    assert not why or next(entry["reason"] for entry in report["machines"] if entry["machine"] == "db-1") == why
    assert set(asked) == set(names) - set(on) | ({fails} - {""})


def test_a_removal_leaves_no_machine_on_for_the_order() -> None:
    plan = removal_plan({}, {"service": "shop"})
    assert plan["after"] == {} and list(power_off_report(plan, {})["held"]) == []
