# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import drift_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.networks import networks_of
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import held, host, manifest

NETWORK = {"network": "default", "model": "virtio"}


def test_each_machine_has_the_address_that_is_given_to_it() -> None:
    group = {"networks": [{**NETWORK, "macs": {"web-1": "52:54:00:00:00:0A"}}, {"bridge": "br0"}]}
    assert networks_of(group, "web-1") == [{**NETWORK, "mac": "52:54:00:00:00:0a"}, {"bridge": "br0"}]
    assert networks_of(group, "web-2") == [NETWORK, {"bridge": "br0"}]


def test_an_address_of_one_machine_changes_no_other() -> None:
    asked = manifest(networks=[{"network": "default", "macs": {"web-1": "52:54:00:00:00:01"}}])
    hosts = {"a": host(held()), "b": host(held())}
    first = service_plan(manifest(), hosts)
    for name, work in first["hosts"].items():
        hosts[name] = host(held(), machines=[{**one, "running": True} for one in work["machines"]])
    again = service_plan(asked, hosts)
    one, two = again["machines"]
    assert drift_text([one]) == ["drift: web-1: networks default → default (mac 52:54:00:00:00:01)"] and two["drift"] == []
    work = [machine["networks"] for part in again["hosts"].values() for machine in part["machines"]]
    assert work == [[{**NETWORK, "mac": "52:54:00:00:00:01"}], [NETWORK]]


MAC = "52:54:00:00:00:0a"
MINE = {"tenant": "default", "service": "blog", "machine": "db-1", "domain": "blog-db-1"}
FOREIGN = {"tenant": None, "service": None, "machine": None, "domain": None}
NAMED_LIKE_OURS = {**FOREIGN, "domain": "shop-secret-1"}


def planned(macs: dict[str, str], domains: list[dict[str, t.Any]], at: str = "c") -> dict[str, t.Any]:
    hosts = {"a": host(held()), "b": host(held()), "c": host(held(), maintenance=True)}
    told = [{"uuid": None, "memory_mib": 512, "cpus": 1, "running": True, "problem": None, **domain} for domain in domains]
    hosts[at] = {**hosts[at], "domains": told}
    return service_plan(manifest(networks=[{"network": "default", "macs": macs}]), hosts)


@pytest.mark.parametrize("at", ["a", "c"])
@pytest.mark.parametrize(
    ("domain", "who"),
    [(MINE, "blog-db-1 on {}"), (FOREIGN, "another machine on {}"), (NAMED_LIKE_OURS, "another machine on {}")],
)
@pytest.mark.parametrize("spelt", [MAC, MAC.upper()])
def test_a_given_mac_is_nobody_elses_in_the_fleet(domain: dict[str, t.Any], who: str, at: str, spelt: str) -> None:
    plan = planned({"web-1": spelt}, [{**domain, "macs": [MAC]}], at)
    (problem,) = [one for one in plan["problems"] if MAC in one]
    assert f"{who.format(at)} has it, and web-1 would get it too" in problem
    assert "secret" not in str(plan["problems"])


def test_a_mac_that_is_free_is_taken() -> None:
    assert planned({"web-1": MAC}, [{**FOREIGN, "macs": ["52:54:00:00:00:0b"]}])["problems"] == []


def test_a_machines_own_mac_is_its_own() -> None:
    own = {"tenant": "default", "service": "shop", "machine": "web-1", "domain": "shop-web-1", "macs": [MAC]}
    assert not [one for one in planned({"web-1": MAC}, [own])["problems"] if MAC in one]


def test_a_given_mac_that_follows_from_anothers_name() -> None:
    derived = Owner("default", "shop", "web-1").mac(0)
    assert [one for one in planned({"web-2": derived}, [])["problems"] if derived in one]


@pytest.mark.parametrize(("at", "notes"), [("a", 0), ("c", 1)])
def test_a_derived_mac_elsewhere_is_told(at: str, notes: int) -> None:
    derived = Owner("default", "shop", "web-1").mac(0)
    plan = planned({}, [{**FOREIGN, "macs": [derived]}], at)
    assert len([one for one in plan["notes"] if derived in one]) == notes
    assert plan["problems"] == []
