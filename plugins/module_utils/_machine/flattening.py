# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Disks that lose their bases in the background: QEMU copies what lies under each into it while its machine runs.

    <pool>/machines/<service>/<machine>/.flatten.json     that the disks beside it are to have no bases, and how fast

The note is there before the first copy begins, and goes after the last has ended. A disk keeps its base until all of that is in it, so
what interrupts this costs nothing but time: whoever sees the note next lets it go on.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._disk import disk_records, filesystem, last_use, layout, users
from .._disk.errors import StoreBusy
from .._disk.qemu_img import QemuImg
from .._disk.store import Store
from .._disk.users import FoundDisk
from .._errors import FleetError
from .disk_mirror import target_of
from .libvirt_host import Domain
from .owner import Owner

FORMAT = 1
_LARGEST_NOTE = 64 * 1024
_BYTES_OF_MBPS = 125_000
MOST_MBPS = 1_000_000

Pools = t.Mapping[str, str]


def write_note(directory: str, mbps: float) -> None:
    """
    :param mbps: 10^6 bit/s for each disk; 0 is no limit.
    """
    note = filesystem.json_bytes({"format": FORMAT, "mbps": mbps})
    filesystem.replace_file(layout.flatten_path(directory), note, 0o644)


def noted(pools: Pools, owner: Owner) -> float | None:
    """The limit of the machine's flattening, None where none has begun. One that cannot be read is none."""
    found = None
    for path in pools.values():
        try:
            note = filesystem.read_value(layout.flatten_path(owner.directory(path)), _LARGEST_NOTE)
            found = note["mbps"].number()
        except FileNotFoundError:
            continue
        except (OSError, FleetError):
            found = found or 0.0
    return found


def based(pools: Pools, owner: Owner) -> list[FoundDisk]:
    """The machine's disks that have a parent."""
    found = []
    for pool, path in pools.items():
        directory = owner.directory(path)
        for name in filesystem.names_in(directory):
            disk = users.look(os.path.join(directory, name), pool) if not name.startswith(".") else None
            if disk is not None and disk.backing is not None:
                found.append(disk)
    return found


def unended(pools: Pools, owner: Owner) -> str | None:
    """Why other runs must leave the machine's disks as they are. None where they are not being flattened."""
    if noted(pools, owner) is None or not based(pools, owner):
        return None
    return (
        f"{owner.machine}: its disks are still being flattened; wait until that has ended (basecast.fleet.status shows how far it is), or"
        " let it go on where it has stopped (basecast.fleet.verify -e basecast_repair=true)."
    )


class Progress(t.NamedTuple):
    """
    :param going_on: whether QEMU is at work on it; else it waits for a run that lets it go on.
    :param percent: of the disks that still have a base.
    """

    going_on: bool
    percent: int


def progress(domain: Domain | None, pools: Pools, owner: Owner) -> Progress | None:
    """
    :param domain: where the machine runs.
    """
    if noted(pools, owner) is None:
        return None
    disks = based(pools, owner)
    if not disks:
        return None
    found = [domain.disk_work(target_of(domain, disk.path)) for disk in disks] if domain is not None else []
    pulls = [work for work in found if work is not None and work.is_pull]
    whole = sum(work.of for work in pulls)
    return Progress(bool(pulls), 100 * sum(work.done for work in pulls) // whole if whole else 0)


class Flattening:
    """
    :param stores: all pools of the host by name.
    """

    def __init__(self, stores: t.Mapping[str, Store], qemu: QemuImg, owner: Owner) -> None:
        self._stores = stores
        self._qemu = qemu
        self._owner = owner
        self._pools = {name: store.pool_path for name, store in stores.items()}

    def go_on(self, domain: Domain | None, check: bool = False) -> list[str]:
        """Begin what is not going on, and end what has ended; what was done, or would be.

        :param domain: where the machine runs. One that is off is flattened before this returns, and cannot be started meanwhile.
        :raises FleetError: why not; a disk has its base until all of that is in it.
        """
        mbps = noted(self._pools, self._owner)
        if mbps is None:
            return []
        done = []
        for disk in based(self._pools, self._owner):
            if self._flatten(domain, disk, int(mbps * _BYTES_OF_MBPS), check):
                done.append(f"flatten {disk.path}")
        if not based(self._pools, self._owner):
            done.append(f"{self._owner.machine} has no base any more")
            if not check:
                self._end()
        return done

    def _flatten(self, domain: Domain | None, disk: FoundDisk, bytes_s: int, check: bool) -> bool:
        """Whether anything was to be done."""
        room = self._stores[disk.pool].room
        if domain is None:
            if not check:
                self._keep_origin(disk)
                self._qemu.drop_backing(disk.path, room)
                filesystem.sync_file(disk.path)
            return True
        target = target_of(domain, disk.path)
        work = domain.disk_work(target)
        if work is not None:
            is_to_change = work.is_pull and work.bytes_s != bytes_s
            if is_to_change and not check:
                domain.limit_pull(target, bytes_s)
            return is_to_change
        if not check:
            with room.promise(self._qemu.measure(disk.path, "qcow2"), f"Flattening {disk.path}", [disk.path]):
                self._keep_origin(disk)
                domain.begin_pull(target, bytes_s)
        return True

    def _keep_origin(self, disk: FoundDisk) -> None:
        """What the disk will be a copy of. It counts once the disk no longer has that as its parent."""
        base, directory = layout.base_of(disk.backing_path), os.path.dirname(disk.path)
        path = layout.origin_path(directory, _name_of(disk.path))
        if base is not None and not os.path.lexists(path):
            record = filesystem.json_bytes({"format": FORMAT, "base": base, "differencing": False, "backend": "qcow2"})
            filesystem.replace_file(path, record, 0o644)

    def _end(self) -> None:
        """The bases were of use until now, and nothing says any more that the disks need them."""
        for directory in self._directories():
            for name in filesystem.names_in(directory):
                disk = users.look(os.path.join(directory, name), "") if not name.startswith(".") else None
                origin = layout.origin_of(directory, _name_of(name)) if disk is not None else None
                if disk is not None and origin is not None and origin["base"]:
                    self._forget(disk.path, origin["base"])
        for directory in self._directories():
            filesystem.remove_file(layout.flatten_path(directory))
            filesystem.sync_directory(directory)

    def _forget(self, path: str, base: str) -> None:
        """One that cannot be removed is out of date, which this host knows."""
        for store in self._stores.values():
            if not os.path.lexists(store.base_directory(base)):
                continue
            last_use.note(store.directory, [base])
            records = [one for one in store.references(base) if one.kind == "disk" and one.name == path]
            if records:
                with contextlib.suppress(OSError, StoreBusy), store.changing(wait_s=600.0):
                    store.unrefer(base, [one for one in records if disk_records.is_out_of_date(one, store, base)])

    def _directories(self) -> list[str]:
        return [path for path in map(self._owner.directory, self._pools.values()) if os.path.isdir(path)]


def _name_of(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
