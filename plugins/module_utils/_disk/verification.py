# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""When a base's whole file was last compared with its name, and what the file looked like then.

    <pool>/bases/.verified/<sha256>

has the size and the time of change of the file that was hashed. A look at both costs nothing, and tells that somebody has
written to a base since: it counts as damaged until it was read and compared again.
"""

from __future__ import annotations

import os
import time
import typing as t

from .._errors import FleetError
from . import attributes, file_io, file_trees

FORMAT = 1
_LARGEST = 4096


def remember(path: str, disk: str) -> None:
    """The file was read just now, and is what its name says. :raises OSError:"""
    status = os.lstat(disk)
    record = {
        "format": FORMAT,
        "size_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    if os.path.isdir(path):
        file_trees.remove_tree_or_file(path)  # a file cannot take its place
    file_io.replace_file(path, file_io.json_bytes(record), attributes.BASE_MODE)


def recorded(path: str) -> dict[str, t.Any] | None:
    """``{"size_bytes", "mtime_ns", "at"}``; None if there is no record that can be understood."""
    try:
        record = file_io.read_value(path, _LARGEST)
        if record["format"].integer() != FORMAT:
            return None
        return {"size_bytes": record["size_bytes"].integer(), "mtime_ns": record["mtime_ns"].integer(), "at": record["at"].text(64)}
    except (OSError, FleetError):
        return None


def problem(record: t.Mapping[str, t.Any] | None, disk: os.stat_result) -> str:
    """What the record says against the disk; empty if nothing. A base without one was never compared with its name here."""
    if record is None or record["mtime_ns"] == disk.st_mtime_ns:
        return ""
    changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(disk.st_mtime))
    return (
        f"its file was changed at {changed}, after it was compared with its digest at {record['at']}; "
        "run basecast.fleet.verify, or remove it and deploy again"
    )
