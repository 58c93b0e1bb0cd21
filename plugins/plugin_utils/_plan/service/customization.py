# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""How a group's guests are told what they are to be: by which means, and what its manifest says wrongly of that."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping

from ....module_utils._machine.cloudbase import cloudbase_problems, meta_data_problems
from ....module_utils._machine.ignition import ignition_problems
from ....module_utils._machine.media import CLOUD_INIT, CLOUDBASE, IGNITION
from ....module_utils._machine.user_data import user_data_problems
from . import machine_values

Path = tuple[str | int, ...]
Group = Mapping[str, t.Any]

NONE = "none"
# Those whose key may be left out: there is something to tell without it.
_EMPTY_ALLOWED = (CLOUD_INIT, CLOUDBASE)
KEYS = (CLOUD_INIT, IGNITION, CLOUDBASE)
# Those that nobody had before there was a choice; what is kept of a machine names them, and nothing else.
OTHERS = (IGNITION, CLOUDBASE)
# Keys of each that say how, and do not reach the guest.
_NOT_TOLD = ("allow_degraded", "templates")

SCHEMA = {
    "enum": [*KEYS, NONE],
    "description": f"a guest is customized by {', '.join(KEYS)} or {NONE}",
}
IGNITION_SCHEMA: dict[str, t.Any] = {
    "type": "object",
    "description": "ignition is a mapping of config and templates",
    "examples": ["{config: {ignition: {version: '3.4.0'}}}"],
    "properties": {
        "config": {
            "type": ["object", "string"],
            "description": "an Ignition configuration is a mapping, or its text in JSON",
            "examples": ["{ignition: {version: '3.4.0'}}"],
        },
        "templates": {
            "type": "boolean",
            "description": "true ({{ host }} and the like are filled in) or false (all braces are the guest's) is expected",
        },
    },
    "required": ["config"],
    "additionalProperties": False,
}
CLOUDBASE_SCHEMA = {
    "type": "object",
    "description": "cloudbase is a mapping of user_data, meta_data, network_data and templates",
    "examples": ["{user_data: 'rem cmd'}"],
    "properties": {
        "user_data": {
            "type": ["object", "string"],
            "description": "user data is a mapping (cloud-config) or a string",
            "examples": ["{set_timezone: UTC}"],
        },
        "meta_data": {"type": "object", "description": "meta data is a mapping", "examples": ["{public_keys: {admin: ssh-ed25519 AAAA}}"]},
        "network_data": {
            "type": "object",
            "description": "network data is a mapping of links, networks and services, as OpenStack has it",
            "examples": ["{links: [], networks: [], services: []}"],
        },
        "templates": IGNITION_SCHEMA["properties"]["templates"],
    },
    "additionalProperties": False,
}


def kind_of(group: Group) -> str:
    """Of a group of a manifest, as it was written or as parse_manifest returns it."""
    named: str | None = group.get("customize") if isinstance(group.get("customize"), str) else None
    return named or next((key for key in KEYS if group.get(key) is not None), NONE)


def content_of(group: Group) -> Mapping[str, t.Any] | None:
    """What a group of parse_manifest tells its guests; None where it tells them nothing."""
    content: Mapping[str, t.Any] | None = group.get(kind_of(group))
    return content


def parts_of(group: Group) -> Mapping[str, t.Any] | None:
    """The content, by names of parts that tell which way it is."""
    content = content_of(group)
    return {CLOUDBASE: content} if kind_of(group) == CLOUDBASE else content


def normalised(group: Group) -> dict[str, t.Any]:
    """The keys by which parse_manifest tells it: ``cloud_init``, and another one where that is not what is used."""
    kind = kind_of(group)
    content = None if kind == NONE else dict(group.get(kind) or {})
    # Whether its texts are filled in is told where they are; what has none stays as it always was.
    if content is not None and machine_values.is_filled_in(content):
        content["templates"] = True
    return {CLOUD_INIT: content if kind == CLOUD_INIT else None, **({kind: content} if kind in OTHERS else {})}


def told(group: Group) -> dict[str, t.Any] | None:
    """What of it reaches the guest, to be compared; None for nothing."""
    kind, content = kind_of(group), content_of(group)
    if content is None:
        return None
    parts = {key: value for key, value in content.items() if key not in _NOT_TOLD or (key == "templates" and value)}
    return parts if kind == CLOUD_INIT else {kind: parts}


def seed_of(group: Group, values: Mapping[str, str]) -> dict[str, t.Any]:
    """What seed_image takes of it for one machine."""
    kind = kind_of(group)
    seed = machine_values.seed_of(content_of(group) or {}, values)
    return {**seed, "meta_data": seed["meta_data"] or {}, **({"customize": kind} if kind in OTHERS else {})}


def errors(group: Group, sample: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """What cannot be meant, what cannot be filled in, and what the guest would not understand; it says nothing itself.

    :param group: as the manifest has it.
    :param sample: the values of a machine.
    """
    kind = kind_of(group)
    given = [key for key in KEYS if group.get(key) is not None]
    for key in given:
        if key != kind:
            asked = f"customize is {kind}" if group.get("customize") else f"{kind} is given too"
            yield (key,), f"{asked}, and a guest is customized in one way; leave one of the two out"
    if kind not in (*_EMPTY_ALLOWED, NONE) and kind not in given:
        yield ("customize",), f"{kind!r} is not accepted without the key {kind}, which says what the guests are told"
    content = group.get(kind) if kind in given else None
    if isinstance(content, Mapping):
        yield from (((kind, *path), problem) for path, problem in _content_errors(kind, content, sample))


def _content_errors(kind: str, content: Mapping[str, t.Any], sample: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    wrong = list(machine_values.seed_mistakes(content))
    if wrong:
        yield from wrong
        return
    seed = machine_values.seed_of(content, sample)
    if kind == IGNITION:
        yield from ((("config",), problem) for problem in ignition_problems(seed["config"]))
        return
    if kind == CLOUDBASE:
        meta_data = seed["meta_data"] or {}
        yield from ((("meta_data",), problem) for problem in meta_data_problems(meta_data))
        if "uuid" in meta_data:
            yield ("meta_data", "uuid"), "it is derived from tenant, service and machine and cannot be chosen"
        yield from ((("user_data",), problem) for problem in cloudbase_problems(seed["user_data"]))
        return
    for key in ("user_data", "vendor_data"):
        yield from (((key,), problem) for problem in user_data_problems(seed[key]))
    if "instance-id" in (content.get("meta_data") or {}):
        yield ("meta_data", "instance-id"), "it is derived from tenant, service and machine and cannot be chosen"
    network = content.get("network_config")
    if network is not None and not {"version", "network"} & set(network):
        yield ("network_config",), "a mapping with the key version (network configuration version 2) is expected"
