# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Directories that libvirt's own user can pass through, and the ends of files that guests write."""

from __future__ import annotations

import os

from .._errors import FleetError

DIRECTORY_MODE = 0o711
SECRET_MODE = 0o600


def check_pool(path: str) -> None:
    """A pool is never made here: a missing one is usually a file system that is not mounted."""
    if not os.path.isdir(path):
        raise FleetError(f"The pool's directory {path} does not exist. Create it, or mount what belongs there.", path=path)


def make_directory(path: str) -> None:
    """The directory and its missing parents, mode 0711: others may reach a file whose name they know."""
    if os.path.isdir(path):
        return
    make_directory(os.path.dirname(path))
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        return
    os.chmod(path, DIRECTORY_MODE)  # whatever the umask is


def read_tail(path: str, limit_bytes: int) -> bytes:
    """The end of a file; nothing where there is no file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit_bytes))
            return file.read(limit_bytes)
    except FileNotFoundError:
        return b""
