# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Disks of running machines grow, and what their machines are meant to be is noted with them."""

from __future__ import annotations

import os
import typing as t

from .._disk.errors import DiskConflict
from .._errors import FleetError
from .disk_mirror import target_of
from .domain import describe, with_spec
from .libvirt_host import Domain, LibvirtHost
from .owner import Owner


class NotRunning(FleetError):
    """The machine is off, or not there."""

    kind = "not_running"


class Grown(t.NamedTuple):
    """What became of a disk; the sizes are equal where it had the size already."""

    machine: str
    name: str
    path: str
    before_bytes: int
    size_bytes: int


def grow(host: LibvirtHost, owner: Owner, directories: t.Collection[str], sizes: t.Mapping[str, int], check: bool) -> list[Grown]:
    """
    :param directories: where the machine's disks may lie.
    :param sizes: bytes by the disk's name.
    :param check: predict only.
    :raises NotRunning: DiskConflict: it has no such disk, or a larger one; LibvirtError:
    """
    domain = host.domain(owner.domain_uuid)
    if domain is None or not domain.running():
        raise NotRunning(f"{owner.machine} does not run on this host; its disks grow while it runs. Start it, or look where it is.")
    about = describe(domain.xml())
    wanted = [_wanted(domain, _path(about.files, name, owner, directories), name, owner, size) for name, size in sizes.items()]
    for one in wanted:
        if one.before_bytes < one.size_bytes:
            _refuse_work(domain, one)
            if not check:
                domain.resize(target_of(domain, one.path), one.size_bytes)
    disks = {name: dict(disk) for name, disk in (about.spec.get("disks") or {}).items()}
    for name, size in sizes.items():
        disks.setdefault(name, {})["size_bytes"] = size
    if disks != about.spec.get("disks") and not check:
        domain.set_metadata(*with_spec(domain.xml(), {**about.spec, "disks": disks}))
    return wanted


def _refuse_work(domain: Domain, disk: Grown) -> None:
    """QEMU does one thing with a disk at a time. :raises DiskConflict:"""
    work = domain.disk_work(target_of(domain, disk.path))
    if work is not None:
        doing = "being flattened" if work.is_pull else "being copied, by a clone, a capture or a migration"
        raise DiskConflict(
            f"The disk {disk.name} of {disk.machine} is {doing}; it grows when that has ended (basecast.fleet.status).", path=disk.path
        )


def _path(files: t.Sequence[tuple[str, str | None]], name: str, owner: Owner, directories: t.Collection[str]) -> str:
    """Where the machine's disk of that name is."""
    for path, _format in files:
        if os.path.dirname(path) in directories and os.path.splitext(os.path.basename(path))[0] == name:
            return path
    raise DiskConflict(f"{owner.machine} has no disk {name} in the pools of this host; nothing was touched.", machine=owner.machine)


def _wanted(domain: Domain, path: str, name: str, owner: Owner, size: int) -> Grown:
    before = domain.disk_bytes(target_of(domain, path))
    if before > size:
        raise DiskConflict(
            f"The disk {name} of {owner.machine} has {before} bytes already, {size} are asked for; a disk does not shrink.", path=path
        )
    return Grown(owner.machine, name, path, before, size)
