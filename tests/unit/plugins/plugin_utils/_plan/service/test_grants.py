# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils import _settings
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.grants import refusals
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import held, host, manifest

# By name: the group's networks, its hardware, and what a tenant without grants is refused.
ASKED: dict[str, tuple[list[dict[str, t.Any]], dict[str, t.Any], str]] = {
    "network": ([{"network": "default"}], {}, ""),
    "bridge": ([{"bridge": "br0"}], {}, "the bridge br0"),
    "macvtap": ([{"macvtap": "eth0"}], {}, "the network interface eth0"),
    "open vswitch": ([{"open_vswitch": "ovs0", "vlan": 12}], {}, "the Open vSwitch bridge ovs0"),
    "the second card": ([{"network": "default"}, {"bridge": "br0"}], {}, "the bridge br0"),
    "pin": ([], {"cpu": {"pin": "0-3"}}, "its processors 0-3"),
    "pins": ([], {"cpu": {"pins": ["1", "5"]}}, "its processors 1,5"),
    "emulator pin": ([], {"cpu": {"emulator_pin": "7"}}, "its processors 7"),
    "nodes": ([], {"memory": {"nodes": "0-1"}}, "its NUMA nodes 0-1"),
    "a cell's node": ([], {"memory": {"cells": [{"cpus": "0", "memory_mib": 512, "node": 0}]}}, "its NUMA nodes 0"),
    "a model": ([], {"cpu": {"model": "host-passthrough"}, "memory": {"hugepages": "2M"}}, ""),
}


def refused(name: str, tenant: str, grants: t.Any) -> list[str]:
    networks, hardware, _what = ASKED[name]
    return [problem for _key, problem in refusals({"networks": networks, "hardware": hardware}, tenant, grants)]


@pytest.mark.parametrize("name", ASKED)
def test_a_tenant_gets_networks_and_nothing_else(name: str) -> None:
    assert refused(name, "acme", None) == ([ASKED[name][2]] if ASKED[name][2] else [])
    assert refused(name, "default", None) == []


GRANTS: dict[str, dict[str, t.Any]] = {
    "network": {"network": ["def*"]},
    "bridge": {"bridge": ["br?"]},
    "macvtap": {"macvtap": ["eth0"]},
    "open vswitch": {"open_vswitch": ["*"]},
    "the second card": {"network": ["*"], "bridge": ["br0"]},
    "pin": {"cpus": "0-7"},
    "pins": {"cpus": "*"},
    "emulator pin": {"cpus": "7"},
    "nodes": {"nodes": "0,1"},
    "a cell's node": {"nodes": "0"},
    "a model": {},
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_granted_replaces_what_is_usual(name: str) -> None:
    for tenant in ("acme", "*"):
        assert refused(name, "acme", {tenant: GRANTS[name]}) == []
    for nothing in ({}, {"acme": {}}, {"other": GRANTS[name]}, {"default": GRANTS[name]}):
        assert bool(refused(name, "acme", nothing)) == (name != "a model")
    assert bool(refused(name, "default", {})) == (name != "a model")


@pytest.mark.parametrize(("given", "left"), [("0-1", "2-3"), ("0,3", "1-2"), ("8-20", "0-3")], ids=["the first", "both ends", "others"])
def test_every_processor_has_to_be_granted(given: str, left: str) -> None:
    assert refused("pin", "acme", {"acme": {"cpus": given}}) == [f"its processors {left}"]


def test_two_grants_are_added() -> None:
    assert refused("pin", "acme", {"acme": {"cpus": "0-1"}, "*": {"cpus": "2-3"}}) == []


def test_the_plan_refuses_with_the_key() -> None:
    asked = manifest(networks=[{"network": "default"}, {"bridge": "br0"}])
    hosts = {name: {**host(held()), "bridges": ["br0"]} for name in ("a", "b")}
    assert service_plan(asked, hosts)["problems"] == []
    told = service_plan(asked, {name: {**facts, "grants": {"*": {"network": ["*"]}}} for name, facts in hosts.items()})
    text = " ".join([*told["problems"], *(reason for reasons in told["bad_hosts"].values() for reason in reasons)])
    assert (
        "machines[0].networks: a does not let the tenant default use the bridge br0; its administrator may allow that (basecast_grants)"
        in text
    )


@pytest.mark.parametrize(
    "value",
    [
        {"acme": []},
        {"acme": {"bridges": ["br0"]}},
        {"acme": {"bridge": "br0"}},
        {"acme": {"bridge": [5]}},
        {"acme": {"cpus": "four"}},
        {"acme": {"cpus": True}},
        {"acme": {"nodes": ["0"]}},
        {"acme": {"nodes": "^1"}},
        {"acme": {"cpus": "8-4"}},
        {"acme": {"cpus": "4\n"}},
    ],
)
def test_grants_that_are_none(value: t.Any) -> None:
    _found, sentences = _settings.read({"basecast_grants": {"type": "dict"}}, lambda _name: value, "kvm1")
    assert len(sentences) == 1 and "expected a mapping of tenants" in sentences[0]


def test_grants_are_kept() -> None:
    value = {"*": {"network": ["*"], "cpus": 4}, "acme": {"macvtap": ["eth*"], "nodes": "0-7,^2"}}
    found, sentences = _settings.read({"basecast_grants": {"type": "dict"}}, lambda _name: value, "kvm1")
    assert sentences == [] and found["grants"]["*"]["cpus"] == "4"
