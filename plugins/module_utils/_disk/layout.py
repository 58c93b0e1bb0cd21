# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Where machines' disks lie: <pool>/machines/<service>/<machine>/<disk>.qcow2 (or .raw)."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from . import access, file_io
from .errors import UnsafePath

_BASE_FILE = re.compile(r"/bases/([0-9a-f]{64})/disk\Z")
_LARGEST = 64 * 1024
EXTENSIONS = {"qcow2": ".qcow2", "raw": ".raw"}


def machines_directory(pool_path: str) -> str:
    return os.path.join(pool_path, "machines")


def service_directory(pool_path: str, service: str) -> str:
    return os.path.join(pool_path, "machines", service)


def machine_directory(pool_path: str, service: str, machine: str) -> str:
    return os.path.join(pool_path, "machines", service, machine)


def disk_path(pool_path: str, service: str, machine: str, name: str, image_format: str) -> str:
    return os.path.join(machine_directory(pool_path, service, machine), name + EXTENSIONS[image_format])


def origin_path(directory: str, name: str) -> str:
    """The record of what a disk without parent was copied from."""
    return os.path.join(directory, f".{name}.origin.json")


def origin_of(directory: str, name: str) -> dict[str, t.Any] | None:
    """What a disk without parent was made from: {"base": digest or None}; None where nothing is written down.

    :raises FleetError: the record cannot be understood.
    """
    try:
        record = file_io.read_value(origin_path(directory, name), _LARGEST)
    except FileNotFoundError:
        return None
    base = record.get("base")
    return {"base": base.digest() if base is not None else None}


def temporary_path(directory: str, name: str) -> str:
    """Under which a disk is made; not looked at by anybody, and removed by the next run after a crash."""
    return os.path.join(directory, f".{name}.new.tmp")


def capture_path(directory: str, name: str) -> str:
    """Under which a disk is copied while its machine runs on; removed when it has become a base, and by the next capture."""
    return os.path.join(directory, f".{name}.capture.tmp")


def clone_path(directory: str) -> str:
    """The note of which machine another one is a clone."""
    return os.path.join(directory, ".clone.json")


def flatten_path(directory: str, name: str) -> str:
    """The note that a disk is to lose its base."""
    return os.path.join(directory, f".{name}.flatten.json")


def flatten_name(file_name: str) -> str | None:
    """The name of the disk whose note a file is."""
    match = re.fullmatch(r"\.(.+)\.flatten\.json", file_name)
    return match.group(1) if match else None


def is_unfinished(file_name: str) -> bool:
    """Whether a file in a machine's directory is a disk that was being made, or tells of one that never came, or has gone."""
    return re.fullmatch(r"\..+\.(tmp|(origin|flatten)\.json)|\.clone\.json", file_name) is not None


def owner_path(pool_path: str, service: str) -> str:
    """The record of the tenant whose service this is."""
    return os.path.join(service_directory(pool_path, service), ".owner.json")


def lock_path(pool_path: str, service: str) -> str:
    """Held by the one run that works on the service's disks in the pool."""
    return os.path.join(service_directory(pool_path, service), ".lock")


def owner_of(service: str) -> str | None:
    """The tenant of the service in this directory, None where nobody has claimed it.

    :raises FleetError: the record cannot be understood, so the tenant is not known.
    """
    try:
        return file_io.read_value(os.path.join(service, ".owner.json"), _LARGEST)["tenant"].text(255)
    except FileNotFoundError:
        return None


def base_of(backing_path: str | None) -> str | None:
    """Digest of the base that a resolved backing file is, by its place."""
    match = _BASE_FILE.search(backing_path or "")
    return match.group(1) if match else None


def make_directories(pool_path: str, *parts: str) -> list[str]:
    """Make a directory below a pool step by step; those that were made."""
    made = []
    path = pool_path
    for part in parts:
        path = os.path.join(path, part)
        if file_io.ensure_directory(path):
            made.append(path)
        else:
            access.let_pass(path)
    return made


def refuse_links(pool_path: str, *parts: str) -> None:
    """UnsafePath when a directory below the pool is a symbolic link or a file."""
    path = pool_path
    for part in parts:
        path = os.path.join(path, part)
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            raise UnsafePath(f"{path} is a symbolic link or a file where a directory of the pool is expected; remove it.", path=path)
