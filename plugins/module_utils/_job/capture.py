# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A machine's disk becomes a base of its own, as the child of its base or flattened. The machine keeps its disk.

A machine that runs goes on running: its disk is mirrored into a file beside it (see _machine/disk_mirror.py). An interrupted capture
leaves nothing but that file, which the next one removes.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._disk import file_io, in_use, layout, transfer
from .._disk.base import Base
from .._disk.disk_decisions import DISK_MODE
from .._disk.disk_decisions import Wish as DiskWish
from .._disk.importer import Importer
from .._disk.importer import Request as ImportRequest
from .._disk.overlay import Disks
from .._disk.qemu_img import QemuImg
from .._disk.runner import Runner
from .._disk.store import Store
from .._errors import FleetError, InvalidOption
from .._machine import disk_mirror, flattening
from .._machine.disk_mirror import Mirror
from .._machine.libvirt_host import Domain, LibvirtHost, LibvirtMissing, MemorySaved, may_have_domains
from .._machine.machine import Machine
from .._machine.machines import Machines
from .._machine.moves import unended
from .._machine.owner import Owner
from . import half_clones, virt_sysprep
from .alone import alone, refuse_jobs
from .journal import Journal

Connect = t.Callable[[str], t.ContextManager[t.Any]]


class CaptureRefused(FleetError):
    """The machine's disk cannot become the base that was asked for."""

    kind = "capture_refused"


class Request(t.NamedTuple):
    """
    :param disk: its name within the machine; None for the disk that the machine boots from.
    :param pool: of the base; None for that of its parent, or of the disk where it has none.
    :param copy_timeout_s: how long a running machine's disk may take to be copied.
    """

    owner: Owner
    disk: str | None
    name: str
    version: str
    pools: t.Mapping[str, str]
    uri: str
    state_dir: str
    runtime_dir: str
    pool: str | None = None
    flatten: bool = False
    seal: bool = False
    copy_timeout_s: float = 3600.0
    busy_timeout_s: float = 60.0
    check: bool = False

    @property
    def origin(self) -> str:
        return f"{self.owner.service}/{self.owner.machine}"


class Captured(t.NamedTuple):
    """``base`` is None in check mode, where its digest cannot be known.

    :param quiesced: whether the guest's file systems were at rest: its machine was off, or its agent has brought them there.
    """

    base: Base | None
    changed: bool
    disk: dict[str, t.Any] | None
    running: bool
    quiesced: bool
    actions: list[str]
    warnings: list[str]


class _Source(t.NamedTuple):
    """The disk that is captured. ``parent`` is None where it is flattened or has none."""

    disk: dict[str, t.Any]
    domain: Domain | None
    parent: str | None
    pool: str
    warnings: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return str(self.disk["path"])

    @property
    def copy(self) -> str:
        return layout.capture_path(os.path.dirname(self.path), str(self.disk["name"]))


class Capture:
    """
    :param stores: all pools of the host by name.
    :param connect: opens libvirt.
    """

    def __init__(self, request: Request, stores: t.Mapping[str, Store], run_command: Runner, connect: Connect = LibvirtHost) -> None:
        self._request = request
        self._stores = stores
        self._run_command = run_command
        self._qemu = QemuImg(run_command)
        self._connect = connect
        self._journal = Journal(request.runtime_dir, request.owner.tenant, request.owner.service)

    def perform(self) -> Captured:
        """
        :raises CaptureRefused, ServiceBusy, NameTaken: nothing was touched.
        """
        request = self._request
        known = self._known()
        if known is not None:
            return Captured(known, False, None, False, False, [], [])
        with contextlib.ExitStack() as held:
            if not request.check:
                refuse_jobs(self._journal, request.owner.service)
                held.enter_context(alone(self._journal, request.owner.service, request.busy_timeout_s))
            moving = unended(request.state_dir, request.owner)
            if moving is not None:
                raise CaptureRefused(f"machine: {moving}", kind="moving")
            flattened = flattening.unended(request.pools, request.owner)
            if flattened is not None:
                raise CaptureRefused(f"machine: {flattened}", kind="flattening")
            machine = self._machine(held)
            if machine is not None and machine.memory_saved:
                raise CaptureRefused(f"machine: {request.owner.machine}: {MemorySaved().message}.")
            source = self._source(machine)
            if request.seal:
                virt_sysprep.require()
            running = source.domain is not None
            if request.check:
                actions = [f"capture {source.path} as base disk {request.name} {request.version}"]
                return Captured(None, True, source.disk, running, not running, actions, [])
            return self._capture(source)

    # -- looking

    def _known(self) -> Base | None:
        """The base that an earlier run has captured. :raises NameTaken: the name stands for another."""
        request = self._request
        for store in self._stores.values():
            found = store.find_by_name(request.owner.tenant, request.name, request.version)
            if found is None:
                continue
            origin = found.metadata["imported_from"]
            if origin["kind"] == "machine" and origin["name"].rpartition("/")[0] == request.origin:
                return found
            raise CaptureRefused(
                f"base: {request.name} {request.version} is a base disk already ({found.sha256} in pool {found.pool}); "
                "give another version.",
                sha256=found.sha256,
            )
        return None

    def _machine(self, held: contextlib.ExitStack) -> Machine | None:
        request = self._request
        try:
            host = held.enter_context(self._connect(request.uri))
        except LibvirtMissing:
            if may_have_domains(request.uri):
                raise
            return None
        machines = Machines(host, check=request.check, pools=request.pools.values())
        found = machines.query(request.owner.tenant, request.owner.service)
        machine = next((one for one in found if one.owner == request.owner), None)
        if machine is not None and machine.running and not request.check:
            half_clones.end_all(host, machine.domain, request.pools, request.owner)  # QEMU copies a disk once at a time
        return machine

    def _source(self, machine: Machine | None) -> _Source:
        request = self._request
        found = Disks(self._stores, self._qemu, request.owner.tenant, request.owner.service, True).found(
            [DiskWish(request.owner.machine, None, None)]
        )
        if not found and machine is None:
            raise CaptureRefused(f"machine: {request.owner.machine} of service {request.owner.service} is not on this host.", kind="absent")
        disk = self._chosen(found, machine)
        parent, pool = (None, None) if request.flatten else self._parent(disk)
        if parent is not None and request.pool not in (None, pool):
            raise InvalidOption(
                "pool",
                request.pool,
                f"a child lies in the pool of its parent, which is {pool}; leave pool out, or flatten the disk (flatten: true)",
            )
        domain = machine.domain if machine is not None and machine.running else None
        return _Source(disk, domain, parent, pool or request.pool or disk["pool"], tuple(_left_behind(machine)))

    def _chosen(self, found: t.Sequence[dict[str, t.Any]], machine: Machine | None) -> dict[str, t.Any]:
        request = self._request
        names = ", ".join(disk["name"] for disk in found) or "none"
        if request.disk is not None:
            chosen = [disk for disk in found if disk["name"] == request.disk]
        else:
            first = [path for path, _kind in machine.found.files] if machine is not None and machine.found else []
            chosen = [disk for path in first for disk in found if disk["path"] == path] or list(found if len(found) == 1 else ())
        if not chosen:
            wanted = "the name of one of its disks is needed" if request.disk is None else "it is not a disk of the machine"
            raise InvalidOption("disk", request.disk, f"{wanted}; the disks of {request.owner.machine} in the pools are: {names}")
        return chosen[0]

    def _parent(self, disk: t.Mapping[str, t.Any]) -> tuple[str | None, str | None]:
        """The base under the disk, and its pool."""
        if disk["backing"] is None:
            return None, None
        if disk["base"] is None or disk["base_pool"] is None:
            raise CaptureRefused(
                f"{disk['path']} has the parent {disk['backing']}, which is not a base disk of this host's pools; flatten it "
                "(flatten: true)."
            )
        return str(disk["base"]), str(disk["base_pool"])

    # -- doing

    def _capture(self, source: _Source) -> Captured:
        running = source.domain is not None
        directly = not running and not self._request.seal and not (self._request.flatten and source.disk["backing"] is not None)
        if directly:
            return self._import(source, source.path, str(source.disk["image_format"]), quiesced=True)
        self._clear(source)
        try:
            quiesced = self._mirror(source) if running else self._copy(source)
            image_format = "qcow2" if running else self._copied_format(source)
            if self._request.seal:
                virt_sysprep.seal(self._run_command, {source.copy: image_format})
            return self._import(source, source.copy, image_format, quiesced)
        finally:
            file_io.remove_file(source.copy)

    def _clear(self, source: _Source) -> None:
        """What an interrupted capture has left."""
        if source.domain is not None:
            disk_mirror.abandon(source.domain, [Mirror(source.path, source.copy, False)])
        file_io.remove_file(source.copy)

    def _copied_format(self, source: _Source) -> str:
        return "qcow2" if self._request.flatten and source.disk["backing"] is not None else str(source.disk["image_format"])

    def _copy(self, source: _Source) -> bool:
        """Of a machine that is off: a file that may be changed."""
        if self._request.flatten and source.disk["backing"] is not None:
            self._qemu.flatten(source.path, str(source.disk["image_format"]), source.copy, "qcow2", self._stores[source.disk["pool"]].room)
        else:
            descriptor = file_io.open_regular(source.path)
            try:
                with in_use.reading(descriptor, source.path, "captured"):
                    transfer.copy_file(descriptor, source.copy, os.fstat(descriptor).st_size, self._stores[source.disk["pool"]].room)
            finally:
                os.close(descriptor)
        os.chmod(source.copy, DISK_MODE)
        return True

    def _mirror(self, source: _Source) -> bool:
        """Of a machine that runs: its disk at one moment. Whether the guest's file systems were at rest then."""
        size = int(source.disk["virtual_size_bytes"])
        if source.parent is not None:
            parent = t.cast(Base, self._stores[source.pool].find(source.parent))
            self._qemu.create_overlay(source.copy, str(source.disk["backing"]), parent.image_format, size)
        else:
            self._qemu.create(source.copy, size)
        os.chmod(source.copy, DISK_MODE)
        mirror = Mirror(source.path, source.copy, source.parent is not None)
        needed = disk_mirror.needed_bytes(self._qemu, str(source.disk["image_format"]), mirror)
        with self._stores[source.disk["pool"]].room.promise(needed, f"A copy of {source.path}", [source.copy]) as promise:
            return disk_mirror.take(t.cast(Domain, source.domain), [mirror], self._request.copy_timeout_s, [promise])

    def _import(self, source: _Source, path: str, image_format: str, quiesced: bool) -> Captured:
        request = self._request
        result = Importer(self._stores, source.pool, self._qemu).run_own(
            ImportRequest(
                tenant=request.owner.tenant,
                name=request.name,
                version=request.version,
                image_format=image_format,
                parent=source.parent,
                method="auto",
                timeout_s=request.copy_timeout_s,
                origin=f"{request.origin}/{source.disk['name']}",
            ),
            path,
        )
        actions = [f"capture {source.path} as base disk {request.name} {request.version}"]
        warnings = [*result.warnings, *source.warnings]
        if not quiesced:
            warnings.append(
                f"{request.owner.machine} was running and has no guest agent, so the base is as its disk would be after a power cut. "
                "Its guest mends its file systems at the first start."
            )
        return Captured(result.base, result.changed, source.disk, source.domain is not None, quiesced, actions, warnings)


def _left_behind(machine: Machine | None) -> t.Iterator[str]:
    """What the machine has beside its disks, and a machine over the base will not have."""
    found = machine.found if machine is not None else None
    if found is not None and found.nvram:
        yield (
            f"{found.domain} keeps firmware variables beside its disks; they are no part of the base. Machines over it start with new"
            " ones, which find a system in the usual place (EFI/BOOT) only."
        )
    if found is not None and found.hardware.get("tpm"):
        yield f"{found.domain} has a TPM, whose state is not part of the base; what it seals does not open in machines over the base."
