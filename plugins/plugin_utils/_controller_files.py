# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Files of the controller: where a relative path leads, and what is there."""

from __future__ import annotations

import hashlib
import os
import stat
import typing as t
from collections.abc import Sequence


class Found(t.NamedTuple):
    """A path that was looked up; ``tried`` are the absolute paths in the order of the search."""

    path: str
    tried: list[str]
    isreg: bool
    size: int


def directories(current: str, playbooks: Sequence[str]) -> list[str]:
    """Where a relative path is looked up: in the current directory, then beside the playbooks that were called."""
    return [current, *(os.path.dirname(os.path.join(current, playbook)) for playbook in playbooks)]


def find(path: str, directories: Sequence[str]) -> Found:
    """The first of the directories that has the file; without any, the path in the first of them."""
    path = os.path.expanduser(path)
    tried = list(dict.fromkeys(os.path.normpath(os.path.join(directory, path)) for directory in directories))
    for candidate in tried:
        try:
            facts = os.stat(candidate)
        except OSError:
            continue
        if stat.S_ISREG(facts.st_mode):
            return Found(candidate, tried, True, facts.st_size)
    return Found(tried[0], tried, False, 0)


def sha256_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def why_not_writable(path: str) -> str | None:
    """What stands in the way of writing a file, or nothing."""
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        return f"{path} is a directory; expected a file"
    if not os.path.isdir(folder):
        return f"the directory {folder} does not exist; make it, or name another file"
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        return f"{path} cannot be written; name another file"
    return None
