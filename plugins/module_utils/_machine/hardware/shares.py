# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Directories of the host that a machine shares with it by virtiofs."""

from __future__ import annotations

import os
import typing as t
import xml.etree.ElementTree as ET

from .key import Group, Key, Offers, Place, Problems, child, there

# libvirt keeps the names of devices that begin so. What xml adds is none of these.
_ALIAS = "ua-share-"
_END = r"$(?!\n)"

SHARES_SCHEMA: dict[str, t.Any] = {
    "type": "array",
    "minItems": 1,
    "description": "shares is a list of directories of the host",
    "examples": ["[{name: media, source: /srv/media}]"],
    "items": {
        "type": "object",
        "description": "a share is a mapping of name, source and readonly",
        "examples": ["{name: media, source: /srv/media}"],
        "properties": {
            "name": {
                "type": "string",
                "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,35}" + _END,
                "description": "the name by which the guest mounts it has up to 36 letters, digits, dots, hyphens and underscores",
            },
            "source": {
                "type": "string",
                # Without characters of patterns, and without a way up.
                "pattern": r"^/(?!(.*/)?\.{1,2}(/|$))[^\x00-\x1f*?\[\]\\]{1,500}" + _END,
                "description": "the absolute path of a directory of the host, without .., * and ?, is wanted",
            },
            "readonly": {"type": "boolean", "description": "true (the guest cannot write) or false is wanted"},
        },
        "required": ["name", "source"],
        "additionalProperties": False,
    },
}


def is_nested(one: str, other: str) -> bool:
    """Whether one directory lies in the other."""
    first, second = (os.path.normpath(path).rstrip("/") + "/" for path in (one, other))
    return first != second and (first.startswith(second) or second.startswith(first))


def share_mistakes(machine: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """What does not go together: key and sentence."""
    seen: dict[str, str] = {}
    for at, share in enumerate(machine.get("shares") or ()):
        source = str(share.get("source"))
        if share.get("name") in seen:
            yield "shares", f"[{at}].name: {share['name']!r} stands twice; the guest mounts each by a name of its own"
        for other in seen.values():
            if is_nested(source, other):
                yield "shares", f"[{at}].source: {source} and {other} lie in one another; share directories that lie side by side"
        seen[str(share.get("name"))] = source


def _write(root: ET.Element, value: t.Sequence[t.Mapping[str, t.Any]], place: Place) -> None:
    devices = there(root, "devices")
    for at, share in enumerate(value):
        element = child(devices, "filesystem", type="mount", accessmode="passthrough")
        child(element, "driver", type="virtiofs")
        child(element, "source", dir=os.path.normpath(share["source"]))
        child(element, "target", dir=share["name"])
        if share.get("readonly"):
            child(element, "readonly")
        child(element, "alias", name=f"{_ALIAS}{at}")
    # virtiofsd works in the guest's memory.
    backing = there(root, "memoryBacking")
    there(backing, "source").set("type", "memfd")
    there(backing, "access").set("mode", "shared")


def _read(root: ET.Element) -> dict[str, dict[str, t.Any]] | None:
    """By name, those that the manifest names; None where there is none."""
    found = {}
    for element in root.iterfind("./devices/filesystem"):
        alias, source, target = element.find("alias"), element.find("source"), element.find("target")
        if alias is None or not alias.get("name", "").startswith(_ALIAS) or source is None or target is None:
            continue
        found[target.get("dir", "")] = {"source": source.get("dir", ""), "readonly": element.find("readonly") is not None}
    return found or None


def _lacks(value: t.Sequence[t.Mapping[str, t.Any]], offers: Offers, group: Group) -> Problems:
    if any(share.get("readonly") for share in value) and offers.get("readonly_shares") is False:
        yield "has libvirt before 11.0, which cannot share a directory read-only; update it, or make the directory read-only on the host"


SHARES = Key("shares", SHARES_SCHEMA, None, _write, _read, _lacks)
