# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The host to which machines come: it makes room, takes them, proves that they are whole, and lets them go on."""

from __future__ import annotations

import os
import typing as t

from .._disk import file_io, layout
from .._machine import media
from .._machine.domain import describe
from .._machine.hardware.board import UEFI, UEFI_SECURE, nvram_name
from .._machine.libvirt_host import OFF, PAUSED, RUNNING, Domain, LibvirtHost
from .._machine.moves import ARRIVED, ARRIVING, TARGET, Entry, is_of_run
from .._machine.network_dns import NetworkDns
from .._machine.owner import Owner
from .._machine.starting import checked_chains
from .._relay.wire.tls import Contexts
from . import door
from .door import Guests, Slot
from .host import Host, MoveFailed, Numbers, check_run, with_part
from .incoming import Disk, Incoming
from .tunnel import largest_file

DEFINITION, RECORD = ".domain.xml.tmp", ".record.json.tmp"
OLD_CONSOLE = "console.log.0"  # where virtlogd puts what is older
_SMALL = (*media.FILES, "report.log", OLD_CONSOLE, *map(nvram_name, (UEFI, UEFI_SECURE)), DEFINITION, RECORD)
_LARGEST = 1 << 26


class Arrival(t.NamedTuple):
    """A machine that comes here.

    :param source: inventory name of the host that it leaves.
    :param running: whether it ran when it was asked for; live: whether it runs while it moves.
    :param home: the pool for its seed and logs.
    :param shared: pools of this host that the source has as well, with files of the machine.
    """

    owner: Owner
    run: str
    source: str
    live: bool
    running: bool
    autostart: bool
    home: str
    disks: t.Sequence[Disk]
    arch: str
    machine_type: str | None
    domain_type: str
    cpu: str
    shared: t.Sequence[str] = ()


class Target:
    def __init__(self, host: Host) -> None:
        self._host = host

    # -- before

    def prepare(self, arrival: Arrival) -> dict[str, t.Any]:
        """Make room for a machine: its directories and fresh disks. Where its files will be.

        :raises FleetError: it cannot come here; nothing of it is left.
        """
        owner = arrival.owner
        journal = self._host.journal(owner)
        with self._host.alone(owner), self._host.connect(self._host.uri) as libvirt:
            before = journal.read(owner.machine)
            if before is not None and before.run != arrival.run:
                raise MoveFailed(f"An earlier migration of {owner.machine} from {before.peer} has not ended here; run again.")
            if before is None:
                self._check_free(arrival)
            self._check_libvirt(arrival, libvirt)
            journal.write(self._entry(arrival, ARRIVING))
            incoming = self._incoming(arrival)
            incoming.make()
            security = ("dac", *(model for model in ("selinux",) if model in libvirt.security_models()))
        return {
            "home": self._home(arrival),
            "disks": {disk.name: incoming.path(disk) for disk in arrival.disks},
            "chains": {path: [layer._asdict() for layer in layers] for path, layers in incoming.chains().items()},
            "security": list(security),
        }

    def open_door(self, run: str, address: str, ports: tuple[int, int], tls: Contexts, arrivals: t.Sequence[Arrival], ttl_s: float) -> int:
        """Let the source hosts in; the port."""
        machines: dict[str, list[str]] = {}
        for arrival in arrivals:
            machines.setdefault(arrival.source, []).append(str(arrival.owner))
        slots = {str(arrival.owner): self._slots(arrival) for arrival in arrivals}
        return door.start(self._host.runtime_dir, run, address, ports, tls, Guests(machines, slots), ttl_s)

    def close_door(self, run: str) -> bool:
        return door.stop(self._host.runtime_dir, run)

    def _slots(self, arrival: Arrival) -> dict[str, Slot]:
        home = self._home(arrival)
        small = (DEFINITION, RECORD) if arrival.home in arrival.shared else _SMALL
        slots = {name: Slot(os.path.join(home, name), False, largest_file()) for name in small}
        incoming = self._incoming(arrival)
        for disk in arrival.disks:
            if disk.shared:
                continue
            slot = incoming.slot(disk)
            slots[os.path.basename(slot.path)] = slot
            origin = layout.origin_path(os.path.dirname(slot.path), disk.name)
            slots[os.path.basename(origin)] = Slot(origin, False, largest_file())
        return slots

    def _check_free(self, arrival: Arrival) -> None:
        for pool, store in self._host.stores.items():
            directory = arrival.owner.directory(store.pool_path)
            if pool in arrival.shared:
                continue  # the machine itself
            if os.path.lexists(directory) and (not os.path.isdir(directory) or os.listdir(directory)):
                raise MoveFailed(
                    f"{directory} (pool {pool}) exists on the target and is not empty; see what it is, and move it away or remove it"
                    f" (basecast.fleet.remove -e machines={arrival.owner.machine} with --limit to this host)."
                )

    def _check_libvirt(self, arrival: Arrival, libvirt: LibvirtHost) -> None:
        owner = arrival.owner
        for domain in libvirt.domains():
            if domain.name == owner.domain or domain.uuid == owner.domain_uuid:
                raise MoveFailed(f"The target has a domain {domain.name} (UUID {domain.uuid}) already; undefine or rename it.")
        if not libvirt.offers(arrival.arch, arrival.machine_type, arrival.domain_type):
            raise MoveFailed(
                f"The target's QEMU does not offer the machine type {arrival.machine_type or 'of the machine'} for {arrival.arch}"
                f" ({arrival.domain_type}); choose another host, or install the QEMU that the source has."
            )
        if arrival.live and arrival.domain_type == "kvm" and arrival.cpu and not libvirt.can_run_cpu(arrival.cpu):
            raise MoveFailed(
                "The target's processor lacks features that the source's has; choose another host, or migrate it while it is off"
                " (live=false)."
            )

    # -- what came

    def receive(self, arrival: Arrival) -> dict[str, t.Any]:
        """Take what has come, and prove that it is the machine: its disks open, and its domain is there.

        A machine that was off is defined; one that ran is there without having done anything yet, or runs already where it
        came live.
        """
        owner = arrival.owner
        journal = self._host.journal(owner)
        with self._host.alone(owner), self._host.connect(self._host.uri) as libvirt:
            entry = journal.read(owner.machine)
            if entry is None or entry.side != TARGET:
                raise MoveFailed(f"{owner.machine} is not expected here; run again.")
            check_run(entry, arrival.run, owner.machine)
            if entry.phase == ARRIVING:
                if arrival.live:
                    self._check_running(owner, libvirt)
                else:
                    self._put_together(arrival, libvirt)
                journal.write(entry._replace(phase=ARRIVED))
        return {"state": "arrived"}

    def _check_running(self, owner: Owner, libvirt: LibvirtHost) -> None:
        domain = libvirt.domain(owner.domain_uuid)
        state = domain.power() if domain else "absent"
        if state != RUNNING:
            raise MoveFailed(f"{owner.machine} does not run on the target; it is {state}.")

    def _put_together(self, arrival: Arrival, libvirt: LibvirtHost) -> None:
        owner = arrival.owner
        self._incoming(arrival).take()
        path = os.path.join(self._home(arrival), DEFINITION)
        xml = file_io.read_file(path, _LARGEST).decode()
        about = describe(xml)
        if about.owner != owner or about.uuid != owner.domain_uuid:
            raise MoveFailed(f"The definition that has come is not that of {owner.machine}.")
        # As long as the source can keep it.
        refused = NetworkDns(libvirt).problems(owner, about.spec)
        if refused:
            raise MoveFailed(f"{owner.machine}: {' '.join(refused)}")
        domain = libvirt.domain(owner.domain_uuid) or libvirt.define(xml, owner.domain)
        checked_chains(about, owner, self._host.pools.values())
        if arrival.running and domain.power() == OFF:
            domain.start_paused()

    # -- after

    def finish(self, owner: Owner, run: str, numbers: Numbers) -> dict[str, t.Any]:
        """The machine is this host's: it goes on, and the host keeps what it has to know of it."""
        journal = self._host.journal(owner)
        with self._host.alone(owner), self._host.connect(self._host.uri) as libvirt:
            entry = journal.read(owner.machine)
            domain = libvirt.domain(owner.domain_uuid)
            if domain is None:
                raise MoveFailed(f"{owner.machine} was handed over and has no domain here; see its directory in the pools of this host.")
            if entry is not None:
                if entry.side != TARGET or entry.home not in self._host.pools:
                    raise MoveFailed(f"{owner.machine} is not expected here, or its pool {entry.home} is none of this host any more.")
                check_run(entry, run, owner.machine)
                home = owner.directory(self._host.pools[entry.home])
                self._go_on(domain, entry, owner)
                NetworkDns(libvirt).ensure(owner, describe(domain.xml()).spec)
                part = self._part(home)
                self._host.assign(owner.tenant, owner.service, numbers, lambda old: with_part(old, part, owner))
                for name in (DEFINITION, RECORD):
                    file_io.remove_file(os.path.join(home, name))
                if not is_of_run(self._host.state_dir, entry.run, but=owner):
                    self.close_door(entry.run)  # another run may finish what that one began
                journal.remove(owner.machine)
            return {"state": domain.power()}

    @staticmethod
    def _part(home: str) -> dict[str, t.Any]:
        """What the source's record says of machines like this one; empty where it had none."""
        try:
            return file_io.read_value(os.path.join(home, RECORD), _LARGEST).mapping()
        except FileNotFoundError:
            return {}

    def _go_on(self, domain: Domain, entry: Entry, owner: Owner) -> None:
        if domain.autostart() != entry.autostart:
            domain.set_autostart(entry.autostart)
        state = domain.power()
        if not entry.running:
            return
        if state == PAUSED:
            domain.resume()
        elif state == OFF and not entry.live:
            checked_chains(describe(domain.xml()), owner, self._host.pools.values())
            domain.start()  # the host was restarted since; a guest that came live may have powered off

    def undo(self, owner: Owner, run: str) -> dict[str, t.Any]:
        """Nothing of the machine is left here. The source has not handed it over, so nothing of it happened here."""
        journal = self._host.journal(owner)
        entry = journal.read(owner.machine)
        if entry is None:
            return {"state": "absent"}
        check_run(entry, run, owner.machine)
        if entry.side != TARGET:
            raise MoveFailed(f"{owner.machine} leaves this host, it does not come here; nothing was removed.")
        self.close_door(entry.run)
        with self._host.alone(owner), self._host.connect(self._host.uri) as libvirt:
            domain = libvirt.domain(owner.domain_uuid)
            if domain is not None and domain.power() == RUNNING:
                raise MoveFailed(
                    f"{owner.machine} runs on the target; nothing was removed. See whether it does on {entry.peer}, and run again."
                )
        for name in (DEFINITION, RECORD) if entry.home in self._host.pools else ():
            file_io.remove_file(os.path.join(owner.directory(self._host.pools[entry.home]), name))
        self._host.remove(owner, keep_record=True, shared=entry.shared)
        journal.remove(owner.machine)
        return {"state": "absent"}

    # -- places

    def _entry(self, arrival: Arrival, phase: str) -> Entry:
        return Entry(
            TARGET,
            phase,
            arrival.run,
            arrival.owner.machine,
            arrival.source,
            arrival.live,
            arrival.running,
            arrival.autostart,
            arrival.home,
            shared=list(arrival.shared),
        )

    def _incoming(self, arrival: Arrival) -> Incoming:
        return Incoming(self._host, arrival.owner, arrival.home, arrival.disks)

    def _home(self, arrival: Arrival) -> str:
        return arrival.owner.directory(self._host.pools[arrival.home])
