# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Where existing machines differ from the manifest: as data, machine by machine, and as text, in groups."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.hardware import cards, drives, table
from ..types import Manifest
from . import addresses, customization, resources

Difference = dict[str, t.Any]
Machine = Mapping[str, t.Any]

_GIB = 1024**3
_DNS = "dns"
# Hexadecimal digits of the digest by which a changed key of user data is told. So few that they confirm no guessed
# password; that something has changed at all is told by the digest of the whole.
_KEY_DIGITS = 4


def machine_spec(group: Mapping[str, t.Any], manifest: Manifest) -> dict[str, t.Any]:
    """What a machine of the group is meant to be; kept with the machine, compared by later runs."""
    versions = {base["name"]: base["version"] for base in manifest["bases"]}
    return {
        "cpus": group["cpus"],
        "memory_mib": group["memory_mib"],
        **group.get("hardware", {}),
        **resources.spec_of(group),
        "disks": {
            disk["name"]: {
                "base": f"{disk['base']} {versions[disk['base']]}" if disk["base"] else None,
                "size_bytes": disk["size_bytes"],
                "differencing": disk["differencing"],
                "pool": disk["pool"],
                "backend": disk["backend"],
                **{name: disk[name] for name in drives.NAMES if name in disk},
            }
            for disk in group["disks"]
        },
        "networks": [dict(network) for network in group["networks"]],
        "seed": group["seed_digest"],
        "seed_keys": seed_keys(customization.parts_of(group)),
        **({"customize": kind} if (kind := customization.kind_of(group)) in customization.OTHERS else {}),
    }


def seed_keys(cloud_init: Mapping[str, t.Any] | None) -> dict[str, str]:
    """A short digest of each part of a machine's customization, by its name: ``user_data.packages``."""
    found: dict[str, str] = {}
    for part, content in (cloud_init or {}).items():
        if part == "templates" and not content:
            continue  # as if it were not there
        entries = {f"{part}.{key}": value for key, value in content.items()} if isinstance(content, Mapping) else {part: content}
        for name, value in entries.items():
            text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
            found[name] = hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]
    return found


def drift(found: Mapping[str, t.Any], wanted: Mapping[str, t.Any]) -> list[Difference]:
    """Where an existing machine differs from the manifest: ``[{"path", "found", "wanted"}]``.

    What has changed in its customization is named, not shown: ``{"path": "seed", "found", "wanted", "keys": [names]}``, with
    the digests of the whole. An empty list of keys says that nobody knows.
    """
    differences = [*_differences({**found, "seed_keys": None}, {**wanted, "seed_keys": None})]
    for difference in differences:
        if difference["path"] == "seed":
            old, new = found.get("seed_keys") or {}, wanted.get("seed_keys") or {}
            difference["keys"] = sorted(key for key in {*old, *new} if old.get(key) != new.get(key)) if old else []
    return differences


def _differences(found: Mapping[str, t.Any], wanted: Mapping[str, t.Any], path: str = "") -> Iterator[Difference]:
    for key in sorted(set(found) | set(wanted)):
        here = f"{path}.{key}" if path else key
        old, new = found.get(key), wanted.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, here)
        elif old != new:
            yield {"path": here, "found": old, "wanted": new}


def dns_drift(found: Machine) -> Iterator[Difference]:
    """Addresses of a machine that its network's DNS ought to know. A deployment mends that, whatever it leaves alone otherwise."""
    for address in found.get("dns_missing") or ():
        yield {"path": _DNS, "found": None, "wanted": address}


# --- text --------------------------------------------------------------------------------------


def drift_text(machines: Sequence[Mapping[str, t.Any]]) -> list[str]:
    """A line for each difference, with all machines that have it: ``drift: web-1…8: memory 96 → 112 MiB``."""
    names: dict[str, list[str]] = {}
    for machine in machines:
        for difference in machine["drift"]:
            names.setdefault(_sentence(difference), []).append(machine["machine"])
    return [f"drift: {in_short(owners)}: {sentence}" for sentence, owners in names.items()]


def in_short(names: Sequence[str]) -> str:
    """Names with runs of numbers folded: ``web-1…8, web-10, db-1``."""
    runs: list[tuple[str, int, int]] = []
    others: list[str] = []
    for name in names:
        match = re.fullmatch(r"(.*-)([0-9]+)", name)
        if match is None:
            others.append(name)
        elif runs and runs[-1][0] == match[1] and runs[-1][2] + 1 == int(match[2]):
            runs[-1] = (match[1], runs[-1][1], int(match[2]))
        else:
            runs.append((match[1], int(match[2]), int(match[2])))
    folded = [f"{stem}{first}" + (f"…{last}" if last > first else "") for stem, first, last in runs]
    return ", ".join([*folded, *others])


_UNITS = {"memory_mib": "MiB", "size_bytes": "GiB"}
# What a machine has of which nothing was said; told where something is said now, and the other way round.
_USUAL = {key.name: key.usual for key in table.KEYS if isinstance(key.usual, (str, bool))}
_WORDS = {"memory_mib": "memory", "size_bytes": "size", "cpus": "CPUs", "host_devices": "host devices"}


def _sentence(difference: Difference) -> str:
    path = str(difference["path"])
    if path == "xml":
        return "xml has changed"
    if path == _DNS:
        return f"the entry of {difference['wanted']} is missing in the DNS of its network; a deployment makes it"
    if path == "seed":
        keys = ", ".join(difference.get("keys") or [])
        what = "customization" if "config" in keys or "cloudbase" in keys else "cloud-init"
        return f"{what} has changed: {keys}" if keys else "cloud-init has changed"
    *above, key = path.split(".")
    if path == "attached":  # the first of them, or the last
        names = ", ".join(difference["found"] or difference["wanted"])
        return f"disk {names} is {'missing' if difference['found'] is None else 'no longer in the manifest'}"
    if above[:1] in (["disks"], ["attached"]) and len(above) == 1:
        return f"disk {key} is {'missing' if difference['found'] is None else 'no longer in the manifest'}"
    owner = f"disk {above[1]}: " if above[:1] in (["disks"], ["attached"]) else "".join(f"{one} " for one in above)
    unit = f" {_UNITS[key]}" if key in _UNITS else ""
    usual = None if above else _USUAL.get(key)
    found, wanted = (usual if value is None else value for value in (difference["found"], difference["wanted"]))
    # The unit once, unless it would stand behind words.
    first = unit if wanted is None and found is not None else ""
    last = unit if wanted is not None else ""
    absent = "not set" if above else "none"  # "none" is also a value of some
    return f"{owner}{_WORDS.get(key, key)} {_shown(found, key, absent)}{first} → {_shown(wanted, key, absent)}{last}"


def _shown(value: t.Any, key: str, absent: str) -> str:
    if value is None:
        return "the base's own" if key == "size_bytes" else absent
    if key == "size_bytes":
        return f"{value / _GIB:g}"
    if key == "networks":
        return ", ".join(_card(card) for card in value) or "none"
    return _as_written(value)


def _as_written(value: object) -> str:
    """As a manifest has it on one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_as_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_written, value)) + "]"
    return str(value)


def _plainly(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {one}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(_plainly(one) for one in value)
    return _as_written(value)


def _card(card: Mapping[str, t.Any]) -> str:
    """What it is connected to, and what else is said of it."""
    kind = cards.kind_of(card)
    others = [f"{key} {_plainly(card[key])}" for key in (*cards.NAMES, "mac", *addresses.NAMES) if card.get(key) is not None]
    others += [f"model {card['model']}"] if card.get("model") not in (None, "virtio") else []
    return str(card[kind.name] if kind else "another") + (f" ({', '.join(others)})" if others else "")
