# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Directories that libvirt's own user can pass through, and the ends of files that guests write."""

from __future__ import annotations

import os
import re
import shutil

from .._disk import file_io
from .._disk.errors import UnsafePath
from .._disk.safe_directory import SafeDirectory, read_end
from .._errors import FleetError
from .._names import is_name
from . import media
from .hardware.board import NVRAM_PATTERN

DIRECTORY_MODE = 0o711
SECRET_MODE = 0o600

_SEEDS = "|".join(map(re.escape, media.FILES))
# virtlogd rotates what it writes; a seed or report that was being replaced leaves its hidden copy.
_LEFTOVERS = re.compile(rf"{_SEEDS}|(report|console)\.log(\.\d+)?|\.({_SEEDS})\.[\w.-]+\.tmp|{NVRAM_PATTERN}")


# Where the system's libvirt keeps what emulated TPMs hold, by the UUID of the machine.
_TPM_STATES = "/var/lib/libvirt/swtpm"


def remove_tpm_state(uuid: str, check: bool = False) -> bool:
    """Remove what a machine's TPM held. libvirt does that with a definition that has a TPM, and leaves what an earlier one had.

    :returns: whether there was anything.
    """
    path = os.path.join(_TPM_STATES, uuid)
    if not os.path.isdir(path):
        return False
    if not check:
        try:
            shutil.rmtree(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise FleetError(
                f"What the machine's TPM held could not be removed: {path}: {reason}. Remove that directory.", path=path
            ) from error
    return True


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
            return read_end(file_io.open_regular(path), limit_bytes)
        with open_machine_directory(folder) as directory:
            return directory.tail(name, limit_bytes)
    except FileNotFoundError:
        return b""


def check_way(path: str) -> None:
    """UnsafePath where the way from the pool to a file in a machine's directory leads over a link."""
    folder = os.path.dirname(path)
    if _below_pool(folder) is not None:
        open_machine_directory(folder).close()


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


def leftovers(path: str) -> list[str]:
    """Names of the seed, logs and what was begun of them in a machine's directory; nothing where there is no directory."""
    try:
        with open_machine_directory(path) as directory:
            return [name for name in directory.names() if _LEFTOVERS.fullmatch(name)]
    except FileNotFoundError:
        return []


def remove_leftovers(path: str, check: bool = False, keep_firmware: bool = False) -> bool:
    """True when there was anything; disks, and a directory that holds them, stay."""
    found = [name for name in leftovers(path) if not (keep_firmware and re.fullmatch(NVRAM_PATTERN, name))]
    if not check:
        try:
            with open_machine_directory(path) as directory:
                for name in found:
                    directory.remove(name)
            remove_empty_directory(path)
        except FileNotFoundError:
            return bool(found)
    return bool(found)


def _below_pool(directory: str) -> tuple[str, str, str, str] | None:
    head, machine = os.path.split(os.path.normpath(directory))
    head, service = os.path.split(head)
    pool, machines = os.path.split(head)
    if machines != "machines" or not is_name(service) or not is_name(machine) or not os.path.isabs(pool):
        return None
    return pool, machines, service, machine
