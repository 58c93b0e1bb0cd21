# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import table
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.board import nvram_of
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.key import Place

PLACE = Place("/pool/machines/shop/web-1", "x86_64", "qemu")
SIZE = {"cpus": 1, "memory_mib": 512}
EMPTY = "<domain><os><type arch='x86_64'>hvm</type></os><features/><on_crash>restart</on_crash><devices/></domain>"


def written(hardware: dict[str, t.Any], place: Place = PLACE) -> ET.Element:
    root = ET.fromstring(EMPTY)
    table.write(root, hardware, place)
    return root


@pytest.mark.parametrize(
    ("hardware", "path", "attribute", "value"),
    [
        ({"firmware": "uefi"}, "./os", "firmware", "efi"),
        ({"firmware": "uefi"}, "./os/firmware/feature[@name='secure-boot']", "enabled", "no"),
        ({"firmware": "uefi"}, "./os/type", "machine", "q35"),
        ({"firmware": "uefi", "machine_type": "pc"}, "./os/type", "machine", "pc"),
        ({"firmware": "uefi_secure"}, "./os/firmware/feature[@name='secure-boot']", "enabled", "yes"),
        ({"firmware": "uefi_secure"}, "./features/smm", "state", "on"),
        ({"tpm": "2.0"}, "./devices/tpm", "model", "tpm-crb"),
        ({"tpm": "2.0"}, "./devices/tpm/backend", "version", "2.0"),
        ({"machine_type": "q35"}, "./os/type", "machine", "q35"),
        ({"watchdog": {}}, "./devices/watchdog", "action", "reset"),
        ({"watchdog": {"action": "none", "model": "ib700"}}, "./devices/watchdog", "model", "ib700"),
    ],
)
def test_what_is_asked_for_stands_in_the_xml(hardware: dict[str, t.Any], path: str, attribute: str, value: str) -> None:
    element = written(hardware).find(path)
    assert element is not None and element.get(attribute) == value


def test_each_firmware_has_variables_of_its_own() -> None:
    assert nvram_of(written({"firmware": "uefi"})) == "/pool/machines/shop/web-1/nvram-uefi.fd"
    assert nvram_of(written({"firmware": "uefi_secure"})) == "/pool/machines/shop/web-1/nvram-uefi_secure.fd"
    assert nvram_of(written({"firmware": "bios"})) is None


def test_another_architecture_keeps_its_own_board() -> None:
    root = written({"firmware": "uefi_secure", "tpm": "2.0"}, PLACE._replace(arch="aarch64"))
    assert root.find("./os/type[@machine]") is None and root.find("./features/smm") is None
    assert root.find("./devices/tpm[@model='tpm-tis']") is not None


@pytest.mark.parametrize(
    ("xml", "key", "value"),
    [
        ("<os firmware='efi'><firmware><feature enabled='yes' name='secure-boot'/></firmware></os>", "firmware", "uefi_secure"),
        ("<os firmware='efi'><firmware><feature enabled='no' name='secure-boot'/></firmware></os>", "firmware", "uefi"),
        # What libvirt makes of firmware='efi' when it defines the domain.
        ("<os firmware='efi'><loader secure='yes' type='pflash'>/x.fd</loader></os>", "firmware", "uefi_secure"),
        ("<os><loader type='pflash' readonly='yes'>/x.fd</loader></os>", "firmware", "uefi"),
        ("<os><loader type='rom'>/bios.bin</loader></os>", "firmware", "bios"),
        ("<os><type machine='pc-q35-7.2'>hvm</type></os>", "machine_type", "q35"),
        ("<os><type machine='pc-i440fx-7.2'>hvm</type></os>", "machine_type", "pc"),
        ("<os><type machine='virt-7.2'>hvm</type></os>", "machine_type", "virt-7.2"),
        ("<devices><tpm model='tpm-tis'><backend type='passthrough'/></tpm></devices>", "tpm", "another"),
        # Newer versions of libvirt tell the watchdog that each q35 board has.
        ("<devices><watchdog model='itco' action='reset'/></devices>", "watchdog", None),
        ("<os/>", "on_crash", "destroy"),
    ],
)
def test_what_libvirt_makes_of_it_is_read_back(xml: str, key: str, value: t.Any) -> None:
    assert table.read(ET.fromstring(f"<domain>{xml}</domain>"))[key] == value


@pytest.mark.parametrize("machine_type", ["isapc", "microvm", "x-remote", "none"])
def test_boards_without_pci_are_refused(machine_type: str) -> None:
    ((key, problem),) = table.combined_mistakes({"cpus": 1, "memory_mib": 512, "machine_type": machine_type})
    assert key == "machine_type" and problem.startswith(f"'{machine_type}' has no PCI bus")
    assert not list(table.combined_mistakes({"cpus": 1, "memory_mib": 512, "machine_type": "virt-7.2"}))


@pytest.mark.parametrize("machine_type", ["pc", "pc-i440fx-7.2"])
def test_secure_boot_and_an_old_board_do_not_go_together(machine_type: str) -> None:
    (told,) = table.combined_mistakes({"cpus": 1, "memory_mib": 512, "firmware": "uefi_secure", "machine_type": machine_type})
    assert told[0] == "firmware" and "it needs q35" in told[1]
    assert not list(table.combined_mistakes({"cpus": 1, "memory_mib": 512, "firmware": "uefi", "machine_type": machine_type}))


@pytest.mark.parametrize(
    ("hardware", "offers", "told"),
    [
        ({"firmware": "uefi"}, {"firmware": ["bios"]}, "has no UEFI firmware for machines; install OVMF"),
        ({"firmware": "uefi_secure"}, {"firmware": ["bios", "uefi"]}, "has no UEFI firmware with Secure Boot"),
        ({"tpm": "2.0"}, {"tpm": []}, "cannot emulate a TPM 2.0; install swtpm"),
        ({"tpm": "2.0"}, {"tpm": ["1.2"]}, "cannot emulate a TPM 2.0; install swtpm"),
        ({"watchdog": {"model": "diag288"}}, {"watchdogs": ["i6300esb", "ib700"]}, "cannot give machines the watchdog diag288; its"),
        ({"watchdog": {}}, {"watchdogs": ["diag288"]}, "cannot give machines the watchdog i6300esb; its machines can have diag288"),
        ({"machine_type": "q36"}, {"machine_types": ["pc", "pc-q35-7.2", "q35"]}, "has no machine type 'q36'; it has pc, q35 and versions"),
    ],
)
def test_what_a_host_lacks_is_said_with_what_to_do(hardware: dict[str, t.Any], offers: dict[str, t.Any], told: str) -> None:
    ((_key, problem),) = table.lacks(hardware, offers, SIZE)
    assert problem.startswith(told)
    assert not list(table.lacks(hardware, {}, SIZE)) and not list(table.lacks(hardware, None, SIZE)), (
        "a host that does not tell is not judged"
    )
