# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""Network cards: what each is connected to, and how. One row for each key of a card, as for the keys of a machine."""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from .key import Problems, child, there, whole

_END = r"$(?!\n)"
_LINE = r"^[^/\x00-\x1f]+" + _END
_MOST_MTU = 65521  # of a tap device: the frame's header takes the rest
_INTERFACE = r"^[^\s/]{1,15}" + _END
# The first byte is even: the address of one card, not of a group. libvirt keeps fe for the host's end; all zeros is no address.
MAC_PATTERN = r"^(?![fF][eE])(?!00(:00){5})[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}" + _END

# Names that QEMU knows; libvirt takes any, and the machine fails at its start.
MODEL = {
    "enum": [
        "virtio",
        "virtio-transitional",
        "virtio-non-transitional",
        "e1000",
        "e1000e",
        "igb",
        "rtl8139",
        "vmxnet3",
        "pcnet",
        "ne2k_pci",
    ],
    "description": "the model of a network card is virtio (or virtio-transitional, virtio-non-transitional), e1000, e1000e, igb,"
    " rtl8139, vmxnet3, pcnet or ne2k_pci",
}

Card = t.Mapping[str, t.Any]
Facts = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Kind:
    """What a card can be connected to.

    :param name: the key that names it.
    :param element: libvirt's type of the interface; ``attribute`` of its source has the name.
    :param extra: what else the interface has, which also tells it from others of that type.
    :param word: what it is called in sentences.
    """

    name: str
    schema: t.Mapping[str, t.Any]
    element: str
    attribute: str
    word: str
    virtualport: str | None = None


KINDS = (
    Kind(
        "network",
        {"type": "string", "pattern": _LINE, "description": "the name of a libvirt network is wanted, one line without a slash"},
        "network",
        "network",
        "network",
    ),
    Kind(
        "open_vswitch",
        {"type": "string", "pattern": _INTERFACE, "description": "the name of an Open vSwitch bridge of the host is wanted"},
        "bridge",
        "bridge",
        "Open vSwitch bridge",
        "openvswitch",
    ),
    Kind(
        "bridge",
        {
            "type": "string",
            "pattern": _INTERFACE,
            "description": "the name of a bridge on the host is wanted, at most 15 characters without spaces and slashes",
        },
        "bridge",
        "bridge",
        "bridge",
    ),
    Kind(
        "macvtap",
        {
            "type": "string",
            "pattern": _INTERFACE,
            "description": "the name of a network interface of the host is wanted, at most 15 characters without spaces and slashes",
        },
        "direct",
        "dev",
        "network interface",
    ),
)
KIND_NAMES = tuple(kind.name for kind in KINDS)
_BY_NAME = {kind.name: kind for kind in KINDS}


def word_of(name: str) -> str:
    return _BY_NAME[name].word


def kind_of(card: Card) -> Kind | None:
    """None for a card of a kind that the collection does not make."""
    return next((kind for kind in KINDS if card.get(kind.name)), None)


def network_name(kind_name: str, card: Card) -> str:
    """Cards of the same name are meant to reach each other: ``network default``, ``open_vswitch br0 vlan 12``."""
    return f"{kind_name} {card.get(kind_name)}" + (f" vlan {card['vlan']}" if card.get("vlan") is not None else "")


@dataclass(frozen=True)
class CardKey:
    """One property of a card; see ``Key``. ``read`` gives None where it is as usual."""

    name: str
    schema: t.Mapping[str, t.Any]
    write: t.Callable[[ET.Element, t.Any], None]
    read: t.Callable[[ET.Element], t.Any]


def _number(element: ET.Element, path: str, name: str) -> int | None:
    found = element.find(path)
    text = None if found is None else found.get(name)
    return int(text) if text and re.fullmatch(r"[0-9]{1,9}", text) else None


def _write_vlan(card: ET.Element, value: int) -> None:
    child(child(card, "vlan"), "tag", id=str(value))


KEYS = (
    CardKey(
        "vlan",
        {"type": "integer", "minimum": 1, "maximum": 4094, "description": "a VLAN is a number from 1 to 4094"},
        _write_vlan,
        lambda card: _number(card, "./vlan/tag", "id"),
    ),
    CardKey(
        "queues",
        {"type": "integer", "minimum": 1, "maximum": 256, "description": "a card has 1 to 256 queues"},
        lambda card, value: there(card, "driver").set("queues", str(value)),
        lambda card: _number(card, "./driver", "queues"),
    ),
    CardKey(
        "mtu",
        {"type": "integer", "minimum": 68, "maximum": _MOST_MTU, "description": f"an MTU is a number from 68 to {_MOST_MTU}"},
        lambda card, value: there(card, "mtu").set("size", str(value)),
        lambda card: _number(card, "./mtu", "size"),
    ),
    CardKey(
        "boot",
        {"type": "integer", "minimum": 1, "maximum": 99, "description": "the place in the boot order is a number from 1 to 99"},
        lambda card, value: there(card, "boot").set("order", str(value)),
        lambda card: _number(card, "./boot", "order"),
    ),
)
NAMES = tuple(key.name for key in KEYS)


def schemas() -> dict[str, t.Any]:
    """JSON Schema of a card's keys beside ``model`` and ``macs``."""
    return {**{kind.name: kind.schema for kind in KINDS}, **{key.name: key.schema for key in KEYS}}


def write(kind_name: str, source_name: str, more: Card, mac: str, model: str) -> ET.Element:
    """
    :param more: the other keys of the card.
    """
    kind = _BY_NAME[kind_name]
    element = ET.Element("interface", type=kind.element)
    child(element, "mac", address=mac)
    source = child(element, "source", **{kind.attribute: source_name})
    if kind.element == "direct":
        source.set("mode", "bridge")
    if kind.virtualport is not None:
        child(element, "virtualport", type=kind.virtualport)
    child(element, "model", type=model)
    for key in KEYS:
        if more.get(key.name) is not None:
            key.write(element, more[key.name])
    return element


def mac_of(element: ET.Element) -> str | None:
    mac = element.find("mac")
    return None if mac is None else mac.get("address", "").lower()


def read(element: ET.Element) -> dict[str, t.Any]:
    """What it is connected to, by the kind's name, ``mac``, ``model``, and what is not as usual of the other keys."""
    source, model, port = (element.find(tag) for tag in ("source", "model", "virtualport"))
    kind_type, port_type = element.get("type", ""), None if port is None else port.get("type")
    kind = next((one for one in KINDS if one.element == kind_type and one.virtualport in (None, port_type)), None)
    name, attribute = (kind.name, kind.attribute) if kind is not None else (kind_type, kind_type)
    others = {key.name: key.read(element) for key in KEYS}
    return {
        name: None if source is None else source.get(attribute),
        "mac": mac_of(element),
        "model": None if model is None else model.get("type"),
        **{key: value for key, value in others.items() if value is not None},
    }


def mistakes(card: Card) -> t.Iterator[tuple[str, str]]:
    """What does not go together in one card: key and sentence."""
    kind = kind_of(card)
    if kind is None:
        return
    name = kind.name
    if card.get("vlan") is not None and name not in ("open_vswitch", "network"):
        yield "vlan", f"a {kind.word} takes no tag from libvirt; use open_vswitch or a network over one, or a bridge of that VLAN"
    if card.get("mtu") is not None and name == "macvtap":
        yield "mtu", "a macvtap has the MTU of its interface; leave it out"
    if card.get("queues") is not None and card.get("model", "virtio") != "virtio":
        yield "queues", f"only cards of the model virtio have several queues, and this one is {card['model']}"


def order_mistakes(cards: t.Sequence[Card]) -> t.Iterator[tuple[int, str]]:
    """Places in the boot order that are taken twice: index of the card, and a sentence."""
    orders = [card.get("boot") for card in cards]
    for at, order in enumerate(orders):
        if order is not None and order in orders[:at]:
            yield at, f"{order} is taken by another card of the machine"


def lacks(card: Card, facts: Facts) -> Problems:
    """What a host does not have for it, as the end of a sentence that begins with the host's name.

    :param facts: ``networks`` (whether each is active), ``vlan_networks`` (those that tag), ``dns`` (why a network has none),
        ``bridges``, ``open_vswitch`` and ``interfaces``; None for what is not known.
    """
    kind = kind_of(card)
    if kind is None:
        return
    name = card[kind.name]
    if kind.name == "network":
        networks, tagging = facts.get("networks"), facts.get("vlan_networks")
        yield from _lacks_network(name, networks)
        if networks is not None and name not in networks:
            return
        if card.get("vlan") is not None and tagging is not None and name not in tagging:
            yield (
                f"has no VLANs on the network {name!r}, which is not one over Open vSwitch; those that have: {', '.join(tagging) or 'none'}"
            )
        reason = ((facts.get("dns") or {}).get(name) or {}).get("problem") if card.get("dns_entry") else ""
        if reason:
            yield f"cannot give its machines an entry in the DNS of the network {name!r}, which {reason}; leave dns_entry out"
        return
    if kind.name == "bridge" and name in (facts.get("open_vswitch") or ()):
        yield f"has {name!r} as a bridge of Open vSwitch; write open_vswitch: {name}"
        return
    known = facts.get({"bridge": "bridges", "macvtap": "interfaces"}.get(kind.name, kind.name))
    if known is not None and name not in known:
        yield f"has no {kind.word} {name!r}; it has: {', '.join(known) or 'none'}"


def _lacks_network(name: str, networks: t.Mapping[str, bool] | None) -> Problems:
    if networks is None or networks.get(name):
        return
    active = ", ".join(other for other, is_active in networks.items() if is_active) or "none"
    if name in networks:
        yield f"has the network {name!r}, but it is not active; start it (virsh net-start {name}), active are: {active}"
    else:
        yield f"has no network {name!r}; active are: {active}"


def set_boot_order(root: ET.Element) -> None:
    """Where a device has a place in the order, libvirt takes no other order: the first disk gets the first place that is free."""
    orders = {whole(boot.get("order")) for boot in root.iterfind("./devices/*/boot")}
    if not orders:
        return
    system = root.find("os")
    for boot in root.findall("./os/boot"):
        if system is not None:
            system.remove(boot)
    disk = root.find("./devices/disk")
    if disk is not None and disk.find("boot") is None:
        free = next(number for number in range(1, 101) if number not in orders)
        child(disk, "boot", order=str(free))
