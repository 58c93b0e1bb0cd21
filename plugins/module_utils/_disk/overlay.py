# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Machines' disks: look at what is there, compare it with the wish, decide about all, then apply."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from .._errors import FleetError, InvalidOption
from .._names import UNKNOWN_SHA256
from . import disk_records, errors, file_io, file_trees, in_use, last_use, layout, lock, users
from .base import Base
from .disk_decisions import Decision, Wish
from .errors import BaseMissing, DiskConflict, StoreBusy
from .new_disks import NewDisks
from .qemu_img import QemuImg
from .references import Reference
from .store import Store
from .users import FoundDisk

_LARGEST_NOTE = 64 * 1024
_SECTOR = 512


class Disks:
    """The disks of one service on this host.

    :param stores: all pools of the host by name.
    :param coming: digests of bases that the caller has brought before disks are made; in check mode they may be missing.
    """

    def __init__(
        self,
        stores: t.Mapping[str, Store],
        qemu: QemuImg,
        tenant: str,
        service: str,
        check_mode: bool = False,
        coming: t.Collection[str] = (),
    ) -> None:
        self._stores = stores
        self._qemu = qemu
        self._tenant = tenant
        self._service = service
        self._check_mode = check_mode
        self._coming = coming
        self._bases: dict[tuple[str, str], Base | None] = {}
        self.warnings: list[str] = []
        #: Sizes of the disks that existed, by path.
        self.sizes_before: dict[str, int] = {}

    # -- present

    def present(self, wishes: t.Sequence[Wish]) -> list[dict[str, t.Any]]:
        """Make sure that the disks are there. Nothing is touched when one of them cannot be had."""
        _refuse_repeats(wishes)
        pools = sorted({t.cast(str, wish.pool) for wish in wishes})
        for pool in pools:
            self._check_service(pool)
        if self._check_mode:
            return self._results(self._decide(wishes))
        with contextlib.ExitStack() as held:
            for pool in pools:
                held.enter_context(self._hold_service(pool))
            decisions = self._decide(wishes)
            records = self._records(decisions)
            for pool in sorted({item.base.pool for item in decisions if item.base and item.action == "created"} | {*records}):
                held.enter_context(self._hold_bases(pool))
            self._note(self._records(decisions))  # again: one of a disk that has gone may have been dropped while the locks were waited for
            self._apply(decisions)
            for directory in {item.directory for item in decisions}:
                _take_over(directory)
        return self._results(decisions)

    def _records(self, decisions: t.Sequence[Decision]) -> dict[str, list[tuple[str, Reference]]]:
        """By pool of bases, what its store has to know of disks in other pools and does not."""
        found: dict[str, list[tuple[str, Reference]]] = {}
        for item in decisions:
            backing = item.current.backing_path if item.current is not None else users.resolve_backing(item.path, item.backing or ":")
            elsewhere = disk_records.base_elsewhere(self._stores, item.pool, backing)
            if elsewhere is not None:
                pool, sha256 = elsewhere
                record = disk_records.record_of(item.path, self._tenant)
                if record not in self._stores[pool].references(sha256):
                    found.setdefault(pool, []).append((sha256, record))
        return found

    def _note(self, records: t.Mapping[str, t.Sequence[tuple[str, Reference]]]) -> None:
        for pool, wanted in records.items():
            try:
                for sha256, record in wanted:
                    self._stores[pool].refer(sha256, [record])
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
                self.warnings.append(
                    f"The pool {pool} is read-only on this host, so other hosts cannot know that {len(wanted)} disks need base "
                    "disks of it; protect those with pins (basecast.fleet.base_disk_reference)."
                )

    def _forget(self, decisions: t.Sequence[Decision]) -> None:
        """Records of disks that have gone. One that cannot be removed is out of date, which this host knows."""
        gone: dict[str, list[tuple[str, Reference]]] = {}
        for item in decisions:
            elsewhere = disk_records.base_elsewhere(self._stores, item.pool, item.current.backing_path if item.current else None)
            if elsewhere is not None:
                gone.setdefault(elsewhere[0], []).append((elsewhere[1], disk_records.record_of(item.path, self._tenant)))
        for pool, records in sorted(gone.items()):
            with contextlib.suppress(OSError, StoreBusy), self._stores[pool].changing(wait_s=600.0):
                for sha256, record in records:
                    self._stores[pool].unrefer(sha256, [record])

    def _check_service(self, pool: str) -> None:
        store = self._stores[pool]
        if not os.path.isdir(store.pool_path):
            raise FleetError(
                f"The pool {pool} does not exist on this host: {store.pool_path} is not a directory; create or mount it.",
                kind="pool_missing",
                pool=pool,
                path=store.pool_path,
            )
        layout.refuse_links(store.pool_path, "machines", self._service)
        owner = layout.owner_of(layout.service_directory(store.pool_path, self._service))
        if owner is not None and owner != self._tenant:
            raise FleetError(
                f"The service {self._service} in pool {pool} belongs to another tenant; choose another name for it.",
                kind="foreign_service",
                service=self._service,
                pool=pool,
            )

    def _hold_service(self, pool: str) -> lock.Lock:
        """One run at a time works on a service's disks in a pool."""
        pool_path = self._stores[pool].pool_path
        path = layout.lock_path(pool_path, self._service)
        while True:
            made = layout.make_directories(pool_path, "machines", self._service)
            try:
                held = lock.take(path, f"The service {self._service} in pool {pool}", wait_s=600.0)
            except FileNotFoundError:
                continue  # the last disk of the service was just removed
            break
        try:
            self._check_service(pool)
            owner = layout.owner_path(pool_path, self._service)
            if not os.path.lexists(owner):
                file_io.replace_file(owner, file_io.json_bytes({"format": 1, "tenant": self._tenant}), 0o644)
            for directory in made:
                file_io.sync_directory(os.path.dirname(directory))
        except BaseException:  # an interrupt must not leave the chain held either
            held.close()
            raise
        return held

    def _hold_bases(self, pool: str) -> t.ContextManager[t.Any]:
        """No base is removed from the pool while disks are based on it."""
        try:
            return self._stores[pool].changing(wait_s=600.0, shared=True)
        except OSError as error:
            if error.errno == errno.EROFS:
                return contextlib.nullcontext()
            raise

    # -- deciding

    def _decide(self, wishes: t.Sequence[Wish]) -> list[Decision]:
        decisions = [self._decide_one(wish) for wish in wishes]
        growing = [item for item in decisions if item.action == "resized"]
        if growing:
            disks = users.scan(self._stores)
            for item in growing:
                _refuse_children(item.path, disks, "grown")
                in_use.refuse(item.path, "grown")
                self._qemu.check_unused(item.path, item.image_format)
        return decisions

    def _decide_one(self, wish: Wish) -> Decision:
        pool = t.cast(str, wish.pool)
        pool_path = self._stores[pool].pool_path
        layout.refuse_links(pool_path, "machines", self._service, wish.machine)
        current = self._current(wish, pool)
        base = self._base(wish, pool, current)
        least = base.virtual_size_bytes if base is not None else 0
        wanted = -(-wish.size_bytes // _SECTOR) * _SECTOR if wish.size_bytes is not None else None
        if wanted is not None and wanted < least:
            raise InvalidOption(
                "disks[].size_bytes",
                wish.size_bytes,
                f"{wish.title} is made from a base disk of {least} bytes and cannot be smaller",
            )
        if wanted is None and wish.base is None and current is None:
            raise InvalidOption("disks[].size_bytes", None, f"{wish.title} has no base disk, so it needs a size")
        image_format = self._format(wish, base)
        path = layout.disk_path(pool_path, self._service, wish.machine, t.cast(str, wish.name), image_format)
        if current is None:
            backing, _format = self._backing(wish, base, path)
            size = wanted if wanted is not None else least
            return Decision(wish, pool, path, "created", image_format, size, base, backing, None)
        self._compare(wish, current)
        grows = wanted is not None and wanted > current.virtual_size_bytes
        return Decision(
            wish,
            pool,
            current.path,
            "resized" if grows else "none",
            current.image_format,
            t.cast(int, wanted) if grows else current.virtual_size_bytes,
            base,
            current.backing,
            current,
        )

    def _current(self, wish: Wish, pool: str) -> FoundDisk | None:
        found = []
        for image_format in layout.EXTENSIONS:
            path = layout.disk_path(self._stores[pool].pool_path, self._service, wish.machine, t.cast(str, wish.name), image_format)
            if not os.path.lexists(path):
                continue
            disk = users.look(path, pool)
            if disk is None:
                raise DiskConflict(f"{wish.title}: {path} exists and is no {image_format} disk; nothing was touched.", path=path)
            found.append(disk)
        if len(found) > 1:
            paths = ", ".join(disk.path for disk in found)
            raise DiskConflict(f"{wish.title} exists twice: {paths}; remove the wrong one.", paths=paths)
        return found[0] if found else None

    def _base(self, wish: Wish, pool: str, current: FoundDisk | None) -> Base | None:
        if wish.base is None:
            return None
        here = layout.base_of(current.backing_path) == wish.base if current is not None else False
        pools = [wish.base_pool] if wish.base_pool is not None else [pool, *self._stores]
        for candidate in pools:
            base = self._find(candidate, wish.base)
            if base is not None:
                return base
        if here:
            return None  # the disk has the base that is wanted; where else that is does not matter
        if not self._check_mode:
            raise BaseMissing(wish.base, pools)
        warning = f"The base disk {wish.base} is in none of the pools {', '.join(dict.fromkeys(pools))} yet."
        if wish.base not in (*self._coming, UNKNOWN_SHA256) and warning not in self.warnings:
            self.warnings.append(warning)
        return None

    def _find(self, pool: str, sha256: str) -> Base | None:
        if (pool, sha256) not in self._bases:
            self._bases[pool, sha256] = self._stores[pool].find(sha256)
        return self._bases[pool, sha256]

    @staticmethod
    def _format(wish: Wish, base: Base | None) -> str:
        """A differencing disk is qcow2; a copy is what its base is, unless that has parents and is flattened."""
        if wish.base is None or base is None or base.image_format == "qcow2":
            return "qcow2"
        return "qcow2" if wish.differencing and wish.backend == "qcow2" else "raw"

    def _backing(self, wish: Wish, base: Base | None, path: str) -> tuple[str | None, str | None]:
        """What the header is to name as parent, and its format. Relative within a pool, so that the pool may be mounted
        elsewhere; absolute from one pool to another, since only their paths on this host relate them."""
        if base is None:
            return None, None
        parent: Base | None = base
        if wish.backend == "reflink":
            parent = self._find(base.pool, base.parent) if base.parent is not None else None
        if parent is None or not wish.differencing:
            return None, None
        if parent.pool == wish.pool:
            return os.path.relpath(parent.path, os.path.dirname(path)), parent.image_format
        return parent.path, parent.image_format

    def _compare(self, wish: Wish, current: FoundDisk) -> None:
        """DiskConflict, naming both, when the disk that is there is made of something else."""
        wanted = self._describe(wish.base, wish.differencing and wish.backend == "qcow2")
        name = t.cast(str, wish.name)
        based_on = layout.base_of(current.backing_path)
        origin = layout.origin_of(os.path.dirname(current.path), name)
        if origin is not None and (based_on is None or origin.get("base") != based_on):  # a disk that still has to lose its base has both
            found = self._describe(origin.get("base"), False)
        elif current.backing is None:
            found = "no parent and an unknown origin"
        elif based_on is None:
            found = f"the parent {current.backing}"
        else:
            found = self._describe(based_on, True)
        if found != wanted:
            raise DiskConflict(
                f"{wish.title}: {current.path} exists with {found}, but {wanted} was asked for; nothing was touched. "
                "Remove the disk, or ask for what it is.",
                path=current.path,
                found=found,
                wanted=wanted,
            )

    @staticmethod
    def _describe(base: str | None, differencing: bool) -> str:
        if base is None:
            return "no base disk"
        return f"the base disk {base} as parent" if differencing else f"a copy of the base disk {base}"

    # -- applying

    def _apply(self, decisions: t.Sequence[Decision]) -> None:
        creating = [item for item in decisions if item.action == "created"]
        made: list[str] = []
        temporary = {item.path: layout.temporary_path(item.directory, t.cast(str, item.wish.name)) for item in creating}
        try:
            for item in creating:
                pool_path = self._stores[item.pool].pool_path
                made += layout.make_directories(pool_path, "machines", self._service, item.wish.machine)
                file_trees.remove_tree_or_file(temporary[item.path])
            NewDisks(self._stores, self._qemu, self._find).write(creating, temporary)
            for item in creating:
                os.rename(temporary[item.path], item.path)
        except BaseException as error:  # an interrupt must not leave half a disk either
            for path in temporary.values():
                file_trees.remove_tree_or_file(path)
            for item in creating:
                if not os.path.lexists(item.path):
                    file_io.remove_file(layout.origin_path(item.directory, t.cast(str, item.wish.name)))
            for directory in reversed(made):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            full = errors.no_space(error, "Creating disks", creating[0].directory) if isinstance(error, OSError) else None
            raise full or error
        for directory in sorted({item.directory for item in creating} | {os.path.dirname(path) for path in made}):
            file_io.sync_directory(directory)
        for pool in sorted({item.base.pool for item in creating if item.base}):
            last_use.note(self._stores[pool].directory, [item.base.sha256 for item in creating if item.base and item.base.pool == pool])
        for item in decisions:
            if item.action == "resized":
                self._qemu.resize(item.path, item.image_format, item.size_bytes)
                file_io.sync_file(item.path)

    # -- absent

    def absent(self, wishes: t.Sequence[Wish]) -> list[dict[str, t.Any]]:
        """Remove disks, and directories that this empties. Never a base, nor a disk in use or with a child."""
        decisions: list[Decision] = []
        with contextlib.ExitStack() as held:
            for pool, store in sorted(self._stores.items()):
                meant = [wish for wish in wishes if wish.pool in (None, pool)]
                if not meant:
                    continue
                self._check_service(pool)
                if not os.path.isdir(layout.service_directory(store.pool_path, self._service)):
                    continue
                if not self._check_mode:
                    held.enter_context(self._hold_service(pool))
                for wish in meant:
                    decisions += self._find_removable(wish, pool)
            decisions = list({item.path: item for item in decisions}.values())
            self._refuse_needed(decisions)
            if not self._check_mode:
                self._note_bases({item.wish.base for item in decisions if item.wish.base})
                for item in decisions:
                    file_io.remove_file(item.path)
                    for note in (layout.origin_path, layout.flatten_path):
                        file_io.remove_file(note(item.directory, t.cast(str, item.wish.name)))
                self._forget(decisions)
                self._remove_unfinished(wishes)
                self._remove_empty(wishes)
        if not self._check_mode:
            # A network file system keeps a removed file under another name while it is open, as the lock was until now.
            for store in self._stores.values():
                with contextlib.suppress(OSError):
                    os.rmdir(layout.service_directory(store.pool_path, self._service))
        return self._results(decisions)

    def _note_bases(self, bases: t.Collection[str]) -> None:
        """They were of use until now."""
        for store in self._stores.values():
            last_use.note(store.directory, [sha256 for sha256 in bases if os.path.lexists(store.base_directory(sha256))])

    def found(self, wishes: t.Sequence[Wish]) -> list[dict[str, t.Any]]:
        """The disks that ``absent`` would remove, needed or not."""
        decisions: list[Decision] = []
        for pool, store in sorted(self._stores.items()):
            meant = [wish for wish in wishes if wish.pool in (None, pool)]
            if meant and os.path.isdir(layout.service_directory(store.pool_path, self._service)):
                self._check_service(pool)
                for wish in meant:
                    decisions += self._find_removable(wish, pool)
        return self._results(decisions)

    def _find_removable(self, wish: Wish, pool: str) -> list[Decision]:
        pool_path = self._stores[pool].pool_path
        layout.refuse_links(pool_path, "machines", self._service, wish.machine)
        directory = layout.machine_directory(pool_path, self._service, wish.machine)
        found = []
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            return []
        for file_name in names:
            name, extension = os.path.splitext(file_name)
            if extension not in layout.EXTENSIONS.values() or (wish.name is not None and wish.name != name):
                continue
            path = os.path.join(directory, file_name)
            disk = users.look(path, pool)
            if disk is None:
                raise DiskConflict(f"{path} is not a disk; it was not removed, nor anything else.", path=path)
            meant = wish._replace(name=name, base=layout.base_of(disk.backing_path))
            found.append(Decision(meant, pool, path, "removed", disk.image_format, disk.virtual_size_bytes, None, disk.backing, disk))
        return found

    def _refuse_needed(self, decisions: t.Sequence[Decision]) -> None:
        if not decisions:
            return
        going = {os.path.realpath(item.path) for item in decisions}
        disks = [disk for disk in users.scan(self._stores) if os.path.realpath(disk.path) not in going]
        for item in decisions:
            _refuse_children(item.path, disks, "removed")
            in_use.refuse(item.path, "removed")
            self._qemu.check_unused(item.path, item.image_format)

    def _remove_unfinished(self, wishes: t.Sequence[Wish]) -> None:
        """What a run that was interrupted had begun of a machine all of whose disks go."""
        for wish in wishes:
            for pool, store in self._stores.items():
                if wish.name is not None or wish.pool not in (None, pool):
                    continue
                directory = layout.machine_directory(store.pool_path, self._service, wish.machine)
                with contextlib.suppress(FileNotFoundError):
                    for name in os.listdir(directory):
                        if layout.is_unfinished(name):
                            file_io.remove_file(os.path.join(directory, name))

    def _remove_empty(self, wishes: t.Sequence[Wish]) -> None:
        for store in self._stores.values():
            for machine in {wish.machine for wish in wishes}:
                directory = layout.machine_directory(store.pool_path, self._service, machine)
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            service = layout.service_directory(store.pool_path, self._service)
            owner = layout.owner_path(store.pool_path, self._service)
            with contextlib.suppress(OSError):
                own = [owner, layout.lock_path(store.pool_path, self._service)]
                own.append(f"{own[1]}.lease")
                if {os.path.join(service, name) for name in os.listdir(service)} <= set(own):
                    for path in own:
                        file_io.remove_file(path)
                os.rmdir(service)
            with contextlib.suppress(OSError):
                file_io.sync_directory(layout.machines_directory(store.pool_path))

    # -- telling

    def _results(self, decisions: t.Sequence[Decision]) -> list[dict[str, t.Any]]:
        return [self._result(item) for item in decisions]

    def _result(self, item: Decision) -> dict[str, t.Any]:
        if item.current is not None:
            self.sizes_before[item.path] = item.current.virtual_size_bytes
        base_pool = item.base.pool if item.base is not None else None
        if item.current is not None and item.current.backing_path is not None:
            base_pool = self._pool_of(item.current.backing_path) or base_pool
        return {
            "machine": item.wish.machine,
            "name": item.wish.name,
            "path": item.path,
            "pool": item.pool,
            "base": item.wish.base,
            "base_pool": base_pool,
            "virtual_size_bytes": item.size_bytes,
            "allocated_bytes": file_io.allocated_bytes(item.path) if os.path.lexists(item.path) else 0,
            "image_format": item.image_format,
            "backing": item.backing,
            "action": item.action,
            "state": "absent" if item.action == "removed" else "present",
        }

    def _pool_of(self, path: str) -> str | None:
        for pool, store in self._stores.items():
            if path.startswith(os.path.realpath(store.directory) + os.sep):
                return pool
        return None


def _take_over(directory: str) -> None:
    """It is a machine's now, and no clone that an interrupted run has begun and others undo."""
    note = layout.clone_path(directory)
    with contextlib.suppress(OSError, FleetError):
        if not file_io.read_value(note, _LARGEST_NOTE)["complete"].flag():
            file_io.remove_file(note)


def _refuse_repeats(wishes: t.Sequence[Wish]) -> None:
    seen = set()
    for wish in wishes:
        key = (wish.machine, wish.name)
        if key in seen:
            raise InvalidOption("disks", f"{wish.machine}/{wish.name}", "each disk of a machine is listed once")
        seen.add(key)


def _refuse_children(path: str, disks: t.Iterable[FoundDisk], what: str) -> None:
    children = users.children_of(path, disks)
    if children:
        raise DiskConflict(
            f"{path} is the parent of {', '.join(children)}; a disk that has a child is never written again, so it cannot be {what}.",
            path=path,
            children=children,
        )
