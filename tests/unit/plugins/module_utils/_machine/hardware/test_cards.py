# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Card, describe, drift
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import cards

from .test_table import xml_of

MAC = "52:54:00:00:00:01"


@pytest.mark.parametrize("kind", cards.KIND_NAMES)
def test_a_card_is_read_as_it_was_written(kind: str) -> None:
    more = {"queues": 2, "mtu": 1400, "vlan": 5, "boot": 1}
    assert cards.read(cards.write(kind, "x0", {}, MAC, "virtio")) == {kind: "x0", "mac": MAC, "model": "virtio"}
    assert cards.read(cards.write(kind, "x0", more, MAC, "virtio")) == {kind: "x0", "mac": MAC, "model": "virtio", **more}


def test_cards_that_others_made_are_told_as_they_are() -> None:
    assert cards.read(ET.fromstring("<interface type='user'/>")) == {"user": None, "mac": None, "model": None}
    assert cards.read(ET.fromstring("<interface type='bridge'><source bridge='b'/><mtu size='x'/></interface>"))["bridge"] == "b"
    assert not list(cards.lacks({"user": "x"}, {})) and not list(cards.mistakes({}))


@pytest.mark.parametrize(
    ("card", "told"),
    [
        (
            {"network": "default", "vlan": 5},
            "has no VLANs on the network 'default', which is not one over Open vSwitch; those that have: ovs",
        ),
        ({"network": "ovs", "vlan": 5}, None),
        ({"network": "default"}, None),
        ({"network": "none", "vlan": 5}, "has no network 'none'; active are: default, ovs"),
        ({"bridge": "br-ext"}, "has 'br-ext' as a bridge of Open vSwitch; write open_vswitch: br-ext"),
        ({"bridge": "br0"}, None),
        ({"open_vswitch": "br-ext", "vlan": 5}, None),
        ({"network": "default", "dns_entry": True}, None),
        (
            {"network": "ovs", "dns_entry": True},
            "cannot give its machines an entry in the DNS of the network 'ovs', which has its DNS switched off; leave dns_entry out",
        ),
        ({"network": "ovs"}, None),
    ],
)
def test_a_host_that_cannot_connect_a_card_is_told(card: dict[str, t.Any], told: str | None) -> None:
    facts = {"networks": {"default": True, "ovs": True}, "vlan_networks": ["ovs"], "bridges": ["br-ext", "br0"], "open_vswitch": ["br-ext"]}
    facts["dns"] = {"default": {"problem": ""}, "ovs": {"problem": "has its DNS switched off"}}
    assert list(cards.lacks(card, facts)) == ([] if told is None else [told])
    assert not list(cards.lacks(card, {})), "a host that does not tell is not judged"


@pytest.mark.parametrize(
    ("mac", "accepted"),
    [
        ("52:54:00:12:34:56", True),
        ("AA:bb:CC:00:00:00", True),
        ("00:00:00:00:00:01", True),
        ("00:00:00:00:00:00", False),
        ("fe:54:00:12:34:56", False),
        ("FE:54:00:12:34:56", False),
        ("53:54:00:12:34:56", False),
        ("52-54-00-12-34-56", False),
        ("52:54:00:12:34:56\n", False),
    ],
)
def test_addresses_that_a_card_can_have(mac: str, accepted: bool) -> None:
    assert (re.search(cards.MAC_PATTERN, mac) is not None) == accepted


def wish(**more: t.Any) -> tuple[Card, ...]:
    return (Card("default", more=more),)


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ({"mtu": 1400}, {"mtu": 1400}, []),
        ({"mtu": 1400}, {"mtu": 1500}, [{"path": "networks.0.mtu", "from": 1400, "to": 1500}]),
        ({}, {"mtu": 1500}, [{"path": "networks.0.mtu", "from": None, "to": 1500}]),
        ({"mtu": 1400}, {}, []),
    ],
)
def test_what_nobody_chose_is_as_the_machine_has_it(found: t.Any, wanted: t.Any, expected: t.Any) -> None:
    old, (new, asked) = describe(xml_of(wish(**found))[0]), xml_of(wish(**wanted))
    assert drift(describe(new), old, asked) == expected


@pytest.mark.parametrize(("orders", "disk"), [((1,), "2"), ((2,), "1"), ((1, 2), "3"), ((2, 3), "1"), ((), None)])
def test_the_disk_gets_the_first_place_that_is_free(orders: tuple[int, ...], disk: str | None) -> None:
    """libvirt refuses a domain that has both kinds of boot orders."""
    root = ET.fromstring(xml_of(tuple(Card("default", more={"boot": order}) for order in orders))[0])
    boot = root.find("./devices/disk/boot")
    assert (None if boot is None else boot.get("order")) == disk
    assert (root.find("./os/boot") is None) == bool(orders)
