# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A whole machine becomes a template: each of its disks a base, all as they were at one moment, and its hardware and firmware
variables with the name of the first one. The machine keeps its disks and its state.

Names are written last, that of the first disk after all others: a template is there as a whole or not at all. What an interrupted
capture leaves are bases without a name, and files that the next capture removes.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._disk import file_io, in_use, layout, transfer
from .._disk.base import Base
from .._disk.disk_decisions import DISK_MODE
from .._disk.importer import Importer
from .._disk.importer import Request as ImportRequest
from .._disk.qemu_img import QemuImg
from .._disk.references import name_of
from .._disk.room import Promise
from .._disk.runner import Runner
from .._disk.staging import Staging
from .._disk.store import Store
from .._machine import disk_mirror, flattening, template
from .._machine.disk_mirror import Mirror
from .._machine.libvirt_host import LibvirtHost
from .._machine.moves import unended
from .._machine.owner import Owner
from . import half_clones, machine_source, virt_sysprep
from .alone import alone, refuse_jobs
from .journal import Journal
from .machine_source import Disk, Source, SourceRefused, Wanted

Connect = t.Callable[[str], t.ContextManager[t.Any]]


class Request(t.NamedTuple):
    """
    :param pool: of bases without a parent; None for that of each disk, for one that lies in no pool "default" or the first.
    :param copy_timeout_s: how long the disks of a running machine may take to be copied.
    """

    wanted: Wanted
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


class Captured(t.NamedTuple):
    """:param bases: by the disk's name, the first one's first; empty in check mode unless the template is there."""

    bases: dict[str, Base]
    content: dict[str, t.Any]
    changed: bool
    disks: list[dict[str, t.Any]]
    running: bool
    quiesced: bool
    actions: list[str]
    warnings: list[str]


class _Copy(t.NamedTuple):
    """A disk, and the file that becomes its base. ``copy`` is None where that is the disk itself."""

    disk: Disk
    parent: Base | None
    pool: str
    copy: str | None
    is_flat: bool


class TemplateCapture:
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

    def perform(self) -> Captured:
        """
        :raises SourceRefused, ServiceBusy, NameTaken: nothing was touched.
        """
        known = self._known()
        if known is not None:
            return known
        request = self._request
        if request.seal:
            virt_sysprep.require()
        with contextlib.ExitStack() as held:
            self._wait_for_others(held)
            host = held.enter_context(self._connect(request.uri))
            source = machine_source.find(host, request.wanted, self._stores, self._qemu)
            if source is None:
                raise SourceRefused(f"machine: {request.wanted} is not on this host.", kind="absent")
            made = source.template(request.name)
            titles = [template.base_name(request.name, disk.name, at == 0) for at, disk in enumerate(source.disks)]
            actions = [f"capture {disk.path} as base disk {title} {request.version}" for title, disk in zip(titles, source.disks)]
            disks = [disk.data() for disk in source.disks]
            if request.check:
                return Captured({}, made.content, True, disks, source.running, not source.running, actions, made.notes)
            if source.running and source.owner is not None:
                half_clones.end_all(host, source.domain, self._pools, source.owner)  # QEMU copies a disk once at a time
            bases, quiesced = self._capture(source)
            self._name(dict(zip(titles, bases.values())), made.content)
            warnings = [*made.notes, *self._warnings(quiesced)]
            return Captured(self._bases_of(made.content), made.content, True, disks, source.running, quiesced, actions, warnings)

    # -- looking

    def _known(self) -> Captured | None:
        """The template that an earlier run has captured. :raises SourceRefused: the name stands for something else."""
        request = self._request
        wanted = name_of(request.wanted.tenant, request.name, request.version)
        for store in self._stores.values():
            base = store.find_by_name(*wanted[1:4])
            text = store.template(base.sha256, wanted) if base is not None else None
            if base is None:
                continue
            content = template.from_text(text, "the template") if text is not None else None
            if content is None or not self._is_ours(base):
                what = "a template of another machine" if content is not None else "a base disk"
                raise SourceRefused(
                    f"template: {request.name} {request.version} is {what} already ({base.sha256} in pool {base.pool}); "
                    "give another version.",
                    sha256=base.sha256,
                )
            return Captured(self._bases_of(content), content, False, [], False, True, [], [])
        return None

    def _is_ours(self, base: Base) -> bool:
        origin = base.metadata["imported_from"]
        return bool(origin["kind"] == "machine" and origin["name"].rpartition("/")[0] == self._request.wanted.origin)

    def _bases_of(self, content: t.Mapping[str, t.Any]) -> dict[str, Base]:
        request, found = self._request, {}
        for disk in content["disks"]:
            bases = (store.find_by_name(request.wanted.tenant, disk["base"], request.version) for store in self._stores.values())
            base = next((one for one in bases if one is not None), None)
            if base is None:
                raise SourceRefused(
                    f"template: {request.name} {request.version} has lost its disk {disk['name']}: no pool holds {disk['base']} "
                    f"{request.version}; bring it back (verify), or give another version."
                )
            found[disk["name"]] = base
        return found

    def _wait_for_others(self, held: contextlib.ExitStack) -> None:
        request, wanted = self._request, self._request.wanted
        if request.check:
            return
        if wanted.domain is not None:
            key = f"template:{wanted.tenant}:{request.name}:{request.version}"
            held.enter_context(Staging(self._stores[self._usual_pool()], key, f"The capture of {wanted}", request.busy_timeout_s))
            return
        service = str(wanted.service)
        journal = Journal(request.runtime_dir, wanted.tenant, service)
        refuse_jobs(journal, service)
        held.enter_context(alone(journal, service, request.busy_timeout_s))
        owner = Owner(wanted.tenant, service, str(wanted.machine))
        moving = unended(request.state_dir, owner)
        if moving is not None:
            raise SourceRefused(f"machine: {moving}", kind="moving")
        flattened = flattening.unended(self._pools, owner)
        if flattened is not None:
            raise SourceRefused(f"machine: {flattened}", kind="flattening")

    @property
    def _pools(self) -> dict[str, str]:
        return {name: store.pool_path for name, store in self._stores.items()}

    def _usual_pool(self) -> str:
        return self._request.pool or ("default" if "default" in self._stores else next(iter(self._stores)))

    # -- doing

    def _capture(self, source: Source) -> tuple[dict[str, Base], bool]:
        """The base of each disk, and whether the guest's file systems were at rest."""
        copies = [self._copy_of(disk, source) for disk in source.disks]
        files = [copy.copy for copy in copies if copy.copy is not None]
        mirrors = [Mirror(copy.disk.path, copy.copy, not copy.is_flat) for copy in copies if copy.copy is not None]
        if source.running:
            disk_mirror.abandon(source.domain, mirrors)
        for path in files:
            file_io.remove_file(path)
        try:
            with contextlib.ExitStack() as held:
                if not source.running:
                    self._keep_off(source, held)
                quiesced = self._mirror(source, copies, mirrors) if source.running else self._copy(copies)
                if self._request.seal:
                    virt_sysprep.seal(self._run_command, dict.fromkeys(files, "qcow2"))
                return {copy.disk.name: self._import(copy) for copy in copies}, quiesced
        finally:
            for path in files:
                file_io.remove_file(path)

    @staticmethod
    def _keep_off(source: Source, held: contextlib.ExitStack) -> None:
        """Somebody else could start the machine between one disk and the next. :raises DiskBusy:"""
        for disk in source.disks:
            descriptor = file_io.open_regular(disk.path)
            held.callback(os.close, descriptor)
            held.enter_context(in_use.reading(descriptor, disk.path, "captured"))

    def _copy_of(self, disk: Disk, source: Source) -> _Copy:
        request = self._request
        parent = None if request.flatten or disk.base is None or disk.pool is None else self._stores[disk.pool].find(disk.base)
        is_flat = parent is None
        pool = parent.pool if parent is not None else request.pool or disk.home or self._usual_pool()
        needs_copy = source.running or request.seal or (is_flat and disk.backing is not None)
        return _Copy(disk, parent, pool, self._place_of(disk, pool) if needs_copy else None, is_flat)

    def _place_of(self, disk: Disk, pool: str) -> str:
        """Beside the disk, where a parent has the same relative name; that of a domain of others in the pool itself."""
        if disk.home is not None:
            return layout.capture_path(os.path.dirname(disk.path), disk.name)
        name = f"{self._request.name}.{self._request.version}.{disk.name}"
        return layout.capture_path(self._stores[pool].pool_path, name)

    def _room_of(self, copy: _Copy) -> t.Any:
        return self._stores[copy.disk.home or copy.pool].room

    def _mirror(self, source: Source, copies: t.Sequence[_Copy], mirrors: t.Sequence[Mirror]) -> bool:
        with contextlib.ExitStack() as promised:
            promises: list[Promise] = []
            for copy, mirror in zip(copies, mirrors):
                if copy.parent is not None:
                    self._qemu.create_overlay(mirror.copy, str(copy.disk.backing), copy.parent.image_format, copy.disk.size_bytes)
                else:
                    self._qemu.create(mirror.copy, copy.disk.size_bytes)
                os.chmod(mirror.copy, DISK_MODE)
                needed = disk_mirror.needed_bytes(self._qemu, copy.disk.image_format, mirror)
                promises.append(promised.enter_context(self._room_of(copy).promise(needed, f"A copy of {mirror.disk}", [mirror.copy])))
            return disk_mirror.take(source.domain, mirrors, self._request.copy_timeout_s, promises)

    def _copy(self, copies: t.Sequence[_Copy]) -> bool:
        """Of a machine that is off."""
        for copy in copies:
            if copy.copy is None:
                continue
            if copy.is_flat:
                self._qemu.flatten(copy.disk.path, copy.disk.image_format, copy.copy, "qcow2", self._room_of(copy))
            else:
                descriptor = file_io.open_regular(copy.disk.path)
                try:
                    transfer.copy_file(descriptor, copy.copy, os.fstat(descriptor).st_size, self._room_of(copy))
                finally:
                    os.close(descriptor)
            os.chmod(copy.copy, DISK_MODE)
        return True

    def _import(self, copy: _Copy) -> Base:
        request = self._request
        result = Importer(self._stores, copy.pool, self._qemu).run_own(
            ImportRequest(
                tenant=request.wanted.tenant,
                image_format="qcow2" if copy.copy is not None and copy.parent is None else copy.disk.image_format,
                parent=copy.parent.sha256 if copy.parent is not None else None,
                timeout_s=request.copy_timeout_s,
                origin=f"{request.wanted.origin}/{copy.disk.name}",
            ),
            copy.copy or copy.disk.path,
        )
        return t.cast(Base, result.base)

    def _name(self, bases: t.Mapping[str, Base], content: t.Mapping[str, t.Any]) -> None:
        """The first name last, with the template."""
        request, part = self._request, template.as_text({"of": self._request.name})
        for title, base in reversed(list(bases.items())):
            store, name = self._stores[base.pool], name_of(request.wanted.tenant, title, request.version)
            with store.changing():
                for other in self._stores.values():
                    held = other.find_by_name(*name[1:4])
                    if title != request.name and held is not None and other.template(held.sha256, name) == part:
                        other.unrefer(held.sha256, [name])  # of a capture that was interrupted here
                    other.check_name_free(request.wanted.tenant, title, request.version, base.sha256)
                store.refer(base.sha256, [name], template.as_text(content) if title == request.name else part)

    def _warnings(self, quiesced: bool) -> list[str]:
        if quiesced:
            return []
        return [
            f"{self._request.wanted} was running and has no guest agent, so the template's disks are as they would be after a power cut. "
            "Guests mend their file systems at the first start."
        ]
