# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_text import plan_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.wrapped_text import WIDTH
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import held, host, manifest


def test_a_plan_says_what_a_deployment_would_make() -> None:
    wanted = manifest(memory_mib=600, disk={"size_gib": 9}, cloud_init={"user_data": {}})
    lines = plan_text(service_plan(wanted, {"a": host(held()), "b": host(held())}))
    assert lines[0] == "Service shop (tenant default): 2 machines, 2 to be made"
    assert lines[1] == "  web: 1 CPU, 600 MiB, network default, cloud-init"
    assert "    disk root: 9 GiB, differencing disk of tiny 1, pool default" in lines
    assert "    web-1 on a: to be made" in lines
    assert all(len(line) <= WIDTH for line in lines)


def test_surplus_machines_and_drift_are_in_the_plan() -> None:
    first = service_plan(manifest(), {"a": host(held()), "b": host(held())})
    there = [
        {"machine": m["machine"], "group": "web", "number": m["number"], "spec": {**m["spec"], "memory_mib": 96}}
        for m in first["machines"]
        if m["host"] == "a"
    ]
    extra = {"machine": "web-9", "group": "web", "number": 9, "spec": {}}
    plan = service_plan(manifest(), {"a": host(held(), machines=[*there, extra]), "b": host(held())})
    text = "\n".join(plan_text(plan))
    assert "surplus: web-9 on a" in text or "surplus: web-9 on a" in " ".join(text.split())
    assert "drift: web-1: memory 96 → 512 MiB; nothing would be rebuilt" in text or "drift: web-1: memory 96 →" in text


def test_named_hosts_are_told_once() -> None:
    lines = plan_text(service_plan(manifest(per_host=3), {name: host(held()) for name in "ab"}))
    assert [line.strip() for line in lines if "manifest names" in line] == ["the manifest names a, b"]


def text_of(hosts: dict[str, t.Any], placement: dict[str, t.Any] | None = None, **group: t.Any) -> str:
    wanted = manifest(hosts=list(hosts), count=group.pop("count", 1), **group)
    lines = plan_text(service_plan({**wanted, "placement": placement or {}}, hosts))
    assert all(len(line) <= WIDTH for line in lines)
    return " ".join(" ".join(lines).split())


BUSY = {"domains": [{"domain": None, "memory_mib": 2048, "cpus": 1}]}


@pytest.mark.parametrize(
    ("on_b", "told"),
    [
        ({}, "2. b: lost by: later in the inventory"),
        (BUSY, "2. b: lost by: fuller; memory: 2048 of 4096 MiB free"),
        (
            {"capacity": {"memory_mib": 4096, "cpus": 1, "load_1m": 3.0, "pools": {"default": {"exists": True, "writable": True}}}},
            "lost by: more load",
        ),
        ({"pools": {"default": {"bases": []}}}, "2. b: lost by: more bytes of base to bring; needs 0.0 MB of base (1 s)"),
        ({"maintenance": True}, "not b: it is in maintenance"),
        ({"reachable": False, "msg": "down"}, "not b: it cannot be used: down"),
    ],
    ids=["inventory", "fuller", "load", "base", "maintenance", "unreachable"],
)
def test_what_other_hosts_lost_by_is_told(on_b: dict[str, t.Any], told: str) -> None:
    text = text_of({"a": host(held(), pools=("default",)), "b": {**host(held()), **on_b}})
    assert "hosts for web-1, best first: 1. a: " in text
    assert told in text


def test_long_lists_of_hosts_are_cut() -> None:
    text = text_of({f"h{number}": host(held()) for number in range(20)})
    assert "8. h7: " in text and "9. h8" not in text
    assert "then h8, h9, h10, h11, h12, h13, h14, h15 and 4 more" in text


@pytest.mark.parametrize(("partial", "begin"), [(True, "not placed: web-9:"), (False, "problem: ")])
def test_what_does_not_fit_is_told_with_what_binds(partial: bool, begin: str) -> None:
    text = text_of({"a": host(held())}, {"partial": partial}, count=9)
    assert begin in text
    assert "1 machine of web does not fit; what binds: memory." in text
    assert text.count("does not fit") == 1


@pytest.mark.parametrize(
    ("pools", "told"),
    [
        (("default", "fast"), "would be relayed to b (pool fast)"),
        (("default",), "bases[0].pool: 'fast' is not a pool of b; its pools are: default"),
    ],
)
def test_a_bases_pool_is_for_hosts_that_lack_it(pools: tuple[str, ...], told: str) -> None:
    wanted = manifest()
    wanted["bases"][0]["pool"] = "fast"
    plan = service_plan(wanted, {"a": host(held(), pools=("default", "fast")), "b": host(pools=pools)}, skip_bad_hosts=False)
    text = " ".join(" ".join(plan_text(plan)).split())
    assert told in text
    assert "held by a (pool default)" in text
    assert "stays where it is on a: pool fast is for hosts that do not have it yet" in text
    assert all(disk["pool"] == "default" for work in plan["hosts"].values() for disk in work["disks"])


def test_machines_of_an_update_are_not_told_as_new() -> None:
    plan = service_plan(manifest(), {"a": host(held()), "b": host(held())})
    lines = plan_text(plan, updated=["web-1"])
    assert lines[0] == "Service shop (tenant default): 2 machines, 1 to be made, 1 to be updated"
    assert "    web-1 on a: to be updated" in lines and "    web-2 on b: to be made" in lines


def test_a_machine_that_grows_is_to_be_updated() -> None:
    first = service_plan(manifest(), {"a": host(held()), "b": host(held())})
    there = [{"machine": m["machine"], "group": "web", "number": 1, "spec": {**m["spec"], "cpus": 9}} for m in first["machines"][:1]]
    lines = plan_text(service_plan(manifest(), {"a": host(held(), machines=there), "b": host(held())}), updated=["web-1"])
    assert "    web-1 on a: to be updated" in lines and not [line for line in lines if "drift" in line]
