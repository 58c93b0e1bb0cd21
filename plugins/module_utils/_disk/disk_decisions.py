# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A disk as it is wanted, and what is to happen to it."""

from __future__ import annotations

import os
import typing as t

from .base import Base
from .users import FoundDisk

DISK_MODE = 0o600


class Wish(t.NamedTuple):
    """A disk as the user wants it. ``name`` is None, and ``pool`` may be, only where disks are removed."""

    machine: str
    name: str | None
    pool: str | None
    base: str | None = None
    base_pool: str | None = None
    size_bytes: int | None = None
    differencing: bool = True
    backend: str = "qcow2"

    @property
    def title(self) -> str:
        return f"Disk {self.name} of machine {self.machine}"


class Decision(t.NamedTuple):
    """What is to happen to one disk. ``base`` is None for an empty disk, and while a base is only expected."""

    wish: Wish
    pool: str
    path: str
    action: str
    image_format: str
    size_bytes: int
    base: Base | None
    backing: str | None
    current: FoundDisk | None

    @property
    def directory(self) -> str:
        return os.path.dirname(self.path)

    @property
    def is_overlay(self) -> bool:
        return self.wish.base is not None and self.wish.differencing and self.wish.backend == "qcow2"
