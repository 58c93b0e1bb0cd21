# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A machine as a template: its hardware in the words of a manifest, without anything that makes it this one machine.

    {"cpus", "memory_mib", "hardware": {key: value}, "networks": [card], "disks": [{"name", "base", "size_bytes", drive's keys}],
     "seeded": whether it has a seed for cloud-init, "variables": its firmware's, packed, or None}

``base`` is the name of the base that the disk has become or will become; its version is the template's.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import typing as t
import zlib

from .._disk import file_io
from .._errors import FleetError
from .._untrusted import read
from .domain import Description
from .hardware import cards, drives, table
from .hardware.host_devices import name_of, title_of
from .hardware.key import mistakes
from .media import CLOUD_INIT, kind_of_image

LARGEST_VARIABLES = 128 << 20  # of aarch64 they have 64 MiB
LARGEST_TEXT = 192 * 1024
_QCOW2 = b"QFI\xfb"

# What says on which host a machine is, who it is, or in which words libvirt keeps what was added.
_LEFT_OUT = ("attached", "description", "drives", "host_devices", "shares", "xml")
_OF_A_HOST = {"cpu": ("pin", "pins", "emulator_pin"), "memory": ("nodes", "nodes_mode")}
# What every disk and card has anyway.
_USUAL_DRIVE = {"bus": "virtio", "discard": "unmap"}
_OWN_CPU = {"kvm": "host-passthrough", "qemu": "maximum"}


class SourceDisk(t.NamedTuple):
    """
    :param name: in the template.
    :param key: what ``drives`` of the hardware call it.
    """

    name: str
    key: str
    size_bytes: int


class Template(t.NamedTuple):
    """:param notes: what of the machine is not part of it, as sentences."""

    content: dict[str, t.Any]
    notes: list[str]


def base_name(template: str, disk: str, first: bool) -> str:
    """What the base of a template's disk is called: that of the first has the template's own name."""
    return template if first else f"{template}.{disk}"


def described(found: Description, disks: t.Sequence[SourceDisk], name: str, variables: str | None) -> Template:
    """
    :param found: the definition with which the machine starts.
    :param disks: those that become bases, the one to boot from first.
    :param name: of the template.
    """
    notes: list[str] = []
    hardware = _hardware(found, notes)
    known = found.hardware.get("drives") or {}
    # Of a domain of others, nobody knows what a disk that it only reads is for.
    customized = kind_of_image(found.seed) if found.seed is not None and found.owner is not None else None
    if customized not in (None, CLOUD_INIT):
        notes.append(
            f"{found.domain} is customized by {customized}, which is not part of the template; its copies need it in the manifest."
        )
    content = {
        "cpus": found.cpus,
        "memory_mib": found.memory_mib,
        "hardware": hardware,
        "networks": list(_networks(found, notes)),
        "disks": [
            {
                "name": disk.name,
                "base": base_name(name, disk.name, at == 0),
                "size_bytes": disk.size_bytes,
                **_drive(known.get(disk.key) or {}),
            }
            for at, disk in enumerate(disks)
        ],
        "seeded": customized == CLOUD_INIT,
        "variables": variables if hardware.get("firmware") else None,
    }
    if found.hardware.get("host_devices"):
        told = ", ".join(title_of(name_of(device)) for device in found.hardware["host_devices"])
        notes.append(f"{found.domain}: the {told} is not part of the template, since it belongs to the host.")
    if found.hardware.get("shares"):
        told = ", ".join(f"{name} ({share['source']})" for name, share in found.hardware["shares"].items())
        notes.append(f"{found.domain}: the share {told} is not part of the template, since it is a directory of the host.")
    if hardware.get("tpm"):
        notes.append(f"{found.domain} has a TPM; machines made from it get empty ones, in which nothing opens that it has sealed.")
    return Template(content, notes)


def _hardware(found: Description, notes: list[str]) -> dict[str, t.Any]:
    chosen: dict[str, t.Any] = {}
    for key in table.KEYS:
        value = _given(found.hardware.get(key.name))
        if key.name in _LEFT_OUT or value in (None, key.usual, {}, []):
            continue
        if isinstance(value, dict):
            value = {name: one for name, one in value.items() if name not in _OF_A_HOST.get(key.name, ())}
            value = _beside_the_usual(key.name, value, found)
        if value in ({}, None):
            continue
        wrong = next(mistakes(key.schema, value, key.name), None)
        if wrong is not None:
            notes.append(f"{found.domain}: {wrong[0]} {wrong[1]!r} is not part of the template, since a manifest has no word for it.")
            continue
        chosen[key.name] = value
    return chosen


def _beside_the_usual(name: str, value: dict[str, t.Any], found: Description) -> dict[str, t.Any]:
    """Without what a new machine has by itself, which may be another thing on another host."""
    if name == "cpu" and value.get("model") == _OWN_CPU.get(str(found.hardware.get("domain_type"))):
        value.pop("model")
    if name == "memory":
        if value.get("at_start_mib") == found.memory_mib:
            value.pop("at_start_mib")
        if value.get("balloon") is True:
            value.pop("balloon")
        for cell in value.get("cells") or ():
            cell.pop("node", None)
    return value


def _given(value: t.Any) -> t.Any:
    """A copy without what is not said."""
    if isinstance(value, t.Mapping):
        inner = {key: _given(one) for key, one in value.items()}
        return {key: one for key, one in inner.items() if one not in (None, [], {})}
    return [_given(one) for one in value] if isinstance(value, (list, tuple)) else value


def _networks(found: Description, notes: list[str]) -> t.Iterator[dict[str, t.Any]]:
    for card in found.hardware.get("networks") or ():
        kind = cards.kind_of(card)
        if kind is None:
            what = next(iter(card), "unknown")
            notes.append(f"{found.domain}: a network card ({what}) is not part of the template, since a manifest has no word for it.")
            continue
        told = {kind.name: card[kind.name], "model": card.get("model"), **{name: card[name] for name in cards.NAMES if name in card}}
        checks = {**cards.schemas(), "model": cards.MODEL}
        yield {name: value for name, value in told.items() if value is not None and next(mistakes(checks[name], value, name), None) is None}


def _drive(drive: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A serial number is the identity of one disk."""
    return {
        name: value
        for name, value in drive.items()
        if name in drives.NAMES
        and name not in ("serial", "device")
        and value is not None
        and value != _USUAL_DRIVE.get(name)
        and next(mistakes(drives.SCHEMAS[name], value, name), None) is None
    }


# --- as text -------------------------------------------------------------------------------------


def as_text(content: t.Mapping[str, t.Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def from_text(text: str, place: str) -> dict[str, t.Any]:
    """A template as a store has kept it. Of its disks, what is searched for on this host is checked; the controller checks the rest.

    :param place: what it is, as a message names it.
    :raises Malformed: it cannot be one.
    """
    value = read(text, place)
    disks = value["disks"].items(1000)
    if not disks:
        raise value["disks"].wrong("a list of at least one disk")
    for disk in disks:
        for key in ("name", "base"):
            disk[key].text(256)
    return value.mapping()


class Variables(t.NamedTuple):
    """:param packed: None where there are none. :param notes: as of ``Template``."""

    packed: str | None
    notes: list[str]


def read_variables(path: str | None) -> Variables:
    """A machine's firmware variables; none where it has not been started yet. :raises FleetError: there are too many."""
    if path is None:
        return Variables(None, [])
    try:
        descriptor = file_io.open_regular(path)
    except FileNotFoundError:  # it has never been started
        return Variables(None, [])
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(LARGEST_VARIABLES + 1)
    if content.startswith(_QCOW2):  # libvirt makes them for some domains; those of this collection's machines are raw
        return Variables(None, [f"{path}: firmware variables are not part of the template, since they are a qcow2 file; expected raw."])
    if len(content) > LARGEST_VARIABLES:
        raise FleetError(f"{path}: firmware variables have at most {LARGEST_VARIABLES} bytes; this file has more.")
    packed = base64.b64encode(zlib.compress(content, 9)).decode()
    if len(packed) > LARGEST_TEXT:  # a guest writes them; a store could not read them again
        raise FleetError(f"{path}: firmware variables have at most {LARGEST_TEXT} bytes when packed; these have {len(packed)}.")
    return Variables(packed, [])


def unpacked_variables(text: str) -> bytes:
    """:raises FleetError: it is nothing that read_variables has packed."""
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(base64.b64decode(text, validate=True), LARGEST_VARIABLES)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise FleetError("variables: firmware variables of a template cannot be read; capture the template again.") from error
    if not inflate.eof:
        raise FleetError("variables: firmware variables of a template are incomplete or too large; capture the template again.")
    return content
