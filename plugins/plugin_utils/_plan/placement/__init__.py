# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Where machines go: the storage of their disks first, then a host, decided together. See docs/placement.md."""

from __future__ import annotations

from .observed import Observed, answers, base_names, disks_of, held_base
from .phases import choose_host, choose_storage
from .place import Settings, place_machines
from .storage import shared_storage, storage_candidates, storage_of

__all__ = [
    "Observed",
    "Settings",
    "answers",
    "base_names",
    "choose_host",
    "choose_storage",
    "disks_of",
    "held_base",
    "place_machines",
    "shared_storage",
    "storage_candidates",
    "storage_of",
]
