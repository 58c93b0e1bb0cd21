# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Devices of the host that a machine gets as its own: PCI, USB and mediated ones."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from .key import Key, Place, child, there

PCI, USB, MEDIATED = "pci", "usb", "mediated"
KINDS = (PCI, USB, MEDIATED)
WORDS = {PCI: "PCI device", USB: "USB device", MEDIATED: "mediated device"}

_TYPES = {PCI: "pci", USB: "usb", MEDIATED: "mdev"}
# libvirt keeps the names of devices that begin so. What xml adds is none of these.
_ALIAS = "ua-device-"
_END = r"$(?!\n)"
_HEX = "[0-9a-f]"

HOST_DEVICES_SCHEMA: dict[str, t.Any] = {
    "type": "array",
    "minItems": 1,
    "description": "host_devices is a list of devices of the host",
    "examples": ["[{pci: '0000:65:00.0'}]"],
    "items": {
        "type": "object",
        "description": "a device of the host is a mapping of pci, usb or mediated",
        "examples": ["{pci: '0000:65:00.0'}"],
        "properties": {
            PCI: {
                "type": "string",
                # A number in the place of the function is for virtual functions, of which each machine has its own.
                "pattern": rf"^{_HEX}{{4}}:{_HEX}{{2}}:[01]{_HEX}\.([0-7]|\{{\{{ ?machine\.number ?\}}\}}){_END}",
                "description": "a PCI address such as '0000:65:00.0' (in quotes, lower-case, as lspci -D shows it) is wanted",
            },
            USB: {
                "type": "string",
                "pattern": rf"^({_HEX}{{4}}:{_HEX}{{4}}|[1-9][0-9]{{0,2}}/[1-9][0-9]{{0,2}}){_END}",
                "description": "vendor and product such as '0951:1666' (in quotes), or bus and device such as '3/7', are wanted",
            },
            MEDIATED: {
                "type": "string",
                "pattern": rf"^{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}{_END}",
                "description": "the UUID of a mediated device, lower-case, is wanted",
            },
        },
        "additionalProperties": False,
    },
}


def name_of(device: t.Mapping[str, t.Any]) -> str:
    """Under which hosts are asked for it, and administrators permit it: ``pci/0000:65:00.0``."""
    kind = next(kind for kind in KINDS if device.get(kind) is not None)
    return f"{kind}/{device[kind]}"


def title_of(name: str) -> str:
    kind, _slash, address = name.partition("/")
    return f"{WORDS.get(kind, 'device')} {address}"


def with_others(beside: t.Sequence[str]) -> str:
    """The end of a sentence on a PCI device that cannot be given away alone."""
    return (
        f"is in one IOMMU group with {', '.join(beside)}, which the host uses; give the machine all of them, or unbind those from their"
        " drivers"
    )


def host_device_mistakes(machine: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """What does not go together: key and sentence."""
    seen: set[str] = set()
    for at, device in enumerate(machine.get("host_devices") or ()):
        if sum(device.get(kind) is not None for kind in KINDS) != 1:
            yield "host_devices", f"[{at}]: a device has one of {', '.join(KINDS)}; give each device an entry of its own"
            continue
        if name_of(device) in seen:
            yield "host_devices", f"[{at}]: the {title_of(name_of(device))} stands twice; leave one out"
        seen.add(name_of(device))


def _write(root: ET.Element, value: t.Sequence[t.Mapping[str, str]], place: Place) -> None:
    devices = there(root, "devices")
    if any(USB in device for device in value):
        with_usb(devices)
    for at, device in enumerate(value):
        kind, _slash, address = name_of(device).partition("/")
        how = {"model": "vfio-pci"} if kind == MEDIATED else {"managed": "yes"}
        element = child(devices, "hostdev", mode="subsystem", type=_TYPES[kind], **how)
        _write_source(child(element, "source"), kind, address)
        child(element, "alias", name=f"{_ALIAS}{at}")


def _write_source(source: ET.Element, kind: str, address: str) -> None:
    if kind == MEDIATED:
        child(source, "address", uuid=address)
    elif kind == PCI:
        domain, bus, rest = address.split(":")
        slot, _dot, function = rest.partition(".")
        child(source, "address", domain=f"0x{domain}", bus=f"0x{bus}", slot=f"0x{slot}", function=f"0x{function}")
    elif ":" in address:
        vendor, _colon, product = address.partition(":")
        child(source, "vendor", id=f"0x{vendor}")
        child(source, "product", id=f"0x{product}")
    else:
        bus, _slash, device = address.partition("/")
        child(source, "address", bus=bus, device=device)


def with_usb(devices: ET.Element) -> None:
    """Machines have no USB unless it is asked for, and libvirt is told so by a controller of no model."""
    for controller in devices.findall("./controller[@type='usb'][@model='none']"):
        devices.remove(controller)
        child(devices, "controller", type="usb", model="qemu-xhci")


def device_in(element: ET.Element) -> dict[str, str] | None:
    """Which device of the host an element of a domain is, ours or another's; None where it is none, or of another kind."""
    source = element.find("source")
    address = None if source is None else source.find("address")
    if source is None:
        return None
    kind = element.get("type")
    vendor, product = source.find("vendor"), source.find("product")
    try:
        if kind == "usb" and vendor is not None and product is not None:  # a running domain has its address, too
            return {USB: f"{int(vendor.get('id', ''), 0):04x}:{int(product.get('id', ''), 0):04x}"}
        if address is None:
            return None
        if kind == "usb":
            return {USB: f"{int(address.get('bus', ''))}/{int(address.get('device', ''))}"}
        if kind == "mdev":
            return {MEDIATED: address.get("uuid", "").lower()}
        if kind == "pci" or (element.tag == "interface" and kind == "hostdev" and address.get("type") == "pci"):
            domain, bus, slot, function = (int(address.get(key, "0"), 0) for key in ("domain", "bus", "slot", "function"))
            return {PCI: f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"}
    except ValueError:  # edited by hand: libvirt writes numbers
        return None
    return None


def _read(root: ET.Element) -> list[dict[str, str]] | None:
    """Those that the manifest names; None where there is none."""
    found = []
    for element in root.iterfind("./devices/hostdev"):
        alias = element.find("alias")
        device = device_in(element)
        if alias is not None and alias.get("name", "").startswith(_ALIAS) and device is not None:
            found.append(device)
    return found or None


HOST_DEVICES = Key("host_devices", HOST_DEVICES_SCHEMA, None, _write, _read)
