# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The disks of a machine for another one of the same service and host: differencing disks over the same bases, with what the
first one has written so far. All disks are as they were at one moment.

    <pool>/machines/<service>/<clone>/.clone.json     of which machine, and whether all disks are there

The note is written before the first disk and completed after the last, so an interrupted clone is begun anew by the next run under its
name, and undone by the next clone of the machine under another.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._disk import errors, file_io, in_use, layout, transfer
from .._disk.disk_decisions import DISK_MODE
from .._disk.disk_decisions import Wish as DiskWish
from .._disk.image_header import read_qcow2
from .._disk.overlay import Disks
from .._disk.qemu_img import QemuImg
from .._disk.runner import Runner
from .._disk.store import Store
from .._errors import FleetError
from .._machine import disk_mirror, flattening
from .._machine.disk_mirror import Mirror
from .._machine.files import SECRET_MODE, open_machine_directory
from .._machine.hardware.board import nvram_name
from .._machine.hardware.drives import CDROM
from .._machine.hardware.host_devices import name_of, title_of
from .._machine.libvirt_host import Domain, LibvirtHost, MemorySaved
from .._machine.machine import Machine
from .._machine.machines import Machines
from .._machine.moves import unended
from .._machine.owner import Owner
from . import half_clones
from .alone import alone, refuse_jobs
from .journal import Journal

_LARGEST_ORIGIN = 64 * 1024
_LARGEST_FIRMWARE = 128 << 20  # variables of aarch64 have 64 MiB

Connect = t.Callable[[str], t.ContextManager[t.Any]]


class CloneRefused(FleetError):
    """The machine cannot be cloned under that name."""

    kind = "clone_refused"


class Request(t.NamedTuple):
    """
    :param name: of the clone.
    :param flatten: give the clone disks of its own, without bases.
    :param background: they have their bases at first, and lose them while the clone runs; ``mbps`` is its limit.
    :param copy_timeout_s: how long the disks of a running machine may take to be copied.
    """

    owner: Owner
    name: str
    pools: t.Mapping[str, str]
    uri: str
    state_dir: str
    runtime_dir: str
    flatten: bool = False
    background: bool = False
    mbps: float | None = None
    copy_timeout_s: float = 3600.0
    busy_timeout_s: float = 60.0
    check: bool = False


class Cloned(t.NamedTuple):
    """``disks`` are the clone's, as diff_disk returns disks; in check mode the machine's own."""

    disks: list[dict[str, t.Any]]
    changed: bool
    running: bool
    quiesced: bool
    warnings: list[str]


class _Pair(t.NamedTuple):
    """A disk, and what becomes of it."""

    disk: dict[str, t.Any]
    path: str
    temporary: str
    flat: bool

    @property
    def directory(self) -> str:
        return os.path.dirname(self.path)


class Cloning:
    """
    :param stores: all pools of the host by name.
    :param connect: opens libvirt.
    """

    def __init__(self, request: Request, stores: t.Mapping[str, Store], run_command: Runner, connect: Connect = LibvirtHost) -> None:
        self._request = request
        self._stores = stores
        self._qemu = QemuImg(run_command)
        self._connect = connect
        self._journal = Journal(request.runtime_dir, request.owner.tenant, request.owner.service)
        self._disks = Disks(stores, self._qemu, request.owner.tenant, request.owner.service, True)

    def perform(self) -> Cloned:
        """
        :raises CloneRefused, ServiceBusy: nothing was touched.
        """
        request = self._request
        with contextlib.ExitStack() as held:
            if not request.check:
                refuse_jobs(self._journal, request.owner.service)
                held.enter_context(alone(self._journal, request.owner.service, request.busy_timeout_s))
            moving = unended(request.state_dir, request.owner)
            if moving is not None:
                raise CloneRefused(f"machine: {moving}", kind="moving")
            flattened = flattening.unended(request.pools, request.owner)
            if flattened is not None:
                raise CloneRefused(f"machine: {flattened}", kind="flattening")
            host = held.enter_context(self._connect(request.uri))
            machines = self._machines(host)
            clone = request.owner.named(request.name)
            source = machines.get(request.owner)
            disks = self._of(request.owner.machine)
            if source is None or not disks:
                raise CloneRefused(f"machine: {request.owner} is not on this host.", kind="absent")
            if source.memory_saved:
                raise CloneRefused(f"machine: {source.owner.machine}: {MemorySaved().message}.")
            _refuse_foreign_files(source, disks)
            _refuse_tpm(source)
            _refuse_attached(source)
            _refuse_discs(source)
            pairs = [self._pair(disk, request.name) for disk in disks]
            running = source.domain if source.running else None
            there = self._of(clone.machine)
            directories = list(dict.fromkeys(pair.directory for pair in pairs))
            note = _note_of(clone, directories)
            if there and note is None:
                raise CloneRefused(
                    f"name: {clone.machine} has disks on this host that were not cloned ({there[0]['path']}); choose another name."
                )
            if note is not None and note["source"] != request.owner.machine:
                raise CloneRefused(f"name: {clone.machine} is a clone of {note['source']} already; choose another name.")
            if there and note is not None and note["complete"]:
                if not request.check:
                    half_clones.complete(directories, request.owner.machine)  # an interrupt may have left one of its notes behind
                return Cloned(there, self._flatten_later(there), running is not None, True, [])
            if clone in machines:
                raise CloneRefused(f"name: {clone.machine} is a machine on this host already; choose another name.")
            if request.check:
                return Cloned(disks, True, running is not None, running is None, [])
            half_clones.end_all(host, running, request.pools, request.owner, but=clone.machine)
            quiesced = self._make(pairs, running, source)
            return Cloned(self._of(clone.machine), True, running is not None, quiesced, self._warnings(quiesced))

    # -- looking

    def _machines(self, host: LibvirtHost) -> dict[Owner, Machine]:
        request = self._request
        machines = Machines(host, check=request.check, pools=request.pools.values())
        return {machine.owner: machine for machine in machines.query(request.owner.tenant, request.owner.service)}

    def _of(self, machine: str) -> list[dict[str, t.Any]]:
        return [{**disk, "action": "none", "state": "present"} for disk in self._disks.found([DiskWish(machine, None, None)])]

    def _pair(self, disk: dict[str, t.Any], name: str) -> _Pair:
        """
        :param name: of the clone.
        """
        request = self._request
        flat = request.flatten or disk["backing"] is None
        directory = layout.machine_directory(request.pools[disk["pool"]], request.owner.service, name)
        layout.refuse_links(request.pools[disk["pool"]], "machines", request.owner.service, name)
        path = layout.disk_path(request.pools[disk["pool"]], request.owner.service, name, disk["name"], "qcow2")
        return _Pair(disk, path, layout.temporary_path(directory, disk["name"]), flat)

    def _flatten_later(self, disks: t.Sequence[t.Mapping[str, t.Any]]) -> bool:
        """Note of a clone that is there that it is to lose its bases, or how fast. Whether that was not noted yet."""
        request = self._request
        based = [str(disk["path"]) for disk in disks if disk["backing"] and request.background]
        noted = [flattening.noted(path) for path in based]
        if not any(one is None or request.mbps not in (None, one) for one in noted):
            return False
        if not request.check:
            self._note_flattening(based)
        return True

    # -- making

    def _make(self, pairs: t.Sequence[_Pair], running: Domain | None, source: Machine) -> bool:
        """All disks at their places, or none. Whether the guest's file systems were at rest."""
        request = self._request
        mirrors = _mirrors(pairs)
        half_clones.end(running, [pair.directory for pair in pairs])
        for pair in pairs:
            layout.make_directories(request.pools[pair.disk["pool"]], "machines", request.owner.service, request.name)
        self._note(pairs)
        try:
            if running is None:
                for pair in pairs:
                    self._copy(pair)
                quiesced = True
            else:
                for pair in pairs:
                    self._prepare(pair)
                with contextlib.ExitStack() as promised:
                    promises = []
                    for pair, mirror in zip(pairs, mirrors):
                        needed = disk_mirror.needed_bytes(self._qemu, pair.disk["image_format"], mirror)
                        room = self._stores[pair.disk["pool"]].room
                        promises.append(promised.enter_context(room.promise(needed, f"A clone of {mirror.disk}", [pair.temporary])))
                    quiesced = disk_mirror.take(running, mirrors, request.copy_timeout_s, promises)
            for pair in pairs:
                self._origin(pair)
                os.chown(pair.temporary, os.geteuid(), os.getegid())  # libvirt has given it to QEMU's user
                os.chmod(pair.temporary, DISK_MODE)
                file_io.sync_file(pair.temporary)
            self._copy_firmware(source)
            for pair in pairs:
                os.rename(pair.temporary, pair.path)
                file_io.sync_directory(pair.directory)
        except BaseException as error:  # an interrupt must not leave half a machine either
            half_clones.end(None, [pair.directory for pair in pairs])
            full = errors.no_space(error, "Cloning the machine", pairs[0].directory) if isinstance(error, OSError) else None
            raise full or error
        half_clones.complete([pair.directory for pair in pairs], self._request.owner.machine)
        return quiesced

    def _note(self, pairs: t.Sequence[_Pair]) -> None:
        for directory in dict.fromkeys(pair.directory for pair in pairs):
            half_clones.write_note(directory, self._request.owner.machine, False)
        if self._request.background:
            self._note_flattening(pair.path for pair in pairs if not pair.flat)

    def _note_flattening(self, paths: t.Iterable[str]) -> None:
        for path in paths:
            flattening.write_note(path, self._request.mbps or 0.0)

    def _prepare(self, pair: _Pair) -> None:
        """The file into which a disk is mirrored."""
        disk = pair.disk
        if pair.flat:
            self._qemu.create(pair.temporary, disk["virtual_size_bytes"])
        else:
            self._qemu.create_overlay(pair.temporary, disk["backing"], self._format_below(disk), disk["virtual_size_bytes"])
        os.chmod(pair.temporary, DISK_MODE)

    def _format_below(self, disk: t.Mapping[str, t.Any]) -> str:
        base = self._stores[disk["base_pool"]].find(disk["base"]) if disk["base_pool"] and disk["base"] else None
        return base.image_format if base is not None else "qcow2"

    def _copy(self, pair: _Pair) -> None:
        """Of a machine that is off; nobody can start it meanwhile."""
        disk = pair.disk
        room = self._stores[disk["pool"]].room
        descriptor = file_io.open_regular(disk["path"])
        try:
            with in_use.reading(descriptor, disk["path"], "cloned"):
                if disk["image_format"] == "raw" or (pair.flat and disk["backing"] is not None):
                    self._qemu.flatten(disk["path"], disk["image_format"], pair.temporary, "qcow2", room)
                else:
                    # A relative name of a parent means the same from the clone's directory.
                    transfer.copy_file(descriptor, pair.temporary, os.fstat(descriptor).st_size, room)
        finally:
            os.close(descriptor)

    def _copy_firmware(self, source: Machine) -> None:
        """Without its variables the clone's firmware would not find a system that is not in the usual place."""
        path = source.found.nvram if source.found else None
        if path is None or source.directory is None:
            return
        try:
            descriptor = file_io.open_regular(path)
        except FileNotFoundError:  # the machine has never been started
            return
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(_LARGEST_FIRMWARE + 1)
        if len(content) > _LARGEST_FIRMWARE:
            raise CloneRefused(f"{path}: firmware variables have at most {_LARGEST_FIRMWARE} bytes; this file has more.")
        pool = os.path.dirname(os.path.dirname(os.path.dirname(source.directory)))
        clone = self._request.owner.named(self._request.name)
        with open_machine_directory(clone.directory(pool), make=True) as directory:
            directory.replace(nvram_name(str(source.found and source.found.hardware["firmware"])), content, SECRET_MODE)

    def _origin(self, pair: _Pair) -> None:
        """What a disk without parent was made from, as the machine's own says."""
        source = layout.origin_path(os.path.dirname(pair.disk["path"]), pair.disk["name"])
        target = layout.origin_path(pair.directory, pair.disk["name"])
        if pair.flat and pair.disk["backing"] is not None:
            record = file_io.json_bytes({"format": 1, "base": pair.disk["base"], "differencing": False, "backend": "qcow2"})
        else:
            try:
                record = file_io.read_file(source, _LARGEST_ORIGIN)
            except FileNotFoundError:
                return
        file_io.replace_file(target, record, 0o644)

    def _warnings(self, quiesced: bool) -> list[str]:
        if quiesced:
            return []
        return [
            f"{self._request.owner.machine} was running and has no guest agent, so the clone's disks are as they would be after a power "
            "cut. Its guest mends its file systems at the first start."
        ]


def _note_of(clone: Owner, directories: t.Iterable[str]) -> dict[str, t.Any] | None:
    try:
        return half_clones.note_of(directories)
    except (OSError, FleetError) as error:
        text = error.message if isinstance(error, FleetError) else str(error)
        raise CloneRefused(
            f"name: {clone.machine} may be a clone already, whose note cannot be read: {text}; remove it (basecast.fleet.remove -e"
            f" service={clone.service} -e machines={clone.machine}), or choose another name."
        )


def _mirrors(pairs: t.Sequence[_Pair]) -> list[Mirror]:
    return [Mirror(pair.disk["path"], pair.temporary, not pair.flat) for pair in pairs]


def _refuse_tpm(source: Machine) -> None:
    if source.found is not None and source.found.hardware.get("tpm"):
        raise CloneRefused(
            f"{source.owner.machine} has a TPM, and what is sealed by it would not open in a clone, whose TPM is another. Deploy a"
            " machine from a base instead."
        )


def _refuse_attached(source: Machine) -> None:
    """Two machines would write on one disk."""
    attached = source.found.hardware["attached"] if source.found is not None else None
    if attached:
        told = ", ".join(f"{name} ({disk['path']})" for name, disk in attached.items())
        raise CloneRefused(
            f"{source.owner.machine} has {told} from outside of the pools' machines, which a clone would share with it. Take that out of"
            " the manifest and update the machine, and clone it then."
        )
    devices = source.found.hardware["host_devices"] if source.found is not None else None
    if devices:
        told = ", ".join(title_of(name_of(device)) for device in devices)
        raise CloneRefused(
            f"{source.owner.machine} has the {told} of the host, which one machine has. Take that out of the manifest and update the"
            " machine, and clone it then."
        )
    shares = source.found.hardware["shares"] if source.found is not None else None
    if shares:
        raise CloneRefused(
            f"{source.owner.machine} shares {', '.join(shares)} with the host, which its administrator permits for each machine. Take that"
            " out of the manifest and update the machine, and clone it then."
        )


def _refuse_discs(source: Machine) -> None:
    """QEMU mirrors no disk that is only read."""
    drives = source.found.hardware["drives"] if source.found is not None and source.running else {}
    discs = [name for name, drive in drives.items() if drive.get("device") == CDROM]
    if discs:
        raise CloneRefused(f"{source.owner.machine} runs with the CD {', '.join(discs)}; power it off, and clone it then.")


def _refuse_foreign_files(source: Machine, disks: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """A disk that lies elsewhere would be missing in the clone."""
    known = {os.path.realpath(disk["path"]) for disk in disks}
    files = [path for path, _kind in source.found.files] if source.found else []
    others = [path for path in files if os.path.realpath(path) not in known and path != (source.found and source.found.seed)]
    if others:
        raise CloneRefused(f"{source.owner.machine} has {', '.join(others)}, which is not a disk of the pools' machines; detach it first.")
    for disk in disks:
        if disk["image_format"] == "qcow2" and (header := read_qcow2(disk["path"])).external_data:
            # Both would write into that file.
            raise CloneRefused(f"{disk['path']} keeps its data in another file, {header.data_file}; copy it into one (qemu-img convert).")
