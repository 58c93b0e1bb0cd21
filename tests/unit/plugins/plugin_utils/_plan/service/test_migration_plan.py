# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.migration_plan import (
    Context,
    migration_plan,
    migration_recovery,
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


# --- what was interrupted ----------------------------------------------------------------------


def entry(side: str, phase: str, live: bool = True) -> dict[str, t.Any]:
    return {**KEY, "machine": "web-1", "side": side, "phase": phase, "run": "r0", "peer": "b" if side == "source" else "a", "live": live}


UNDO, HAND, FINISH, REMOVE, REFUSE = "undo", "handed_over", "finished", "removed", "refuse"


@pytest.mark.parametrize(
    ("source", "target", "live", "here", "there", "decision"),
    [
        # Room was made, and nothing else.
        (None, "arriving", True, "running", "absent", UNDO),
        (None, "arriving", False, "off", "absent", UNDO),
        (None, "arriving", True, "absent", "absent", REFUSE),
        (None, "arriving", True, "running", "running", REFUSE),
        # It is leaving, off.
        ("leaving", None, False, "off", "absent", UNDO),
        ("leaving", "arriving", False, "off", "absent", UNDO),
        ("leaving", "arriving", False, "running", "absent", UNDO),
        ("leaving", "arriving", False, "off", "off", UNDO),
        ("leaving", "arrived", False, "off", "paused", UNDO),
        ("leaving", "arrived", False, "off", "running", REFUSE),
        # It is leaving, live: libvirt tells how far it was.
        ("leaving", "arriving", True, "running", "absent", UNDO),
        ("leaving", "arriving", True, "running", "paused", UNDO),
        ("leaving", "arriving", True, "running", "running", REFUSE),
        ("leaving", "arriving", True, "off", "running", HAND),
        ("leaving", "arrived", True, "off", "running", HAND),
        ("leaving", "arriving", True, "off", "off", HAND),
        ("leaving", "arriving", True, "off", "absent", UNDO),
        ("leaving", "arriving", True, "off", "paused", REFUSE),
        ("leaving", "arriving", True, "paused", "running", REFUSE),
        ("leaving", "arriving", True, "absent", "running", REFUSE),
        # The target has it.
        ("handed over", "arrived", True, "off", "running", FINISH),
        ("handed over", "arrived", False, "off", "paused", FINISH),
        ("handed over", "arrived", False, "absent", "running", FINISH),
        ("handed over", "arrived", False, "off", "absent", REFUSE),
        ("handed over", "arrived", True, "running", "running", REFUSE),
        ("handed over", None, True, "off", "running", REMOVE),
        ("handed over", None, True, "absent", "off", REMOVE),
        ("handed over", None, True, "off", "absent", REFUSE),
    ],
)
def test_every_interruption_is_undone_finished_or_refused(
    source: str | None, target: str | None, live: bool, here: str, there: str, decision: str
) -> None:
    looks = {
        host: look(*([machine(state=state)] if state != "absent" else []), journal=[entry(side, phase, live)] if phase else [])
        for host, side, phase, state in (("a", "source", source, here), ("b", "target", target, there))
    }
    found = migration_recovery(looks, WEB)
    if decision == REFUSE:
        assert found["moves"] == [] and "web-1: its migration from a to b has not ended" in found["problems"][0]
        return
    (move,) = found["moves"]
    assert found["problems"] == [] and (UNDO if move.get("undo") else move["from_step"]) == decision


@pytest.mark.parametrize(
    ("silent", "phase", "live", "here"),
    [
        ("a", "leaving", True, "running"),
        ("b", "leaving", True, "off"),
        ("b", "leaving", True, "paused"),
        ("b", "leaving", False, "absent"),
        ("b", "handed over", False, "off"),
    ],
)
def test_a_side_that_cannot_be_asked_is_named(silent: str, phase: str, live: bool, here: str) -> None:
    machines = [machine(state=here)] if here != "absent" else []
    looks = {
        "a": look(*machines, journal=[entry("source", phase, live)]),
        "b": look(journal=[entry("target", "arriving", live)]),
        silent: SILENT,
    }
    found = migration_recovery(looks, WEB)
    assert found["moves"] == [] and f"and {silent} cannot be asked (Connection timed out)" in found["problems"][0]
    other = {"a": "b", "b": "a"}[silent]
    assert f"{other} keeps what it has once you remove migrations/default/shop/web-1.json" in found["problems"][0]


@pytest.mark.parametrize(("live", "here"), [(True, "running"), (False, "running"), (False, "off")])
def test_a_lost_target_does_not_hold_a_machine_that_is_here(live: bool, here: str) -> None:
    """It was not handed over, so the target did not let it go on; what has come there is undone when the target is back."""
    looks = {"a": look(machine(state=here), journal=[entry("source", "leaving", live)]), "b": SILENT}
    found = migration_recovery(looks, WEB)
    (move,) = found["moves"]
    assert (move["undo"], move["target_lost"], found["problems"]) == (True, True, [])
    assert "on a alone since b cannot be asked" in found["text"][0]
    back = {"a": look(machine(state=here)), "b": look(journal=[entry("target", "arrived", live)])}
    assert migration_recovery(back, WEB)["moves"][0]["undo"]


@pytest.mark.parametrize(("there", "decided"), [("absent", True), ("paused", True), ("running", False)])
def test_what_a_lost_target_has_left_goes_when_it_is_back(there: str, decided: bool) -> None:
    """Its machine has moved to a third host meanwhile."""
    come = [machine(state=there)] if there != "absent" else []
    looks = {"a": NOTHING, "b": look(*come, journal=[entry("target", "arriving")]), "c": look(machine())}
    found = migration_recovery(looks, WEB)
    assert [move.get("undo") for move in found["moves"]] == ([True] if decided else []) and bool(found["problems"]) is not decided


def test_each_side_is_told_which_run_began() -> None:
    looks = {
        "a": look(machine(), journal=[{**entry("source", "leaving"), "run": "r1"}]),
        "b": look(journal=[{**entry("target", "arriving"), "run": "r0"}]),
    }
    assert migration_recovery(looks, WEB)["moves"][0]["begun_by"] == {"source": "r1", "target": "r0"}


def test_a_machine_that_nobody_has_can_be_given_up() -> None:
    looks = {"a": look(journal=[entry("source", "leaving")]), "b": look(journal=[entry("target", "arriving")])}
    found = migration_recovery(looks, WEB)
    assert "neither has its domain" in found["problems"][0] and "migrations/default/shop/web-1.json" in found["problems"][0]


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_migration_that_is_at_work_is_left_alone(side: str) -> None:
    busy = {"source": "a", "target": "b"}[side]
    looks = {
        host: look(*machines, journal=[{**entry(at, phase), "process": 77 if at == side else None}])
        for host, at, phase, machines in (("a", "source", "leaving", [machine()]), ("b", "target", "arriving", []))
    }
    found = migration_recovery(looks, WEB)
    assert found["moves"] == [] and f"process 77 of {busy} is still at work on it" in found["problems"][0]


def test_machines_that_are_not_meant_are_left_alone() -> None:
    looks = {"a": look(machine(), journal=[entry("source", "leaving")]), "b": NOTHING}
    assert migration_recovery(looks, {**WEB, "machine": "web-2"})["moves"] == []
    assert len(migration_recovery(looks, {"host": "b"})["moves"]) == 1


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
