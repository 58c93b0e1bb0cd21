# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Platform, build, describe, drift
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import table
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.host_devices import device_in, title_of, with_others

from .test_table import wish_of

QEMU = Platform("qemu", "x86_64")
PCI = {"pci": "0001:65:1f.3"}
STICK = {"usb": "0951:1666"}
PORT = {"usb": "3/17"}
VGPU = {"mediated": "c2177883-f1bb-47f0-914d-32a22e3a8804"}
ALL = [PCI, STICK, PORT, VGPU]


def xml_of(*devices: dict[str, str], **more: t.Any) -> str:
    return build(wish_of({"host_devices": list(devices), **more} if devices else more), QEMU, ["52:54:00:00:00:01"], {})


def test_devices_are_read_back_as_the_manifest_has_them() -> None:
    assert describe(xml_of(*ALL)).hardware["host_devices"] == ALL
    assert describe(xml_of()).hardware["host_devices"] is None


def test_libvirt_takes_pci_and_usb_devices_from_their_drivers() -> None:
    elements = ET.fromstring(xml_of(*ALL)).findall("./devices/hostdev")
    assert [element.get("managed") for element in elements] == ["yes", "yes", "yes", None]
    assert [element.get("model") for element in elements] == [None, None, None, "vfio-pci"]


@pytest.mark.parametrize(("devices", "models"), [([PCI, VGPU], ["none"]), ([STICK, PORT], ["qemu-xhci"])])
def test_a_usb_device_comes_with_a_controller(devices: t.Any, models: list[str]) -> None:
    controllers = ET.fromstring(xml_of(*devices)).findall("./devices/controller[@type='usb']")
    assert [controller.get("model") for controller in controllers] == models


def test_what_xml_adds_is_none_of_the_manifests_devices() -> None:
    source = f"<source><address uuid='{VGPU['mediated']}'/></source>"
    added = f"<hostdev mode='subsystem' type='mdev' model='vfio-pci'>{source}</hostdev>"
    assert describe(xml_of(PCI, xml=[{"path": "devices", "add": added}])).hardware["host_devices"] == [PCI]


@pytest.mark.parametrize(("wanted", "changed"), [([PCI], False), ([VGPU], True), ([PCI, VGPU], True)])
def test_another_device_is_drift(wanted: t.Any, changed: bool) -> None:
    told = drift(describe(xml_of(*wanted)), describe(xml_of(PCI)), wish_of({"host_devices": wanted}))
    assert bool([one for one in told if one["path"].startswith("host_devices")]) is changed
    assert drift(describe(xml_of()), describe(xml_of(PCI)), wish_of({})) == [], "nothing was said of it"


@pytest.mark.parametrize(
    ("xml", "device"),
    [
        ("<hostdev type='usb'><source><vendor id='0x951'/><product id='0x1666'/><address bus='3' device='7'/></source></hostdev>", STICK),
        ("<hostdev type='pci'><source><address domain='1' bus='0x65' slot='31' function='3'/></source></hostdev>", PCI),
        ("<interface type='hostdev'><source><address type='pci' domain='1' bus='101' slot='31' function='3'/></source></interface>", PCI),
        ("<interface type='network'><source network='default'/></interface>", None),
        ("<hostdev type='scsi'><source><address bus='0'/></source></hostdev>", None),
        ("<hostdev type='pci'><source><address bus='x'/></source></hostdev>", None),
        ("<hostdev type='usb'><source><vendor/><product/></source></hostdev>", None),
        ("<hostdev type='usb'><source/></hostdev>", None),
        ("<hostdev/>", None),
    ],
)
def test_devices_of_any_domain_are_known(xml: str, device: t.Any) -> None:
    assert device_in(ET.fromstring(xml)) == device


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{"pci": "65:00.0"}], "host_devices[0].pci"),
        ([{"pci": "0000:65:00.9"}], "a PCI address such as '0000:65:00.0' (in quotes, lower-case, as lspci -D shows it) is wanted"),
        ([{"usb": "0951-1666"}], "vendor and product such as '0951:1666'"),
        ([{"usb": "0/7"}], "or bus and device such as '3/7', are wanted"),
        ([{"mediated": "x"}], "the UUID of a mediated device"),
        ([{**PCI, **STICK}], "[0]: a device has one of pci, usb, mediated; give each device an entry of its own"),
        ([{}], "[0]: a device has one of pci, usb, mediated"),
        ([PCI, PCI], "[1]: the PCI device 0001:65:1f.3 stands twice; leave one out"),
        ([], "host_devices is a list of devices of the host"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: t.Any, words: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        table.checked({"cpus": 1, "memory_mib": 512, "host_devices": given}, "machines[0]")
    assert words in caught.value.message


def test_devices_have_titles() -> None:
    assert [title_of(name) for name in ("pci/a", "usb/1/2", "mediated/c")] == ["PCI device a", "USB device 1/2", "mediated device c"]
    assert with_others(["x"]).startswith("is in one IOMMU group with x, which the host uses; give the machine all of them")
