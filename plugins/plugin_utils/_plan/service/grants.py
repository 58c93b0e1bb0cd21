# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What of a host a tenant's machines may be connected or bound to: only what the host's administrator grants."""

from __future__ import annotations

import fnmatch
import typing as t
from collections.abc import Iterator, Mapping

from ....module_utils._machine.hardware import cards
from ....module_utils._machine.hardware.processor import in_short, numbers_of

EVERYBODY = "*"
CARDS = cards.KIND_NAMES
NUMBERS = {"cpus": "processors", "nodes": "NUMA nodes"}
ALL = "*"

_EVERYTHING = {**{kind: [ALL] for kind in CARDS}, **dict.fromkeys(NUMBERS, ALL)}
#: A manifest without a tenant is taken to be the only one. Other tenants get libvirt's networks, and what they are granted beside them.
USUAL: Mapping[str, Mapping[str, t.Any]] = {"default": _EVERYTHING, EVERYBODY: {"network": [ALL]}}

Grants = Mapping[str, Mapping[str, t.Any]]


def refusals(group: Mapping[str, t.Any], tenant: str, grants: Grants | None) -> Iterator[tuple[str, str]]:
    """What a group of machines asks for and is not granted: key of the manifest, and what it is called.

    :param grants: of the host; None for what is usual.
    """
    mine = [given for name, given in (USUAL if grants is None else grants).items() if name in (tenant, EVERYBODY)]
    for card in group["networks"]:
        kind = cards.kind_of(card)
        name = card.get(kind.name) if kind else None
        if kind and not any(fnmatch.fnmatchcase(str(name), pattern) for given in mine for pattern in given.get(kind.name) or ()):
            yield "networks", f"the {kind.word} {name}"
    for key, what, asked in _numbers(group.get("hardware") or {}):
        given = [one[what] for one in mine if one.get(what) is not None]
        left = asked - {number for text in given if text != ALL for number in numbers_of(str(text))}
        if left and ALL not in given:
            yield key, f"its {NUMBERS[what]} {in_short(left)}"


def _numbers(hardware: Mapping[str, t.Any]) -> Iterator[tuple[str, str, set[int]]]:
    cpu, memory = hardware.get("cpu") or {}, hardware.get("memory") or {}
    pins = [cpu.get("pin"), cpu.get("emulator_pin"), *(cpu.get("pins") or ())]
    nodes = [memory.get("nodes"), *(str(cell["node"]) for cell in memory.get("cells") or () if cell.get("node") is not None)]
    yield "cpu", "cpus", {number for text in pins if text for number in numbers_of(text)}
    yield "memory", "nodes", {number for text in nodes if text for number in numbers_of(text)}
