# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.network_dns import (
    DnsRefused,
    Entry,
    NetworkDns,
    entries_in,
    entries_of,
    why_none,
)
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

from .conftest import FakeHost

WEB = Owner("default", "shop", "web-1")
NAMES = ("shop-web-1", "web-1.shop.internal")
CARD = {"network": "default", "address": "192.0.2.10/24", "dns_entry": True}
SPEC = {"networks": [CARD]}
THEIRS = "<host ip='192.0.2.99'><hostname>printer</hostname></host>"


def network(hosts: str = "", more: str = "<forward mode='nat'/>", dns: str = "") -> str:
    return f"<network><name>default</name>{more}<ip address='192.0.2.1'/><dns{dns}>{hosts}</dns></network>"


@pytest.fixture
def known(host: FakeHost) -> FakeHost:
    host.live["default"] = host.lasting["default"] = network(THEIRS)
    return host


def dns(host: FakeHost, **options: t.Any) -> NetworkDns:
    return NetworkDns(t.cast(t.Any, host), **options)


def found(host: FakeHost) -> list[dict[str, tuple[str, ...]]]:
    """What works now, and what lasts."""
    return [{one.address: one.names for one in entries_in("default", ET.fromstring(half["default"]))} for half in (host.live, host.lasting)]


@pytest.mark.parametrize(
    ("networks", "addresses"),
    [
        ([CARD], ["192.0.2.10"]),
        ([{**CARD, "address6": "2001:DB8::0:a/64"}], ["192.0.2.10", "2001:db8::a"]),
        ([{**CARD, "dns_entry": False}, {**CARD, "dns_entry": "yes"}, {"network": "default", "dns_entry": True}], []),
        ([{"bridge": "br0", "address": "192.0.2.10/24", "dns_entry": True}, "default", {**CARD, "address": "web"}], []),
        ("damaged", []),
    ],
)
def test_the_record_says_which_entries_a_machine_has(networks: t.Any, addresses: list[str]) -> None:
    assert entries_of(WEB, {"networks": networks}) == [Entry("default", address, NAMES) for address in addresses]


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (network(), ""),
        (network(more=""), ""),
        (network(more="<forward/>"), ""),
        (network(more="<forward mode='open'/>"), ""),
        (network(more="<forward mode='bridge'/>"), "has no DNS of libvirt, since its mode is bridge"),
        ("<network><name>alone</name></network>", "has no DNS of libvirt, since the host has no address on it"),
        (network(dns=" enable='no'"), "has its DNS switched off (<dns enable='no'>)"),
    ],
)
def test_not_every_network_has_a_dns(xml: str, reason: str) -> None:
    assert why_none(ET.fromstring(xml)) == reason


def test_an_entry_is_made_once_and_taken_out(known: FakeHost) -> None:
    assert dns(known).there(WEB, SPEC) == {"192.0.2.10": False}
    assert dns(known).ensure(WEB, SPEC)
    assert found(known) == [{"192.0.2.99": ("printer",), "192.0.2.10": NAMES}] * 2
    assert dns(known).there(WEB, SPEC) == {"192.0.2.10": True} and not dns(known).ensure(WEB, SPEC)
    assert dns(known).remove(WEB, SPEC) and not dns(known).remove(WEB, SPEC)
    assert found(known) == [{"192.0.2.99": ("printer",)}] * 2


def test_both_addresses_have_the_names(known: FakeHost) -> None:
    both = {"networks": [{**CARD, "address6": "2001:db8::a/64"}]}
    assert dns(known).ensure(WEB, both)
    assert found(known)[0] == {"192.0.2.99": ("printer",), "192.0.2.10": NAMES, "2001:db8::a": NAMES}
    assert dns(known).remove(WEB, both)
    assert found(known) == [{"192.0.2.99": ("printer",)}] * 2


@pytest.mark.parametrize("half", ["live", "lasting"])
def test_each_half_of_a_network_gets_what_it_lacks(known: FakeHost, half: str) -> None:
    dns(known).ensure(WEB, SPEC)
    getattr(known, half)["default"] = network(THEIRS + "<host ip='192.0.2.10'><hostname>shop-web-1</hostname></host>")
    assert dns(known).there(WEB, SPEC) == {"192.0.2.10": False}
    assert dns(known).ensure(WEB, SPEC) and found(known) == [{"192.0.2.99": ("printer",), "192.0.2.10": NAMES}] * 2
    del getattr(known, half)["default"]
    assert dns(known).there(WEB, SPEC) == {"192.0.2.10": True}
    assert dns(known).remove(WEB, SPEC)


@pytest.mark.parametrize(
    "stranger",
    [
        "<host ip='192.0.2.10'><hostname>printer</hostname></host>",
        "<host ip='192.0.2.10'/>",
        "<host ip='192.0.2.10'><hostname>shop-web-1</hostname><hostname>printer</hostname></host>",
        "<host ip='192.0.2.77'><hostname>shop-web-1</hostname></host>",
        "<host ip='192.0.2.77'><hostname>Shop-Web-1</hostname></host>",
        "<host ip='192.0.2.77'><hostname>web-1.shop.internal</hostname><hostname>printer</hostname></host>",
    ],
)
def test_entries_of_others_are_left_alone(host: FakeHost, stranger: str) -> None:
    host.live["default"] = host.lasting["default"] = network(stranger)
    before = found(host)
    with pytest.raises(DnsRefused, match=r"which is not an entry of web-1; remove it \(virsh net-update default delete dns-host"):
        dns(host).ensure(WEB, SPEC)
    assert not dns(host).remove(WEB, SPEC) and found(host) == before


def test_a_network_without_dns_is_refused(host: FakeHost) -> None:
    host.live["default"] = network(dns=" enable='no'")
    (problem,) = dns(host).problems(WEB, SPEC)
    assert problem == ("The network default has its DNS switched off (<dns enable='no'>); web-1 cannot have an entry in it (dns_entry).")


def test_a_network_that_has_gone_is_passed_over(host: FakeHost) -> None:
    assert dns(host).problems(WEB, SPEC) == [] and not dns(host).ensure(WEB, SPEC) and not dns(host).remove(WEB, SPEC)


def test_check_mode_changes_nothing(known: FakeHost) -> None:
    before = found(known)
    assert dns(known, check=True).ensure(WEB, SPEC) and found(known) == before
    dns(known).ensure(WEB, SPEC)
    before = found(known)
    assert dns(known, check=True).remove(WEB, SPEC) and found(known) == before


def test_a_host_tells_of_entries_that_no_machine_has(known: FakeHost) -> None:
    known.lasting["off"] = "<network><name>off</name></network>"
    dns(known).ensure(WEB, SPEC)
    theirs = {"address": "192.0.2.99", "names": ["printer"]}
    assert dns(known).told([(WEB, SPEC)]) == {
        "default": {"problem": "", "entries": [theirs]},
        "off": {"problem": "has no DNS of libvirt, since the host has no address on it", "entries": []},
    }
    assert dns(known).told([])["default"]["entries"] == [theirs, {"address": "192.0.2.10", "names": list(NAMES)}]
