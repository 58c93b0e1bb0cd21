# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""From a module's options to wishes: what cannot be meant is refused here, before libvirt is asked anything."""

from __future__ import annotations

import os
import re
import typing as t

from .._errors import InvalidOption
from .._module import pool_path
from .domain import MOST_DISKS, Card, Disk, MachineWish
from .hardware import cards, table
from .hardware.key import given, mistakes
from .owner import Owner, checked_owner

_LEAST_MEMORY_MIB = 16


def checked_directories(
    machines: t.Sequence[t.Mapping[str, t.Any]], tenant: str, service: str, pools: t.Mapping[str, str]
) -> dict[Owner, str]:
    """The directory of each machine, in the order of the option ``machines``."""
    directories: dict[Owner, str] = {}
    for index, options in enumerate(machines):
        option = f"machines[{index}]"
        owner = checked_owner(tenant, service, options["machine"], f"{option}.machine")
        if owner in directories:
            raise InvalidOption(f"{option}.machine", owner.machine, "each machine can be given once only")
        directories[owner] = owner.directory(pool_path(pools, options["pool"], f"{option}.pool"))
    return directories


def checked_wishes(machines: t.Sequence[t.Mapping[str, t.Any]], directories: t.Mapping[Owner, str]) -> list[MachineWish]:
    """
    :param directories: what ``checked_directories`` made of the same machines.
    """
    return [
        _wish(options, owner, directory, f"machines[{index}]")
        for index, (options, (owner, directory)) in enumerate(zip(machines, directories.items()))
    ]


def _wish(options: t.Mapping[str, t.Any], owner: Owner, directory: str, option: str) -> MachineWish:
    if options["cpus"] < 1:
        raise InvalidOption(f"{option}.cpus", options["cpus"], "at least 1 is needed")
    if options["memory_mib"] < _LEAST_MEMORY_MIB:
        raise InvalidOption(f"{option}.memory_mib", options["memory_mib"], f"at least {_LEAST_MEMORY_MIB} are needed")
    disks = options["disks"]
    count = len(disks) + len(options.get("attached") or ())
    if count > MOST_DISKS:
        raise InvalidOption(f"{option}.disks", f"{count} disks", f"1 to {MOST_DISKS} disks are possible")
    for number, disk in enumerate(disks):
        _check_absolute(f"{option}.disks[{number}].path", disk["path"])
    if options["seed"] is not None:
        _check_absolute(f"{option}.seed", options["seed"])
    for number, problem in cards.order_mistakes(options["networks"]):
        raise InvalidOption(f"{option}.networks[{number}].boot", options["networks"][number]["boot"], problem)
    return MachineWish(
        owner=owner,
        directory=directory,
        number=options["number"],
        group=options["group"],
        cpus=options["cpus"],
        memory_mib=options["memory_mib"],
        disks=tuple(Disk(disk["name"], os.path.normpath(disk["path"]), disk["image_format"]) for disk in disks),
        seed=options["seed"] and os.path.normpath(options["seed"]),
        cards=tuple(_card(card, f"{option}.networks[{n}]") for n, card in enumerate(options["networks"])),
        spec=options["spec"],
        hardware=table.checked(options, option),
        allow_degraded=options["allow_degraded"],
    )


def _card(card: t.Mapping[str, t.Any], option: str) -> Card:
    mac = card["mac"] and card["mac"].lower()
    if mac and not re.search(cards.MAC_PATTERN, mac):
        raise InvalidOption(f"{option}.mac", card["mac"], "an address such as 52:54:00:12:34:56 is needed")
    asked = given({name: card.get(name) for name in cards.schemas()})
    for name, schema in cards.schemas().items():
        for path, wrong, accepted in mistakes(schema, asked[name], f"{option}.{name}") if name in asked else ():
            raise InvalidOption(path, wrong, accepted)
    for name, problem in cards.mistakes(card):
        raise InvalidOption(f"{option}.{name}", card[name], problem)
    kind = next((name for name in cards.KIND_NAMES if name in asked), None)
    if kind is None:
        raise InvalidOption(option, dict(card), f"one of {', '.join(cards.KIND_NAMES)} is needed")
    return Card(asked[kind], kind, mac, card["model"], {name: asked[name] for name in cards.NAMES if name in asked})


def _check_absolute(option: str, path: str) -> None:
    if not os.path.isabs(path):
        raise InvalidOption(option, path, "an absolute path is needed")
