# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Disks of a machine that come to pools of this host: fresh ones are made first, then what has come takes their places."""

from __future__ import annotations

import os
import typing as t

from .._disk import file_io, layout
from .._disk.disk_decisions import DISK_MODE
from .._disk.disk_decisions import Wish as DiskWish
from .._disk.image_header import HeaderError, read_qcow2
from .._disk.overlay import Disks
from .._disk.qemu_img import QemuImg
from .._disk.users import look as look_at_disk
from .._machine.backing import Layer, Places, backing_chain
from .._machine.files import open_machine_directory
from .._machine.owner import Owner
from .door import Slot
from .host import Host, MoveFailed
from .tunnel import largest_file


class Disk(t.NamedTuple):
    """A disk as it is to be here.

    :param base: digest of the base that it is based on; None for a disk that stands alone.
    :param shared: it is there already, on storage that the other host has as well, and stays as it is.
    """

    name: str
    pool: str
    image_format: str
    size_bytes: int
    base: str | None
    shared: bool = False


class Came(t.NamedTuple):
    """What the header of a disk says that has come."""

    virtual_size_bytes: int
    backing: str | None
    backing_format: str | None


class Incoming:
    """
    :param home: the pool for the machine's seed and logs.
    """

    def __init__(self, host: Host, owner: Owner, home: str, disks: t.Sequence[Disk]) -> None:
        self._host = host
        self._owner = owner
        self._home = home
        self._wanted = disks
        self._own = [disk for disk in disks if not disk.shared]
        self._qemu = QemuImg(host.run_command)

    def path(self, disk: Disk) -> str:
        return layout.disk_path(self._host.pools[disk.pool], self._owner.service, self._owner.machine, disk.name, disk.image_format)

    def slot(self, disk: Disk) -> Slot:
        return Slot(self.path(disk), True, largest_file(disk.size_bytes), self._host.stores[disk.pool].room)

    def chains(self) -> dict[str, list[Layer]]:
        """What lies under each disk, by its path."""
        places = Places(self._host.pools.values(), self._owner.service)
        return {self.path(disk): backing_chain(self.path(disk), disk.image_format, places) for disk in self._wanted}

    def make(self) -> None:
        """Fresh ones, whatever an interrupted attempt has left: a copy writes what the machine has, and no zeros."""
        owner = self._owner
        disks = Disks(self._host.stores, self._qemu, owner.tenant, owner.service)
        for disk in self._own:
            file_io.remove_file(self.path(disk))
        disks.present(
            [
                DiskWish(owner.machine, disk.name, disk.pool, base=disk.base, size_bytes=disk.size_bytes)
                for disk in self._own
                if disk.image_format == "qcow2"
            ]
        )
        open_machine_directory(owner.directory(self._host.pools[self._home]), make=True).close()
        for disk in self._own:
            if disk.image_format == "raw":
                path = self.path(disk)
                open_machine_directory(os.path.dirname(path), make=True).close()
                file_io.write_file(path, b"", DISK_MODE)
                os.truncate(path, disk.size_bytes)

    def take(self) -> None:
        for disk in self._own:
            self._take(disk)

    def _take(self, disk: Disk) -> None:
        """Put what has come in the place of the fresh disk, if that has not been done before."""
        slot = self.slot(disk)
        path = slot.path
        if not os.path.lexists(slot.temporary):
            return
        fresh, come = look_at_disk(path, disk.pool), self._looked(slot.temporary, disk)
        if fresh is None or come.virtual_size_bytes != disk.size_bytes:
            raise MoveFailed(f"What has come as {path} is not a {disk.image_format} disk of {disk.size_bytes} bytes.")
        if (come.backing is None) != (disk.base is None) or (come.backing is None) != (fresh.backing is None):
            found = "no" if come.backing is None else "a"
            raise MoveFailed(f"What has come as {path} has {found} parent; expected the opposite. Migrate it again.")
        if fresh.backing is not None and (come.backing, come.backing_format) != (fresh.backing, fresh.backing_format):
            self._qemu.set_backing(slot.temporary, fresh.backing, fresh.backing_format or "qcow2", path)
        check = self._qemu.check(slot.temporary, disk.image_format, path)
        if check.problem:
            raise MoveFailed(f"What has come as {path} is damaged: {check.problem}")
        file_io.sync_file(slot.temporary)
        os.rename(slot.temporary, path)
        file_io.sync_directory(os.path.dirname(path))

    @staticmethod
    def _looked(path: str, disk: Disk) -> Came:
        """A file under its temporary name, under which nobody else takes it for a disk."""
        if disk.image_format == "raw":
            return Came(os.lstat(path).st_size, None, None)
        try:
            header = read_qcow2(path)
        except HeaderError as error:
            raise MoveFailed(f"What has come as {path} is not a qcow2 disk: {error}") from error
        return Came(header.virtual_size_bytes, header.backing, header.backing_format)
