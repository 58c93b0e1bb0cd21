# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The end of a service's machines on one host, with all that was made for them and nothing else.

A machine's domain goes before its disks: whatever interrupts a removal, no domain is left whose disks are gone, and what is
left lies in the machine's directories, where the next removal finds it.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass, field

from .._disk import disk_records, layout, ownership, users
from .._disk.disk_decisions import Wish as DiskWish
from .._disk.overlay import Disks
from .._disk.ownership import Change
from .._disk.qemu_img import QemuImg
from .._disk.runner import Runner
from .._disk.store import Store
from .._errors import FleetError
from .._machine import disk_mirror
from .._machine.files import leftovers, remove_leftovers
from .._machine.libvirt_host import Domain, LibvirtError, LibvirtHost, LibvirtMissing, may_have_domains
from .._machine.machine import Machine
from .._machine.machines import Machines
from .._machine.moves import unended
from .._machine.owner import Owner
from .._machine.records import RecordUnreadable, ServiceRecords, scaled_of
from .._names import is_host_label
from . import half_clones
from .alone import alone, refuse_jobs, running_jobs
from .journal import Journal
from .steps import failure_of
from .undo import Made, refuse_others

FORMAT = 1

Connect = t.Callable[[str], t.ContextManager[t.Any]]


class Request(t.NamedTuple):
    """
    :param machines: names; None for all of the service's machines, and its record.
    :param elsewhere: machines that other hosts have: their files in a shared pool are not this host's.
    :param busy_timeout_s: how long to wait for another process that changes the same service's machines.
    :param moving: the removal is a part of their migration; otherwise machines whose migration has not ended are left alone.
    :param keep_record: another host has the machines, and the record goes on to say so.
    :param shared: pools in which another host goes on with the machines' files; there nothing is removed.
    :param undo: what a run has made, which alone goes: of a machine's disks those, and no name of a base. What it has only started is
        powered off again. ``machines`` are then the names of what it has made. A domain that may have been there before stays.
    """

    tenant: str
    service: str
    pools: t.Mapping[str, str]
    machines: t.Collection[str] | None
    keep_disks: bool
    shutdown_timeout_s: float
    uri: str
    state_dir: str
    runtime_dir: str
    busy_timeout_s: float = 60.0
    check: bool = False
    elsewhere: t.Collection[str] = ()
    moving: bool = False
    keep_record: bool = False
    shared: t.Collection[str] = ()
    undo: Made | None = None


@dataclass
class Leaving:
    """A machine of the service on this host, and what became of it."""

    owner: Owner
    group: str
    number: int | None
    domain: str | None = None
    running: bool = False
    directories: list[str] = field(default_factory=list)
    disks: list[dict[str, t.Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    wanted: bool = False
    actions: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problem: str | None = None
    moving: bool = False

    def fail(self, problem: str) -> None:
        """The first failure counts."""
        self.problem = self.problem or problem

    def told(self) -> dict[str, t.Any]:
        return {
            "machine": self.owner.machine,
            "group": self.group,
            "number": self.number,
            "domain": self.domain,
            "running": self.running,
            "wanted": self.wanted,
            "disks": self.disks,
            "actions": self.actions,
            "left": self.left,
            "problem": self.problem,
            "moving": self.moving,
        }


class Removal:
    """
    :param stores: all pools of the host by name.
    :param connect: opens libvirt.
    """

    def __init__(self, request: Request, stores: t.Mapping[str, Store], run_command: Runner, connect: Connect = LibvirtHost) -> None:
        self._request = request
        self._stores = stores
        self._connect = connect
        self._disks = Disks(stores, QemuImg(run_command), request.tenant, request.service, request.check)
        self._journal = Journal(request.runtime_dir, request.tenant, request.service)
        self._records = ServiceRecords(request.state_dir, request.tenant)
        self._machines: dict[str, Leaving] = {}
        self._domains: dict[str, Domain] = {}  # of those that run
        self._record: dict[str, t.Any] | None = None
        self._record_action = "none"
        self._references: list[Change] = []
        self._warnings: list[str] = []
        self._record_problem = ""

    def perform(self) -> dict[str, t.Any]:
        """Everything; what became of each machine.

        :raises ServiceBusy: a deployment of the service is at work on this host. Nothing was touched.
        :raises CannotUndo: one was at work while this waited. Nothing was touched.
        """
        jobs = running_jobs(self._journal)
        with contextlib.ExitStack() as held:
            if not self._request.check:
                refuse_jobs(self._journal, self._request.service)
                held.enter_context(alone(self._journal, self._request.service, self._request.busy_timeout_s))
                # One may have begun while this waited.
                refuse_jobs(self._journal, self._request.service)
                if self._request.undo is not None:
                    refuse_others(self._journal, self._request.undo.run)
            libvirt = self._libvirt(held)
            self._look(libvirt)
            self._refuse_needed(libvirt)
            self._end_copies()
            self._end_half_clones()
            self._end_machines(libvirt)
            self._power_off(libvirt)
            self._end_files()
            self._keep_record()
        return self._told(jobs)

    # -- looking

    def _libvirt(self, held: contextlib.ExitStack) -> Machines | None:
        """None for a host that has no libvirt and never had a domain."""
        try:
            host = held.enter_context(self._connect(self._request.uri))
        except LibvirtMissing:
            if may_have_domains(self._request.uri):
                raise
            return None
        return Machines(host, check=self._request.check, pools=self._request.pools.values())

    def _look(self, libvirt: Machines | None) -> None:
        request = self._request
        try:
            self._record = self._records.read(request.service)
        except RecordUnreadable as error:
            self._record_problem = error.message
        assignments = (self._record or {}).get("assignments") or {}
        for machine in libvirt.query(request.tenant, request.service) if libvirt else ():
            self._add(machine.owner, assignments, machine)
            if machine.running and machine.domain is not None:
                self._domains[machine.owner.machine] = machine.domain
        for store in self._stores.values():
            directory = layout.service_directory(store.pool_path, request.service)
            if layout.owner_of(directory) not in (None, request.tenant):
                continue  # another tenant's service of this name
            for name in _names_in(directory):
                self._add(Owner(request.tenant, request.service, name), assignments)
        for leaving in self._machines.values():
            self._look_at(leaving)

    def _add(self, owner: Owner, assignments: t.Mapping[str, t.Any], machine: Machine | None = None) -> None:
        if owner.machine in self._machines or (machine is None and owner.machine in self._request.elsewhere):
            return
        recorded = assignments.get(owner.machine) or {}
        found = machine.found if machine else None
        group, _dash, digits = owner.machine.rpartition("-")
        number = found.number if found else recorded.get("number", int(digits) if digits.isdigit() else None)
        leaving = Leaving(owner, (found.group if found else recorded.get("group")) or group, number)
        leaving.wanted = self._request.machines is None or owner.machine in self._request.machines
        if machine and found:
            leaving.domain, leaving.running = found.domain, machine.running
            leaving.files = [path for path, _format in found.files if path != found.seed]
            if machine.directory and not self._is_shared(machine.directory):
                leaving.directories.append(machine.directory)
            own = [layout.machines_directory(store.pool_path) + os.sep for store in self._stores.values()]
            leaving.left += [path for path, _format in found.files if not any(path.startswith(pool) for pool in own)]
            leaving.left += [disk["path"] for disk in (found.hardware["attached"] or {}).values()]
        self._machines[owner.machine] = leaving

    def _is_shared(self, directory: str) -> bool:
        """Whether a machine's directory is in a pool in which another host goes on with it."""
        pools = [self._stores[name].pool_path for name in self._request.shared]
        return any(directory.startswith(layout.machines_directory(pool) + os.sep) for pool in pools)

    def _all_of(self, leaving: Leaving) -> list[DiskWish]:
        if self._request.undo is not None:
            made = self._request.undo.machines.get(leaving.owner.machine, ())
            return [DiskWish(leaving.owner.machine, name, pool) for name, pool in made]
        if not self._request.shared:
            return [DiskWish(leaving.owner.machine, None, None)]
        return [DiskWish(leaving.owner.machine, None, pool) for pool in self._stores if pool not in self._request.shared]

    def _look_at(self, leaving: Leaving) -> None:
        meant = leaving.wanted or leaving.owner.machine in self._started
        moving = None if self._request.moving or not meant else unended(self._request.state_dir, leaving.owner)
        if moving is not None:
            leaving.moving = True
            leaving.fail(moving)
        for store in self._stores.values():
            directory = layout.machine_directory(store.pool_path, self._request.service, leaving.owner.machine)
            if os.path.lexists(directory) and directory not in leaving.directories and not self._is_shared(directory):
                leaving.directories.append(directory)
        try:
            leaving.disks = self._disks.found(self._all_of(leaving))
        except (FleetError, OSError) as error:
            leaving.fail(failure_of("", error).msg)
        for disk in leaving.disks:
            disk["action"], disk["state"] = "none", "present"
        self._keep_older_domain(leaving)

    @property
    def _started(self) -> t.Collection[str]:
        """What is only powered off: a run has started it, and it was off before."""
        return self._request.undo.started if self._request.undo is not None else ()

    def _keep_older_domain(self, leaving: Leaving) -> None:
        """A run that was killed has not written down whether it made the domain; one with other disks than the run's is not its own."""
        undo = self._request.undo
        if undo is None or not leaving.wanted or leaving.owner.machine in undo.defined:
            return
        own = {os.path.realpath(disk["path"]) for disk in leaving.disks}
        older = next((path for path in leaving.files if os.path.realpath(path) not in own), None)
        if older is not None:
            leaving.fail(f"{leaving.owner.machine} has {older}, which the run {undo.run} has not made, so the machine was not touched.")

    def _going(self) -> list[Leaving]:
        return [leaving for leaving in self._machines.values() if leaving.wanted and leaving.problem is None]

    # -- what stands in the way

    def _refuse_needed(self, libvirt: Machines | None) -> None:
        """A machine whose disk somebody else's disk is based on stays as it is, and what it is based on itself as well."""
        if self._request.keep_disks:
            return
        disks = users.scan(self._stores)
        directories = [layout.machines_directory(store.pool_path) for store in self._stores.values()]
        for domain, path in libvirt.domains.disks_elsewhere(directories) if libvirt else ():
            elsewhere = users.look(path, "")
            if elsewhere is not None:
                disks.append(elsewhere._replace(path=f"{path} (domain {domain})"))
        while True:
            going = {os.path.realpath(disk["path"]) for leaving in self._going() for disk in leaving.disks}
            others = [disk for disk in disks if os.path.realpath(disk.path) not in going]
            refused = False
            for leaving in self._going():
                for disk in leaving.disks:
                    children = users.children_of(disk["path"], others)
                    if children:
                        refused = True
                        leaving.fail(
                            f"{disk['path']} is the parent of {', '.join(children)}, so {leaving.owner.machine} was not touched; "
                            "remove the machines of those disks first, or flatten them (qemu-img rebase -b '')."
                        )
            if not refused:
                return

    # -- removing

    def _end_copies(self) -> None:
        """QEMU may still copy a machine into a clone of it that was interrupted, and that goes, whatever its note says."""
        going = {directory for leaving in self._going() for directory in leaving.directories}
        for domain in self._domains.values() if going and not self._request.check else ():
            with contextlib.suppress(LibvirtError):  # it has just stopped
                disk_mirror.abandon_all(domain, going)

    def _end_half_clones(self) -> None:
        """Also where disks are to be kept: those are none yet."""
        going = {leaving.owner.machine: leaving for leaving in self._going() if leaving.domain is None}
        for clone in half_clones.find(self._request.pools, self._request.service) if going else ():
            leaving = going.get(clone.name)
            if leaving is None or not set(clone.directories.values()) <= set(leaving.directories):
                continue
            leaving.actions.append("cleaned")
            if not self._request.check:
                half_clones.end(None, clone.directories.values())

    def _end_machines(self, libvirt: Machines | None) -> None:
        going = {leaving.owner: leaving for leaving in self._going()}
        if libvirt is None or not going:
            return
        stopped = libvirt.stop(list(going), self._request.shutdown_timeout_s, force=True, drop_saved=True)
        self._take(stopped, going)
        ready = {owner: leaving for owner, leaving in going.items() if leaving.problem is None}
        places = {owner: leaving.directories[0] if leaving.directories else self._usual(owner) for owner, leaving in ready.items()}
        kept = [owner for owner in ready if self._is_shared(libvirt.directory_of(owner) or places[owner])]
        self._take(libvirt.remove(list(ready), places, keep_files=kept), ready)

    def _power_off(self, libvirt: Machines | None) -> None:
        going = {
            leaving.owner: leaving
            for name, leaving in self._machines.items()
            if name in self._started and leaving.running and leaving.problem is None
        }
        if libvirt is not None and going:
            self._take(libvirt.stop(list(going), self._request.shutdown_timeout_s, force=True), going)

    def _usual(self, owner: Owner) -> str:
        return owner.directory(next(iter(self._stores.values())).pool_path)

    def _take(self, machines: t.Iterable[Machine], going: t.Mapping[Owner, Leaving]) -> None:
        for machine in machines:
            leaving = going[machine.owner]
            leaving.actions += [action for action in machine.actions if action not in leaving.actions]
            if not self._request.check:  # there it tells what goes, as it is
                leaving.running = machine.running and "removed" not in leaving.actions
            if machine.problem:
                leaving.fail(machine.problem)

    def _end_files(self) -> None:
        for leaving in self._going():
            for directory in leaving.directories:
                try:
                    if remove_leftovers(directory, self._request.check) and not leaving.actions:
                        leaving.actions.append("cleaned")
                except (FleetError, OSError) as error:
                    leaving.fail(failure_of("", error).msg)
        if not self._request.keep_disks:
            self._end_disks()
        for leaving in self._going():
            leaving.left += [path for directory in leaving.directories for path in self._left_in(directory, leaving)]

    def _end_disks(self) -> None:
        """All together, since one may be the other's parent; each by itself where that fails."""
        if self._request.check:
            for leaving in self._going():
                self._note_disks(leaving, leaving.disks)
            return
        going = [leaving for leaving in self._going() if leaving.directories]
        try:
            removed = self._disks.absent([wish for leaving in going for wish in self._all_of(leaving)])
        except (FleetError, OSError):
            for leaving in going:
                try:
                    self._note_disks(leaving, self._disks.absent(self._all_of(leaving)))
                except (FleetError, OSError) as error:
                    leaving.fail(failure_of("", error).msg)
            return
        for leaving in going:
            self._note_disks(leaving, [disk for disk in removed if disk["machine"] == leaving.owner.machine])

    @staticmethod
    def _note_disks(leaving: Leaving, removed: t.Sequence[t.Mapping[str, t.Any]]) -> None:
        sizes = {disk["path"]: disk["allocated_bytes"] for disk in leaving.disks}
        leaving.disks = [
            {**disk, "allocated_bytes": sizes.get(disk["path"], 0), "action": "removed", "state": "absent"} for disk in removed
        ]
        if removed:
            leaving.actions.append("disks removed")

    def _left_in(self, directory: str, leaving: Leaving) -> list[str]:
        """Files in a machine's directory that nobody here has made."""
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            return []
        known = {os.path.basename(disk["path"]) for disk in leaving.disks}
        if self._request.check:
            known.update(leftovers(directory))
        return [os.path.join(directory, name) for name in names if name not in known and not layout.is_unfinished(name)]

    # -- the record, and names of bases

    def _keep_record(self) -> None:
        if self._request.keep_record:
            return
        gone = [leaving for leaving in self._machines.values() if leaving.wanted and leaving.problem is None]
        staying = [leaving for leaving in self._machines.values() if leaving not in gone]
        whole = self._request.machines is None
        if self._record is None:
            self._drop_unreadable(whole and not staying)
            return
        new = None if not staying and (whole or gone) else _without(self._record, gone, staying)
        if new == self._record:
            return
        try:
            self._forget_bases(new)
            if not self._request.check:
                if new is None:
                    self._records.remove(self._request.service)
                else:
                    self._records.write(self._request.service, new)
        except (FleetError, OSError) as error:
            self._record_problem = f"The service's record: {failure_of('', error).msg}"
            return
        self._record_action = "removed" if new is None else "updated"

    def _drop_unreadable(self, whole: bool) -> None:
        if not self._record_problem or not whole:
            return
        if not self._request.check:
            self._records.remove(self._request.service)
        self._record_action = "removed"
        self._warnings.append(f"{self._record_problem} Names that the service gave to bases are kept, since they are not known.")
        self._record_problem = ""

    def _forget_bases(self, new: t.Mapping[str, t.Any] | None) -> None:
        """Names and references of bases that the service brought and that nothing of the tenant needs any more."""
        gone = _bases_of(self._record) - _bases_of(new)
        if not gone or self._request.keep_disks or self._request.undo is not None:
            return
        records, unreadable = self._records.read_all()
        unreadable.pop(self._request.service, None)
        if unreadable:
            self._warnings.append(
                f"Names of bases are kept, since they may be needed by {', '.join(sorted(unreadable))}: {next(iter(unreadable.values()))}"
            )
            return
        for service, record in records.items():
            if service != self._request.service:
                gone -= _bases_of(record)
        self._references = self._unneeded(gone)
        if not self._request.check:
            ownership.apply(self._stores, self._references)

    def _unneeded(self, gone: t.Collection[tuple[str, str, str]]) -> list[Change]:
        tenant = self._request.tenant
        leaving = {disk["path"] for machine in self._machines.values() for disk in machine.disks if disk["state"] == "absent"}
        disks = [disk for disk in users.scan(self._stores) if disk.path not in leaving]
        in_use = users.users_of_bases(self._stores, disks)
        changes = []
        for pool, store in sorted(self._stores.items()):
            for sha256 in sorted({sha256 for _name, _version, sha256 in gone}):
                own = [one for one in disk_records.in_force(store, sha256) if one.kind != "pin" and one.tenant == tenant]
                elsewhere = [disk_records.title(one) for one in own if one.kind == "disk"]
                if users.of_tenant(in_use.get((pool, sha256), ()), tenant) or set(elsewhere) - leaving:
                    continue
                dropped = [one for one in own if one.kind == "name" and (one.name, one.version, sha256) in gone]
                if not [one for one in own if one.kind == "name" and one not in dropped]:
                    dropped += [one for one in own if one.kind == "tenant"]
                changes += [Change(pool, sha256, one, "removed") for one in dropped]
        return changes

    # -- telling

    def _told(self, jobs: t.Sequence[str]) -> dict[str, t.Any]:
        machines = sorted(self._machines.values(), key=lambda one: (one.group, one.number or 0, one.owner.machine))
        return {
            "format": FORMAT,
            "service": self._request.service,
            "tenant": self._request.tenant,
            "machines": [leaving.told() for leaving in machines],
            "record": self._record_action,
            "recorded": self._record is not None or bool(self._record_problem),
            "after": _after(self._record),
            "scaled": scaled_of(self._record),
            "references": [change.as_dict() for change in self._references],
            "jobs": list(jobs),
            "problem": self._record_problem or None,
            "warnings": self._warnings,
            "changed": any(leaving.actions for leaving in machines) or self._record_action != "none",
        }


def _names_in(directory: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(directory) if is_host_label(entry.name) and entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _after(record: t.Mapping[str, t.Any] | None) -> dict[str, list[str]]:
    """Which roles of this host start after which, as the manifest of its last deployment said."""
    roles = ((record or {}).get("manifest") or {}).get("machines") or ()
    return {role["name"]: list(role["after"]) for role in roles if role.get("after")}


def _bases_of(record: t.Mapping[str, t.Any] | None) -> set[tuple[str, str, str]]:
    manifest = (record or {}).get("manifest") or {}
    return {(base["name"], str(base["version"]), base["sha256"]) for base in manifest.get("bases") or () if base.get("sha256")}


def _without(record: t.Mapping[str, t.Any], gone: t.Sequence[Leaving], staying: t.Sequence[Leaving]) -> dict[str, t.Any]:
    """The record when these machines have left. User data of roles that have no machine here any more goes with them."""
    if not gone:
        return dict(record)
    names, groups = {leaving.owner.machine for leaving in gone}, {leaving.group for leaving in staying}
    manifest = record.get("manifest") or {}
    roles = [role for role in manifest.get("machines") or () if role["name"] in groups]
    needed = {disk.get("base") for role in roles for disk in role.get("disks") or ()}
    return {
        **record,
        "generation": record.get("generation", 0) + 1,
        "assignments": {name: entry for name, entry in (record.get("assignments") or {}).items() if name not in names},
        "manifest": {
            **manifest,
            "machines": roles,
            "bases": [base for base in manifest.get("bases") or () if base["name"] in needed],
        },
    }
