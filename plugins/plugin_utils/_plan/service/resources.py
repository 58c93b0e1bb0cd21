# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Things of a host that machines use in place, one machine each: what is asked of hosts, and whether each machine gets its own."""

from __future__ import annotations

import posixpath
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.hardware import attached, host_devices, shares
from ....module_utils._machine.hardware.attached import ANOTHER, DEVICE, SHARE, VARIABLES
from ..placement import storage_of
from . import machine_values

Need = Mapping[str, t.Any]
Facts = Mapping[str, t.Any]

POOL = "default"
_WORDS = {attached.BLOCK: "block device", attached.VOLUME: "volume", SHARE: "directory"}


def all_disks(group: Mapping[str, t.Any]) -> list[Mapping[str, t.Any]]:
    """Those that a machine has of its own, and those that it is given."""
    return [*group["disks"], *((group.get("hardware") or {}).get("attached") or ())]


def needs_of(group: Mapping[str, t.Any], machine: str | None) -> list[dict[str, t.Any]]:
    """What a machine of the group needs: ``[{"place", "disk", "kind", "name", "pool", "format"}]``; ``disk`` is its name in the machine.

    :param group: of a parsed manifest.
    :param machine: None for some machine of the group: a star stands for what differs.
    """
    hardware = group.get("hardware") or {}
    places = group.get("places") or {}
    return [
        *(_need(disk, machine) for disk in hardware.get("attached") or ()),
        *(
            _device(device, str(places.get(f"host_devices[{at}]", group.get("place"))), machine)
            for at, device in enumerate(hardware.get("host_devices") or ())
        ),
        *(
            _share(share, str(places.get(f"shares[{at}]", group.get("place"))), machine)
            for at, share in enumerate(hardware.get("shares") or ())
        ),
    ]


def _device(device: Mapping[str, t.Any], place: str, machine: str | None) -> dict[str, t.Any]:
    name = _filled(host_devices.name_of(device), machine)
    return {"place": place, "disk": host_devices.title_of(name), "kind": DEVICE, "name": name, "pool": None, "format": "raw"}


def _share(share: Mapping[str, t.Any], place: str, machine: str | None) -> dict[str, t.Any]:
    name = _filled(share["source"], machine)
    return {"place": place, "disk": share["name"], "kind": SHARE, "name": name, "pool": None, "format": "raw"}


def _need(disk: Mapping[str, t.Any], machine: str | None) -> dict[str, t.Any]:
    of = {"place": disk["place"], "disk": disk["name"]}
    if attached.BLOCK in disk:
        return {**of, "kind": attached.BLOCK, "name": _filled(disk["block"], machine), "pool": None, "format": "raw"}
    volume = disk["volume"]
    path = _filled(volume["path"], machine)
    pool = volume.get("pool", POOL)
    return {**of, "kind": attached.VOLUME, "name": path, "pool": pool, "format": attached.format_of(volume)}


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


def are_the_same(disks: Sequence[Mapping[str, t.Any]], group: Mapping[str, t.Any]) -> bool:
    """Whether every machine of the group needs the same thing, so that no host can have two of them.

    :param group: as the manifest has it.
    """
    return bool(_fixed(group)) or any("{{" not in text for _path, text in texts_of(disks))


def _fixed(group: Mapping[str, t.Any]) -> set[str]:
    """Devices that every machine of a group needs."""
    return {name for name in map(host_devices.name_of, group.get("host_devices") or ()) if "{{" not in name}


def rivals(groups: Sequence[Mapping[str, t.Any]]) -> list[list[str]]:
    """Names of groups that need a device of one name; each list with all that are bound together so.

    :param groups: of a parsed manifest.
    """
    sets: list[tuple[list[str], set[str]]] = []
    for group in groups:
        names, devices = [str(group["name"])], _fixed(group["hardware"])
        others = [one for one in sets if one[1] & devices]
        sets = [one for one in sets if one not in others]
        sets.append(([*(name for one in others for name in one[0]), *names], devices.union(*(one[1] for one in others))))
    return [names for names, _devices in sets if len(names) > 1]


def problems(host: str, facts: Facts, creating: Sequence[Mapping[str, t.Any]], groups: Mapping[str, Mapping[str, t.Any]]) -> Iterator[str]:
    """What new machines of a host need, and do not get.

    :param creating: a machine without a name stands for some machine of its group.
    """
    taken: dict[tuple[str, str], str] = {}
    shared: list[str] = []
    for machine in creating:
        group, name = groups[machine["group"]], machine.get("machine")
        own = {f"domain {one.get('domain')}" for one in facts.get("machines") or () if one.get("machine") == name}
        needs = needs_of(group, name)
        for need in needs:
            at = f"{need['place']}: {host}"
            problem = _problem(need, name, facts, own) or _beside(need, needs, facts)
            if problem:
                yield f"{at} {problem}"
                continue
            entry = _entry(need, facts) if name else None
            if need["kind"] == SHARE:
                other = next((path for path in shared if entry is not None and shares.is_nested(path, entry["path"])), None)
                if other is not None:
                    yield f"{at} would share {need['name']} and {other}, which lie in one another; share directories that lie side by side"
                shared += [entry["path"]] if entry is not None else []
            elif entry is not None:
                first = taken.setdefault((entry["kind"], entry["path"]), f"{name}: {need['disk']}")
                if first != f"{name}: {need['disk']}":
                    one = "device" if need["kind"] == DEVICE else "disk"
                    yield f"{at} would give the {_title(need)} to {first} and to {name}: {need['disk']}; it is one {one} of one machine"


def shared_twice(
    machines: Sequence[Mapping[str, t.Any]], groups: Mapping[str, Mapping[str, t.Any]], hosts: Mapping[str, Facts]
) -> Iterator[str]:
    """Volumes that machines of several hosts would write at once, since their pools are one storage.

    :param machines: of the plan, there or not.
    """
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for machine in machines:
        host, name = machine["host"], machine["machine"]
        for need in needs_of(groups[machine["group"]], name) if host in hosts else ():
            if need["kind"] != attached.VOLUME:
                continue
            storage = storage_of(host, need["pool"], (hosts[host].get("pools") or {}).get(need["pool"]) or {})
            other, there = first.setdefault((storage, posixpath.normpath(need["name"])), (name, host))
            if there != host:
                yield (
                    f"{need['place']}: {there} and {host} have the {_title(need)} on one storage, and {other} and {name} would both write"
                    " it; give each machine a volume of its own"
                )


def without_users(found: Sequence[Mapping[str, t.Any]], domains: set[str]) -> list[dict[str, t.Any]]:
    """The host's resources when these domains have been stopped."""
    gone = {f"domain {domain}" for domain in domains}
    return [{**one, "used_by": [user for user in one.get("used_by") or () if user not in gone]} for one in found]


def _title(need: Need) -> str:
    if need["kind"] == DEVICE:
        return host_devices.title_of(need["name"])
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
        what = {attached.VOLUME: "put it there", SHARE: "make it"}.get(need["kind"], "attach it")
        return f"has no {_title(need)} that machines may use; {what}, and permit it ({VARIABLES[need['kind']]})"
    told = []
    for one in found:
        others = [user for user in one.get("used_by") or () if user not in own]
        if not one.get("problem") and (not others or (machine is None and not _is_taken(one))):
            return ""
        why = one["problem"] if one.get("problem") else f"is in use by {', '.join(others)}"
        told.append(f"cannot give the {_title({**need, 'name': one['name']})} to {machine or 'a machine'}: it {why}")
    return told[0]


def _is_taken(entry: Mapping[str, t.Any]) -> bool:
    """Whether no machine of the service can have it. Who has a disk open is a process, which may be that of its own machine."""
    return entry["kind"] == DEVICE and ANOTHER in (entry.get("used_by") or ())


def _beside(need: Need, needs: Sequence[Need], facts: Facts) -> str:
    """A machine gets whole IOMMU groups. Empty where it does."""
    entry = _entry(need, facts) if need["kind"] == DEVICE else None
    names = {one["name"] for one in needs}
    left = [one for one in (entry or {}).get("beside") or () if f"{host_devices.PCI}/{one}" not in names]
    return f"cannot give the {_title(need)} to a machine: it {host_devices.with_others(left)}" if left and "*" not in need["name"] else ""


def attached_of(group: Mapping[str, t.Any], machine: str, facts: Facts) -> list[dict[str, t.Any]]:
    """The option ``attached`` of the module machine."""
    pools = (facts.get("capacity") or {}).get("pools") or {}
    found = []
    for need in needs_of(group, machine):
        if need["kind"] in (DEVICE, SHARE):
            continue
        entry = _entry(need, facts)
        top = (pools.get(need["pool"]) or {}).get("path") or "/" if need["pool"] else ""
        path = entry["path"] if entry is not None else f"{top.rstrip('/')}/{need['name']}" if top else need["name"]
        found.append({"name": need["disk"], "kind": need["kind"], "path": path, "image_format": need["format"]})
    return found
