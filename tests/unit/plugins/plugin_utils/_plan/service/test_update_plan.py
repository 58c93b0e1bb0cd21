# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.filter.update_report import update_report as checked_report
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.update_plan import update_plan, update_report

from .test_service_plan import B, held, host

NEW = {"names": [{"tenant": "default", "name": "tiny", "version": "2"}]}


def shop(version: str = "1", disks: list[dict[str, t.Any]] | None = None, **group: t.Any) -> t.Any:
    base = {"name": "tiny", "version": version}
    disks = disks or [{"name": "root", "base": "tiny"}, {"name": "data", "size_gib": 1}]
    web = {"name": "web", "hosts": ["a", "b"], "per_host": 2, "memory_mib": 512, "disks": disks, **group}
    return parse_manifest({"format": 1, "service": "shop", "bases": [base], "machines": [web]}, "shop.yml")


def deployed(**changes: t.Any) -> dict[str, t.Any]:
    hosts = {name: host(held(), held(B, **NEW), **changes) for name in ("a", "b")}
    plan = service_plan(shop(), hosts)
    for name, work in plan["hosts"].items():
        machines = [{**one, "domain": f"shop-{one['machine']}", "running": True} for one in work["machines"]]
        domains = [{"domain": one["domain"], "machine": one["machine"], "memory_mib": 512, "running": True} for one in machines]
        hosts[name] = {**hosts[name], "machines": machines, "domains": domains, "record": {**work["record"], "service": "shop"}}
    return hosts


def test_machines_as_the_manifest_says_are_left_alone() -> None:
    plan = update_plan(shop(), deployed(), {})
    assert (plan["machines"], plan["batches"], plan["problems"]) == ([], [], [])
    assert plan["text"] == ["Service shop: nothing to update, 4 machines as the manifest says."]


def test_a_new_version_makes_the_disks_over_it_anew() -> None:
    plan = update_plan(shop("2"), deployed(), {})
    assert [(one["machine"], one["disks"]) for one in plan["machines"]] == [(f"web-{n}", ["root"]) for n in (1, 2, 3, 4)]
    assert plan["batches"] == [["web-1"], ["web-2"], ["web-3"], ["web-4"]]
    text = "\n".join(plan["text"])
    assert "web-1…4: disk root: base tiny 1 → tiny 2" in text and "what it wrote to root is lost; its other disks stay" in text


GROWN: list[dict[str, t.Any]] = [{"name": "root", "base": "tiny"}, {"name": "data", "size_gib": 2}]


def test_a_running_machine_whose_disk_grows_goes_on() -> None:
    plan = update_plan(shop(disks=GROWN), deployed(), {})
    assert [one["grow"] for one in plan["machines"]] == [{"data": 2 * 2**30}] * 4
    assert "  web-1: goes on running while data grows" in plan["text"]
    again = service_plan(shop(disks=GROWN), plan["seen"])
    assert {one["state"] for one in again["machines"]} == {"exists"}
    grown = {one["machine"]: {"grown": []} for one in plan["machines"]}
    assert update_report(plan, grown)["ok"] and not update_report(plan, {**grown, "web-1": {"msg": "full"}})["ok"]


@pytest.mark.parametrize(("size_gib", "told"), [(2, 0), (400, 0), (600, 2)])
def test_a_pool_that_growing_disks_may_fill_is_told(size_gib: int, told: int) -> None:
    """Each of the two hosts has 10^12 bytes free, and two machines."""
    plan = update_plan(shop(disks=[GROWN[0], {"name": "data", "size_gib": size_gib}]), deployed(), {})
    notes = [line for line in plan["text"] if "is over-committed" in line]
    assert len(notes) == told and plan["problems"] == []
    assert all("growing disks may take another 1198 GiB" in line for line in notes)


@pytest.mark.parametrize("change", [{"memory_mib": 600}, {"off": True}])
def test_what_is_off_or_changes_otherwise_is_made_anew(change: dict[str, t.Any]) -> None:
    hosts = deployed()
    for facts in hosts.values() if change.pop("off", False) else ():
        for one in facts["machines"]:
            one["running"] = False
    plan = update_plan(shop(disks=GROWN, **change), hosts, {"machines": "web-1"})
    assert [one["grow"] for one in plan["machines"]] == [{}]


def test_what_a_deployment_does_then_is_the_update() -> None:
    """The same names on the same hosts, over the new base; nothing else."""
    hosts = deployed()
    plan = update_plan(shop("2"), hosts, {"machines": "web-3"})
    again = service_plan(shop("2"), plan["seen"])
    states = {one["machine"]: (one["host"], one["state"]) for one in again["machines"]}
    assert states == {"web-1": ("a", "exists"), "web-2": ("a", "exists"), "web-3": ("b", "create"), "web-4": ("b", "exists")}
    assert {disk["base"] for disk in again["hosts"]["b"]["disks"] if disk["name"] == "root"} == {B} and again["problems"] == []
    assert again["hosts"]["b"]["record"]["generation"] == 1


@pytest.mark.parametrize(
    ("group", "there", "updated"),
    [
        ({"per_host": 1}, {1: "a", 2: "b", 3: "b"}, ["web-1", "web-2"]),
        ({"count": 2}, {1: "a", 2: "a", 3: "b"}, ["web-1", "web-3"]),
    ],
)
def test_a_surplus_machine_takes_no_updated_one_s_place(group: dict[str, t.Any], there: dict[int, str], updated: list[str]) -> None:
    hosts = deployed()
    for name, facts in hosts.items():
        new = [
            {**facts["machines"][0], "machine": f"web-{n}", "number": n, "domain": f"shop-web-{n}"} for n, on in there.items() if on == name
        ]
        facts["record"]["assignments"] = {f"web-{n}": {"host": on, "group": "web", "number": n} for n, on in there.items()}
        hosts[name] = {**facts, "machines": new}
    changed = shop("2")
    changed["machines"][0].update({"per_host": None, "count": None, **group})
    plan = update_plan(changed, hosts, {})
    again = service_plan(changed, plan["seen"])
    assert [one["machine"] for one in plan["machines"]] == updated and plan["problems"] == []
    assert sorted(one["machine"] for one in again["machines"] if one["state"] == "create") == updated


@pytest.mark.parametrize(
    "change", [{"memory_mib": 640}, {"cpus": 2}, {"networks": []}, {"cloud_init": {"user_data": {"runcmd": ["true"]}}}]
)
def test_other_hardware_keeps_all_disks(change: dict[str, t.Any]) -> None:
    plan = update_plan(shop(**change), deployed(), {})
    assert len(plan["machines"]) == 4 and all(one["disks"] == [] for one in plan["machines"])


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        ({"role": "web"}, ["web-1", "web-2", "web-3", "web-4"]),
        ({"machines": ["web-3"]}, ["web-3"]),
        ({"machines": "web-1,web-4"}, ["web-1", "web-4"]),
    ],
)
def test_only_what_is_meant_is_updated(request_: dict[str, t.Any], names: list[str]) -> None:
    assert [one["machine"] for one in update_plan(shop("2"), deployed(), request_)["machines"]] == names


@pytest.mark.parametrize(
    ("serial", "sizes"), [(None, [1, 1, 1, 1]), (2, [2, 2]), ("3", [3, 1]), ("50%", [2, 2]), ("100%", [4]), ("10%", [1, 1, 1, 1]), (9, [4])]
)
def test_machines_are_updated_some_at_a_time(serial: t.Any, sizes: list[int]) -> None:
    assert [len(batch) for batch in update_plan(shop("2"), deployed(), {"serial": serial})["batches"]] == sizes


@pytest.mark.parametrize(
    ("manifest", "request_", "words"),
    [
        (shop("2"), {"serial": "all"}, "serial: invalid value 'all'; expected a number of machines, or a share of them such as 25%"),
        (shop("2"), {"serial": 0}, "serial: invalid value 0"),
        (shop("2"), {"health_port": "https"}, "health_port: invalid value 'https'; expected a TCP port, from 1 to 65535"),
        (shop("2"), {"health_port": 0}, "health_port: invalid value 0; expected a TCP port"),
        (shop("2"), {"health_port": "65536"}, "health_port: invalid value '65536'"),
        (shop("2"), {"health_port": True}, "health_port: invalid value True"),
        (shop("2"), {"health_port": [443]}, "health_port: invalid value [443]"),
        (shop("2"), {"health_port": 443}, "health_port: web has no cloud_init, so its guests report no address"),
        (shop("2"), {"role": "db"}, "role: 'db' is not a role of the manifest; these are: web"),
        (shop("2"), {"machines": "web-9"}, "machines: 'web-9' is not a machine of the manifest; these are: web-1, web-2, web-3, web-4"),
        (shop("2"), {"machines": [], "given": ["machines"]}, "machines: given and empty; without it, all machines would be updated"),
        (shop("2"), {"given": ["machine"]}, "machine: this playbook has no such option, and would do more than was meant; name machines"),
        (shop("2"), {"machines": "web-1", "role": "web"}, "role: given together with machines; expected one of them"),
        (shop(disks=[{"name": "root", "base": "tiny"}, {"name": "data", "size_gib": 0.5}]), {}, "disk data: 1 GiB cannot become 0.5 GiB"),
        (
            shop(disks=[{"name": "root", "base": "tiny"}, {"name": "data", "size_gib": 1, "pool": "fast"}]),
            {},
            "moves no disk to another pool",
        ),
    ],
)
def test_what_cannot_be_updated_is_a_problem(manifest: t.Any, request_: dict[str, t.Any], words: str) -> None:
    problems = update_plan(manifest, deployed(pools=("default", "fast")), request_)["problems"]
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize("port", [443, "443", "", None])
def test_a_port_can_be_asked_where_guests_report(port: t.Any) -> None:
    assert update_plan(shop("2", cloud_init={}), deployed(), {"health_port": port})["problems"] == []


def test_machines_of_a_silent_host_are_told() -> None:
    hosts = deployed()
    hosts["b"] = {"reachable": False, "msg": "timed out"}
    plan = update_plan(shop("2"), hosts, {})
    assert [one["machine"] for one in plan["machines"]] == ["web-1", "web-2"]
    assert plan["left"] == {"web-3": "timed out", "web-4": "timed out"}
    assert not update_report(plan, {name: DONE(name) for name in ("web-1", "web-2")})["ok"]


def test_a_machine_that_an_interrupted_update_left_out_is_told() -> None:
    hosts = deployed()
    hosts["b"] = {**hosts["b"], "machines": hosts["b"]["machines"][1:], "domains": hosts["b"]["domains"][1:]}
    plan = update_plan(shop(), hosts, {})
    assert plan["left"] == {"web-3": "it is not there; a deployment makes it"} and not update_report(plan, {})["ok"]


def DONE(name: str, **more: t.Any) -> dict[str, t.Any]:
    return {"job": {"machines": [{"machine": name, "state": "deployed"}]}, **more}


def test_the_report_says_what_became_of_each() -> None:
    plan = update_plan(shop("2"), deployed(), {})
    whole = update_report(plan, {f"web-{n}": DONE(f"web-{n}") for n in (1, 2, 3, 4)})
    assert whole["ok"] and whole["text"][0] == "Service shop: 4 of 4 machines are updated."
    failed = {"job": {"machines": [{"machine": "web-2", "state": "failed", "problem": "web-2 has not reported"}]}}
    half = update_report(plan, {"web-1": DONE("web-1"), "web-2": failed})
    assert [one["state"] for one in half["machines"]] == ["updated", "failed", "waiting", "waiting"] and not half["ok"]
    text = "\n".join(half["text"])
    assert "web-2  a  FAILED: web-2 has not reported" in text and "web-3  b  not touched, since another failed before" in text
    assert "run it with the manifest of before" in text
    sick = update_report(plan, {"web-1": DONE("web-1", msg="port 80 does not answer")})
    assert sick["machines"][0] == {"machine": "web-1", "host": "a", "state": "failed", "reason": "port 80 does not answer"}
    assert update_report(plan, {}, predicted=True)["text"][0] == "Service shop: 4 of 4 machines would be updated."


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        ({"machines": [{"machine": "web-1", "state": ["deployed"]}]}, "what web-1 tells: "),
        ({"machines": [{"machine": "web-1"}]}, "no reason given"),
        ({"machines": [{"state": "deployed"}]}, "no reason given"),
        ({"machines": [], "msg": "libvirt is away"}, "libvirt is away"),
        ("x", "what web-1 tells: "),
    ],
)
def test_what_a_host_tells_wrongly_fails_its_machine_and_not_the_report(job: t.Any, reason: str) -> None:
    told = checked_report(update_plan(shop("2"), deployed(), {}), {"web-1": {"job": job}, "web-2": DONE("web-2")})
    assert [one["state"] for one in told["machines"][:2]] == ["failed", "updated"]
    assert told["machines"][0]["reason"].startswith(reason), told["machines"][0]


def test_machines_that_are_not_there_are_not_as_the_manifest_says() -> None:
    plan = update_plan(shop(), {name: host(held()) for name in ("a", "b")}, {})
    assert plan["text"][0] == "Service shop: nothing to update." and len(plan["left"]) == 4
