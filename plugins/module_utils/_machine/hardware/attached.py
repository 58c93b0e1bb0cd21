# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""Disks that this collection neither makes nor removes: block devices of the host, and files that were there before (volumes)."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from .key import Key, Place, child, there

BLOCK, VOLUME = "block", "volume"
DEVICE, SHARE = "device", "share"
#: The variable of the inventory with which an administrator permits each kind.
VARIABLES = {BLOCK: "basecast_block_devices", VOLUME: "basecast_volumes", DEVICE: "basecast_host_devices", SHARE: "basecast_shares"}
#: Who has a thing, where that is none of the service's machines.
ANOTHER = "another machine or program"
KINDS = (BLOCK, VOLUME)
FORMATS = ("qcow2", "raw")

_SOURCES = {BLOCK: "dev", VOLUME: "file"}
_TYPES = {BLOCK: "block", VOLUME: "file"}
# libvirt keeps the names of devices that begin so. Neither paths nor targets tell such a disk from a machine's own for sure.
_ALIAS = "ua-attached-"
# Names of disks have characters that aliases have not.
_ESCAPES = (("_", "__"), (".", "_d"))
# z is the seed's.
_LETTERS = "abcdefghijklmnopqrstuvwxy"

_END = r"$(?!\n)"
# Without characters of patterns, and without a way up.
_PLAIN = r"(?!(.*/)?\.{1,2}(/|$))[^\x00-\x1f*?\[\]\\]{1,500}"
BLOCK_SCHEMA = {
    "type": "string",
    "pattern": rf"^/dev/{_PLAIN}{_END}",
    "description": "a block device of the host is a path below /dev, such as /dev/disk/by-id/…, without .., * and ?",
    "examples": ["/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"],
}
VOLUME_SCHEMA: dict[str, t.Any] = {
    "type": "object",
    "description": "a volume is a mapping of pool, path and format",
    "examples": ["{pool: default, path: archive.qcow2}"],
    "properties": {
        "pool": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}" + _END,
            "description": "the name of a pool of the host is wanted",
        },
        "path": {
            "type": "string",
            "pattern": rf"^(?!/){_PLAIN}{_END}",
            "description": "the path of a file below its pool, without .., * and ?, is wanted",
        },
        "format": {"enum": list(FORMATS), "description": "a volume is qcow2 or raw"},
    },
    "required": ["path"],
    "additionalProperties": False,
}


def kind_of(disk: t.Mapping[str, t.Any]) -> str | None:
    """Of a disk in a manifest; None for one of the machine's own."""
    return next((kind for kind in KINDS if kind in disk), None)


def format_of(volume: t.Mapping[str, t.Any]) -> str:
    """As its name says where the manifest does not. What stands in the file is the guest's, and decides nothing."""
    return str(volume.get("format") or ("qcow2" if volume["path"].endswith(".qcow2") else "raw"))


def _alias(name: str) -> str:
    for plain, escaped in _ESCAPES:
        name = name.replace(plain, escaped)
    return _ALIAS + name


def name_of(disk: ET.Element) -> str | None:
    """The name of an attached disk; None for every other disk."""
    alias = disk.find("alias")
    text = "" if alias is None else alias.get("name", "")
    if not text.startswith(_ALIAS):
        return None
    pieces = text[len(_ALIAS) :].split("__")
    return "_".join(piece.replace("_d", ".") for piece in pieces)


def path_of(disk: ET.Element) -> str:
    source = disk.find("source")
    return "" if source is None else source.get("file") or source.get("dev") or ""


def _write(root: ET.Element, value: t.Sequence[t.Mapping[str, t.Any]], place: Place) -> None:
    devices = there(root, "devices")
    taken = {(target.get("dev") or "")[2:] for target in root.iterfind("./devices/disk/target")}
    free = [letter for letter in _LETTERS if letter not in taken]
    # Behind the machine's own disks, which its system has for the first ones.
    at = max((index for index, element in enumerate(devices) if element.tag == "disk"), default=-1) + 1
    for offset, (letter, one) in enumerate(zip(free, value)):
        disk = ET.Element("disk", type=_TYPES[one["kind"]], device="disk")
        driver = child(disk, "driver", name="qemu", type=one["image_format"])
        if one["image_format"] == "qcow2":
            driver.set("discard", "unmap")
        child(disk, "source", **{_SOURCES[one["kind"]]: one["path"]})
        child(disk, "backingStore")  # nothing lies under it, whatever its header says
        child(disk, "target", dev="vd" + letter, bus="virtio")
        child(disk, "alias", name=_alias(one["name"]))
        devices.insert(at + offset, disk)


def _read(root: ET.Element) -> dict[str, dict[str, t.Any]] | None:
    """By the disk's name; None where there is none."""
    found = {}
    for disk in root.iterfind("./devices/disk"):
        name, driver = name_of(disk), disk.find("driver")
        if name is not None:
            found[name] = {
                "kind": BLOCK if disk.get("type") == "block" else VOLUME,
                "path": path_of(disk),
                "image_format": "raw" if driver is None else driver.get("type", "raw"),
            }
    return found or None


ATTACHED = Key(
    "attached",
    {
        "type": "array",
        "description": "attached is a list of disks that were there before the machine",
        "items": {
            "type": "object",
            "description": "such a disk is a mapping of name, kind, path and image_format",
            "properties": {
                "name": {"type": "string", "description": "the name of a disk is wanted"},
                "kind": {"enum": list(KINDS), "description": "it is a block (device) or a volume (file)"},
                "path": {"type": "string", "pattern": "^/", "description": "an absolute path is wanted"},
                "image_format": {"enum": list(FORMATS), "description": "it is qcow2 or raw"},
            },
            "required": ["name", "kind", "path", "image_format"],
            "additionalProperties": False,
        },
    },
    None,
    _write,
    _read,
    of_machine=False,
)


def attached_mistakes(machine: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """What does not go together in the form of the module: key and sentence."""
    seen: set[str] = set()
    for one in machine.get("attached") or ():
        if one.get("path") in seen:
            yield "attached", f"{one['name']}: {one['path']} is another disk of the machine already"
        seen.add(one.get("path") or "")
        if one.get("kind") == BLOCK and one.get("image_format") == "qcow2":
            yield "attached", f"{one['name']}: a block device is raw; a qcow2 image on it is not accepted"
