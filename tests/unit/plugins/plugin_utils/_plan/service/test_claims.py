# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import Settings, place_machines
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import held, host, manifest

GIB = 1024**3
SPACE = {"path": "/p", "exists": True, "writable": True, "free_bytes": 100 * GIB, "promised_bytes": 0}


def facts(storage: str = "", **more: t.Any) -> dict[str, t.Any]:
    made = host(held(), capacity={"cpus": 4, "memory_mib": 4096, "pools": {"default": SPACE}}, claims_generation=3, **more)
    if storage:
        made["pools"]["default"]["storage"] = storage
    return made


def claims(hosts: dict[str, t.Any], **group: t.Any) -> dict[str, t.Any]:
    plan = service_plan(manifest(**group), hosts)
    assert plan["problems"] == []
    return t.cast("dict[str, t.Any]", plan["claims"])


def test_each_host_gets_what_its_machines_take() -> None:
    found = claims({"a": facts(), "b": facts()}, memory_mib=512, cpus=2, disk={"size_gib": 3})
    assert {name: claim["seen"] for name, claim in found.items()} == {"a": 3, "b": 3}
    use = found["a"]["uses"][0]
    assert (use["name"], use["cpus"], use["memory_mib"]) == ("web-1", 2, 512)
    assert use["disk_bytes"] == use["pools"]["default"]["growth_bytes"] == 3 * GIB


def test_bases_that_are_read_are_held_where_they_are() -> None:
    """Those of a host's own machines, and those that others fetch from it; not what is only on its way."""
    sha256 = held()["sha256"]
    found = claims({"a": facts(), "b": facts()})
    assert {name: claim["bases"] for name, claim in found.items()} == {"a": [sha256], "b": [sha256]}
    empty = facts()
    empty["pools"]["default"]["bases"] = []
    source = service_plan(manifest(hosts=["a"]), {"a": empty, "b": facts()})["claims"]
    assert {name: (len(claim["uses"]) > 0, claim["bases"]) for name, claim in source.items()} == {"a": (True, []), "b": (False, [sha256])}


def test_a_tenant_with_a_quota_claims_on_every_host() -> None:
    """So that two of its plans meet, though they use different hosts."""
    hosts = {"a": facts(), "b": facts(), "c": {**facts(), "reachable": False}}
    plan = service_plan(manifest(hosts=["a"]), hosts, quotas={"default": {"machines": 9}})
    assert {name: [use["name"] for use in claim["uses"]] for name, claim in plan["claims"].items()} == {"a": ["web-1"], "b": ["the quota"]}
    assert not any(plan["claims"]["b"]["uses"][0][key] for key in ("cpus", "memory_mib", "disk_bytes", "pools"))
    assert "b" not in service_plan(manifest(hosts=["a"]), hosts, quotas={"other": {"machines": 9}})["claims"]


@pytest.mark.parametrize("there, waits", [(True, 1), (False, 2)])
def test_a_claim_stands_while_bases_are_imported(there: bool, waits: int) -> None:
    first = facts()
    if not there:
        first["pools"]["default"]["bases"] = []
    assert service_plan(manifest(hosts=["a"]), {"a": first})["claims"]["a"]["waits"] == waits


def test_what_exists_is_not_claimed_again() -> None:
    machines = [{"machine": f"web-{number}", "group": "web", "number": number, "spec": {}} for number in (1, 2)]
    hosts = {"a": facts(machines=machines[:1]), "b": facts(machines=machines[1:])}
    assert service_plan(manifest(), hosts)["claims"] == {}


def test_a_shared_storage_is_claimed_on_its_first_host() -> None:
    found = claims({"a": facts("net"), "b": facts("net")}, disk={"size_gib": 3})
    pools = {name: [(use["name"], use["pools"]) for use in claim["uses"] if use["pools"]] for name, claim in found.items()}
    growth = {"default": {"bytes": 0, "growth_bytes": 3 * GIB}}
    assert pools == {"a": [("web-1", growth), ("web-2", growth)], "b": []}


@pytest.mark.parametrize(
    "claim, reason",
    [
        ({"memory_mib": 4000}, "96 MiB are left"),
        ({"cpus": 64}, "cpu: 0 of 64 virtual processors are free"),
        ({"pools": {"default": {"growth_bytes": 399 * GIB}}}, "GiB are promised to disks that grow"),
    ],
)
def test_what_others_claim_is_not_there_for_a_plan(claim: dict[str, t.Any], reason: str) -> None:
    hosts = {"a": facts(claims=[claim]), "b": facts(claims=[claim])}
    told = "\n".join(service_plan(manifest(memory_mib=512, disk={"size_gib": 3}), hosts, skip_bad_hosts=False)["problems"])
    assert reason in told


def test_who_has_no_room_for_others_claims_says_so() -> None:
    asked = manifest(memory_mib=512)
    asked["machines"][0].update(hosts=None, per_host=None, count=1)
    claimed = {"cpus": 1, "memory_mib": 4000}
    problem = service_plan(asked, {"a": facts(claims=[claimed])})["problems"][0]
    assert "96 of 4096 MiB are free, 512 are needed (another deployment has claimed 1 virtual processor, 4000 MiB" in problem


def test_a_shared_storage_counts_claims_of_all_its_hosts() -> None:
    claim = {"pools": {"default": {"growth_bytes": 399 * GIB}}}
    asked = manifest(disk={"size_gib": 3})
    asked["machines"][0].update(hosts=None, per_host=None, count=1)
    alone = place_machines(asked, {"a": facts("one", claims=[claim]), "b": facts("two")})
    shared = place_machines(asked, {"a": facts("one", claims=[claim]), "b": facts("one")})
    assert [entry["host"] for entry in alone["assignments"]] == ["b"]
    assert shared["assignments"] == [] and shared["binds"] == ["pool"]


def test_a_tenants_claims_count_for_its_quota() -> None:
    asked = manifest()
    asked["machines"][0].update(hosts=None, per_host=None, count=1)
    mine = {"tenant": "default", "machines": 1, "cpus": 1, "memory_mib": 1, "disk_bytes": 0}
    quotas = Settings(quotas={"default": {"machines": 1}})
    assert place_machines(asked, {"a": facts(claims=[mine])}, settings=quotas)["binds"] == ["quota"]
    assert place_machines(asked, {"a": facts(claims=[{**mine, "tenant": "x"}])}, settings=quotas)["binds"] == []


class TestOtherRunsOfTheService:
    """Another controller is about to make machines of the same service."""

    @staticmethod
    def claim(*names: str, host: str, pool: str = "default", memory_mib: int = 512) -> dict[str, t.Any]:
        places = {
            name: {"host": host, "group": name.split("-")[0], "number": int(name.split("-")[1]), "pools": {"root": pool}} for name in names
        }
        uses = [{"name": name, "cpus": 1, "memory_mib": memory_mib, "disk_bytes": 0, "pools": {}} for name in names]
        return {"run": "r1", "uses": uses, "places": places}

    @staticmethod
    def asked(count: int) -> dict[str, t.Any]:
        made = manifest(memory_mib=512)
        made["machines"][0].update(hosts=None, per_host=None, count=count)
        return made

    def places(self, count: int, **own: t.Any) -> tuple[dict[str, str], dict[str, t.Any]]:
        plan = service_plan(self.asked(count), {name: facts(own_claims=own.get(name, [])) for name in "abc"})
        assert plan["problems"] == []
        return {machine["machine"]: machine["host"] for machine in plan["machines"]}, plan

    def test_all_meet_on_the_first_host(self) -> None:
        _places, plan = self.places(2)
        assert list(plan["claims"]) == ["a", "b"]
        assert list(plan["claims"]["a"]["places"]) == ["web-1", "web-2"]
        assert plan["claims"]["b"]["places"] == {"web-2": {"host": "b", "group": "web", "number": 2, "pools": {"root": "default"}}}

    def test_who_has_no_machine_is_met_too(self) -> None:
        _places, plan = self.places(1, c=[self.claim("web-1", host="c")])
        assert plan["claims"]["a"]["uses"] == [] and "web-1" in plan["claims"]["a"]["places"]

    @pytest.mark.parametrize("count", [2, 3])
    def test_machines_go_where_another_run_makes_them(self, count: int) -> None:
        places, plan = self.places(count, c=[self.claim("web-1", "web-2", host="c")])
        assert (places["web-1"], places["web-2"]) == ("c", "c")
        assert {machine["state"] for machine in plan["machines"]} == {"create"}

    def test_the_pool_is_the_same_too(self) -> None:
        hosts = {"a": facts(own_claims=[self.claim("web-1", host="a", pool="fast")])}
        for key in ("pools",):
            hosts["a"][key]["fast"] = {**hosts["a"][key]["default"], "bases": []}
        hosts["a"]["capacity"]["pools"] = {"default": SPACE, "fast": SPACE}
        asked = self.asked(1)
        asked["machines"][0]["disks"][0]["pool"] = None
        assert place_machines(asked, hosts)["assignments"][0]["pools"] == {"root": "fast"}

    def test_what_only_the_other_makes_takes_its_room(self) -> None:
        asked = self.asked(1)
        told = service_plan(asked, {"a": facts(own_claims=[self.claim("db-1", host="a", memory_mib=4000)])})["problems"]
        assert "another deployment has claimed 1 virtual processor, 4000 MiB" in told[0]
        assert not service_plan(asked, {"a": facts(own_claims=[self.claim("web-1", host="a", memory_mib=4000)])})["problems"]
