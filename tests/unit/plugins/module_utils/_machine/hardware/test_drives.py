# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Platform, build, describe, disk_targets, drift
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import drives, table

from .test_table import wish_of

QEMU = Platform("qemu", "x86_64")


def xml_of(asked: list[dict[str, t.Any]]) -> str:
    return build(wish_of({"drives": asked} if asked else {}, disks=("root", "data")), QEMU, ["52:54:00:00:00:01"], {})


@pytest.mark.parametrize(("bus", "target"), [("virtio", "vdb"), ("scsi", "sdb"), ("sata", "sdb")])
def test_a_disk_is_on_its_bus_under_its_letter(bus: str, target: str) -> None:
    xml = xml_of([{"name": "data", "bus": bus}])
    assert disk_targets(xml) == {"/pool/machines/shop/web-1/root.qcow2": "vda", "/pool/machines/shop/web-1/data.qcow2": target}
    assert (ET.fromstring(xml).find("./devices/controller[@model='virtio-scsi']") is not None) == (bus == "scsi")


def test_what_was_asked_for_is_read_back_and_other_disks_stay_as_they_are() -> None:
    asked = {"cache": "none", "io": "native", "discard": "ignore", "serial": "s-1", "boot": 2}
    found = describe(xml_of([{"name": "data", **asked}])).hardware["drives"]
    assert found["data"] == {"bus": "virtio", **asked}
    assert found["root"] == {**describe(xml_of([])).hardware["drives"]["root"], "boot": 1}, "the first disk keeps the first place"


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ([], [], []),
        ([{"name": "data", "bus": "sata"}], [], []),
        ([{"name": "data", "bus": "sata"}], [{"name": "data", "bus": "sata"}], []),
        ([], [{"name": "data", "cache": "none"}], [{"path": "drives.data.cache", "from": None, "to": "none"}]),
        ([{"name": "data", "bus": "sata", "serial": "x"}], [{"name": "data", "bus": "scsi"}],
         [{"path": "drives.data.bus", "from": "sata", "to": "scsi"}]),
    ],
)  # fmt: skip
def test_only_what_was_asked_for_is_compared(found: t.Any, wanted: t.Any, expected: t.Any) -> None:
    wish = wish_of({"drives": wanted} if wanted else {}, disks=("root", "data"))
    assert drift(describe(xml_of(wanted)), describe(xml_of(found)), wish) == expected


@pytest.mark.parametrize(
    ("machine", "told"),
    [
        ({"drives": [{"name": "a", "io": "native"}]}, "a: io native needs the cache none or directsync"),
        ({"drives": [{"name": "a", "io": "native", "cache": "none"}]}, None),
        ({"drives": [{"name": "a", "serial": "s"}, {"name": "b", "serial": "s"}]}, "b: the serial number s is that of another disk"),
        ({"drives": [{"name": "a", "serial": "s"}, {"name": "b", "serial": "t"}, {"name": "c"}, {"name": "d"}]}, None),
        ({"drives": [{"name": "a", "boot": 1}, {"name": "b", "boot": 1}]}, "b: 1 is taken in the boot order"),
        ({"drives": [{"name": "a", "device": "cdrom"}]}, None),
        ({"drives": [{"name": "a", "device": "cdrom", "bus": "scsi", "serial": "1", "boot": 1}]}, None),
        ({"drives": [{"name": "a", "device": "cdrom", "bus": "virtio"}]}, "a: a cdrom has the bus sata or scsi"),
        ({"drives": [{"name": "a", "device": "cdrom", "cache": "none"}]}, "a: a cdrom is only read, and cache says"),
        ({"drives": [{"name": "a", "device": "cdrom", "discard": "unmap"}]}, "and discard says"),
        ({"drives": [{"name": "a", "boot": 1}], "networks": [{"boot": 1}]}, "a: 1 is taken in the boot order"),
        ({"drives": [{"name": "a", "boot": 1}], "networks": [{"boot": None}, {}]}, None),
    ],
)
def test_what_does_not_go_together_is_told(machine: dict[str, t.Any], told: str | None) -> None:
    problems = [problem for _key, problem in drives.drive_mistakes(machine)]
    assert len(problems) == (told is not None) and all(str(told) in problem for problem in problems)


@pytest.mark.parametrize(
    ("serial", "accepted"),
    [
        ("a", True),
        ("A b.1", True),
        ("x" * 20, True),
        ("x" * 21, False),
        ("", False),
        (" ", False),
        (" a", False),
        ("a ", False),
        ("a\n", False),
    ],
)
def test_serial_numbers_have_no_spaces_at_their_ends(serial: str, accepted: bool) -> None:
    assert (re.search(drives.SCHEMAS["serial"]["pattern"], serial) is not None) == accepted


@pytest.mark.parametrize(("bus", "target"), [(None, ("sdb", "sata")), ("sata", ("sdb", "sata")), ("scsi", ("sdb", "scsi"))])
def test_a_cd_is_only_read(bus: str | None, target: tuple[str, str]) -> None:
    xml = xml_of([{"name": "data", "device": "cdrom", "serial": "cd-1", **({"bus": bus} if bus else {})}])
    disk = ET.fromstring(xml).findall("./devices/disk")[1]
    assert disk.get("device") == "cdrom" and disk.find("readonly") is not None
    assert disk.find("target").attrib == {"dev": target[0], "bus": target[1]} and "discard" not in disk.find("driver").attrib  # type: ignore[union-attr]
    found = describe(xml).hardware["drives"]["data"]
    assert (found["device"], found["bus"], found["serial"]) == ("cdrom", target[1], "cd-1")
    assert list(disk_targets(xml)) == ["/pool/machines/shop/web-1/root.qcow2"], "nothing writes to it"


def test_a_cd_is_drift_where_a_disk_was() -> None:
    cd = [{"name": "data", "device": "cdrom"}]
    wish = wish_of({"drives": cd}, disks=("root", "data"))
    assert drift(describe(xml_of(cd)), describe(xml_of(cd)), wish) == []
    assert {"path": "drives.data.device", "from": None, "to": "cdrom"} in drift(describe(xml_of(cd)), describe(xml_of([])), wish)
    assert drives.of_disks([{"name": "root", "device": "disk"}]) == []


def test_a_bus_that_the_host_lacks_is_said() -> None:
    ((_key, of_a_cd),) = table.lacks({"drives": [{"name": "a", "device": "cdrom"}]}, {"disk_buses": ["virtio"]}, {})
    assert of_a_cd == "cannot connect disks to the bus sata; it can to virtio"
    ((key, problem),) = table.lacks({"drives": [{"name": "a", "bus": "sata"}]}, {"disk_buses": ["virtio"]}, {})
    assert (key, problem) == ("drives", "cannot connect disks to the bus sata; it can to virtio")


def test_disks_that_say_nothing_are_left_out() -> None:
    disks = [{"name": "root", "base": "x", "size_gib": 1}, {"name": "data", "bus": "sata", "cache": None}]
    assert drives.of_disks(disks) == [{"name": "data", "bus": "sata"}]
