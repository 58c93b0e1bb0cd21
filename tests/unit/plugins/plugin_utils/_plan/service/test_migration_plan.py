# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.migration_plan import (
    Context,
    migration_plan,
    mistakes,
)
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import A, held, host, manifest

KEY = {"tenant": "default", "service": "shop"}


def disk(**changes: t.Any) -> dict[str, t.Any]:
    known = {"name": "root", "pool": "default", "path": "/default/machines/shop/web-1/root.qcow2", "image_format": "qcow2"}
    return {**known, "size_bytes": 2**30, "allocated_bytes": 2**20, "base": A, "based": True, **changes}


def machine(name: str = "web-1", **changes: t.Any) -> dict[str, t.Any]:
    return {
        **KEY,
        "machine": name,
        "group": "web",
        "number": int(name.rpartition("-")[2]),
        "state": "running",
        "autostart": True,
        "cpus": 1,
        "memory_mib": 512,
        "domain_type": "kvm",
        "machine_type": "pc-q35-7.2",
        "arch": "x86_64",
        "networks": [],
        "disks": [disk()],
        "home": "default",
        "problems": [],
        **changes,
    }


def look(
    *machines: dict[str, t.Any], journal: t.Sequence[dict[str, t.Any]] = (), jobs: t.Sequence[str] = (), **changes: t.Any
) -> dict[str, t.Any]:
    service = {
        **KEY,
        "generation": 3,
        "assignments": {one["machine"]: {"host": "a", "group": "web", "number": one["number"]} for one in machines},
        "bases": [{"name": "tiny", "version": "1", "sha256": A}],
        "jobs": list(jobs),
    }
    found = {"machines": list(machines), "others": [], "services": [service], "journal": list(journal), "cpu": "<cpu/>"}
    return {"migration": {**found, **changes}}


NOTHING = {"migration": {"machines": [], "others": [], "services": [], "journal": [], "cpu": ""}}
SILENT = {"msg": "Connection timed out"}
WEB = {"service": "shop", "machine": "web-1"}


def plan(looks: dict[str, t.Any], hosts: dict[str, t.Any], request: dict[str, t.Any] | None = None, **context: t.Any) -> dict[str, t.Any]:
    return migration_plan(looks, request or WEB, Context(hosts, **context))


def test_a_host_with_the_base_is_chosen_and_nothing_else_moves() -> None:
    made = plan({"a": look(machine()), "b": NOTHING, "c": NOTHING}, {"a": host(held()), "b": host(), "c": host(held())})
    assert made["problems"] == []
    (move,) = made["moves"]
    assert (move["source"], move["target"], move["live"], made["relays"]) == ("a", "c", True, [])
    assert move["arrival"]["disks"] == [{"name": "root", "pool": "default", "image_format": "qcow2", "size_bytes": 2**30, "base": A}]
    claim = made["claims"]["c"]
    assert [use["name"] for use in claim["uses"]] == ["web-1"] and claim["uses"][0]["memory_mib"] == 512
    assert made["references"] == {
        "c": [{"tenant": "default", "references": [{"sha256": A, "pool": "default", "name": "tiny", "version": "1"}]}]
    }


def test_a_base_that_the_target_lacks_is_relayed() -> None:
    made = plan({"a": look(machine()), "b": NOTHING}, {"a": host(held()), "b": host()}, {**WEB, "to": "b"})
    (relay,) = made["relays"]
    assert (relay["sources"], relay["targets"], relay["base"]) == ({"a": "default"}, {"b": "default"}, "tiny 1")
    assert made["relay_hosts"] == ["a", "b"] and "the base tiny 1 goes first to b" in "\n".join(made["text"])


def test_a_whole_chain_comes_parents_first() -> None:
    parent = "d" * 64
    chain = [held(sha256=parent, source_sha256=parent, names=[]), held(parent=parent, chain=[parent, A])]
    made = plan({"a": look(machine()), "b": NOTHING}, {"a": host(*chain), "b": host()})
    assert [relay["sha256"] for relay in made["relays"]] == [parent, A]


@pytest.mark.parametrize(
    ("state", "live", "how"),
    [
        ("running", None, True),
        ("running", False, False),
        ("running", "no", False),
        ("running", 0, False),
        ("running", "yes", True),
        ("off", None, False),
        ("off", False, False),
    ],
)
def test_what_runs_moves_live_unless_told_otherwise(state: str, live: object, how: bool) -> None:
    made = plan({"a": look(machine(state=state)), "b": NOTHING}, {"a": host(held()), "b": host(held())}, {**WEB, "live": live})
    assert made["moves"][0]["live"] is how and made["moves"][0]["arrival"]["running"] is (state == "running")


@pytest.mark.parametrize("changes", [{}, {"state": "off"}, {"problems": ["its disk x is the parent of y"]}])
def test_a_machine_that_is_where_it_is_to_be_stays(changes: dict[str, t.Any]) -> None:
    """So a second run of a migration changes nothing, and is well."""
    made = plan({"a": look(machine(**changes)), "b": NOTHING}, {"a": host(held()), "b": host(held())}, {**WEB, "to": "a"})
    assert (made["problems"], made["moves"], made["stays"]) == ([], [], ["web-1 on a, where it is to be"])
    assert "  stays: web-1 on a, where it is to be" in made["text"]


@pytest.mark.parametrize("nothing", [None, ""])
def test_what_a_form_leaves_empty_was_not_given(nothing: str | None) -> None:
    empty = dict.fromkeys(("tenant", "to", "to_pool", "live", "host"), nothing)
    assert mistakes({**WEB, **empty}, None, ["a", "b"]) == []
    made = plan({"a": look(machine()), "b": NOTHING}, {"a": host(held()), "b": host(held())}, {**WEB, **empty})
    assert (made["problems"], made["moves"][0]["target"], made["moves"][0]["live"]) == ([], "b", True)


@pytest.mark.parametrize(
    ("changes", "request_", "words"),
    [
        ({}, {"to": "a", "to_pool": "fast"}, "to_pool: web-1 is on a already; its disks do not move to another pool"),
        ({"state": "off"}, {"live": True}, "live: web-1 is off"),
        ({"state": "paused"}, {}, "web-1 on a: it is paused"),
        ({"problems": ["its disk x is the parent of y"]}, {}, "web-1 on a: its disk x is the parent of y"),
        ({}, {"machine": "web-2"}, "machine: web-2 of service shop (tenant default) is on no host that was asked; machines of shop: web-1"),
        ({}, {"tenant": "other"}, "machine: web-1 of service shop (tenant other) is on no host that was asked"),
        ({"disks": [disk(snapshots=2)]}, {"to": "b"}, "root.qcow2 has 2 snapshots inside, which would be lost while it runs; move it off"),
        ({"networks": [{"network": "lan"}]}, {"to": "b"}, "b has no network 'lan'"),
        ({"networks": [{"bridge": "br7"}]}, {"to": "b"}, "b has no bridge 'br7'"),
        ({"memory_mib": 99999}, {"to": "b"}, "web-1"),
        ({}, {"to": "b", "to_pool": "fast"}, "web-1: b: it has no usable pool 'fast'; it has: default"),
        ({"disks": [disk(allocated_bytes=10**13)]}, {"to": "b"}, "b: the pool 'default' has"),
    ],
)
def test_what_stands_in_the_way_is_named(changes: dict[str, t.Any], request_: dict[str, t.Any], words: str) -> None:
    hosts = {"a": host(held()), "b": host(held(), networks={"default": True}, bridges=[])}
    made = plan({"a": look(machine(**changes)), "b": NOTHING}, hosts, {**WEB, **request_})
    assert words in "\n".join(made["problems"]) and "moving-" not in "\n".join(made["problems"])


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"domains": [{"domain": "shop-web-1", "uuid": "x", "memory_mib": 1, "cpus": 1}]}, "b has a domain shop-web-1"),
        ({"reachable": False, "msg": "Connection timed out"}, "web-1"),
        ({"known": False, "reason": "libvirt does not answer"}, "web-1"),
        ({"maintenance": True}, "web-1"),
    ],
)
def test_a_target_that_cannot_take_it_is_refused(there: dict[str, t.Any], words: str) -> None:
    made = plan({"a": look(machine()), "b": NOTHING}, {"a": host(held()), "b": host(held(), **there)}, {**WEB, "to": "b"})
    assert made["problems"] and words in "\n".join(made["problems"])


def test_a_host_without_the_network_is_passed_over() -> None:
    lan = {"networks": {"lan": True}}
    hosts = {"a": host(held(), **lan), "b": host(held(), networks={}), "c": host(**lan)}
    made = plan({"a": look(machine(networks=[{"network": "lan"}])), "b": NOTHING, "c": NOTHING}, hosts)
    assert (made["problems"], made["moves"][0]["target"]) == ([], "c")


def test_a_deployment_at_work_and_a_machine_twice_are_refused() -> None:
    hosts = {"a": host(held()), "b": host(held()), "c": host(held())}
    busy = plan({"a": look(machine(), jobs=["r1"]), "b": NOTHING}, hosts)
    assert "shop is being deployed by the run r1" in busy["problems"][0]
    twice = plan({"a": look(machine()), "b": look(machine()), "c": NOTHING}, hosts)
    assert twice["problems"] == ["machine: web-1 exists on a and b; remove all but one of them first"]


def test_shared_storage_is_not_copied_onto_itself() -> None:
    shared = {**host(), "pools": {"default": {"bases": [held()], "storage": "nfs1"}}}
    made = plan({"a": look(machine()), "b": NOTHING}, {"a": shared, "b": shared})
    assert "is on storage that a and b share" in made["problems"][0]


def test_rules_of_the_manifest_choose_the_target() -> None:
    rules = manifest(hosts=["a", "b", "c"], count=1, placement={"labels": ["ssd"]})
    hosts = {"a": host(held(), machines=[{"machine": "web-1", "group": "web", "number": 1}]), "b": host(held()), "c": host(labels=["ssd"])}
    looks = {"a": look(machine()), "b": NOTHING, "c": NOTHING}
    assert plan(looks, hosts, manifest=rules)["moves"][0]["target"] == "c"
    assert plan(looks, hosts)["moves"][0]["target"] == "b"


def test_a_host_is_emptied_over_several_others() -> None:
    machines = [machine("web-1", memory_mib=3000), machine("web-2", memory_mib=3000, state="off")]
    looks = {"a": look(*machines, others=["alien"]), "b": NOTHING, "c": NOTHING}
    made = plan(looks, {name: host(held()) for name in "abc"}, {"evacuate": True, "host": "a"})
    assert made["problems"] == [] and {move["target"] for move in made["moves"]} == {"b", "c"}
    assert made["stays"] == ["alien on a, which this collection has not made"]
    assert [(move["machine"], move["live"]) for move in made["moves"]] == [("web-1", True), ("web-2", False)]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({}, "service: none given"),
        ({"service": "shop"}, "machine: none given"),
        ({"service": "../shop", "machine": "web-1"}, "service: invalid value '../shop'; expected a name"),
        ({**WEB, "machine": "../web"}, "machine: invalid value '../web'; a machine's name has"),
        ({**WEB, "to": "z"}, "to: 'z' is not a host of this run; expected one of a, b"),
        ({**WEB, "live": [True]}, "live: invalid value [True]; expected true or false"),
        ({**WEB, "live": "maybe"}, "live: invalid value 'maybe'; expected true or false"),
        ({**WEB, "to_pool": "/srv"}, "to_pool: invalid value '/srv'; expected a name"),
        ({"evacuate": True}, "host: none given"),
        ({"evacuate": True, "host": "z"}, "host: 'z' is not a host of this run"),
        ({"evacuate": True, "host": "a", "to": "a"}, "to: a is the host that is to be evacuated"),
        ({"evacuate": True, "host": "a", "machine": "web-1"}, "machine: given together with host"),
    ],
)
def test_a_request_that_cannot_be_meant(request_: dict[str, t.Any], words: str) -> None:
    (first, *_more) = mistakes(request_, None, ["a", "b"])
    assert first.startswith(words)


def test_what_was_finished_just_now_is_not_moved_again() -> None:
    made = migration_plan(
        {"a": NOTHING, "b": look(machine())}, WEB, Context({"a": host(), "b": host(held())}), [["default", "shop", "web-1"]]
    )
    assert (made["moves"], made["problems"]) == ([], [])


@pytest.mark.parametrize(("state", "live"), [("running", False), ("off", None)])
def test_snapshots_inside_a_disk_move_with_its_file(state: str, live: bool | None) -> None:
    hosts = {"a": host(held()), "b": host(held())}
    made = plan({"a": look(machine(state=state, disks=[disk(snapshots=2)])), "b": NOTHING}, hosts, {**WEB, "live": live})
    assert made["problems"] == []
