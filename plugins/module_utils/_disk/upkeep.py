# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What stands beside the disks of a host's pools and is not as it must be, as far as the host alone can know it: records of disks
that are based on another pool's base, directories that QEMU's user cannot enter, and what disks say of their parents' format.
"""

from __future__ import annotations

import os
import stat
import typing as t

from .._errors import FleetError
from .._names import is_host_label, is_name
from . import access, disk_records, filesystem, layout, users
from .base import Base
from .listing import listable
from .references import Reference
from .store import Store
from .users import FoundDisk

RECORD_MISSING = "disk_record_missing"
RECORD_STALE = "disk_record_stale"
DIRECTORY_CLOSED = "directory_closed"
PARENT_FORMAT = "parent_format"


class Fault(t.NamedTuple):
    """
    :param pool: whose store or directory it is about.
    :param place: the file or directory.
    :param mends: whether ``mend`` does what ``repair`` says; else a person has to.
    :param is_wrong: whether something cannot work as it is, or may get lost.
    """

    kind: str
    pool: str
    place: str
    found: str
    repair: str
    mends: bool
    is_wrong: bool
    sha256: str = ""
    record: Reference | None = None

    def told(self, mended: bool) -> dict[str, t.Any]:
        about = {key: value for key, value in self._asdict().items() if key not in ("sha256", "record")}
        return {**about, "mended": mended}


def look(stores: t.Mapping[str, Store]) -> list[Fault]:
    """A pool that cannot be listed has none: what is in it is not known, which others tell."""
    stores = listable(stores)
    disks = users.scan(stores)
    found = [*_closed(stores, disks), *_missing_records(stores, disks), *_stale_records(stores), *_formats(stores, disks)]
    return list(dict.fromkeys(found))


def mend(stores: t.Mapping[str, Store], faults: t.Iterable[Fault]) -> t.Iterator[tuple[Fault, bool]]:
    """Those that are left, and whether they were mended. Each is looked at again, under the lock of the store that it is about. One
    that cannot be mended is a person's, and the others are mended all the same."""
    for fault in faults:
        if not fault.mends:
            yield fault, False
            continue
        try:
            if _mend(stores[fault.pool], fault):
                yield fault, True
        except (OSError, FleetError) as error:
            reason = error.message if isinstance(error, FleetError) else f"{fault.place}: {error.strerror}"
            yield fault._replace(mends=False, repair=f"repeat the command; this run could not {fault.repair}: {reason.rstrip('.')}"), False


def _mend(store: Store, fault: Fault) -> bool:
    """Whether there was anything to do; another run may have done it."""
    if fault.kind == DIRECTORY_CLOSED:
        return access.let_pass(fault.place)
    record = t.cast(Reference, fault.record)
    with store.changing():  # making or removing such a disk takes it as well
        if fault.kind == RECORD_STALE:
            return disk_records.is_out_of_date(record, store, fault.sha256) and bool(store.unrefer(fault.sha256, [record]))
        disk = users.look(fault.place, "")
        is_still = disk is not None and disk.backing_path == _disk_of(store, fault.sha256)
        return is_still and not _is_recorded(store, fault.sha256, record) and bool(store.refer(fault.sha256, [record]))


# --- directories


def _closed(stores: t.Mapping[str, Store], disks: t.Sequence[FoundDisk]) -> t.Iterator[Fault]:
    user = access.qemu_user()
    if user is None:
        return
    for pool, store in stores.items():
        problem = access.problem(store.pool_path, user)
        if problem:
            found, _semicolon, repair = problem.partition("; allow it with: ")
            yield Fault(DIRECTORY_CLOSED, pool, store.pool_path, found, repair, False, True)
        within = [store.directory, *map(store.base_directory, store.ids())] if os.path.isdir(store.directory) else []
        for path in dict.fromkeys([*within, *_above(store, disks)]):
            try:
                status = os.lstat(path)
                if not stat.S_ISDIR(status.st_mode) or access.enters(path, user):
                    continue
            except OSError:
                continue  # it has gone
            found = f"QEMU runs as {user.name}, which cannot enter {path} (mode {stat.S_IMODE(status.st_mode):04o})"
            own = status.st_uid == os.geteuid()
            repair = "let that user pass, by one bit of its mode" if own else f"setfacl -m u:{user.name}:x {path}"
            yield Fault(DIRECTORY_CLOSED, pool, path, found, repair, own, True)


def _above(store: Store, disks: t.Sequence[FoundDisk]) -> t.Iterator[str]:
    """Directories of the pool above its machines' disks."""
    top = layout.machines_directory(store.pool_path)
    for disk in disks:
        machine = os.path.dirname(disk.path)
        if disk.pool == store.pool and os.path.dirname(os.path.dirname(machine)) == top:
            yield from (top, os.path.dirname(machine), machine)


# --- records


def _missing_records(stores: t.Mapping[str, Store], disks: t.Sequence[FoundDisk]) -> t.Iterator[Fault]:
    for disk in disks:
        elsewhere = disk_records.base_elsewhere(stores, disk.pool, disk.backing_path)
        if elsewhere is None or not _is_in_place(disk.path):
            continue
        pool, sha256 = elsewhere
        store = stores[pool]
        tenant = _tenant_of(disk.path)
        record = disk_records.record_of(disk.path, tenant or "")
        if _is_recorded(store, sha256, record):
            continue
        found = f"the store of pool {pool} has no record that {disk.path} needs its base disk {sha256}, so another host may remove that"
        repair, mends = "write the record again", True
        if tenant is None:
            repair, mends = "deploy the service again, which notes whose its directory is", False
        elif not filesystem.is_writable(store.pool_path):
            repair, mends = "set a pin on the base disk (basecast.fleet.base_disk_reference) on a host that may write to the pool", False
        yield Fault(RECORD_MISSING, pool, disk.path, found, repair, mends, True, sha256, record if mends else None)


def _is_recorded(store: Store, sha256: str, wanted: Reference) -> bool:
    """By whichever host: several may see the pool in which the disk is, under other paths."""
    return any(one.kind == "disk" and _tail(one.name) == _tail(wanted.name) for one in store.references(sha256))


def _tail(path: str) -> list[str]:
    return path.split("/")[-4:]


def _stale_records(stores: t.Mapping[str, Store]) -> t.Iterator[Fault]:
    for pool, store in stores.items():
        mends = filesystem.is_writable(store.pool_path)
        for sha256 in sorted({*store.ids(), *store.referred_ids()}):
            for one in store.references(sha256):
                if one.kind == "disk" and disk_records.is_out_of_date(one, store, sha256):
                    found = f"the store of pool {pool} has a record of {one.name}, which does not need its base disk {sha256} any more"
                    repair = "drop the record" if mends else "make the pool writable on this host, and repeat the command"
                    yield Fault(RECORD_STALE, pool, one.name, found, repair, mends, False, sha256, one)


def _is_in_place(path: str) -> bool:
    """Whether it is a machine's disk by its path; any other is found by reading the pool, and by no other host."""
    *_above, machines, service, machine, _disk = path.rsplit("/", 4)
    return machines == "machines" and is_name(service) and is_host_label(machine)


def _tenant_of(path: str) -> str | None:
    try:
        return layout.owner_of(os.path.dirname(os.path.dirname(path)))
    except (OSError, FleetError):
        return None


def _disk_of(store: Store, sha256: str) -> str:
    return os.path.join(os.path.realpath(store.directory), sha256, "disk")


# --- parents


def _formats(stores: t.Mapping[str, Store], disks: t.Sequence[FoundDisk]) -> t.Iterator[Fault]:
    """A guest reads nonsense from a parent that is opened in another format than its own."""
    bases = {_disk_of(store, base.sha256): base for store in stores.values() for base in _bases(store)}
    for disk in disks:
        base = bases.get(disk.backing_path or "")
        if base is None or disk.backing_format == base.image_format:
            continue
        found = (
            f"{disk.path} says that its parent is {disk.backing_format or 'of an unknown format'}, and {base.path} is {base.image_format}"
        )
        repair = f"stop its machine, and: qemu-img rebase -u -F {base.image_format} -b {disk.backing} {disk.path}"
        yield Fault(PARENT_FORMAT, disk.pool, disk.path, found, repair, False, True)


def _bases(store: Store) -> list[Base]:
    try:
        return store.bases()
    except (OSError, FleetError):
        return []
