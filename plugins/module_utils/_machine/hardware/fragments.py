# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""Fragments of libvirt's XML that a manifest adds to a machine, for everything that has no key of its own."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET
from collections import Counter

from ..._untrusted import Malformed
from ..xml_document import parse_xml
from .key import Key, Place, child

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,60}"
_HERE = "."
_DEVICES = "devices"
# Attributes by which libvirt tells elements of one tag apart.
_NAMING = ("name", "id", "cellid", "vcpu", "vcpus", "iothread", "iothreads")

# What the collection itself says of a machine, and what is to be used instead.
_OURS = {
    "name": "the domain is called SERVICE-MACHINE",
    "uuid": "it is derived from the machine's name",
    "metadata": "the collection finds its machines by it",
    "memory": "use memory_mib",
    "currentMemory": "use memory.at_start_mib",
    "maxMemory": "use memory_mib",
    "vcpu": "use cpus",
    "vcpus": "use cpus",
    "os/nvram": "use firmware",
    "devices/disk": "use disks",
    "devices/interface": "use networks",
    "devices/serial": "the first two are the machine's console and its guest's report",
    "devices/console": "use console",
}


def _elements(text: str) -> list[ET.Element]:
    """:raises Malformed: what is wrong with it."""
    root = parse_xml(f"<x>{text}</x>", "add")
    loose = [root.text, *(element.tail for element in root)]
    if any(one and one.strip() for one in loose):
        raise Malformed("add", "it has text outside of its elements")
    if not len(root):
        raise Malformed("add", "it has no element")
    return list(root)


def fragment_mistakes(machine: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """What cannot be added to any machine: key and sentence."""
    for number, fragment in enumerate(machine.get("xml") or ()):
        try:
            elements = _elements(fragment["add"])
        except Malformed as error:
            yield "xml", f"[{number}].{error}"
            continue
        steps = [] if fragment["path"] == _HERE else fragment["path"].split("/")
        for element in elements:
            owned = next((what for what in _paths(element, steps) if what in _OURS), None)
            if owned is not None:
                yield "xml", f"[{number}].add: <{owned.rpartition('/')[2]}> is not accepted; {_OURS[owned]}"


def _paths(element: ET.Element, steps: t.Sequence[str]) -> t.Iterator[str]:
    """Of all elements on the way to one, of itself, and of those in it, as far as something there may be the collection's."""
    for length in range(1, len(steps) + 1):
        yield "/".join(steps[:length])
    here = [*steps, element.tag]
    yield "/".join(here)
    if len(here) == 1:
        yield from ("/".join([*here, inner.tag]) for inner in element)


def _write(root: ET.Element, value: t.Sequence[t.Mapping[str, str]], place: Place) -> None:
    for fragment in value:
        parent = root
        for step in () if fragment["path"] == _HERE else fragment["path"].split("/"):
            found = parent.find(step)
            parent = child(parent, step) if found is None else found
        _merge(parent, _elements(fragment["add"]))


def _is_usb(element: ET.Element) -> bool:
    return element.tag == "controller" and element.get("type") == "usb"


def _make_room(devices: ET.Element) -> None:
    """Machines have no USB unless it is asked for, and libvirt is told so by a controller of no model."""
    for controller in devices.findall("./controller[@type='usb'][@model='none']"):
        devices.remove(controller)


def _merge(parent: ET.Element, added: t.Sequence[ET.Element]) -> None:
    """Devices are as many as are given; of all else there is one, or one of each name, to which attributes and elements are added.

    Timers have names and NUMA cells numbers, for example. Several that have neither, such as the OEM strings of the firmware, are a list,
    which takes the place of the one that is there.
    """
    if parent.tag == _DEVICES and any(map(_is_usb, added)):
        _make_room(parent)
    kinds = Counter(map(_kind, added))
    lists = {kind for kind, count in kinds.items() if count > 1 and not kind[1]} if parent.tag != _DEVICES else set()
    for there in list(parent):
        if _kind(there) in lists:
            parent.remove(there)
    for element in added:
        element.tail = None
        alone = parent.tag == _DEVICES or _kind(element) in lists
        found = None if alone else next((one for one in parent if _kind(one) == _kind(element)), None)
        if found is None:
            parent.append(element)
            continue
        found.attrib.update(element.attrib)
        if element.text and element.text.strip():
            found.text = element.text
        _merge(found, list(element))


def _kind(element: ET.Element) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What tells an element from others beside it."""
    return element.tag, tuple((name, element.attrib[name]) for name in _NAMING if name in element.attrib)


XML = Key(
    "xml",
    {
        "type": "array",
        "minItems": 1,
        "description": "a list of mappings of path and add is wanted",
        "examples": ["[{path: features, add: \"<hyperv><relaxed state='on'/></hyperv>\"}]"],
        "items": {
            "type": "object",
            "description": "a fragment is a mapping of path and add",
            "examples": ["{path: devices, add: \"<sound model='ich9'/>\"}"],
            "properties": {
                "path": {
                    "type": "string",
                    "pattern": rf"^(\.|{_NAME}(/{_NAME})*)$(?!\n)",
                    "description": "the path of an element below <domain> is expected, such as devices or cpu/numa, or . for the domain",
                },
                "add": {"type": "string", "minLength": 1, "description": "elements of libvirt's XML are expected, as text"},
            },
            "required": ["path", "add"],
            "additionalProperties": False,
        },
    },
    None,
    _write,
    # libvirt writes it in its own words; what was asked for is kept with the machine.
    lambda root: None,
)

KEYS = (XML,)
