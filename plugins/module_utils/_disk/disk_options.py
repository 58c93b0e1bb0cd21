# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Disks as options of modules: what is accepted, what becomes of it, and what a diff shows."""

from __future__ import annotations

import typing as t

from .._errors import InvalidOption
from .._module import pool_path
from .._names import check_name, check_sha256
from .disk_decisions import Wish

_SHOWN = ("machine", "name", "pool", "path", "base", "virtual_size_bytes", "image_format", "backing")


def disk_arguments() -> dict[str, t.Any]:
    """Argument spec of one entry of the option ``disks``."""
    return {
        "machine": {"type": "str", "required": True},
        "name": {"type": "str"},
        "pool": {"type": "str"},
        "base": {"type": "str"},
        "base_pool": {"type": "str"},
        "size_bytes": {"type": "int"},
        "differencing": {"type": "bool", "default": True},
        "backend": {"type": "str", "choices": ["qcow2", "reflink"], "default": "qcow2"},
    }


def checked_disk(entry: t.Mapping[str, t.Any], pools: t.Mapping[str, str], state: str = "present") -> Wish:
    """The wish, every name in it safe as a part of a path."""
    check_name("disks[].machine", entry["machine"])
    name, pool = entry["name"], entry["pool"]
    if state == "present":
        pool = pool or "default"
        if name is None:
            raise InvalidOption("disks[].name", None, "with state: present, each disk needs a name")
    if name is not None:
        check_name("disks[].name", name)
    for option, value in (("pool", pool), ("base_pool", entry["base_pool"])):
        if value is not None:
            pool_path(pools, value, f"disks[].{option}")
    if entry["base"] is not None:
        check_sha256("disks[].base", entry["base"])
    if entry["size_bytes"] is not None and entry["size_bytes"] <= 0:
        raise InvalidOption("disks[].size_bytes", entry["size_bytes"], "a size is a positive number of bytes")
    return Wish(
        machine=entry["machine"],
        name=name,
        pool=pool,
        base=entry["base"],
        base_pool=entry["base_pool"],
        size_bytes=entry["size_bytes"],
        differencing=entry["differencing"],
        backend=entry["backend"],
    )


def disk_difference(results: t.Sequence[t.Mapping[str, t.Any]], before: t.Mapping[str, int]) -> dict[str, t.Any]:
    """Before and after, of the disks that change.

    :param before: sizes of disks that existed, by path.
    """
    changing = [result for result in results if result["action"] != "none"]
    shown = [{key: result[key] for key in _SHOWN} for result in changing]
    return {
        "before": {"disks": [{**disk, "virtual_size_bytes": before[disk["path"]]} for disk in shown if disk["path"] in before]},
        "after": {"disks": [disk for disk, result in zip(shown, changing) if result["action"] != "removed"]},
    }
