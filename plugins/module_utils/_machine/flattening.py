# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Disks that lose their bases in the background: QEMU copies what lies under each into it while its machine runs.

    <pool>/machines/<service>/<machine>/.<disk>.flatten.json     that the disk is to have no base, and how fast

The note is there before the copy begins, and goes after it has ended. A disk keeps its base until all of that is in it, so
what interrupts this costs nothing but time: whoever sees the note next lets it go on.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._disk import disk_records, file_io, last_use, layout, users
from .._disk.errors import StoreBusy
from .._disk.qemu_img import QemuImg
from .._disk.store import Store
from .._disk.users import FoundDisk
from .._errors import FleetError
from .backing import Places, backing_chain
from .disk_mirror import target_of
from .libvirt_host import Domain
from .owner import Owner

FORMAT = 1
_LARGEST_NOTE = 64 * 1024
_BYTES_OF_MBPS = 125_000
MOST_MBPS = 1_000_000

Pools = t.Mapping[str, str]


def write_note(path: str, mbps: float) -> None:
    """
    :param path: of the disk.
    :param mbps: 10^6 bit/s; 0 is no limit.
    """
    file_io.replace_file(_note_of(path), file_io.json_bytes({"format": FORMAT, "mbps": mbps}), 0o644)


def noted(path: str) -> float | None:
    """The limit of a disk's flattening, None where that has not begun. One that cannot be read is none."""
    try:
        return file_io.read_value(_note_of(path), _LARGEST_NOTE)["mbps"].number(0.0, MOST_MBPS)
    except FileNotFoundError:
        return None
    except (OSError, FleetError):
        return 0.0


def noted_disks(pools: Pools, owner: Owner) -> list[str]:
    """Paths of the machine's disks that are to have no base; some may have lost it."""
    directories = dict.fromkeys(owner.directory(path) for path in pools.values())
    names = [(directory, layout.flatten_name(name)) for directory in directories for name in file_io.names_in(directory)]
    return [os.path.join(directory, name + layout.EXTENSIONS["qcow2"]) for directory, name in names if name is not None]


def due(pools: Pools, owner: Owner) -> list[FoundDisk]:
    """Those that still have one."""
    found = []
    for path in noted_disks(pools, owner):
        pool = next(name for name, root in pools.items() if owner.directory(root) == os.path.dirname(path))
        disk = users.look(path, pool)
        if disk is not None and disk.backing is not None:
            found.append(disk)
    return found


def unended(pools: Pools, owner: Owner) -> str | None:
    """Why other runs must leave the machine's disks as they are. None where they are not being flattened."""
    if not due(pools, owner):
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
    disks = due(pools, owner)
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
        marked = noted_disks(self._pools, self._owner)
        done = []
        for disk in due(self._pools, self._owner):
            if self._flatten(domain, disk, _bytes_s(noted(disk.path) or 0.0), check):
                done.append(f"flatten {disk.path}")
        if marked and not due(self._pools, self._owner):
            done.append(f"{self._owner.machine} has no base any more")
            if not check:
                self._end(marked)
        return done

    def _flatten(self, domain: Domain | None, disk: FoundDisk, bytes_s: int, check: bool) -> bool:
        """Whether anything was to be done."""
        room = self._stores[disk.pool].room
        if domain is None:
            # Whatever the header names is copied into the guest's disk, so it is checked as it is before a start.
            backing_chain(disk.path, "qcow2", Places(self._pools.values(), self._owner.service))
            if not check:
                self._keep_origin(disk)
                self._qemu.drop_backing(disk.path, room)
                file_io.sync_file(disk.path)
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
            record = file_io.json_bytes({"format": FORMAT, "base": base, "differencing": False, "backend": "qcow2"})
            file_io.replace_file(path, record, 0o644)

    def _end(self, paths: t.Iterable[str]) -> None:
        """The bases were of use until now, and nothing says any more that the disks need them."""
        for path in paths:
            origin = layout.origin_of(os.path.dirname(path), _name_of(path))
            if origin is not None and origin["base"]:
                self._forget(path, origin["base"])
            file_io.remove_file(_note_of(path))
            file_io.sync_directory(os.path.dirname(path))

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


def _bytes_s(mbps: float) -> int:
    """0 is no limit, to QEMU as well; the smallest limit is not that."""
    return max(1, int(mbps * _BYTES_OF_MBPS)) if mbps else 0


def _name_of(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _note_of(path: str) -> str:
    return layout.flatten_path(os.path.dirname(path), _name_of(path))
