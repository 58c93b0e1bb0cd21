# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Directories that libvirt's own user can pass through, and the ends of files that guests write."""

from __future__ import annotations

import os

from .._disk import filesystem
from .._disk.errors import UnsafePath
from .._disk.safe_directory import SafeDirectory, read_end
from .._errors import FleetError
from .._names import is_name

DIRECTORY_MODE = 0o711
SECRET_MODE = 0o600


def check_pool(path: str) -> None:
    """A pool is never made here: a missing one is usually a file system that is not mounted."""
    if not os.path.isdir(path):
        raise FleetError(f"The pool's directory {path} does not exist. Create it, or mount what belongs there.", path=path)


def make_directory(path: str) -> None:
    """A directory of the host's own and its missing parents, mode 0711: others may reach a file whose name they know."""
    if os.path.isdir(path):
        return
    make_directory(os.path.dirname(path))
    try:
        os.mkdir(path, DIRECTORY_MODE)
    except FileExistsError:
        return
    os.chmod(path, DIRECTORY_MODE)  # whatever the umask is


def is_machine_directory(directory: str) -> bool:
    return _below_pool(directory) is not None


def open_machine_directory(directory: str, make: bool = False) -> SafeDirectory:
    """The directory POOL/machines/SERVICE/MACHINE; below the pool no link is followed.

    :raises FileNotFoundError: it is missing, and not to be made.
    """
    parts = _below_pool(directory)
    if parts is None:
        raise UnsafePath(f"{directory} is not a machine's directory in a pool (POOL/machines/SERVICE/MACHINE).", path=directory)
    if make:
        check_pool(parts[0])
    return SafeDirectory.open(*parts, make=make)


def remove_empty_directory(directory: str) -> None:
    """Remove a machine's directory unless it holds anything."""
    parts = _below_pool(directory)
    if parts is not None:
        with SafeDirectory.open(*parts[:-1]) as service:
            service.remove_empty(parts[-1])


def read_tail(path: str, limit_bytes: int) -> bytes:
    """The end of a file in a machine's directory; nothing where there is no file.

    :raises UnsafePath: a link, a pipe or a device stands in its place.
    """
    folder, name = os.path.split(path)
    try:
        if _below_pool(folder) is None:
            return read_end(filesystem.open_regular(path), limit_bytes)
        with open_machine_directory(folder) as directory:
            return directory.tail(name, limit_bytes)
    except FileNotFoundError:
        return b""


def check_log(path: str | None) -> None:
    """UnsafePath where libvirt, which writes a guest's output as root, would write into something else than a file."""
    if path is None:
        return
    folder, name = os.path.split(path)
    try:
        with open_machine_directory(folder) if _below_pool(folder) else SafeDirectory.open(folder) as directory:
            directory.check_file(name)
    except FileNotFoundError:
        return


def _below_pool(directory: str) -> tuple[str, str, str, str] | None:
    head, machine = os.path.split(os.path.normpath(directory))
    head, service = os.path.split(head)
    pool, machines = os.path.split(head)
    if machines != "machines" or not is_name(service) or not is_name(machine) or not os.path.isabs(pool):
        return None
    return pool, machines, service, machine
