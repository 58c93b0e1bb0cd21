# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Machines as options of modules."""

from __future__ import annotations

import typing as t

from .hardware import cards, table
from .hardware.key import argument


def machine_arguments() -> dict[str, t.Any]:
    """Argument spec of one entry of the option ``machines``."""
    disk = {
        "name": {"type": "str", "required": True},
        "path": {"type": "str", "required": True},
        "image_format": {"type": "str", "choices": ["qcow2", "raw"], "default": "qcow2"},
    }
    network = {
        **{name: argument(schema) for name, schema in cards.schemas().items()},
        "mac": {"type": "str"},
        "model": {**argument(cards.MODEL), "default": "virtio"},
    }
    return {
        "machine": {"type": "str", "required": True},
        "number": {"type": "int", "default": 0},
        "group": {"type": "str", "default": ""},
        "pool": {"type": "str", "default": "default"},
        "cpus": {"type": "int", "default": 1},
        "memory_mib": {"type": "int", "default": 512},
        "disks": {"type": "list", "elements": "dict", "default": [], "options": disk},
        "seed": {"type": "str"},
        "networks": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": network,
            "mutually_exclusive": [cards.KIND_NAMES],
            "required_one_of": [cards.KIND_NAMES],
        },
        **table.arguments(),
        "allow_degraded": {"type": "bool", "default": False},
        "spec": {"type": "dict", "default": {}},
    }
