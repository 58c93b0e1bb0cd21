# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of a machine's disks, and what keeps them on their host."""

from __future__ import annotations

import subprocess
import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._move import look as looking
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._move.conftest import OWNER

QCOW2 = ["qemu-img", "create", "-q", "-f", "qcow2"]


def look(pool: Path, path: Path, kind: str = "qcow2") -> tuple[dict[str, t.Any] | None, list[str]]:
    problems: list[str] = []
    stores = {"default": Store(str(pool), lambda _command: (0, "", ""), "default")}
    return looking._disk(str(path), kind, OWNER, stores, [], problems), problems


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = Path(OWNER.directory(str(tmp_path)))
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize("snapshots", [0, 2])
def test_snapshots_inside_a_disk_are_counted(tmp_path: Path, home: Path, snapshots: int) -> None:
    path = home / "root.qcow2"
    subprocess.run([*QCOW2, str(path), "1M"], check=True)
    for number in range(snapshots):
        subprocess.run(["qemu-img", "snapshot", "-c", f"s{number}", str(path)], check=True)
    disk, problems = look(tmp_path, path)
    assert problems == [] and disk is not None and (disk["name"], disk["snapshots"]) == ("root", snapshots)


def test_a_disk_whose_data_are_elsewhere_stays(tmp_path: Path, home: Path) -> None:
    path = home / "root.qcow2"
    subprocess.run([*QCOW2, "-o", f"data_file={home}/root.data", str(path), "1M"], check=True)
    assert f"keeps its data in another file, {home}/root.data; copy it into one" in look(tmp_path, path)[1][0]


def test_a_disk_of_another_place_stays(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "installer.iso"
    path.write_bytes(b"")
    told, problems = look(tmp_path, path, "raw")
    assert told is None and "is not in the machine's own directory of a pool; detach it (virsh detach-disk" in problems[0]


@pytest.mark.parametrize(
    ("device", "source", "told"),
    [
        ("cdrom", "<source file='/x'/>", 1),
        ("cdrom", "<source file='/m/seed-cloudbase.iso'/>", 0),
        ("cdrom", "", 0),
        ("disk", "<source file='/x'/>", 0),
    ],
)
def test_a_cd_stays_while_its_machine_runs(device: str, source: str, told: int) -> None:
    disk = f"<disk type='file' device='{device}'>{source}<target dev='sdb' bus='sata'/><readonly/></disk>"
    problems = list(looking._discs(ET.fromstring(f"<domain><devices>{disk}</devices></domain>")))
    assert len(problems) == told and all("its CD in sdb cannot move while it runs" in problem for problem in problems)


def bound(pool: Path, os_parts: str = "", devices: str = "") -> tuple[list[str], list[str]]:
    """What keeps a machine on its host, whatever it does, and while it is off."""
    stores = {"default": Store(str(pool), lambda _command: (0, "", ""), "default")}
    root = ET.fromstring(f"<domain><os>{os_parts}</os><devices>{devices}</devices></domain>")
    variables = (root.findtext("./os/nvram") or "").strip() or None
    return list(looking._bound(root, variables, OWNER, stores)), list(looking._bound_off(root))


TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"


@pytest.mark.parametrize("name", ["nvram-uefi.fd", "nvram-uefi_secure.fd"])
def test_firmware_variables_among_its_own_files_move(tmp_path: Path, name: str) -> None:
    assert bound(tmp_path, f"<nvram>{OWNER.directory(str(tmp_path))}/{name}</nvram>") == ([], [])


@pytest.mark.parametrize(
    ("os_parts", "words"),
    [
        ("<nvram>/var/lib/libvirt/qemu/nvram/shop-web-1_VARS.fd</nvram>", "are in /var/lib/libvirt/qemu/nvram/shop-web-1_VARS.fd"),
        ("<nvram>{home}/other.fd</nvram>", "/other.fd, and not in its own directory"),
        ("<nvram>{home}-2/nvram-uefi.fd</nvram>", "web-1-2/nvram-uefi.fd"),
        ("<nvram type='network'><source protocol='nbd'/></nvram>", "are in no plain file"),
    ],
)
def test_firmware_variables_elsewhere_are_named(tmp_path: Path, os_parts: str, words: str) -> None:
    (problem,) = bound(tmp_path, os_parts.format(home=OWNER.directory(str(tmp_path))))[0]
    assert words in problem and "move them there while it is off" in problem


def test_a_tpm_moves_with_a_machine_that_runs(tmp_path: Path) -> None:
    always, off = bound(tmp_path, devices=TPM)
    assert always == [] and "it has a TPM" in off[0] and "move it live" in off[0]


def test_a_device_of_the_host_stays(tmp_path: Path) -> None:
    address = "<source><address domain='0x0000' bus='0x65' slot='0x00' function='0x0'/></source>"
    known = f"<hostdev mode='subsystem' type='pci'>{address}</hostdev>"
    (told,) = bound(tmp_path, devices=known)[0]
    assert "it has the PCI device 0000:65:00.0 of this host, which cannot move with it, live or off; detach that first" in told
    assert "it has a device of this host" in bound(tmp_path, devices="<hostdev/>")[0][0]


@pytest.mark.parametrize(("kind", "source"), [("block", "dev='/dev/sdb'"), ("file", "file='/dev/sdb'")])
def test_a_disk_that_was_given_stays_on_its_host(tmp_path: Path, kind: str, source: str) -> None:
    disk = f"<disk type='{kind}'><source {source}/><target dev='vdb'/><alias name='ua-attached-data'/></disk>"
    assert bound(tmp_path, devices=disk)[0] == [
        "its disk data is /dev/sdb of this host, which cannot move with it; detach that first (update)"
    ]
    assert list(looking._no_files(ET.fromstring(f"<domain><devices>{disk}</devices></domain>"))) == []


def test_small_files_are_those_that_a_migration_takes(tmp_path: Path, home: Path) -> None:
    for name in ("seed.iso", "console.log", "console.log.0", "nvram-uefi.fd", ".clone.json", ".root.origin.json", "root.qcow2", "mine"):
        (home / name).write_bytes(b"")
    always = {"seed.iso", "console.log", ".root.origin.json"}
    assert set(looking.small_files(str(home))) == always
    assert set(looking.small_files(str(home), firmware=True)) == always | {"nvram-uefi.fd"}
    assert set(looking.small_files(str(home), firmware=True, clone=True)) == always | {"nvram-uefi.fd", ".clone.json"}
