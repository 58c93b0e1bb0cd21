# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which disks lie in the pools, and what they are based on: read from their headers each time, since a list kept
beside them could say something else than they do.
"""

from __future__ import annotations

import os
import typing as t

from .._errors import FleetError
from . import image_header, layout
from .image_header import HeaderError
from .store import Store

#: Never a differencing disk, whatever its first bytes look like: a guest writes its own raw disk.
_NOT_QCOW2 = (".raw", ".iso", ".json", ".log", ".tmp")
_DEPTH = 5


class FoundDisk(t.NamedTuple):
    """``backing`` as the header says it, ``backing_path`` the file that is meant, resolved; None where it is none."""

    path: str
    pool: str
    image_format: str
    virtual_size_bytes: int
    allocated_bytes: int
    backing: str | None
    backing_format: str | None
    backing_path: str | None


def resolve_backing(path: str, backing: str) -> str | None:
    """The file that a backing name in the header of ``path`` means; None where it is no file's name (nbd:, json: …)."""
    name = backing[len("file:") :] if backing.startswith("file:") else backing
    if ":" in name.split("/", 1)[0]:
        return None
    return os.path.realpath(os.path.join(os.path.dirname(path), name))


def scan(stores: t.Mapping[str, Store]) -> list[FoundDisk]:
    """All disks in the pools' ``machines`` directories, and the qcow2 files that lie in the pools themselves."""
    found: list[FoundDisk] = []
    seen: set[str] = set()
    for pool, store in sorted(stores.items()):
        root = os.path.realpath(store.pool_path)
        if root in seen:
            continue
        seen.add(root)
        for path in _files(layout.machines_directory(store.pool_path), _DEPTH):
            disk = look(path, pool)
            if disk is not None:
                found.append(disk)
        for path in _files(store.pool_path, 1):
            disk = look(path, pool)
            if disk is not None and disk.backing is not None:
                found.append(disk)
    return found


def _files(directory: str, depth: int) -> t.Iterator[str]:
    """Links are followed here, and only here: a disk that somebody moved and linked still needs its base."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for entry in entries:
        try:
            is_file, is_directory = entry.is_file(), entry.is_dir()
        except OSError:
            continue  # a link in a circle, or behind which nothing can be looked at
        if is_file:
            yield os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        elif depth > 1 and is_directory:
            yield from _files(entry.path, depth - 1)


def look(path: str, pool: str) -> FoundDisk | None:
    """The disk in a file; None for a file that is no disk, or has gone."""
    name = os.path.basename(path).lower()
    try:
        if name.endswith(".raw"):
            status = os.lstat(path)
            return FoundDisk(path, pool, "raw", status.st_size, status.st_blocks * 512, None, None, None)
        if name.endswith(_NOT_QCOW2):
            return None
        header = image_header.read_qcow2(path)
        allocated = os.lstat(path).st_blocks * 512
    except (OSError, HeaderError, FleetError):
        return None
    resolved = resolve_backing(path, header.backing) if header.backing is not None else None
    return FoundDisk(path, pool, "qcow2", header.virtual_size_bytes, allocated, header.backing, header.backing_format, resolved)


def users_of_bases(stores: t.Mapping[str, Store], disks: t.Iterable[FoundDisk]) -> dict[tuple[str, str], list[str]]:
    """Paths of differencing disks by (pool, digest) of the base they are directly based on."""
    files: dict[str, list[tuple[str, str]]] = {}
    for pool, store in stores.items():
        for sha256 in store.ids():
            path = os.path.join(os.path.realpath(store.directory), sha256, "disk")
            files.setdefault(path, []).append((pool, sha256))
    users: dict[tuple[str, str], list[str]] = {}
    for disk in disks:
        for key in files.get(disk.backing_path or "", ()):
            users.setdefault(key, []).append(disk.path)
    return users


def of_tenant(paths: t.Iterable[str], tenant: str | None) -> list[str]:
    """Those of the disks that are in the tenant's own services; all of them for None."""
    if tenant is None:
        return list(paths)
    owners: dict[str, t.Any] = {}
    found = []
    for path in paths:
        service = os.path.dirname(os.path.dirname(path))
        if service not in owners:
            try:
                owners[service] = layout.owner_of(service)
            except (OSError, FleetError):
                owners[service] = None  # not known to be the tenant's
        if owners[service] == tenant:
            found.append(path)
    return found


def children_of(path: str, disks: t.Iterable[FoundDisk]) -> list[str]:
    """Disks that are based on the disk at ``path``."""
    resolved = os.path.realpath(path)
    return sorted(disk.path for disk in disks if disk.backing_path == resolved)
