# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a host knows of machines that are on their way: one small file for each, on both hosts, until the migration has ended.

The file of the source decides: while it says that the machine is leaving, the machine is the source's, and a migration that
was interrupted is undone. Once it says that the machine was handed over, the machine is the target's, and the rest is done.
A machine that moves to another pool of its host has one file. Where its disks are, its domain says.
"""

from __future__ import annotations

import typing as t

from .._disk import file_io
from .._disk.safe_directory import SafeDirectory
from .._errors import FleetError
from .._names import check_name, is_host_label, is_name
from .._untrusted import Malformed, read
from .files import SECRET_MODE, make_directory
from .owner import Owner

FORMAT = 1
SOURCE, TARGET, WITHIN = "source", "target", "within"
LEAVING, HANDED = "leaving", "handed over"
ARRIVING, ARRIVED = "arriving", "arrived"

_SUFFIX = ".json"
_LARGEST = 1 << 22
_MOST_DISKS = 1000
_PRIVATE_MODE = 0o700
_DIRECTORY = "migrations"


class JournalUnreadable(FleetError):
    """Something is written of a migration, and what it says cannot be known."""

    kind = "journal_unreadable"


class Entry(t.NamedTuple):
    """
    :param side: source, target; within for a machine that stays on this host and moves to another pool.
    :param peer: inventory name of the other host, or the pool.
    :param running: whether the machine ran when it left.
    :param live: whether it runs while it moves.
    :param home: the pool of this host with its seed and logs.
    :param origins: of a move to another pool, the pools that disks leave, by their names.
    :param shared: pools of this host that the other host has as well: what the machine has there is never removed.
    :param sent: of a machine that was off, when each of its disks was changed last, in nanoseconds by their paths, as it was sent.
    """

    side: str
    phase: str
    run: str
    machine: str
    peer: str
    live: bool
    running: bool
    autostart: bool
    home: str
    origins: t.Mapping[str, str] = {}
    shared: t.Sequence[str] = ()
    sent: t.Mapping[str, int] = {}

    def told(self) -> dict[str, t.Any]:
        return self._asdict()


class MoveJournal:
    """The machines of one service that leave this host or come to it."""

    def __init__(self, state_dir: str, tenant: str, service: str) -> None:
        self._state_dir = state_dir
        self._parts = (_DIRECTORY, check_name("tenant", tenant), check_name("service", service))
        self._owner = (tenant, service)

    def write(self, entry: Entry) -> None:
        make_directory(self._state_dir)
        with self._open(make=True) as directory:
            directory.replace(entry.machine + _SUFFIX, file_io.json_bytes({"format": FORMAT, **entry.told()}), SECRET_MODE)

    def read(self, machine: str) -> Entry | None:
        """None where nothing is on its way.

        :raises JournalUnreadable: why it cannot be known.
        """
        name = machine + _SUFFIX
        path = "/".join((self._state_dir, *self._parts, name))
        try:
            with self._open() as directory:
                value = read(directory.read(name, _LARGEST), "it", max_bytes=_LARGEST)
            if value["format"].integer() != FORMAT:
                raise value["format"].wrong(str(FORMAT))
            side = value["side"].choice(SOURCE, TARGET, WITHIN)
            phases = {SOURCE: (LEAVING, HANDED), TARGET: (ARRIVING, ARRIVED), WITHIN: (LEAVING,)}[side]
            origins, shared, sent = value.get("origins"), value.get("shared"), value.get("sent")
            return Entry(
                side=side,
                phase=value["phase"].choice(*phases),
                run=value["run"].text(200),
                machine=machine,
                peer=value["peer"].text(300),
                live=value["live"].flag(),
                running=value["running"].flag(),
                autostart=value["autostart"].flag(),
                home=value["home"].text(200),
                origins={name: pool.text(200) for name, pool in origins.entries(_MOST_DISKS).items()} if origins else {},
                shared=tuple(pool.text(200) for pool in shared.items(_MOST_DISKS)) if shared else (),
                sent={path: when.integer() for path, when in sent.entries(_MOST_DISKS).items()} if sent else {},
            )
        except FileNotFoundError:
            return None
        except Malformed as error:
            raise JournalUnreadable(
                f"What {path} says of a migration cannot be used: {error.problem}. See on both hosts which of them has the machine"
                " (virsh domstate), then remove the file.",
                path=path,
            )
        except OSError as error:
            raise JournalUnreadable(f"{path} cannot be read: {error.strerror}.", path=path)

    def machines(self) -> list[str]:
        try:
            with self._open() as directory:
                names = directory.names()
        except FileNotFoundError:
            return []
        return [name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX) and is_host_label(name[: -len(_SUFFIX)])]

    def remove(self, machine: str) -> bool:
        try:
            with self._open() as directory:
                return directory.remove(machine + _SUFFIX)
        except FileNotFoundError:
            return False

    def owner(self, machine: str) -> Owner:
        return Owner(*self._owner, machine)

    def _open(self, make: bool = False) -> SafeDirectory:
        return SafeDirectory.open(self._state_dir, *self._parts, make=make, mode=_PRIVATE_MODE)


def services_with_moves(state_dir: str, tenant: str) -> list[str]:
    """Services of the tenant of which something is on its way."""
    try:
        with SafeDirectory.open(state_dir, _DIRECTORY, check_name("tenant", tenant)) as directory:
            return [name for name in directory.names() if is_name(name)]
    except FileNotFoundError:
        return []


def is_of_run(state_dir: str, run: str, but: Owner) -> bool:
    """Whether the run has another machine than this one on its way here. One whose file cannot be read may be such a machine."""
    for tenant in tenants_with_moves(state_dir):
        for service in services_with_moves(state_dir, tenant):
            journal = MoveJournal(state_dir, tenant, service)
            for machine in journal.machines():
                if journal.owner(machine) == but:
                    continue
                try:
                    entry = journal.read(machine)
                except JournalUnreadable:
                    return True
                if entry is not None and entry.run == run:
                    return True
    return False


def tenants_with_moves(state_dir: str) -> list[str]:
    try:
        with SafeDirectory.open(state_dir, _DIRECTORY) as directory:
            return [name for name in directory.names() if is_name(name)]
    except FileNotFoundError:
        return []


def unended(state_dir: str, owner: Owner) -> str | None:
    """Why other runs must leave the machine on this host alone: its migration has not ended. None if there is no migration."""
    try:
        entry = MoveJournal(state_dir, owner.tenant, owner.service).read(owner.machine)
    except JournalUnreadable as error:
        return error.message
    if entry is None:
        return None
    way = {SOURCE: "to", TARGET: "from", WITHIN: "to the pool"}[entry.side] + f" {entry.peer}"
    return f"{owner.machine}: its migration {way} has not ended; wait for the run that does it, or end it ({how_to_end(owner)})."


def how_to_end(owner: Owner) -> str:
    tenant = "" if owner.tenant == "default" else f" -e tenant={owner.tenant}"
    return f"basecast.fleet.migrate -e service={owner.service}{tenant} -e machine={owner.machine}"
