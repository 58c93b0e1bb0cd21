# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import (
    Moved,
    Platform,
    build,
    describe,
    disk_targets,
    drift,
    moved,
)
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import attached, drives, table

from .test_table import wish_of

QEMU = Platform("qemu", "x86_64")
BLOCK = {"name": "data", "kind": "block", "path": "/dev/disk/by-id/x", "image_format": "raw"}
VOLUME = {"name": "old.books_1", "kind": "volume", "path": "/pool/archive.qcow2", "image_format": "qcow2"}
OWN = "/pool/machines/shop/web-1/root.qcow2"


def xml_of(*given: dict[str, t.Any], **more: t.Any) -> str:
    return build(wish_of({"attached": list(given), **more} if given else more), QEMU, ["52:54:00:00:00:01"], {})


def test_given_disks_stand_behind_those_of_the_machine() -> None:
    disks = ET.fromstring(xml_of(BLOCK, VOLUME)).findall("./devices/disk")
    assert [(disk.get("type"), t.cast(ET.Element, disk.find("target")).get("dev")) for disk in disks] == [
        ("file", "vda"), ("block", "vdb"), ("file", "vdc")
    ]  # fmt: skip
    assert all(disk.find("backingStore") is not None for disk in disks[1:]), "libvirt looks into no header"


def test_they_are_none_of_its_own_files() -> None:
    """Whatever removes, copies, grows or moves a machine's disks asks these."""
    xml = xml_of(BLOCK, VOLUME)
    found = describe(xml)
    assert [path for path, _kind in found.files] == [OWN] and list(disk_targets(xml)) == [OWN]
    assert [disk["path"] for disk in found.hardware["disks"]] == [OWN]
    assert found.hardware["attached"] == {
        one["name"]: {key: one[key] for key in ("kind", "path", "image_format")} for one in (BLOCK, VOLUME)
    }


def test_they_are_connected_as_other_disks_are() -> None:
    found = describe(xml_of(BLOCK, drives=[{"name": "data", "bus": "scsi", "cache": "none", "serial": "s", "boot": 1}]))
    assert found.hardware["drives"]["data"] == {"bus": "scsi", "cache": "none", "io": None, "discard": None, "serial": "s", "boot": 1}
    assert found.hardware["drives"]["root"]["boot"] == 2


@pytest.mark.parametrize("name", ["a", "a.b", "a_b", "a__d", "_d", "a_.b", "a._b", "..", "-"])
def test_every_name_of_a_disk_is_read_back(name: str) -> None:
    disk = ET.fromstring(f"<disk><alias name='{attached._alias(name)}'/></disk>")
    assert attached.name_of(disk) == drives.name_of(disk) == name
    assert all(letter.isalnum() or letter in "_-" for letter in attached._alias(name)), "libvirt takes no others"


@pytest.mark.parametrize("alias", ["", "<alias name='virtio-disk0'/>", "<alias name='ua-mine'/>", "<alias/>"])
def test_other_disks_are_none_that_were_given(alias: str) -> None:
    assert attached.name_of(ET.fromstring(f"<disk><source file='/a/data.raw'/>{alias}</disk>")) is None


@pytest.mark.parametrize(
    ("found", "wanted", "path"),
    [
        ([BLOCK], [BLOCK], None),
        ([BLOCK, VOLUME], [BLOCK], None),
        ([], [BLOCK], "attached"),
        ([{**BLOCK, "path": "/dev/sdz"}], [BLOCK], "attached.data.path"),
    ],
)
def test_another_device_is_drift(found: t.Any, wanted: t.Any, path: str | None) -> None:
    told = drift(describe(xml_of(*wanted)), describe(xml_of(*found)), wish_of({"attached": wanted}))
    assert {one["path"] for one in told if one["path"].startswith("attached")} == ({path} if path else set())


def test_a_machine_moves_without_them_in_its_way() -> None:
    logs = {f"/pool/machines/shop/web-1/{name}.log": f"/new/{name}.log" for name in ("console", "report")}
    xml = moved(xml_of(BLOCK), Moved({OWN: "/new/root.qcow2", **logs}, {}, ()))
    assert describe(xml).hardware["attached"]["data"]["path"] == BLOCK["path"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{**BLOCK, "kind": "nbd"}], "attached[0].kind"),
        ([{**BLOCK, "path": "dev"}], "attached[0].path"),
        ([{**BLOCK, "image_format": "qcow2"}], "data: a block device is raw; a qcow2 image on it is not accepted"),
        ([BLOCK, {**BLOCK, "name": "b"}], "b: /dev/disk/by-id/x is another disk of the machine already"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: t.Any, words: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        table.checked({"cpus": 1, "memory_mib": 512, "attached": given}, "machines[0]")
    assert words in caught.value.message


def test_all_disks_together_have_letters() -> None:
    with pytest.raises(InvalidOption, match="1 to 25 disks"):
        wish_of({"attached": [{**BLOCK, "name": f"d{n}", "path": f"/dev/d{n}"} for n in range(25)]})


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"path": "a.qcow2"}, "qcow2"),
        ({"path": "a.img"}, "raw"),
        ({"path": "a.qcow2", "format": "raw"}, "raw"),
        ({"path": "a", "format": "qcow2"}, "qcow2"),
    ],
)
def test_a_name_says_the_format_and_no_content(volume: dict[str, str], expected: str) -> None:
    assert attached.format_of(volume) == expected
