# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest

from .conftest import refused


def test_libvirt_is_not_asked_for_each_domain_again(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    machines().ensure([make_wish("web-1"), make_wish("web-2")], start=True)
    found = machines()
    for domain in host.known:
        domain.running = lambda: pytest.fail("asked")
    assert [one["running"] for one in found.domains.every_domain("default")] == [True, True]
    assert found.domains.others("other")["running"] == 2 and len(found.domains.uuids()) == 2


@pytest.mark.parametrize(
    ("name", "uuid", "service", "told"),
    [
        ("mail", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1", "shop", (None, None)),
        ("shop-web-9", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1", "shop", ("shop-web-9", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1")),
        ("shop-web-9", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1", None, (None, None)),
        ("shopping-1", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1", "shop", (None, None)),
        ("copy", "4f0c7c57-4a3e-5a39-8a0c-53b7a6f0a6d1", "shop", (None, "4f0c7c57-4a3e-5a39-8a0c-53b7a6f0a6d1")),
    ],
)
def test_of_strangers_only_collisions_have_names(
    name: str, uuid: str, service: str | None, told: tuple[str | None, str | None], host: t.Any, machines: t.Any
) -> None:
    host.define(f"<domain><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory></domain>", name)
    (found,) = machines().domains.every_domain("default", service)
    assert (found["domain"], found["uuid"]) == told


@pytest.mark.parametrize("size, told", [(2**30, 2**30), (None, 0), ("big", 0), (-1, 0)])
def test_disks_count_as_far_as_they_are_known(size: t.Any, told: int, machines: t.Any, make_wish: t.Any) -> None:
    machines().ensure([make_wish(spec={"disks": {"root": {"size_bytes": size}, "odd": None}})], start=False)
    assert [one["disk_bytes"] for one in machines().domains.every_domain("default")] == [told]


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        (
            [{"network": "lan", "address": "192.0.2.1/24", "address6": "2001:db8::1/64"}, {"network": "default"}],
            [{"network": "network lan", "address": "192.0.2.1/24"}, {"network": "network lan", "address": "2001:db8::1/64"}],
        ),
        (
            [{"open_vswitch": "br0", "vlan": 7, "address": "192.0.2.1/24"}],
            [{"network": "open_vswitch br0 vlan 7", "address": "192.0.2.1/24"}],
        ),
        ([{"network": "lan", "address": 5}, "odd", {"address": "192.0.2.1/24"}], []),
        ("odd", []),
    ],
)
def test_fixed_addresses_are_told_to_every_tenant(networks: t.Any, told: list[t.Any], machines: t.Any, make_wish: t.Any) -> None:
    machines().ensure([make_wish(spec={"networks": networks})], start=False)
    for tenant in ("default", "another"):
        assert [one["addresses"] for one in machines().domains.every_domain(tenant)] == [told]


@pytest.mark.parametrize(
    "xml",
    [
        "<domain>",
        "<domain><name>shop-web-1</name><vcpu>" + "9" * 5000 + "</vcpu></domain>",
        "<domain><name>shop-web-1</name><vcpu>\u0663</vcpu></domain>",
        "<domain><name>shop-web-1</name><memory>1e9</memory></domain>",
        "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><domain><name>&b;</name></domain>",
        "<domain>" + "<a>" * 200 + "</a>" * 200 + "</domain>",
        "<domain>" + "<a/>" * 60000 + "</domain>",
        "<domain><name>" + "x" * 5_000_000 + "</name></domain>",
    ],
    ids=["cut", "digits", "alphabet", "exponent", "entities", "deep", "wide", "huge"],
)
def test_a_definition_that_makes_no_sense_hides_no_other(xml: str, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    bad, good = make_wish(), make_wish("web-2")
    machines().ensure([bad, good], start=True)
    host.definitions["shop-web-1"] = xml
    assert [machine.owner.machine for machine in machines().query("default", "shop")] == ["web-2"]
    every = {domain["domain"]: domain["problem"] for domain in machines().domains.every_domain("default", "shop")}
    assert every["shop-web-1"] and every["shop-web-2"] is None
    refused(host, machines, [bad], "cannot be read, so it may be web-1 or not")


@pytest.mark.parametrize("names", [{"service": "../.."}, {"machine": "a/b"}, {"tenant": ""}, {"machine": "A"}])
def test_names_in_metadata_cannot_leave_their_place(names: dict[str, str], host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=False)
    xml = host.known[0].xml()
    for key, value in names.items():
        xml = re.sub(f'{key}="[^"]*"', f'{key}="{value}"', xml, count=1)
    host.definitions["shop-web-1"] = xml
    assert machines().query("default", None) == []
    assert "is not a name" in machines().domains.every_domain("default", "shop")[0]["problem"]
