# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A machine that stays on its host and moves to another pool, with what that pool lacks of it.

At any time the machine's definition says where each disk is. If the machine is off, one definition replaces the other when everything has
been copied; if it runs, QEMU goes over disk by disk. So a move that was interrupted ends in one way, wherever it was: what the definition
does not name is removed.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from .._disk import disk_records, file_io, in_use, layout, local_copies, ownership, references, transfer, users
from .._disk.disk_decisions import Wish as DiskWish
from .._disk.overlay import Disks
from .._disk.ownership import Change
from .._disk.qemu_img import QemuImg
from .._errors import FleetError
from .._job import half_clones
from .._job.alone import refuse_jobs
from .._job.journal import Journal
from .._machine import disk_mirror
from .._machine.disk_mirror import Mirror
from .._machine.domain import Description, Moved, describe, moved, with_chains
from .._machine.files import open_machine_directory, remove_leftovers
from .._machine.libvirt_host import OFF, RUNNING, Domain, LibvirtHost
from .._machine.machines import Machines
from .._machine.moves import LEAVING, WITHIN, Entry
from .._machine.owner import Owner
from .._machine.starting import checked_chains
from . import look as looking
from .host import Host, MoveFailed, check_off
from .incoming import Disk, Incoming
from .look import Seen

_WAIT_S = 3600.0  # for somebody else who brings the same base


class Wish(t.NamedTuple):
    """
    :param pool: in which the machine is to be.
    :param live: it runs while it moves; then its seed, logs and firmware variables stay where they are.
    """

    owner: Owner
    run: str
    pool: str
    live: bool
    shutdown_timeout_s: float = 120.0
    timeout_s: float = 3600.0


class Within:
    def __init__(self, host: Host, check: bool = False) -> None:
        self._host = host
        self._check = check

    # -- move

    def move(self, wish: Wish) -> dict[str, t.Any]:
        """:raises FleetError: why it has not moved. It is as it was before, but for disks that have moved by then of one that runs."""
        owner = wish.owner
        with contextlib.ExitStack() as held:
            if not self._check:
                refuse_jobs(Journal(self._host.runtime_dir, owner.tenant, owner.service), owner.service)
                held.enter_context(self._host.alone(owner))
            libvirt = held.enter_context(self._host.connect(self._host.uri))
            seen = self._find(libvirt, wish)
            disks = [disk for disk in seen.told["disks"] if disk["pool"] != wish.pool]
            home = seen.told["home"] if not wish.live and seen.told["home"] not in (None, wish.pool) else None
            told: dict[str, t.Any] = {"disks": [disk["name"] for disk in disks], "bases": [], "bytes": 0, "seconds": 0.0}
            told["from"] = {disk["name"]: disk["pool"] for disk in disks}
            if not disks and home is None:
                return {**told, "state": "present"}
            incoming = self._incoming(wish, disks)
            self._check_room(wish, incoming, disks)
            if self._check:
                return {**told, "state": "moved", "bytes": sum(disk["allocated_bytes"] for disk in disks)}
            began = time.monotonic()
            entry = self._entry(wish, seen, disks)
            half_clones.end_all(libvirt, seen.domain if entry.running else None, self._host.pools, owner)
            self._host.journal(owner).write(entry)
            try:
                told["bases"] = self._bring_bases(wish, disks)
                incoming.make()
                self._move_live(wish, seen, disks, incoming) if wish.live else self._move_off(wish, seen, disks, incoming, libvirt)
            except BaseException as error:  # an interrupt must not leave it half moved either
                self._back(entry, owner, libvirt, error)
                raise
            self._settle(entry, owner, libvirt)
            told["bytes"] = sum(file_io.allocated_bytes(incoming.path(disk)) for disk in _wanted(wish, disks))
        return {**told, "state": "moved", "seconds": round(time.monotonic() - began, 3)}

    def _find(self, libvirt: LibvirtHost, wish: Wish) -> Seen:
        owner = wish.owner
        before = self._host.journal(owner).read(owner.machine)
        if before is not None:
            raise MoveFailed(f"An earlier migration of {owner.machine} has not ended here; run again.")
        seen = looking.find(libvirt, owner, self._host.stores)
        if seen is None:
            raise MoveFailed(f"{owner.machine} is not on this host any more; run again.")
        if seen.told["problems"]:
            raise MoveFailed(f"{owner.machine} cannot be moved: {'; '.join(seen.told['problems'])}.")
        state = seen.told["state"]
        if state != RUNNING if wish.live else state not in (RUNNING, OFF):
            raise MoveFailed(f"{owner.machine} is {state}; {'a live migration needs it running' if wish.live else 'let it go on first'}.")
        for disk in seen.told["disks"] if wish.live else ():
            if disk["snapshots"] and disk["pool"] != wish.pool:
                raise MoveFailed(f"{disk['path']} has snapshots inside, which would be lost while it runs; move it off (live=false).")
        return seen

    def _incoming(self, wish: Wish, disks: t.Sequence[t.Mapping[str, t.Any]]) -> Incoming:
        return Incoming(self._host, wish.owner, wish.pool, _wanted(wish, disks))

    def _check_room(self, wish: Wish, incoming: Incoming, disks: t.Sequence[t.Mapping[str, t.Any]]) -> None:
        for disk in _wanted(wish, disks):
            if os.path.lexists(incoming.path(disk)):
                raise MoveFailed(f"{incoming.path(disk)} exists already and is not the machine's disk; see what it is, and move it away.")
        store = self._host.stores[wish.pool]
        missing = {
            one: os.path.join(self._host.stores[found.pool].base_directory(one), "disk")
            for sha256 in _bases(disks)
            for found in (local_copies.find(self._host.stores, sha256, self._host.stores),)
            if found is not None
            for one in transfer.missing_in(found, store)
        }
        needed = sum(disk["allocated_bytes"] for disk in disks) + sum(map(file_io.allocated_bytes, missing.values()))
        room = os.statvfs(store.pool_path)
        free = max(0, room.f_bavail * room.f_frsize - store.room.reserve_bytes)
        if needed > free:
            raise MoveFailed(
                f"The pool {wish.pool} has {free / 2**30:.3f} GiB free; the disks of {wish.owner.machine}, with bases that the pool lacks,"
                f" have {needed / 2**30:.3f} GiB."
            )

    def _entry(self, wish: Wish, seen: Seen, disks: t.Sequence[t.Mapping[str, t.Any]]) -> Entry:
        return Entry(
            WITHIN,
            LEAVING,
            wish.run,
            wish.owner.machine,
            wish.pool,
            wish.live,
            seen.domain.power() != OFF,
            seen.domain.autostart(),
            seen.told["home"] or wish.pool,
            {disk["name"]: disk["pool"] for disk in disks},
        )

    def _bring_bases(self, wish: Wish, disks: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
        """The bases in the pool, under the names that the tenant has given them on this host; what was copied."""
        tenant, target = wish.owner.tenant, self._host.stores[wish.pool]
        actions = []
        for sha256 in _bases(disks):
            names = [
                one
                for store in self._host.stores.values()
                for one in store.references(sha256)
                if one.kind == "name" and one.tenant == tenant
            ]
            with target.changing():
                for name in names:
                    target.check_name_free(tenant, name.name, name.version, sha256)
                target.refer(sha256, [references.tenant_of(tenant), *dict.fromkeys(names)])
            actions += local_copies.LocalCopies(self._host.stores, tenant, _WAIT_S).present(wish.pool, sha256)
        return actions

    # -- off

    def _move_off(self, wish: Wish, seen: Seen, disks: t.Sequence[t.Mapping[str, t.Any]], incoming: Incoming, libvirt: LibvirtHost) -> None:
        owner = wish.owner
        if seen.domain.power() != OFF:
            stopped = Machines(libvirt, pools=self._host.pools.values()).stop([owner], wish.shutdown_timeout_s, force=False)
            if stopped[0].problem:
                raise MoveFailed(stopped[0].problem.replace("; force=true would cut its power", "; it was not moved"))
        with contextlib.ExitStack() as held:  # nobody starts it before its definition names the copies
            for disk, there in zip(disks, _wanted(wish, disks)):
                descriptor = file_io.open_regular(disk["path"])
                held.callback(os.close, descriptor)
                held.enter_context(in_use.reading(descriptor, disk["path"], "moved"))
                slot = incoming.slot(there)
                file_io.remove_file(slot.temporary)
                transfer.copy_file(descriptor, slot.temporary, os.fstat(descriptor).st_size, self._host.stores[wish.pool].room)
                os.chmod(slot.temporary, os.stat(incoming.path(there)).st_mode & 0o777)
            incoming.take()
            paths = {disk["path"]: incoming.path(there) for disk, there in zip(disks, _wanted(wish, disks))}
            paths = {**{path: path for path, _kind in seen.about.files}, **paths, **self._copy_small(wish, seen, disks)}
            security = ("dac", *(model for model in ("selinux",) if model in libvirt.security_models()))
            check_off(seen.domain, owner.machine)
            libvirt.define(moved(seen.domain.xml(), Moved(paths, incoming.chains(), security)), owner.domain)

    def _copy_small(self, wish: Wish, seen: Seen, disks: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, str]:
        """The seed, logs and firmware variables, and what is noted of disks; where those are that the definition names."""
        there = wish.owner.directory(self._host.pools[wish.pool])
        named = [path for path in (seen.about.seed, seen.about.console, seen.about.report, seen.about.nvram) if path]
        origins = {f".{disk['name']}.origin.json" for disk in disks}
        for directory in sorted({*map(os.path.dirname, named), *(os.path.dirname(disk["path"]) for disk in disks)} - {there}):
            for name in looking.small_files(directory, firmware=True, clone=True):
                if not name.endswith(".origin.json") or name in origins:
                    self._copy(wish, directory, name)
        return {path: os.path.join(there, os.path.basename(path)) for path in named}

    def _copy(self, wish: Wish, directory: str, name: str) -> None:
        there = wish.owner.directory(self._host.pools[wish.pool])
        with open_machine_directory(directory) as opened:
            opened.check_file(name)
        descriptor = file_io.open_regular(os.path.join(directory, name))
        try:
            status = os.fstat(descriptor)
            with open_machine_directory(there, make=True):
                temporary = os.path.join(there, f".{name}.move.tmp")
                file_io.remove_file(temporary)
                transfer.copy_file(descriptor, temporary, status.st_size, self._host.stores[wish.pool].room)
                os.chmod(temporary, status.st_mode & 0o777)
                os.chown(temporary, status.st_uid, status.st_gid)
                file_io.sync_file(temporary)
                os.rename(temporary, os.path.join(there, name))
                file_io.sync_directory(there)
        finally:
            os.close(descriptor)

    # -- live

    def _move_live(self, wish: Wish, seen: Seen, disks: t.Sequence[t.Mapping[str, t.Any]], incoming: Incoming) -> None:
        for disk in disks:
            name = f".{disk['name']}.origin.json"
            if name in looking.small_files(os.path.dirname(disk["path"])):
                self._copy(wish, os.path.dirname(disk["path"]), name)
        mirrors = [
            Mirror(disk["path"], incoming.path(one), one.base is not None, one.image_format)
            for disk, one in zip(disks, _wanted(wish, disks))
        ]
        needed = sum(disk["allocated_bytes"] for disk in disks)
        copies = [mirror.copy for mirror in mirrors]
        with self._host.stores[wish.pool].room.promise(needed, f"The machine {wish.owner.machine}", copies) as promise:
            disk_mirror.move(seen.domain, mirrors, wish.timeout_s, [promise])

    # -- the end

    def end(self, owner: Owner) -> dict[str, t.Any]:
        """End a move that was interrupted: what the machine's definition does not name is removed. Tells whether it names the new pool."""
        if self._check:
            entry = self._host.journal(owner).read(owner.machine)
            return {"state": "as before", "ended": entry is not None}
        with self._host.alone(owner), self._host.connect(self._host.uri) as libvirt:
            entry = self._host.journal(owner).read(owner.machine)
            if entry is None:
                return {"state": "as before", "ended": False}
            if entry.side != WITHIN:
                raise MoveFailed(f"{owner.machine} is on its way between this host and {entry.peer}, and not to another pool; run again.")
            places = self._settle(entry, owner, libvirt)
        there = all(places.get(name) == entry.peer for name in entry.origins)
        return {"state": "moved" if there and entry.origins else "as before", "ended": True}

    def _back(self, entry: Entry, owner: Owner, libvirt: LibvirtHost, error: BaseException) -> None:
        """After a failure: as the definition says, or the journal stays and the next run does it."""
        try:
            self._settle(entry, owner, libvirt)
        except (FleetError, OSError) as another:
            raise MoveFailed(f"{_said(error)} And it is not as it was before: {_said(another)}", unknown=True) from error

    def _settle(self, entry: Entry, owner: Owner, libvirt: LibvirtHost) -> dict[str, str]:
        """Leave nothing of the machine but what its definition names, and let it run if it ran; the pool of each disk."""
        domain = libvirt.domain(owner.domain_uuid)
        if domain is None:
            raise MoveFailed(f"{owner.machine} is not defined on this host any more.")
        missing = [pool for pool in {entry.peer, entry.home, *entry.origins.values()} if pool not in self._host.pools]
        if missing:
            raise MoveFailed(
                f"{owner.machine} was to move between pools, and this host no longer has the pool {missing[0]}; "
                "give it that pool again (basecast_pools), and run again."
            )
        about = describe(domain.xml())
        places = self._places(owner, about)
        if domain.power() != OFF:
            self._end_mirrors(entry, owner, domain, about, places)
        self._complete(owner, domain, about, libvirt)
        self._clean(entry, owner, about, places)
        bases = self._bases_of(owner, places, about)
        journal = self._host.journal(owner)
        if entry.running and not entry.live and domain.power() == OFF:
            checked_chains(about, owner, self._host.pools.values())
            domain.start()
        journal.remove(owner.machine)
        self._drop_names(owner, bases, {entry.peer, *entry.origins.values()})
        return places

    def _places(self, owner: Owner, about: Description) -> dict[str, str]:
        """The pool of each disk that a definition names, by the disk's name."""
        directories = {owner.directory(path): pool for pool, path in self._host.pools.items()}
        return {
            os.path.splitext(os.path.basename(path))[0]: directories[os.path.dirname(path)]
            for path, _kind in about.files
            if path != about.seed and os.path.dirname(path) in directories
        }

    def _end_mirrors(self, entry: Entry, owner: Owner, domain: Domain, about: Description, places: t.Mapping[str, str]) -> None:
        """What a killed run has QEMU still copy. A disk that QEMU has and the definition does not name keeps everything as it is."""
        living = describe(domain.living_xml())
        if self._places(owner, living) != dict(places):
            raise MoveFailed(
                f"{owner.machine} runs with other disks than its definition names; nothing was removed. Compare them (virsh domblklist, and"
                " with --inactive), put the definition right (virsh edit), and run again."
            )
        for path, kind in about.files:
            name = os.path.splitext(os.path.basename(path))[0]
            if entry.origins.get(name) is not None and places.get(name) == entry.origins[name]:
                copy = self._path(owner, name, entry.peer, kind)
                disk_mirror.abandon(domain, [Mirror(path, copy, False)])

    def _path(self, owner: Owner, name: str, pool: str, kind: str | None) -> str:
        return layout.disk_path(self._host.pools[pool], owner.service, owner.machine, name, kind or "raw")

    def _complete(self, owner: Owner, domain: Domain, about: Description, libvirt: LibvirtHost) -> None:
        """libvirt is to leave alone what lies under each disk; of disks that QEMU went over to it does not know that yet."""
        kinds = {path: kind or "raw" for path, kind in about.files}
        disks = [
            Disk(name, pool, kinds[path], 0, None)
            for path in kinds
            for name, pool in self._places(owner, about).items()
            if self._path(owner, name, pool, kinds[path]) == path
        ]
        security = ("dac", *(model for model in ("selinux",) if model in libvirt.security_models()))
        xml = with_chains(domain.xml(), Incoming(self._host, owner, "", disks).chains(), security)
        if xml is not None:
            libvirt.define(xml, owner.domain)

    def _clean(self, entry: Entry, owner: Owner, about: Description, places: t.Mapping[str, str]) -> None:
        path = about.report or about.console or about.seed or ""
        home = next((pool for pool, root in self._host.pools.items() if owner.directory(root) == os.path.dirname(path)), entry.home)
        for pool in sorted({entry.peer, entry.home, *entry.origins.values()}):
            directory = owner.directory(self._host.pools[pool])
            if pool != home:
                remove_leftovers(directory)
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(directory):
                    note = name.endswith(".origin.json") or name == os.path.basename(layout.clone_path(""))
                    if layout.is_unfinished(name) and not (note and pool in places.values()):
                        file_io.remove_file(os.path.join(directory, name))
        disks = Disks(self._host.stores, QemuImg(self._host.run_command), owner.tenant, owner.service)
        wishes = []
        for name, origin in entry.origins.items():
            if name not in places:
                raise MoveFailed(
                    f"The disk {name} of {owner.machine} is no longer one of its disks; see where it is (playbook status), and run again."
                )
            other = origin if places[name] == entry.peer else entry.peer
            wishes.append(DiskWish(owner.machine, name, other))
        disks.absent(wishes)
        for pool in {entry.peer, entry.home, *entry.origins.values()} - {home}:
            with contextlib.suppress(OSError):
                os.rmdir(owner.directory(self._host.pools[pool]))

    # -- names of bases

    def _bases_of(self, owner: Owner, places: t.Mapping[str, str], about: Description) -> list[str]:
        found = (users.look(path, "") for path, _kind in about.files if path != about.seed)
        bases = (layout.base_of(disk.backing_path) for disk in found if disk is not None)
        return list(dict.fromkeys(base for base in bases if base))

    def _drop_names(self, owner: Owner, bases: t.Sequence[str], pools: t.Collection[str]) -> None:
        """In pools in which nothing of the tenant needs the bases any more; their names are where the machine is."""
        stores, tenant = self._host.stores, owner.tenant
        needed = users.users_of_bases(stores, users.scan(stores))
        for pool in sorted(pools):
            for sha256 in bases:
                own = [one for one in disk_records.in_force(stores[pool], sha256) if one.kind != "pin" and one.tenant == tenant]
                elsewhere = [name for name in stores if name != pool and references.tenant_of(tenant) in stores[name].references(sha256)]
                if (
                    elsewhere
                    and own
                    and not users.of_tenant(needed.get((pool, sha256), ()), tenant)
                    and all(one.kind != "disk" for one in own)
                ):
                    ownership.apply(stores, [Change(pool, sha256, one, "removed") for one in own])


def _said(error: BaseException) -> str:
    return error.message if isinstance(error, FleetError) else str(error)


def _bases(disks: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    return list(dict.fromkeys(disk["base"] for disk in disks if disk["base"]))


def _wanted(wish: Wish, disks: t.Sequence[t.Mapping[str, t.Any]]) -> list[Disk]:
    """The disks as they are to be in the pool."""
    return [Disk(disk["name"], wish.pool, disk["image_format"], disk["size_bytes"], disk["base"]) for disk in disks]
