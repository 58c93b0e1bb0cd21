# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What both sides of a migration share: one machine's part of it, alone on the host, and its end on either side."""

from __future__ import annotations

import threading
import typing as t

from .._disk import layout
from .._disk.runner import Runner
from .._disk.store import stores_of
from .._errors import FleetError
from .._job.job import Gate
from .._job.journal import Journal
from .._job.removal import Removal
from .._job.removal import Request as RemovalRequest
from .._machine.libvirt_host import OFF, Domain, LibvirtHost
from .._machine.moves import Entry, MoveJournal
from .._machine.owner import Owner
from .._machine.records import ServiceRecords

Connect = t.Callable[[str], t.ContextManager[t.Any]]


class MoveFailed(FleetError):
    """The migration of a machine cannot be done, or not to the end."""

    kind = "migration_failed"


class Numbers(t.NamedTuple):
    """Where all machines of a service are, as the records of its hosts say it."""

    generation: int
    assignments: t.Mapping[str, t.Any]


def check_run(entry: Entry, run: str, machine: str) -> None:
    """:raises MoveFailed: what is on its way here was begun by another run than the one that is meant; it is not touched."""
    if entry.run != run:
        raise MoveFailed(f"{machine}: the run {entry.run} migrates it by now, not {run}; wait until that has ended, and run again.")


def check_off(domain: Domain, machine: str) -> None:
    """:raises MoveFailed: somebody has started the machine since it was looked at."""
    if domain.power() != OFF:
        raise MoveFailed(f"{machine} was started before it could be moved; it was not moved. Run again.")


Record = t.Mapping[str, t.Any]
Change = t.Callable[[t.Optional[Record]], t.Optional[Record]]


class Host:
    """This host, and how to work on it."""

    def __init__(
        self,
        pools: t.Mapping[str, str],
        run_command: Runner,
        uri: str,
        state_dir: str,
        runtime_dir: str,
        busy_timeout_s: float = 60.0,
        connect: Connect = LibvirtHost,
    ) -> None:
        self.pools = pools
        self.stores = stores_of(pools, run_command)
        self.run_command = run_command
        self.uri = uri
        self.state_dir = state_dir
        self.runtime_dir = runtime_dir
        self.busy_timeout_s = busy_timeout_s
        self.connect = connect
        self._gates: dict[tuple[str, str], Gate] = {}
        self._guard = threading.Lock()

    def journal(self, owner: Owner) -> MoveJournal:
        return MoveJournal(self.state_dir, owner.tenant, owner.service)

    def alone(self, owner: Owner) -> Gate:
        """Nobody else changes machines of the service on this host; threads of this process may, each its own machine.

        :raises UnsafePath: a link stands where the machine's directory in a pool is or would be: what is removed, renamed and written
            there by its name would be somebody else's.
        """
        for pool in self.pools.values():
            layout.refuse_links(pool, "machines", owner.service, owner.machine)
        key = (owner.tenant, owner.service)
        with self._guard:
            if key not in self._gates:
                journal = Journal(self.runtime_dir, *key)
                journal.open()
                self._gates[key] = Gate(journal, self.busy_timeout_s)
            return self._gates[key]

    def remove(self, owner: Owner, keep_record: bool = False, shared: t.Collection[str] = ()) -> dict[str, t.Any]:
        """Remove what this host has of the machine, as the playbook remove does.

        :param keep_record: it stays the machine of another host, which the record names.
        :param shared: pools in which the other host has its files.
        :raises MoveFailed: something is still there.
        """
        request = RemovalRequest(
            tenant=owner.tenant,
            service=owner.service,
            pools=self.pools,
            machines=[owner.machine],
            keep_disks=False,
            shutdown_timeout_s=0.0,
            uri=self.uri,
            state_dir=self.state_dir,
            runtime_dir=self.runtime_dir,
            busy_timeout_s=self.busy_timeout_s,
            moving=True,
            keep_record=keep_record,
            shared=[pool for pool in shared if pool in self.pools],
        )
        told = Removal(request, self.stores, self.run_command, self.connect).perform()
        problems = [one["problem"] for one in told["machines"] if one["wanted"] and one["problem"]]
        problems += [told["problem"]] if told["problem"] else []
        if problems:
            raise MoveFailed(f"What is left of {owner.machine} could not be removed: {'; '.join(problems)}")
        return told

    def assign(self, tenant: str, service: str, numbers: Numbers, change: Change = lambda old: old) -> bool:
        """Let the host's record of the service say where its machines are; whether it said something else.

        :param change: of the rest of the record; gets and returns None where there is none.
        """
        records = ServiceRecords(self.state_dir, tenant)
        old = records.read(service)
        changed = change(old)
        if changed is None:
            return False
        new = {**changed, "generation": numbers.generation, "assignments": dict(numbers.assignments)}
        if new == old:
            return False
        records.write(service, new)
        return True


def part_of(record: t.Mapping[str, t.Any] | None, group: str) -> dict[str, t.Any]:
    """What another host has to know of machines of a group, from a host's record."""
    if record is None:
        return {}
    manifest = record.get("manifest") or {}
    roles = [role for role in manifest.get("machines") or () if role["name"] == group]
    needed = {disk.get("base") for role in roles for disk in role.get("disks") or ()}
    return {
        "format": record.get("format"),
        "manifest": {"bases": [base for base in manifest.get("bases") or () if base["name"] in needed], "machines": roles},
    }


def with_part(record: t.Mapping[str, t.Any] | None, part: t.Mapping[str, t.Any], owner: Owner) -> dict[str, t.Any] | None:
    """A host's record with what it lacks of such a part; what it says of the same group stays."""
    if not part:
        return dict(record) if record is not None else None
    old = record or {"format": part["format"], "service": owner.service, "tenant": owner.tenant, "manifest": {}}
    manifest = old.get("manifest") or {}
    merged = {}
    for key in ("bases", "machines"):
        mine = list(manifest.get(key) or ())
        merged[key] = mine + [one for one in part["manifest"][key] if one["name"] not in {other["name"] for other in mine}]
    return {**old, "manifest": {**manifest, **merged}}
