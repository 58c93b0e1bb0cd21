# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""References as options of modules."""

from __future__ import annotations

import typing as t

from .._errors import InvalidOption
from .._module import pool_path
from .._names import check_name, check_sha256
from .ownership import Wish


def reference_arguments(lost_host: bool = False, template: bool = False) -> dict[str, t.Any]:
    """The option ``references``, with the suboption ``lost_host`` where references can be dropped, and ``template`` where names of
    templates are given."""
    return {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "sha256": {"type": "str"},
            "name": {"type": "str"},
            "version": {"type": "str"},
            "pin": {"type": "str"},
            "pool": {"type": "str"},
            **({"lost_host": {"type": "str"}} if lost_host else {}),
            **({"template": {"type": "str", "no_log": True}} if template else {}),
        },
        "required_together": [("name", "version")],
        "mutually_exclusive": [("name", "pin", *(["lost_host"] if lost_host else []))],
    }


def checked_reference(entry: t.Mapping[str, t.Any], pools: t.Mapping[str, str]) -> Wish:
    if entry["sha256"] is not None:
        check_sha256("references[].sha256", entry["sha256"])
    for option in ("name", "version", "pin"):
        if entry[option] is not None:
            check_name(f"references[].{option}", entry[option])
    if entry["pool"] is not None:
        pool_path(pools, entry["pool"], "references[].pool")
    if all(entry.get(option) is None for option in ("sha256", "name", "pin", "lost_host")):
        raise InvalidOption("references", dict(entry), "an entry has sha256, name and version, or pin")
    return Wish(
        entry["sha256"], entry["name"], entry["version"], entry["pin"], entry["pool"], entry.get("lost_host"), entry.get("template")
    )
