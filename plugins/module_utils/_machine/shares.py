# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Directories of this host that machines may share: whether one is as it seems, and nothing that guests must not reach.

A guest may write links into what it shares. QEMU's virtiofsd follows none of them out of the share, but libvirt follows those on the way
to it: so a directory is taken by its true path alone, and none that lies in what another guest may write.
"""

from __future__ import annotations

import json
import os
import typing as t

from .._disk import file_io, sources
from .._disk.outside import Outside
from .._disk.store import Store
from .._errors import FleetError
from .hardware.shares import is_nested

# Where libvirt looks for programs that serve a device, as QEMU's documents have it.
_PROGRAMS = ("/etc/qemu/vhost-user", "/usr/share/qemu/vhost-user")
_OURS = ("machines", "bases")
_LARGEST = 1 << 16


def look(path: str, stores: t.Mapping[str, Store]) -> Outside | None:
    """None where nothing is."""
    true = os.path.realpath(path)
    if not os.path.lexists(path) or not os.path.exists(true):
        return None
    return Outside(true, problem=_problem(path, true, stores))


def _problem(path: str, true: str, stores: t.Mapping[str, Store]) -> str:
    if true != os.path.normpath(path):
        return f"is reached through a symbolic link; name the directory itself, {true}"
    if not os.path.isdir(true):
        return "is not a directory"
    own = [os.path.join(os.path.realpath(store.pool_path), part) for store in stores.values() for part in _OURS]
    if any(true == one or is_nested(true, one) for one in own):
        return "has, or lies in, disks of machines or the base store of a pool; share a directory apart from them"
    try:
        problem = _beside_others(true)
    except FleetError as error:
        return f"cannot be shared: {error.message.rstrip('.')}"
    if problem:
        return problem
    if not has_virtiofsd():
        return "needs virtiofsd on the host; install the package virtiofsd (Debian 12: qemu-system-common)"
    return ""


def _beside_others(true: str) -> str:
    if any(is_nested(true, os.path.realpath(other)) for _domain, other in sources.libvirt_shares()):
        return (
            "lies in, or around, another directory that machines share, whose guests could put links there; share directories side by side"
        )
    if any(os.path.realpath(disk).startswith(true.rstrip("/") + "/") for _domain, disk in sources.libvirt_disks()):
        return "has a disk of a machine in it; share a directory apart from disks"
    return ""


def has_virtiofsd() -> bool:
    for directory in _PROGRAMS:
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            if name.endswith(".json") and _serves_directories(os.path.join(directory, name)):
                return True
    return False


def _serves_directories(path: str) -> bool:
    try:
        found = json.loads(file_io.read_file(path, _LARGEST))
        return found["type"] == "fs" and os.access(found["binary"], os.X_OK)
    except (OSError, FleetError, ValueError, KeyError, TypeError):
        return False


def share_problems(shares: t.Sequence[t.Mapping[str, t.Any]], domain: str, pools: t.Iterable[str]) -> t.Iterator[str]:
    """
    :param shares: in the form of the option ``shares``.
    """
    stores = {path: Store(path, pool=path) for path in pools}
    for share in shares:
        found = look(share["source"], stores)
        what = f"The share {share['name']} of {domain}, {share['source']},"
        if found is None:
            yield f"{what} is not there; make or mount the directory."
        elif found.problem:
            yield f"{what} {found.problem}."
