# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.repair_plan import repair_plan

from .test_fleet_status import disk, look

A, B = "a" * 64, "b" * 64


def base(sha256: str, parent: str | None = None, damaged: bool = False) -> dict[str, t.Any]:
    chain = [parent, sha256] if parent else [sha256]
    names = [{"tenant": "default", "name": sha256[0], "version": "1"}]
    return {"sha256": sha256, "parent": parent, "chain": chain, "damaged": damaged, "names": names, "size_bytes": 2**20}


def pool(*bases: dict[str, t.Any], damaged: t.Sequence[str] = (), users: t.Sequence[str] = ()) -> dict[str, t.Any]:
    found = [{"sha256": sha256, "path": "-", "damage": "chunks is missing", "users": list(users)} for sha256 in damaged]
    return {"bases": list(bases), "damaged": found, "filesystem": {}}


def host(**pools: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"pools": pools}


def test_all_sound_is_nothing_to_do() -> None:
    plan = repair_plan({"kvm1": host(default=pool(base(A))), "kvm2": host(default=pool())}, True)
    assert (plan["relays"], plan["relay_hosts"], plan["resumable"], plan["lost"], plan["text"]) == ([], [], {}, [], [])


def test_a_sound_copy_comes_from_every_host_that_has_one() -> None:
    looks = {
        "kvm1": host(default=pool(base(A))),
        "kvm2": host(default=pool(damaged=[A], users=["/pool/machines/shop/web-1/root.qcow2"])),
        "kvm3": host(fast=pool(base(A))),
        "kvm4": host(default=pool()),
    }
    plan = repair_plan(looks, True)
    (relay,) = plan["relays"]
    assert (relay["base"], relay["sha256"], relay["sources"], relay["targets"]) == (
        "a 1",
        A,
        {"kvm1": "default", "kvm3": "fast"},
        {"kvm2": "default"},
    )
    assert plan["relay_hosts"] == ["kvm1", "kvm2", "kvm3"]
    assert plan["resumable"] == {"kvm2": {"default": [A]}}
    text = "\n".join(plan["text"])
    assert "comes from kvm1, kvm3 (a 1)" in text and "/pool/machines/shop/web-1/root.qcow2" in text


def test_without_repair_it_only_tells() -> None:
    plan = repair_plan({"kvm1": host(default=pool(base(A))), "kvm2": host(default=pool(damaged=[A]))}, False)
    assert (plan["relays"], plan["resumable"], plan["lost"]) == ([], {}, [])
    assert "  Sound on kvm1. With -e basecast_repair=true it comes from there." in plan["text"]


def test_what_was_read_and_is_wrong_is_no_source() -> None:
    looks = {"kvm1": host(default=pool(base(A, damaged=True), damaged=[A])), "kvm2": host(default=pool(damaged=[A]))}
    plan = repair_plan(looks, True)
    assert plan["relays"] == [] and len(plan["lost"]) == 2
    assert all("no host of this run has a sound copy" in sentence for sentence in plan["lost"])


def test_a_child_of_a_wrong_parent_is_no_source() -> None:
    looks = {
        "kvm1": host(default=pool(base(A, damaged=True), base(B, A), damaged=[A])),
        "kvm2": host(default=pool(base(A), damaged=[B])),
    }
    plan = repair_plan(looks, True)
    assert [(relay["sha256"], relay["targets"]) for relay in plan["relays"]] == [(A, {"kvm1": "default"})]
    assert [sentence for sentence in plan["lost"] if B in sentence]


def test_parents_come_before_their_children() -> None:
    looks = {"kvm1": host(default=pool(base(B, A), base(A))), "kvm2": host(default=pool(damaged=[B, A]))}
    assert [relay["sha256"] for relay in repair_plan(looks, True)["relays"]] == [A, B]


def test_one_pool_of_a_host_is_enough() -> None:
    looks = {"kvm1": host(default=pool(base(A))), "kvm2": host(default=pool(damaged=[A]), fast=pool(damaged=[A]))}
    plan = repair_plan(looks, True)
    assert plan["relays"][0]["targets"] == {"kvm2": "default"} and plan["resumable"] == {"kvm2": {"default": [A]}}


def waiting(child: str, parent: str, *users: str) -> dict[str, t.Any]:
    damage = f"its parent {parent} is not usable: base.json is missing"
    return {"sha256": child, "path": "-", "damage": damage, "parent": parent, "users": list(users)}


def test_a_parent_that_is_gone_comes_and_its_child_does_not() -> None:
    broken = pool()
    broken["damaged"] = [waiting(B, A, "/one"), waiting("c" * 64, A, "/two")]
    plan = repair_plan({"kvm1": host(default=pool(base(A), base(B, A))), "kvm2": host(default=broken)}, True)
    assert [(relay["sha256"], relay["targets"]) for relay in plan["relays"]] == [(A, {"kvm2": "default"})]
    assert [line for line in plan["text"] if "/one, /two" in line]


def test_a_child_that_waits_for_a_damaged_parent_is_no_second_damage() -> None:
    broken = pool(damaged=[A])
    broken["damaged"].append(waiting(B, A))
    plan = repair_plan({"kvm1": host(default=pool(base(A), base(B, A))), "kvm2": host(default=broken)}, True)
    assert [relay["sha256"] for relay in plan["relays"]] == [A] and len(plan["wrong"]["kvm2"]) == 1


def test_a_pool_that_is_not_known_is_not_sound() -> None:
    unread = {**pool(), "known": False, "reason": "bases: Permission denied"}
    plan = repair_plan({"kvm1": host(default=pool(base(A)), slow=unread)}, True)
    assert "the pool slow cannot be known: bases: Permission denied" in plan["wrong"]["kvm1"][0]


@pytest.mark.parametrize(
    "look",
    [
        {},
        {"pools": "all"},
        {"pools": {"default": {"bases": [{"sha256": "x"}], "damaged": []}}},
        {"pools": {"default": {"bases": [], "damaged": [{"sha256": A}]}}},
        {"pools": {"default": {"bases": [{**base(A), "chain": "x"}], "damaged": []}}},
    ],
)
def test_a_host_that_tells_nonsense_harms_itself_only(look: dict[str, t.Any]) -> None:
    plan = repair_plan({"kvm0": look, "kvm1": host(default=pool(base(A))), "kvm2": host(default=pool(damaged=[A]))}, True)
    assert [relay["targets"] for relay in plan["relays"]] == [{"kvm2": "default"}]
    assert "its base disks cannot be known" in plan["wrong"]["kvm0"][0]


def test_holders_that_contradict_each_other_bring_nothing() -> None:
    looks = {
        "kvm1": host(default=pool({**base(A), "chunks_sha256": "1" * 64})),
        "kvm2": host(default=pool(damaged=[A])),
        "kvm3": host(default=pool({**base(A), "chunks_sha256": "2" * 64})),
    }
    plan = repair_plan(looks, True)
    assert plan["relays"] == [] and [line for line in plan["text"] if "different chunk lists" in line]


def test_a_base_that_is_gone_comes_to_the_disks_on_it() -> None:
    looks = {"kvm1": host(default=pool(base(A))), "kvm2": host(default=pool())}
    path = "/pool/machines/shop/web-1/root.qcow2"
    gone = disk("web-1", sha256=A, has_parent=False, in_store=True, base_path=f"/pool/bases/{A}/disk")
    statuses = {"kvm1": look(bases=[base(A)]), "kvm2": look("web-1", pool={"disks": [gone]}, bases=[])}
    plan = repair_plan(looks, True, statuses)
    assert [(relay["sha256"], relay["targets"]) for relay in plan["relays"]] == [(A, {"kvm2": "default"})]
    assert plan["wrong"] == {"kvm2": [f"kvm2: the base disk {A} is missing in pool default"]}
    assert [line for line in plan["text"] if path in line]


def test_what_is_only_left_over_is_no_failure() -> None:
    plan = repair_plan({"kvm1": host(default=pool())}, True, {"kvm1": look(pool={"disks": [disk("web-9")]}, bases=[])})
    assert plan["wrong"] == {} and [
        line for line in plan["text"] if line.startswith("  Nothing fails because of it: deploy the service again")
    ]


def test_disks_on_a_parent_that_is_gone_are_named_with_its_child() -> None:
    broken = pool()
    broken["damaged"] = [waiting(B, A, "/of/the/child")]
    path = "/pool/machines/shop/web-1/root.qcow2"
    gone = disk("web-1", sha256=A, has_parent=False, in_store=True, base_path=f"/pool/bases/{A}/disk")
    statuses = {"kvm1": look(bases=[base(A)]), "kvm2": look("web-1", pool={"disks": [gone]}, bases=[])}
    plan = repair_plan({"kvm1": host(default=pool(base(A), base(B, A))), "kvm2": host(default=broken)}, True, statuses)
    assert len(plan["relays"]) == 1 and [line for line in plan["text"] if f"/of/the/child, {path}" in line]


FAULT = {
    "kind": "disk_record_missing",
    "pool": "gold",
    "place": "/x/root.qcow2",
    "found": "the store of pool gold has no record that /x/root.qcow2 needs its base disk",
    "repair": "write the record again",
    "mends": True,
    "is_wrong": True,
    "mended": False,
}


@pytest.mark.parametrize(
    ("fault", "repair", "line", "is_wrong"),
    [
        (FAULT, False, "  With -e basecast_repair=true this does: write the record again.", True),
        (FAULT, True, "  This run does: write the record again.", True),  # in check mode
        ({**FAULT, "mended": True}, True, "  Mended: write the record again.", False),
        ({**FAULT, "mends": False}, True, "  To mend it: write the record again.", True),
        ({**FAULT, "mends": False, "is_wrong": False}, False, "  Nothing fails because of it: write the record again.", False),
    ],
)
def test_what_stands_beside_disks_is_told(fault: dict[str, t.Any], repair: bool, line: str, is_wrong: bool) -> None:
    plan = repair_plan({"kvm1": host(default=pool())}, repair, None, {"kvm1": [fault]})
    assert plan["text"] == [f"kvm1: {fault['found']}.", line] and bool(plan["wrong"]) == is_wrong
    (one,) = plan["findings"]
    assert (one["kind"], one["place"], one["mended"]) == (fault["kind"], fault["place"], fault["mended"])


@pytest.mark.parametrize("stale", [True, False])
def test_names_of_bases_that_are_gone_are_told_apart(stale: bool) -> None:
    names = [{"sha256": B, "names": ["old 1"]}] if stale else []
    plan = repair_plan({"kvm1": host(default=pool())}, True, {"kvm1": look(pool={"references": names}, bases=[])})
    assert plan["stale_references"] is stale and plan["wrong"] == {}
