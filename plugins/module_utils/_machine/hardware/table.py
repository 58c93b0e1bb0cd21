# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The table of everything that a manifest can say of a machine's hardware beyond numbers, disks and networks."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ..._errors import InvalidOption
from . import attached, board, drives, fragments, host_devices, processor, screen, shares
from .key import Group, Key, Offers, Place, argument, given, mistakes

KEYS: tuple[Key, ...] = (
    *board.KEYS,
    *processor.KEYS,
    *screen.KEYS,
    attached.ATTACHED,
    drives.DRIVES,
    host_devices.HOST_DEVICES,
    shares.SHARES,
    *fragments.KEYS,
)

_BY_NAME = {key.name: key for key in KEYS}
NAMES = tuple(_BY_NAME)


def schemas() -> dict[str, t.Any]:
    """JSON Schema by key of a machine in a manifest."""
    return {key.name: key.schema for key in KEYS if key.of_machine}


def arguments() -> dict[str, dict[str, t.Any]]:
    """Argument spec of the same as options of a module."""
    return {key.name: argument(key.schema) for key in KEYS}


def of_group(group: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What a group of a manifest says of them, without what a machine has anyway."""
    return {key.name: group[key.name] for key in KEYS if key.name in group and group[key.name] not in (None, key.usual)}


def checked(options: t.Mapping[str, t.Any], option: str) -> dict[str, t.Any]:
    """What options of a module say of them. :raises InvalidOption: the first that cannot be meant."""
    hardware = {name: value for name, value in given(options).items() if name in _BY_NAME}
    for name, value in hardware.items():
        for path, wrong, accepted in mistakes(_BY_NAME[name].schema, value, f"{option}.{name}"):
            raise InvalidOption(path, wrong, accepted)
    for name, problem in combined_mistakes({**options, **hardware}):
        raise InvalidOption(f"{option}.{name}", hardware[name], problem)
    return hardware


def combined_mistakes(machine: Group) -> t.Iterator[tuple[str, str]]:
    """Keys that do not go together: the key and a sentence.

    :param machine: with ``cpus`` and ``memory_mib``.
    """
    yield from board.board_mistakes(machine)
    yield from processor.processor_mistakes(machine)
    yield from attached.attached_mistakes(machine)
    yield from drives.drive_mistakes(machine)
    yield from host_devices.host_device_mistakes(machine)
    yield from shares.share_mistakes(machine)
    yield from fragments.fragment_mistakes(machine)


def write(root: ET.Element, hardware: t.Mapping[str, t.Any], place: Place) -> None:
    for key in KEYS:
        if key.name in hardware:
            key.write(root, hardware[key.name], place)


def read(root: ET.Element) -> dict[str, t.Any]:
    """What a domain has of each; None where it has none, or where libvirt keeps it elsewhere."""
    return {key.name: key.read(root) for key in KEYS}


def meant(found: t.Any, wanted: t.Any, wish: t.Any) -> t.Any:
    """What a domain should have: what is wished as it is wanted, and the rest as it was found."""
    if isinstance(wish, list) and isinstance(wanted, t.Mapping):
        wish = {one["name"]: {key: value for key, value in one.items() if key != "name"} for one in wish}
    if not isinstance(wish, t.Mapping) or not isinstance(wanted, t.Mapping):
        return wanted
    whole = dict(found) if isinstance(found, t.Mapping) else {}
    for name, inner in wish.items():
        whole[name] = meant(whole.get(name), wanted.get(name), inner)
    return whole


def lacks(hardware: t.Mapping[str, t.Any], offers: Offers | None, group: Group) -> t.Iterator[tuple[str, str]]:
    """What a host needs for it and does not have: the key, and the end of a sentence that begins with the host's name.

    :param group: ``cpus`` and ``memory_mib``.
    :param offers: as ``offers_of`` tells; of a host that told nothing nothing is said.
    """
    if not offers:
        return
    cpus, most = group.get("cpus", 1), offers.get("most_cpus")
    if most is not None and cpus > most:
        yield "cpus", f"gives a machine at most {most} CPUs, and {cpus} are wanted"
    for name, value in hardware.items():
        for problem in _BY_NAME[name].lacks(value, offers, group):
            yield name, problem
