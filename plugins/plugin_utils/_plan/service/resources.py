# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Things of a host that machines use in place, one machine each: what is asked of hosts, and whether each machine gets its own."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.hardware import attached
from . import machine_values

Need = Mapping[str, t.Any]
Facts = Mapping[str, t.Any]

POOL = "default"
VARIABLES = {attached.BLOCK: "basecast_block_devices", attached.VOLUME: "basecast_volumes"}
_WORDS = {attached.BLOCK: "block device", attached.VOLUME: "volume"}


def all_disks(group: Mapping[str, t.Any]) -> list[Mapping[str, t.Any]]:
    """Those that a machine has of its own, and those that it is given."""
    return [*group["disks"], *((group.get("hardware") or {}).get("attached") or ())]


def needs_of(group: Mapping[str, t.Any], machine: str | None) -> list[dict[str, t.Any]]:
    """What a machine of the group needs: ``[{"key", "disk", "kind", "name", "pool", "format"}]``.

    :param group: of a parsed manifest.
    :param machine: None for some machine of the group: a star stands for what differs.
    """
    return [_need(disk, machine) for disk in (group.get("hardware") or {}).get("attached") or ()]


def _need(disk: Mapping[str, t.Any], machine: str | None) -> dict[str, t.Any]:
    if attached.BLOCK in disk:
        return {"disk": disk["name"], "kind": attached.BLOCK, "name": _filled(disk["block"], machine), "pool": None, "format": "raw"}
    volume = disk["volume"]
    path = _filled(volume["path"], machine)
    pool = volume.get("pool", POOL)
    return {"disk": disk["name"], "kind": attached.VOLUME, "name": path, "pool": pool, "format": attached.format_of(volume)}


def _filled(text: str, machine: str | None) -> str:
    if machine is None:
        return machine_values.filled(text, dict.fromkeys(machine_values.OF_ADDRESS, "*"))
    values = {"machine.name": machine, "machine.number": str(machine_values.number_of(machine))}
    return machine_values.filled(text, values)


def spec_of(group: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What is kept with a machine of the disks that it is given, by their names."""
    given = (group.get("hardware") or {}).get("attached") or ()
    found = {disk["name"]: {key: value for key, value in disk.items() if key not in ("name", "place")} for disk in given}
    return {"attached": found} if found else {}


def texts_of(disks: Sequence[Mapping[str, t.Any]]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Texts of a manifest's disks that are filled in, each with its path among them."""
    for at, disk in enumerate(disks):
        if attached.BLOCK in disk:
            yield (at, "block"), disk["block"]
        elif attached.VOLUME in disk:
            yield (at, "volume", "path"), disk["volume"]["path"]


def asked_of(groups: Sequence[Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """What hosts are asked before a plan is made."""
    found: list[dict[str, t.Any]] = []
    for group in groups:
        for need in needs_of(group, None):
            asked = {key: need[key] for key in ("kind", "name", "pool", "format")}
            if asked not in found:
                found.append(asked)
    return found


def are_the_same(disks: Sequence[Mapping[str, t.Any]]) -> bool:
    """Whether every machine of the group needs the same one, so that no host can have two of them."""
    return any("{{" not in text for _path, text in texts_of(disks))


def problems(host: str, facts: Facts, creating: Sequence[Mapping[str, t.Any]], groups: Mapping[str, Mapping[str, t.Any]]) -> Iterator[str]:
    """What new machines of a host need, and do not get.

    :param creating: a machine without a name stands for some machine of its group.
    """
    taken: dict[tuple[str, str], str] = {}
    for machine in creating:
        group, name = groups[machine["group"]], machine.get("machine")
        own = {f"domain {one.get('domain')}" for one in facts.get("machines") or () if one.get("machine") == name}
        for need in needs_of(group, name):
            at = f"{_place(group, need)}: {host}"
            problem = _problem(need, name, facts, own)
            if problem:
                yield f"{at} {problem}"
                continue
            entry = _entry(need, facts) if name else None
            if entry is not None:
                first = taken.setdefault((entry["kind"], entry["path"]), f"{name}: {need['disk']}")
                if first != f"{name}: {need['disk']}":
                    yield f"{at} would give the {_title(need)} to {first} and to {name}: {need['disk']}; it is one disk of one machine"


def without_users(found: Sequence[Mapping[str, t.Any]], domains: set[str]) -> list[dict[str, t.Any]]:
    """The host's resources when these domains have been stopped."""
    gone = {f"domain {domain}" for domain in domains}
    return [{**one, "used_by": [user for user in one.get("used_by") or () if user not in gone]} for one in found]


def _place(group: Mapping[str, t.Any], need: Need) -> str:
    return str(next((disk["place"] for disk in group["hardware"]["attached"] if disk["name"] == need["disk"]), group["place"]))


def _title(need: Need) -> str:
    of = f" of the pool {need['pool']}" if need["pool"] else ""
    return f"{_WORDS[need['kind']]} {need['name']}{of}"


def _entries(need: Need, facts: Facts) -> list[Mapping[str, t.Any]]:
    found = facts.get("resources") or []
    same = [one for one in found if (one["kind"], one.get("pool")) == (need["kind"], need["pool"])]
    if "*" in need["name"]:
        begin, _star, end = need["name"].partition("*")
        return [one for one in same if one["name"].startswith(begin) and one["name"].endswith(end.rpartition("*")[2])]
    return [one for one in same if one["name"] == need["name"]]


def _entry(need: Need, facts: Facts) -> Mapping[str, t.Any] | None:
    return next(iter(_entries(need, facts)), None)


def _problem(need: Need, machine: str | None, facts: Facts, own: set[str]) -> str:
    """Empty where the machine can have it; for some machine, where one of them may."""
    if facts.get("resources") is None:
        return f"did not tell whether it has the {_title(need)}"
    found = _entries(need, facts)
    if not found:
        what = "attach it" if need["kind"] == attached.BLOCK else "put it there"
        return f"has no {_title(need)} that machines may use; {what}, and permit it ({VARIABLES[need['kind']]})"
    told = []
    for one in found:
        others = [user for user in one.get("used_by") or () if user not in own]
        if not one.get("problem") and (machine is None or not others):
            return ""
        why = one["problem"] if one.get("problem") else f"is in use by {', '.join(others)}"
        told.append(f"cannot give the {_title({**need, 'name': one['name']})} to a machine: it {why}")
    return told[0]


def attached_of(group: Mapping[str, t.Any], machine: str, facts: Facts) -> list[dict[str, t.Any]]:
    """The option ``attached`` of the module machine."""
    pools = (facts.get("capacity") or {}).get("pools") or {}
    found = []
    for need in needs_of(group, machine):
        entry = _entry(need, facts)
        top = (pools.get(need["pool"]) or {}).get("path") or "/" if need["pool"] else ""
        path = entry["path"] if entry is not None else f"{top.rstrip('/')}/{need['name']}" if top else need["name"]
        found.append({"name": need["disk"], "kind": need["kind"], "path": path, "image_format": need["format"]})
    return found
