# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""How a machine's disks are connected and cached: keys of a disk in the manifest, one option ``drives`` of the module machine."""

from __future__ import annotations

import os
import re
import typing as t
import xml.etree.ElementTree as ET

from ..media import CLOUDBASE, IMAGES
from . import attached
from .key import Group, Key, Offers, Place, Problems, child, there

_END = r"$(?!\n)"
# By the bus: what targets are called, the controller that it needs, and whether it is on each board.
_PREFIX = {"virtio": "vd", "scsi": "sd", "sata": "sd"}

DISK, CDROM = "disk", "cdrom"

# Of one disk, beside its name.
SCHEMAS: dict[str, dict[str, t.Any]] = {
    "device": {"enum": [DISK, CDROM], "description": "a disk is a disk or a cdrom (which the guest only reads)"},
    "bus": {"enum": list(_PREFIX), "description": "a disk's bus is virtio, scsi (virtio-scsi) or sata"},
    "cache": {
        "enum": ["none", "writeback", "writethrough", "directsync", "unsafe"],
        "description": "a disk's cache is none, writeback, writethrough, directsync or unsafe",
    },
    "io": {"enum": ["threads", "native", "io_uring"], "description": "a disk's I/O is done by threads, native or io_uring"},
    "discard": {"enum": ["unmap", "ignore"], "description": "what the guest discards is unmap (given back) or ignore"},
    "serial": {
        "type": "string",
        "pattern": r"^[A-Za-z0-9_.+-]([A-Za-z0-9_.+ -]{0,18}[A-Za-z0-9_.+-])?" + _END,
        "description": "a serial number is a text of 1 to 20 letters, digits, _ . + - and inner spaces, in quotes if it is a number",
    },
    "boot": {"type": "integer", "minimum": 1, "maximum": 99, "description": "the place in the boot order is a number from 1 to 99"},
}
NAMES = tuple(SCHEMAS)


def of_disks(disks: t.Iterable[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """What disks of a manifest say of it; those that say nothing are left out."""
    found = [{"name": disk["name"], **{name: disk[name] for name in NAMES if disk.get(name) is not None}} for disk in disks]
    for drive in found:
        if drive.get("device") == DISK:
            del drive["device"]  # as if nothing were said
    return [drive for drive in found if len(drive) > 1]


def is_cdrom(disk: ET.Element) -> bool:
    return disk.get("device") == CDROM


def is_seed(disk: ET.Element) -> bool:
    """Whether it is the CD that customizes the machine, which is no disk of the user's."""
    source = disk.find("source")
    return is_cdrom(disk) and source is not None and os.path.basename(source.get("file", "")) == IMAGES[CLOUDBASE]


def _bus(drive: t.Mapping[str, t.Any]) -> str | None:
    """As it is asked for; None for that of all disks."""
    found: str | None = drive.get("bus")
    return "sata" if found is None and drive.get("device") == CDROM else found


def name_of(disk: ET.Element) -> str | None:
    """A disk is called as its file is; the seed has no name. One that is attached is called as the manifest does."""
    if (known := attached.name_of(disk)) is not None:
        return known
    source, target = disk.find("source"), disk.find("target")
    path = None if source is None else source.get("file")
    if path is None or target is None or is_seed(disk) or (disk.find("readonly") is not None and not is_cdrom(disk)):
        return None
    return os.path.splitext(os.path.basename(path))[0]


def _write(root: ET.Element, value: t.Sequence[t.Mapping[str, t.Any]], place: Place) -> None:
    asked = {drive["name"]: drive for drive in value}
    for disk in root.iterfind("./devices/disk"):
        drive = asked.get(name_of(disk) or "")
        if drive is not None:
            _write_one(disk, drive)
    if root.find("./devices/disk/target[@bus='scsi']") is not None:
        child(there(root, "devices"), "controller", type="scsi", index="0", model="virtio-scsi")


def _write_one(disk: ET.Element, drive: t.Mapping[str, t.Any]) -> None:
    driver, target = there(disk, "driver"), there(disk, "target")
    for name in ("cache", "io", "discard"):
        if drive.get(name) is not None:
            driver.set(name, drive[name])
    bus = _bus(drive)
    if drive.get("device") == CDROM:
        disk.set("device", CDROM)
        child(disk, "readonly")
        if drive.get("discard") is None:
            driver.attrib.pop("discard", None)
    if bus is not None:
        target.set("bus", bus)
        target.set("dev", _PREFIX[bus] + target.get("dev", "vda")[2:])
    if drive.get("serial") is not None:
        child(disk, "serial", drive["serial"])
    if drive.get("boot") is not None:
        child(disk, "boot", order=str(drive["boot"]))


def _read(root: ET.Element) -> dict[str, dict[str, t.Any]]:
    """By the disk's name."""
    named = ((name_of(disk), disk) for disk in root.iterfind("./devices/disk"))
    return {name: _read_one(disk) for name, disk in named if name is not None}


def _read_one(disk: ET.Element) -> dict[str, t.Any]:
    driver, target, boot = disk.find("driver"), disk.find("target"), disk.find("boot")
    found = {key: driver.get(key) for key in ("cache", "io", "discard")} if driver is not None else {}
    order = None if boot is None else boot.get("order", "")
    return {
        **({"device": CDROM} if is_cdrom(disk) else {}),
        "bus": None if target is None else target.get("bus"),
        **found,
        "serial": disk.findtext("serial"),
        "boot": int(order) if order and re.fullmatch(r"[0-9]{1,4}", order) else None,
    }


def _lacks(value: t.Sequence[t.Mapping[str, t.Any]], offers: Offers, group: Group) -> Problems:
    known = offers.get("disk_buses")
    for bus in dict.fromkeys(_bus(drive) for drive in value):
        if bus is not None and known is not None and bus not in known:
            yield f"cannot connect disks to the bus {bus}; it can to {', '.join(known)}"


DRIVES = Key(
    "drives",
    {
        "type": "array",
        "description": "drives is a list with the names of disks, and how they are connected",
        "items": {
            "type": "object",
            "description": "a drive is a mapping of name and how it is connected",
            "properties": {"name": {"type": "string", "description": "the name of a disk is wanted"}, **SCHEMAS},
            "required": ["name"],
            "additionalProperties": False,
        },
    },
    None,
    _write,
    _read,
    _lacks,
    of_machine=False,
)


def drive_mistakes(machine: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """What does not go together: key and sentence."""
    drives = machine.get("drives") or ()
    serials: list[str] = []
    orders: list[int] = [card["boot"] for card in machine.get("networks") or () if card.get("boot") is not None]
    for drive in drives:
        if drive.get("io") == "native" and drive.get("cache") not in ("none", "directsync"):
            yield "drives", f"{drive['name']}: io native needs the cache none or directsync"
        if drive.get("serial") in serials:
            yield "drives", f"{drive['name']}: the serial number {drive['serial']} is that of another disk; guests would take both for one"
        if drive.get("serial") is not None:
            serials.append(drive["serial"])
        if drive.get("device") == CDROM and drive.get("bus") == "virtio":
            yield "drives", f"{drive['name']}: a cdrom has the bus sata or scsi"
        for key in ("cache", "io", "discard") if drive.get("device") == CDROM else ():
            if drive.get(key) is not None:
                yield "drives", f"{drive['name']}: a cdrom is only read, and {key} says how a disk is written; leave it out"
        if drive.get("boot") in orders:
            yield "drives", f"{drive['name']}: {drive['boot']} is taken in the boot order by another disk or card"
        if drive.get("boot") is not None:
            orders.append(drive["boot"])
