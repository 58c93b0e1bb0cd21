# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By made-up trees of /sys: no host of the tests has devices to give away."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import sources
from ansible_collections.basecast.fleet.plugins.module_utils._machine import host_devices
from ansible_collections.basecast.fleet.plugins.module_utils._machine.host_devices import device_problems, look, matches

CARD, SOUND, BRIDGE, PLAIN = "0000:65:00.0", "0000:65:00.1", "0000:00:01.0", "0000:01:00.0"
VGPU = "c2177883-f1bb-47f0-914d-32a22e3a8804"


class Sys:
    def __init__(self, top: Path) -> None:
        self.top = top

    def pci(self, address: str, group: int | None = None, driver: str | None = None, kind: str = "0x030000") -> Path:
        return self._device("pci", address, group, driver, {"class": kind})

    def mediated(self, uuid: str, group: int | None = None) -> Path:
        return self._device("mdev", uuid, group, None, {})

    def usb(self, port: str, product: str, bus: int, device: int, kind: str = "00") -> Path:
        vendor, _colon, model = product.partition(":")
        told = {"idVendor": vendor, "idProduct": model, "busnum": str(bus), "devnum": str(device), "bDeviceClass": kind}
        return self._device("usb", port, None, None, told)

    def _device(self, bus: str, name: str, group: int | None, driver: str | None, texts: dict[str, str]) -> Path:
        path = self.top / "bus" / bus / "devices" / name
        path.mkdir(parents=True)
        for file, text in texts.items():
            (path / file).write_text(text + "\n")
        if group is not None:
            devices = self.top / "kernel" / "iommu_groups" / str(group) / "devices"
            devices.mkdir(parents=True, exist_ok=True)
            (devices / name).symlink_to(path)
            (path / "iommu_group").symlink_to(devices.parent)
        if driver is not None:
            (self.top / "drivers" / driver).mkdir(parents=True, exist_ok=True)
            (path / "driver").symlink_to(self.top / "drivers" / driver)
        return path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sys:
    monkeypatch.setattr(host_devices, "_SYS", str(tmp_path / "sys"))
    (tmp_path / "qemu").mkdir()
    monkeypatch.setattr(sources, "_DEFINITIONS", (str(tmp_path / "qemu"), "/nowhere"))
    return Sys(tmp_path / "sys")


def defined(tree: Sys, domain: str, source: str, kind: str = "pci") -> None:
    xml = f"<domstatus><domain><devices><hostdev type='{kind}'><source>{source}</source></hostdev></devices></domain></domstatus>"
    (tree.top.parent / "qemu" / f"{domain}.xml").write_text(xml)


def test_a_device_with_a_group_of_its_own_can_be_given(tree: Sys) -> None:
    path = tree.pci(CARD, 7, "nouveau")
    found = look(f"pci/{CARD}")
    assert found == (str(path), (f"pci/{CARD}",), "", (), ())


@pytest.mark.parametrize("name", [f"pci/{CARD}", "usb/0951:1666", f"mediated/{VGPU}", "pci/..", "pci/", "nvme/x", "pci/../pci"])
def test_what_is_not_there_is_none(tree: Sys, name: str) -> None:
    tree.pci(PLAIN, 1)
    assert look(name) is None and list(device_problems([{"pci": CARD}], "shop-web-1")) == [
        f"The PCI device {CARD} of shop-web-1 is not there; attach it to the host."
    ]


def problem(name: str) -> str:
    found = look(name)
    assert found is not None
    return found.problem


def test_what_no_machine_can_have_is_told(tree: Sys) -> None:
    tree.pci(BRIDGE, 1, "pcieport", "0x060400")
    tree.pci(PLAIN)
    tree.mediated(VGPU)
    tree.usb("usb1", "1d6b:0002", 1, 1, "09")
    assert problem(f"pci/{BRIDGE}") == "is a bridge of the host, and no device for machines"
    for name in (f"pci/{PLAIN}", f"mediated/{VGPU}"):
        assert problem(name).startswith("has no IOMMU group, so it cannot be given away; switch the IOMMU on")
    assert problem("usb/1/1") == "is a USB hub, and no device for machines"


def test_a_group_is_given_as_a_whole(tree: Sys) -> None:
    tree.pci(BRIDGE, 7, "pcieport", "0x060400")
    tree.pci(CARD, 7, "nouveau")
    tree.pci(SOUND, 7, "snd_hda_intel", "0x040300")
    tree.pci("0000:65:00.2", 7)
    tree.pci("0000:65:00.3", 7, "vfio-pci")
    found = look(f"pci/{CARD}")
    assert found is not None and (found.problem, found.beside) == ("", (SOUND,))
    (told,) = device_problems([{"pci": CARD}], "shop-web-1")
    assert f"{CARD} of shop-web-1 is in one IOMMU group with {SOUND}, which the host uses" in told
    assert list(device_problems([{"pci": CARD}, {"pci": SOUND}], "shop-web-1")) == []


def test_a_usb_device_has_two_names(tree: Sys) -> None:
    path = tree.usb("1-4", "0951:1666", 1, 7)
    tree.usb("1-5", "1234:0001", 1, 8)
    for name in ("usb/0951:1666", "usb/1/7"):
        assert look(name) == (str(path), ("usb/0951:1666", "usb/1/7"), "", (), ())
    tree.usb("2-1", "0951:1666", 2, 3)
    assert problem("usb/0951:1666") == "stands for several devices of the host; name one by its bus and device (1/7, 2/3)"
    assert problem("usb/2/3") == ""


def test_who_has_a_device_is_named(tree: Sys) -> None:
    tree.pci(CARD, 7)
    tree.usb("1-4", "0951:1666", 1, 7)
    tree.mediated(VGPU, 9)
    defined(tree, "shop-web-1", "<address domain='0' bus='0x65' slot='0' function='0'/>")
    defined(tree, "crm", "<vendor id='0x0951'/><product id='0x1666'/>", "usb")
    defined(tree, "old", f"<address uuid='{VGPU}'/>", "mdev")
    for name, user in ((f"pci/{CARD}", "shop-web-1"), ("usb/1/7", "crm"), (f"mediated/{VGPU}", "old")):
        found = look(name)
        assert found is not None and found.used_by == (f"domain {user}",)
    assert list(device_problems([{"pci": CARD}], "shop-web-1")) == []
    (told,) = device_problems([{"usb": "0951:1666"}], "shop-web-1")
    assert told == "The USB device 0951:1666 of shop-web-1 is in use by domain crm; one machine at a time has it."


def test_what_is_not_known_is_not_taken_for_nothing(tree: Sys) -> None:
    tree.pci(CARD, 7)
    (tree.top.parent / "qemu" / "crm.xml").write_text("<hostdev")
    told = problem(f"pci/{CARD}")
    assert told.startswith("cannot be given away: A domain's definition cannot be read, so nobody knows what") and "crm" not in told


def test_a_device_with_virtual_functions_stays(tree: Sys) -> None:
    (tree.pci(CARD, 7) / "virtfn0").symlink_to(tree.pci(SOUND, 8))
    assert problem(f"pci/{CARD}") == "has virtual functions, which other machines would lose; name one of these, or switch them off"
    assert problem(f"pci/{SOUND}") == ""


def test_a_problem_is_told_when_the_machine_starts(tree: Sys) -> None:
    tree.pci(PLAIN)
    (told,) = device_problems([{"pci": PLAIN}], "shop-web-1")
    assert told.startswith(f"The PCI device {PLAIN} of shop-web-1 has no IOMMU group")


def test_a_star_finds_what_each_machine_has(tree: Sys) -> None:
    for address in (CARD, SOUND, PLAIN):
        tree.pci(address, 7)
    found: t.Any = matches("pci/0000:65:00.*")
    assert found == [f"pci/{CARD}", f"pci/{SOUND}"] and matches("pci/0000:99:00.*") == []
    assert matches("usb/1/7") == ["usb/1/7"]
