# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Malformed
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.host_answers import checked_answer
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.migration_plan import (
    Context,
    migration_plan,
    mistakes,
)
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_observation import variants
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


def test_what_a_host_leaves_out_is_that_hosts_failure() -> None:
    """It is refused at the door, or named as a mistake; nothing else ends the plan of a machine on another host."""
    hosts = {"a": host(held()), "b": host(held())}
    for told in variants(look(machine("web-2"))):
        with contextlib.suppress(Malformed, ManifestError):
            answer = checked_answer(told, "migration", "b")
            plan({"a": look(machine()), "b": answer, "c": NOTHING}, {**hosts, "c": host(held())})
            plan({"a": NOTHING, "b": answer, "c": NOTHING}, {**hosts, "c": host(held())}, {**WEB, "machine": "web-2"})


def test_a_host_with_the_base_is_chosen_and_nothing_else_moves() -> None:
    made = plan({"a": look(machine()), "b": NOTHING, "c": NOTHING}, {"a": host(held()), "b": host(), "c": host(held())})
    assert made["problems"] == []
    (move,) = made["moves"]
    assert (move["source"], move["target"], move["live"], made["relays"]) == ("a", "c", True, [])
    assert move["arrival"]["disks"] == [
        {"name": "root", "pool": "default", "image_format": "qcow2", "size_bytes": 2**30, "base": A, "shared": False}
    ]
    assert (move["shared"], move["arrival"]["shared"]) == ([], [])
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


@pytest.mark.parametrize(("domain_type", "live", "warned"), [("qemu", None, True), ("qemu", False, False), ("kvm", None, False)])
def test_who_moves_an_emulated_machine_live_is_warned(domain_type: str, live: object, warned: bool) -> None:
    one = machine(domain_type=domain_type)
    made = plan({"a": look(one), "b": NOTHING}, {"a": host(held()), "b": host(held())}, {**WEB, "live": live})
    warning = "  web-1 runs without KVM: its kernel can crash on b. live=false moves it powered off."
    assert (warning in made["text"]) is warned and made["problems"] == []


@pytest.mark.parametrize("changes", [{}, {"state": "off"}, {"problems": ["its disk x is the parent of y"]}])
def test_a_machine_that_is_where_it_is_to_be_stays(changes: dict[str, t.Any]) -> None:
    """So a second run of a migration changes nothing, and is well."""
    made = plan({"a": look(machine(**changes)), "b": NOTHING}, {"a": host(held()), "b": host(held())}, {**WEB, "to": "a"})
    assert (made["problems"], made["moves"], made["stays"]) == ([], [], ["web-1 on a, where it is to be"])
    assert "  stays: web-1 on a, where it is to be" in made["text"]


FAST = {**WEB, "to": "a", "to_pool": "fast"}


def within(one: dict[str, t.Any], facts: dict[str, t.Any], **request: t.Any) -> dict[str, t.Any]:
    return plan({"a": look(one), "b": NOTHING}, {"a": facts, "b": host(held())}, {**FAST, **request})


def test_a_machine_moves_to_another_pool_of_its_host() -> None:
    made = within(machine(), host(held(), pools=["default", "fast"]))
    (move,) = made["moves"]
    assert (move["source"], move["target"], move["within"], move["from"], move["live"]) == ("a", "a", "fast", ["default"], True)
    assert made["problems"] == [] and not any(made[key] for key in ("claims", "references", "relays", "addresses"))
    assert made["text"][1:] == [
        "  web-1  a, from the pool default to fast  live, while it runs, disks with 1.0 MiB",
        "  the base tiny 1 is copied first to the pool fast, 1000 B",
    ]


WITHIN: dict[str, tuple[dict[str, t.Any], dict[str, t.Any], str]] = {
    "the disk is there, the rest follows": ({"disks": [disk(pool="fast")]}, {}, "its seed and logs are in default, and follow it while"),
    "all is there": ({"disks": [disk(pool="fast")], "home": "fast", "state": "off"}, {}, "web-1 on a in the pool fast, where it is to be"),
}


@pytest.mark.parametrize(("changes", "request_", "words"), WITHIN.values(), ids=WITHIN)
def test_what_is_in_its_pool_stays(changes: dict[str, t.Any], request_: dict[str, t.Any], words: str) -> None:
    made = within(machine(**changes), host(held(), pools=["default", "fast"]), **request_)
    assert made["problems"] == [] and made["moves"] == [] and words in made["stays"][0]
    if changes.get("state") != "off":
        assert within(machine(**changes), host(held(), pools=["default", "fast"]), live=False)["moves"]


@pytest.mark.parametrize(
    ("changes", "request_", "words"),
    [
        (
            {"disks": [disk(allocated_bytes=10**12 - 500)]},
            {},
            "a: the pool 'fast' has 931.323 GiB free; the disks that move there, with bases",
        ),
        ({"disks": [disk(snapshots=1)]}, {}, "has 1 snapshots inside"),
        ({"problems": ["its disk x is the parent of y"]}, {}, "web-1 on a: its disk x is the parent of y"),
        ({"state": "paused"}, {}, "it is paused"),
        ({"state": "off"}, {"live": "yes"}, "live: web-1 is off; it can only move with live=false, or without live"),
    ],
)
def test_what_keeps_a_machine_in_its_pool_is_named(changes: dict[str, t.Any], request_: dict[str, t.Any], words: str) -> None:
    made = within(machine(**changes), host(held(), pools=["default", "fast"]), **request_)
    assert words in "\n".join(made["problems"])


def test_what_binds_a_machine_to_its_host_leaves_it_its_pools() -> None:
    bound = machine(bound=["it has a TPM with state on the host (<tpm>)"])
    assert within(bound, host(held(), pools=["default", "fast"]))["problems"] == []
    made = plan({"a": look(bound), "b": NOTHING}, {"a": host(held()), "b": host(held())})
    assert "web-1 on a: it has a TPM" in made["problems"][0]


@pytest.mark.parametrize("nothing", [None, ""])
def test_what_a_form_leaves_empty_was_not_given(nothing: str | None) -> None:
    empty = dict.fromkeys(("tenant", "to", "to_pool", "live", "host"), nothing)
    assert mistakes({**WEB, **empty}, None, ["a", "b"]) == []
    made = plan({"a": look(machine()), "b": NOTHING}, {"a": host(held()), "b": host(held())}, {**WEB, **empty})
    assert (made["problems"], made["moves"][0]["target"], made["moves"][0]["live"]) == ([], "b", True)


@pytest.mark.parametrize(
    ("changes", "request_", "words"),
    [
        ({}, {"to": "a", "to_pool": "fast"}, "web-1: a: it has no usable pool 'fast'; it has: default"),
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
        (
            {"domains": [{"domain": "shop-web-1", "uuid": "x", "memory_mib": 1, "cpus": 1}]},
            "web-1: b has a domain shop-web-1 or one with its UUID already; undefine or rename it",
        ),
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


def shared_pools(**storages: str | None) -> dict[str, t.Any]:
    """A host with these pools; those with a storage are other hosts' too."""
    facts = host(pools=list(storages))
    facts["pools"] = {name: {"bases": [held()], **({"storage": at} if at else {})} for name, at in storages.items()}
    return facts


SHARED: dict[str, tuple[dict[str, t.Any], dict[str, t.Any], dict[str, t.Any], tuple[list[str], list[str], list[bool], int]]] = {
    "one storage": ({"default": "nfs"}, {"default": "nfs"}, {}, (["default"], ["default"], [True], 0)),
    "another name there": ({"default": "nfs"}, {"own": None, "nas": "nfs"}, {"to_pool": "nas"}, (["default"], ["nas"], [True], 0)),
    "away from it": ({"default": "nfs"}, {"default": "nfs", "own": None}, {"to_pool": "own"}, ([], ["default"], [False], 2**20)),
    "it only looks alike": ({"default": None}, {"default": None}, {}, ([], [], [False], 2**20)),
    "two storages": ({"default": "nfs1"}, {"default": "nfs2"}, {}, ([], [], [False], 2**20)),
}


@pytest.mark.parametrize(("here", "there", "request_", "wanted"), SHARED.values(), ids=SHARED)
def test_what_both_hosts_have_does_not_move(
    here: dict[str, t.Any], there: dict[str, t.Any], request_: dict[str, t.Any], wanted: tuple[t.Any, ...]
) -> None:
    hosts = {"a": shared_pools(**here), "b": shared_pools(**there)}
    made = plan({"a": look(machine(disks=[disk(beside=True)])), "b": NOTHING}, hosts, {**WEB, "to": "b", **request_})
    assert made["problems"] == [] and made["relays"] == []
    (move,) = made["moves"]
    found = (move["shared"], move["arrival"]["shared"], [one["shared"] for one in move["arrival"]["disks"]], move["bytes"])
    assert found == wanted
    assert ("stays there, as both hosts have it" in made["text"][1]) is bool(wanted[0])


def test_a_full_shared_pool_takes_a_machine_that_it_has() -> None:
    """What its disk may grow by is promised there already."""
    facts = shared_pools(default="nfs")
    facts["capacity"]["pools"]["default"].update(free_bytes=2**31, promised_bytes=2**32 - 2**30, total_bytes=2**33)
    big = machine(disks=[disk(size_bytes=2**32, allocated_bytes=2**30, beside=True)])
    assert plan({"a": look(big), "b": NOTHING}, {"a": facts, "b": facts}, {**WEB, "to": "b"})["problems"] == []


def test_a_base_that_is_not_beside_a_shared_disk_is_named() -> None:
    shared = shared_pools(default="nfs")
    made = plan({"a": look(machine(disks=[disk(beside=False)])), "b": NOTHING}, {"a": shared, "b": shared})
    assert "is on storage that a and b share, and its base is in another pool of a" in made["problems"][0]


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


NAMED = {"networks": [{"network": "default"}], "dns": [{"network": "default", "address": "192.0.2.10", "names": ["shop-web-1"]}]}


@pytest.mark.parametrize(
    ("problem", "entries", "told"),
    [
        ("", [], None),
        ("has its DNS switched off", [], "cannot give its machines an entry in the DNS of the network 'default'"),
        ("", [{"address": "192.0.2.10", "names": ["printer"]}], "has 192.0.2.10 as printer, which is not an entry of web-1"),
    ],
)
def test_the_target_has_to_know_the_machine(problem: str, entries: list[dict[str, t.Any]], told: str | None) -> None:
    offers = {"dns": {"default": {"problem": problem, "entries": entries}}}
    hosts = {"a": host(held()), "b": host(held(), networks={"default": True}, offers=offers)}
    made = plan({"a": look(machine(**NAMED)), "b": NOTHING}, hosts, {**WEB, "to": "b"})
    assert (told in str(made["problems"])) if told else made["problems"] == []
