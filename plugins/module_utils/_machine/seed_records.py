# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What stands beside a seed image about it; apart from making images, since who looks at machines makes none."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from .._disk.safe_directory import SafeDirectory
from .._untrusted import read
from .files import open_machine_directory
from .media import RECORD

_LARGEST_RECORD = 1 << 20


@dataclass(frozen=True)
class SeedRecord:
    """What the file ``seed.json`` says about the image beside it."""

    digest: str
    token: str | None  # None: this seed asks for no report
    hostname: str
    instance_id: str
    outline: t.Mapping[str, t.Any]


def read_record(directory: str) -> SeedRecord | None:
    """None where there is no record.

    :raises Malformed: what is wrong with it.
    :raises UnsafePath: a link or the like stands in its place.
    """
    try:
        with open_machine_directory(directory) as opened:
            return record_in(opened)
    except FileNotFoundError:
        return None


def record_in(directory: SafeDirectory) -> SeedRecord | None:
    """The same of a directory that is open."""
    try:
        data = directory.read(RECORD, _LARGEST_RECORD)
    except FileNotFoundError:
        return None
    said = read(data, os.path.join(directory.path, RECORD), max_bytes=_LARGEST_RECORD)
    token = said.get("token")
    return SeedRecord(
        digest=said["digest"].digest(),
        token=None if token is None else token.text(pattern="[0-9a-f]{1,64}", what="hexadecimal digits"),
        hostname=said["hostname"].cleaned(300),
        instance_id=said["instance_id"].text(200),
        outline=said["outline"].mapping(),
    )
