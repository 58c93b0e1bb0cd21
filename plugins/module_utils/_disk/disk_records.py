# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Disks in other pools that are based on a base of this one, as references in its store.

Who looks through a pool finds the disks in it. One in another pool, such as a local pool of another host that shares this one, is
known by a record only, which the host that makes the disk writes before it and removes after it. So a base is kept while a host
that needs it cannot be asked. Only that host can tell that a record is out of date.
"""

from __future__ import annotations

import hashlib
import os
import socket
import typing as t

from . import layout, references, users
from .references import Reference
from .store import Store

_PARTS = ("/etc/machine-id", "/sys/class/dmi/id/product_uuid")


def record_of(path: str, tenant: str) -> Reference:
    """Of a disk on this host."""
    return references.disk_of(tenant, path, *this_host())


def this_host() -> tuple[str, str]:
    """Name of this host, and what tells it from others of that name."""
    return socket.gethostname()[:255], _machine()


def _machine() -> str:
    """Made from what a copy of this host's disk does not have as well: its hardware's number, where it tells one."""
    digest = hashlib.sha256()
    for path in _PARTS:
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                digest.update(file.read(256).strip().encode())
        except OSError:
            pass
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def in_force(store: Store, sha256: str) -> list[Reference]:
    """All references of the base but records of this host's disks that are no more."""
    return [one for one in store.references(sha256) if one.kind != "disk" or not is_out_of_date(one, store, sha256)]


def is_out_of_date(record: Reference, store: Store, sha256: str) -> bool:
    """Whether this host knows that its disk has gone, or is based on something else now. A pool that is not mounted tells nothing."""
    if (record.host, record.machine) != this_host():
        return False
    machines = os.path.dirname(os.path.dirname(os.path.dirname(record.name)))
    if not os.path.isdir(machines):
        return False
    if not os.path.lexists(record.name):
        return True
    disk = users.look(record.name, "")
    if disk is None:
        return False
    return disk.backing_path != os.path.join(os.path.realpath(store.directory), sha256, "disk")


def title(record: Reference) -> str:
    """As messages and results name the disk."""
    return record.name if (record.host, record.machine) == this_host() else f"{record.name} on {record.host}"


def base_elsewhere(stores: t.Mapping[str, Store], pool: str, backing_path: str | None) -> tuple[str, str] | None:
    """Pool and digest of the base that a disk of ``pool`` is based on, where that is another pool's."""
    sha256 = layout.base_of(backing_path)
    for name, store in stores.items() if sha256 is not None else ():
        if backing_path == os.path.join(os.path.realpath(store.directory), t.cast(str, sha256), "disk"):
            same = os.path.realpath(store.pool_path) == os.path.realpath(stores[pool].pool_path)
            return None if same else (name, t.cast(str, sha256))
    return None
