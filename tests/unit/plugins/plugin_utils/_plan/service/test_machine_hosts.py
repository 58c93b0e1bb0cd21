# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.basecast.fleet.plugins.filter.machine_hosts import machine_hosts as machine_hosts_filter
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.machine_hosts import Choice, machine_hosts


def machine(name: str = "web-1", **more: t.Any) -> dict[str, t.Any]:
    known: dict[str, t.Any] = {"tenant": "default", "service": "shop", "machine": name, "role": "web", "number": 1, "host": "kvm1"}
    addresses = [{"address": "192.0.2.7", "source": "lease"}]
    return {**known, "known": True, "running": True, "state": "running", "addresses": addresses, **more}


def status(*machines: t.Any) -> dict[str, t.Any]:
    return {"format": 1, "machines": list(machines)}


def test_names_groups_and_variables() -> None:
    (host,) = machine_hosts(status(machine(host_address="198.51.100.1", bases=["tiny 1"], cpus=2)))
    assert host["name"] == "shop-web-1"
    assert host["groups"] == ["basecast_machines", "service_shop", "role_shop_web", "machines_on_kvm1", "tenant_default"]
    told = host["variables"]
    assert (told["ansible_host"], told["machine_host"], told["machine_host_address"]) == ("192.0.2.7", "kvm1", "198.51.100.1")
    assert (told["machine_bases"], told["machine_cpus"], told["machine_role"]) == (["tiny 1"], 2, "web")


@pytest.mark.parametrize(
    ("choice", "address"),
    [
        ({}, "10.1.0.1"),
        ({"sources": ["lease", "agent"]}, "192.0.2.7"),
        ({"sources": ["report"]}, "2001:db8::7"),
        ({"sources": ["arp"]}, None),
        ({"networks": ["192.0.2.0/24"]}, "192.0.2.7"),
        ({"networks": ["2001:db8::/32", "203.0.113.0/24"]}, "2001:db8::7"),
        ({"networks": ["203.0.113.0/24"]}, None),
    ],
)  # fmt: skip
def test_the_address_that_is_wanted(choice: dict[str, t.Any], address: str | None) -> None:
    told = [
        {"address": "fe80::1", "source": "agent"},
        {"address": "127.0.0.1", "source": "agent"},
        {"address": "2001:db8::9%-oProxyCommand=x", "source": "agent"},
        {"address": "2001:db8::9%{{ lookup('pipe', 'id') }}", "source": "report"},
        {"address": "10.1.0.1", "source": "agent"},
        {"address": "192.0.2.7", "source": "lease"},
        {"address": "-oProxyCommand=x", "source": "arp"},
        {"address": "2001:db8::7", "source": "report"},
    ]
    (host,) = machine_hosts(status(machine(addresses=told)), Choice(**choice))
    assert host["variables"].get("ansible_host") == address == host["variables"]["machine_address"]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({}, ["shop-web-1"]),
        ({"states": ()}, ["shop-web-1", "shop-web-2", "blog-web-1"]),
        ({"states": ["off"]}, ["shop-web-2"]),
        ({"states": (), "services": ["blog"]}, ["blog-web-1"]),
    ],
)  # fmt: skip
def test_the_machines_that_are_wanted(choice: dict[str, t.Any], names: list[str]) -> None:
    told = status(
        machine(), machine("web-2", state="off", running=False), machine(service="blog", state="paused"), machine("web-3", known=False)
    )
    assert [host["name"] for host in machine_hosts(told, Choice(**choice))] == names


def test_the_names_of_two_tenants_are_told_apart() -> None:
    told = status(machine(), machine(tenant="other"), machine("web-2"))
    assert [host["name"] for host in machine_hosts(told)] == ["default-shop-web-1", "other-shop-web-1", "shop-web-2"]


@pytest.mark.parametrize("first", [True, False])
def test_of_a_machine_on_two_hosts_the_running_one_counts(first: bool) -> None:
    told = [machine(host="kvm1", running=first), machine(host="kvm2", running=not first)]
    (host,) = machine_hosts(status(*told))
    assert host["variables"]["machine_host"] == ("kvm1" if first else "kvm2")


@pytest.mark.parametrize("strange", [7, {}, machine("../x"), machine(service="a b"), machine(tenant=None), machine(host=3)])
def test_what_is_no_machine_is_left_out(strange: t.Any) -> None:
    assert [host["name"] for host in machine_hosts(status(strange, machine()))] == ["shop-web-1"]


@pytest.mark.parametrize("key", ["addresses", "macs", "bases", "role", "number", "state", "running", "cpus", "host_address"])
@pytest.mark.parametrize(
    "value", [-1, True, "x", "\ud800", {"a": 1}, [1], [[]], [{}], [None], [{"source": "agent"}], [{"address": {}}], math.nan]
)
def test_one_machine_s_oddity_hides_no_other(key: str, value: t.Any) -> None:
    odd, sound = machine(**{key: value}), machine("web-2")
    assert "shop-web-2" in [host["name"] for host in machine_hosts(status(odd, sound))]


@pytest.mark.parametrize("text", ["[" * 100_000, "{", '{"format":1,"machines":' + "[" * 100_000])
def test_a_text_that_is_no_status_is_refused(text: str) -> None:
    with pytest.raises(AnsibleFilterError):
        machine_hosts_filter(text)


@pytest.mark.parametrize("strange", [{}, {"format": 2, "machines": []}, {"format": 1, "machines": "x"}, []])
def test_what_is_no_status_is_refused(strange: t.Any) -> None:
    with pytest.raises(FleetError, match="not the status of a fleet"):
        machine_hosts(strange)


@pytest.mark.parametrize("choice", [{"sources": ["dns"]}, {"networks": ["192.0.2.1/24"]}, {"networks": ["here"]}])
def test_a_mistake_is_named(choice: dict[str, t.Any]) -> None:
    with pytest.raises(FleetError, match=next(iter(choice))):
        Choice(**choice)
