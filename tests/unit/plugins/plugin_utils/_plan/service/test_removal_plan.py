# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.removal_plan import names_of, removal_plan, removal_report
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


def test_what_was_not_the_machines_own_is_shown() -> None:
    found = machine("web-1", left=["/pool/notes.txt"], actions=["stopped", "forced", "removed"])
    looks = {"a": {"removal": {"machines": [found], "recorded": True, "jobs": [], "problem": None}}}
    plan = removal_plan(looks, {"service": "shop", "machines": "web-1,web-7"})
    assert plan["text"] == [
        "Service shop (tenant default): 1 machine would be removed",
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
