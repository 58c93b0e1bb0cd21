# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The machines of one service on one host: what there is, and one state for all that are asked for."""

from __future__ import annotations

import time
import typing as t

from .._errors import FleetError
from . import mac_addresses, prerequisites, readiness, removing, stopping
from .defining import Definer, platform_of
from .domain import Description, MachineWish
from .domain_list import DomainList
from .libvirt_host import Domain, LibvirtHost
from .machine import Machine, MachinesFailed
from .moves import unended
from .network_dns import NetworkDns
from .owner import Owner, may_be_of


class Machines:
    """
    :param host: the host's libvirt.
    :param domain_type: auto, kvm or qemu.
    :param check: predict only.
    :param pools: paths of the host's pools.
    :param state_dir: where the host keeps which machines are on their way to another; None for who moves them.
    """

    def __init__(
        self,
        host: LibvirtHost,
        domain_type: str = "auto",
        check: bool = False,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
        pools: t.Collection[str] = (),
        state_dir: str | None = None,
    ) -> None:
        self._host = host
        self._domain_type = domain_type
        self._check = check
        self._clock = clock
        self._sleep = sleep
        self._pools = pools
        self._state_dir = state_dir
        self._dns = NetworkDns(host, check)
        self.domains = DomainList(host)

    def dns(self, service: str | None) -> dict[str, dict[str, t.Any]]:
        """What networks' DNS is good for, and which of its entries are of no machine of the host: see NetworkDns.told.

        :param service: names are told that its machines may have.
        """
        told = self._dns.told([(about.owner, about.spec) for _domain, about in self.domains if about.owner])
        for network in told.values():
            for entry in network["entries"]:
                entry["names"] = [name for name in entry["names"] if service and may_be_of(service, name)]
        return told

    def query(self, tenant: str | None, service: str | None) -> list[Machine]:
        """The tenant's machines, of one service or of all; those of all tenants for None. They run if they did when they were listed."""
        machines = []
        for domain, about in self.domains:
            owner = about.owner
            if owner and tenant in (None, owner.tenant) and service in (None, owner.service):
                machines.append(self._existing(owner, None, domain, about, domain.was_running))
        return sorted(machines, key=lambda one: (one.owner.service, one.found.number if one.found else 0))

    def ensure(self, wishes: t.Sequence[MachineWish], start: bool) -> list[Machine]:
        """Define what is missing and, if asked, start what is off. Nothing is changed unless all of it can be tried."""
        machines = [self._machine(wish.owner, wish) for wish in wishes]
        platform = platform_of(self._host, self._domain_type)
        problems = prerequisites.problems(self._host, self._dns, machines, start, platform.domain_type, self._pools, self._check)
        macs, mac_problems = mac_addresses.choose([machine for machine in machines if machine.found is None], self.domains)
        problems += mac_problems
        if problems:
            raise MachinesFailed(
                " ".join(problems),
                problems=problems,
                failed=[{"machine": m.owner.machine, "reason": m.reason, "msg": m.problem} for m in machines if m.problem],
                machines=[machine.result() for machine in machines],
                changed=False,
            )
        definer = Definer(self._host, self._dns, platform, self._pools, self._check)
        for machine in machines:
            try:
                definer.define(machine, macs.get(machine.owner, []), start)
            except FleetError as error:
                machine.fail("start_failed" if machine.found else "define_failed", error.message)
        return machines

    def await_reports(self, machines: t.Sequence[Machine], timeout_s: float) -> None:
        """Wait until the guest of each machine has said that it is up; those whose seed asks for no report are not waited for."""
        readiness.await_reports(machines, timeout_s, self._check, self._clock, self._sleep)

    def stop(self, owners: t.Sequence[Owner], timeout_s: float, force: bool, drop_saved: bool = False) -> list[Machine]:
        """Let the guests power off; those that do not in time are stopped if ``force``, else they have failed.

        :param drop_saved: whether a guest whose memory was saved counts as off; else it has failed, and no other one is stopped.
        """
        machines = [self._machine(owner, None) for owner in owners]
        if drop_saved or not stopping.refuse_saved(machines):  # nobody is stopped for what cannot go on
            stopping.stop(machines, timeout_s, force, self._check, self._clock, self._sleep)
        return machines

    def directory_of(self, owner: Owner) -> str | None:
        """The directory of its logs, as its definition says."""
        return self._machine(owner, None).directory

    def remove(
        self,
        owners: t.Sequence[Owner],
        directories: t.Mapping[Owner, str],
        keep_firmware: bool = False,
        keep_files: t.Container[Owner] = (),
    ) -> list[Machine]:
        """Stop at once and forget the machines, with their seeds and logs; disks stay.

        :param keep_firmware: whether firmware variables and the state of a TPM stay as well, for machines that are made again.
        :param keep_files: machines all of whose files stay: another host has them.
        """
        machines = [self._machine(owner, None) for owner in owners]
        for machine in machines:
            if machine.problem:
                continue
            try:
                path = machine.directory or directories[machine.owner]
                removing.remove(machine, path, self._dns, self._check, keep_firmware, machine.owner in keep_files)
            except FleetError as error:
                machine.fail("remove_failed", error.message)
        return machines

    def _machine(self, owner: Owner, wish: MachineWish | None) -> Machine:
        """What there is of this machine. It has failed where its domain's name or UUID is another's, and where it moves."""
        machine = self._of(owner, wish)
        moving = unended(self._state_dir, owner) if self._state_dir is not None else None
        if moving is not None:
            machine.fail("moving", moving)
        return machine

    def _of(self, owner: Owner, wish: MachineWish | None) -> Machine:
        found = self.domains.of(owner)
        if found is not None:
            domain, about = found
            return self._existing(owner, wish, domain, about, domain.running)
        machine = Machine(owner, wish)
        stranger = self.domains.in_the_way(owner)
        if stranger is not None:
            machine.fail(*stranger)
        return machine

    def _existing(
        self, owner: Owner, wish: MachineWish | None, domain: Domain, about: Description, running: t.Callable[[], bool]
    ) -> Machine:
        machine = Machine(owner, wish, domain, about)
        try:
            machine.running = running()
            machine.dns = self._dns.there(owner, about.spec)
        except FleetError as error:
            machine.fail("unknown", error.message)
        readiness.note_report(machine)
        return machine
