# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Marks by which hosts find out that their pools are one storage: each leaves a random name, then looks for those of others.

Two hosts that have both seen the other's mark write into one directory. Nothing else proves it: two file systems made from one
image look alike in all that can be read of them, and through an overlay only one of two hosts sees what the other writes.

    <pool>/.basecast-marks/<run>/<nonce>         left by a host
    <pool>/.basecast-marks/<run>/<nonce>.looks   while it looks
    <pool>/.basecast-marks/<run>/<nonce>.seen    when it has looked; the host that finds only these removes all
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time

from . import file_io, file_trees
from .errors import UnsafePath

FOLDER = ".basecast-marks"
#: A run whose marks are older has ended without looking at all of them.
OLD_S = 3600.0
_NONCE = re.compile(r"[0-9a-f]{32}")
_PAUSE_S = 0.2
_MODE = 0o700


def leave(pool_path: str, run: str) -> str | None:
    """Leave a mark in the pool. None where that is not possible: nothing is known of it then."""
    nonce = secrets.token_hex(16)
    directory = os.path.join(pool_path, FOLDER, run)
    try:
        for _attempt in range(3):
            file_io.ensure_directory(os.path.dirname(directory), _MODE)
            with contextlib.suppress(FileNotFoundError):  # another host has just removed the directory of its own run
                file_io.ensure_directory(directory, _MODE)
                file_io.write_file(os.path.join(directory, nonce), b"", 0o600)
                file_io.sync_directory(directory)
                _remove_old(os.path.dirname(directory), os.stat(os.path.join(directory, nonce)).st_mtime)
                return nonce
    except (OSError, UnsafePath):
        pass
    return None


def look(pool_path: str, run: str, own: str, expected: int = 1, wait_s: float = 0.0) -> list[str]:
    """Nonces of all marks in the pool, the own one among them.

    :param own: what ``leave`` returned.
    :param expected: how many marks there may be: for fewer, a network file system is asked again until ``wait_s`` have passed.
    """
    directory = os.path.join(pool_path, FOLDER, run)
    mark = os.path.join(directory, own)
    deadline = time.monotonic() + wait_s
    try:
        found = _nonces(directory, mark)
        while len(found) < expected and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
            found = _nonces(directory, mark)
        os.rename(f"{mark}.looks", f"{mark}.seen")
    except FileNotFoundError:
        return []  # somebody has removed the marks: nothing is known
    with contextlib.suppress(FileNotFoundError):  # another host that was the last as well removes them at this moment
        _remove_looked_at(directory)
    return found


def remove(pool_path: str, run: str) -> None:
    """All marks of a run."""
    file_trees.remove_tree(os.path.join(pool_path, FOLDER, run))
    with contextlib.suppress(OSError):
        os.rmdir(os.path.join(pool_path, FOLDER))


def _nonces(directory: str, mark: str) -> list[str]:
    # A change of its own makes a network file system forget what it remembers of the directory.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{mark}.looks")
    file_io.write_file(f"{mark}.looks", b"", 0o600)
    return sorted(name for name in os.listdir(directory) if _NONCE.fullmatch(name))


def _remove_looked_at(directory: str) -> None:
    names = os.listdir(directory)
    left = {name for name in names if _NONCE.fullmatch(name)}
    if left <= {name[: -len(".seen")] for name in names if name.endswith(".seen")}:
        remove(os.path.dirname(os.path.dirname(directory)), os.path.basename(directory))


def _remove_old(folder: str, now: float) -> None:
    """:param now: by the clock of the storage."""
    for name in os.listdir(folder):
        place = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            if now - os.stat(place).st_mtime > OLD_S:
                file_trees.remove_tree_or_file(place)
