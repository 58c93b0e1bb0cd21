# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The machines of one service on one host: what there is, and one state for all that are asked for."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass, field

from .._disk import layout
from .._disk.errors import UnsafePath
from .._errors import FleetError, InvalidOption
from .._untrusted import Malformed
from .backing import Layer, Places, backing_chain
from .domain import Description, MachineWish, Platform, build, describe, drift, unread, with_chains
from .files import check_log, is_machine_directory, open_machine_directory, remove_leftovers, remove_tpm_state
from .hardware import cards, table
from .hardware.offers import offers_of
from .libvirt_host import Domain, DomainGone, LibvirtError, LibvirtHost
from .moves import unended
from .network_dns import NetworkDns
from .owner import Owner, may_be_of
from .reports import console_tail, read_report
from .seed_records import SeedRecord, read_record
from .starting import check_given, given_problems

POLL_S = 0.2
_LOOK_AT_DOMAIN_S = 1.0
_ASK_AGAIN_S = 5.0  # a guest that is still booting does not hear its power button


class MachinesFailed(FleetError):
    """Some machines are not what was asked for; the others are. ``machines`` holds the results of all."""

    kind = "machines_failed"


@dataclass
class Machine:
    """A machine on its way to the state that is wanted."""

    owner: Owner
    wish: MachineWish | None = None
    domain: Domain | None = None
    found: Description | None = None
    running: bool = False
    report: dict[str, t.Any] | None = None
    report_expected: bool = False
    report_error: FleetError | None = None  # why what the guest said cannot be read
    drift: list[dict[str, t.Any]] = field(default_factory=list)
    dns: dict[str, bool] = field(default_factory=dict)  # addresses that networks' DNS is to know, and whether it does
    actions: list[str] = field(default_factory=list)
    reason: str | None = None  # why it failed, for programs
    problem: str | None = None  # and for people

    def fail(self, reason: str, problem: str) -> None:
        """The first failure counts: others follow from it."""
        if self.problem is None:
            self.reason, self.problem = reason, problem

    @property
    def directory(self) -> str | None:
        if self.wish:
            return self.wish.directory
        path = self.found and (self.found.report or self.found.seed or self.found.console)
        return os.path.dirname(path) if path else None

    @property
    def memory_saved(self) -> bool:
        """It has what its guest has not written to its disks yet, and needs its disks as they are."""
        return self.domain is not None and not self.running and self.domain.has_saved_state()

    @property
    def console(self) -> str | None:
        return self.found.console if self.found else None

    @property
    def spec(self) -> t.Mapping[str, t.Any]:
        """What it is meant to be: as it was defined, or as it is to be."""
        return self.found.spec if self.found else (self.wish.spec if self.wish else {})

    def result(self) -> dict[str, t.Any]:
        found = self.found
        tail = self.last_lines() if self.report is None else []
        return {
            "machine": self.owner.machine,
            "domain": found.domain if found else self.owner.domain,
            "uuid": found.uuid if found else None,
            "running": self.running,
            "number": found.number if found else self.wish and self.wish.number,
            "group": found.group if found else self.wish and self.wish.group,
            "spec": self.spec,
            "memory_mib": found.memory_mib if found else self.wish and self.wish.memory_mib,
            "cpus": found.cpus if found else self.wish and self.wish.cpus,
            "accelerator": found.hardware["domain_type"] if found else None,
            "macs": list(found.macs) if found else [],
            "report": self.report,
            "report_expected": self.report_expected,
            "console_tail": tail,
            "drift": self.drift,
            "dns_missing": [address for address, there in self.dns.items() if not there],
            "actions": self.actions,
            "problem": self.problem or (self.report_error.message if self.report_error else None),
        }

    def last_lines(self, lines: int = 20) -> list[str]:
        """The end of the console; where it cannot be read, why."""
        try:
            return console_tail(self.console, lines) if self.console else []
        except FleetError as error:
            return [f"(not read: {error.message})"]

    def with_console(self, what: str) -> str:
        """A sentence on the machine, with the last that its console says."""
        tail = self.last_lines(10)
        accelerator = self.found.hardware["domain_type"] if self.found else "unknown"
        end = f"its console ends with: {' | '.join(tail)}" if tail else "its console is empty"
        return f"{self.owner.machine} (accelerator {accelerator}) {what}; {end}"

    def shown(self) -> dict[str, t.Any]:
        """For a diff: no spec, which may be long."""
        if self.found is None:
            return {"state": "absent"}
        dns = {"dns": [address for address, there in self.dns.items() if there]} if self.dns else {}
        return {"state": "running" if self.running else "stopped", **self.found.hardware, **dns}


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
        self._found = self._survey()

    def uuids(self) -> list[str]:
        """Of all domains of the host, whose they may be, as they were last seen."""
        return [about.uuid for _domain, about in self._found]

    def every_domain(self, tenant: str, service: str | None = None, anew: bool = True) -> list[dict[str, t.Any]]:
        """All domains of the host: the tenant's own as they are, all others as what they take, without names.

        :param service: another's domain keeps its name and UUID where the name may be one of this service's machines.
        :param anew: look again, since something may have been changed.
        """
        told = []
        for running, about in sorted(self._running(anew), key=lambda pair: pair[1].domain):
            owner = about.owner
            mine = owner is not None and owner.tenant == tenant
            named = mine or (service is not None and about.domain.startswith(f"{service}-"))
            told.append(
                {
                    "domain": about.domain if named else None,
                    "uuid": about.uuid if named or _may_be_copy(about) else None,
                    "service": owner.service if owner and mine else None,
                    "tenant": owner.tenant if owner and mine else None,
                    "machine": owner.machine if owner and mine else None,
                    "macs": list(about.macs),  # no two machines of a fleet may have the same
                    "addresses": _fixed_addresses(about),
                    "memory_mib": about.memory_mib,
                    "cpus": about.cpus,
                    "disk_bytes": _disk_bytes(about) if mine else None,
                    "hugepages": about.hugepages,
                    "running": running,
                    "problem": about.problem if named or not about.problem else "it cannot be read",
                }
            )
        return told

    def dns(self, service: str | None) -> dict[str, dict[str, t.Any]]:
        """What networks' DNS is good for, and which of its entries are of no machine of the host: see NetworkDns.told.

        :param service: names are told that its machines may have.
        """
        told = self._dns.told([(about.owner, about.spec) for _domain, about in self._found if about.owner])
        for network in told.values():
            for entry in network["entries"]:
                entry["names"] = [name for name in entry["names"] if service and may_be_of(service, name)]
        return told

    def others(self, tenant: str | None) -> dict[str, int]:
        """What domains take that are not among the tenant's machines, without names, and how many cannot be read."""
        told = {"domains": 0, "running": 0, "memory_mib": 0, "unread": 0}
        for running, about in self._running(anew=False):
            if about.owner is None or tenant not in (None, about.owner.tenant):
                told["domains"] += 1
                told["running"] += running
                told["memory_mib"] += about.memory_mib if running else 0
                told["unread"] += about.problem is not None
        return told

    def _running(self, anew: bool) -> t.Iterator[tuple[bool, Description]]:
        """As they were listed: to ask of each of hundreds again would take longer, and give a picture of no one moment."""
        for domain, about in self._survey() if anew else self._found:
            yield domain.was_running(), about

    def disks_elsewhere(self, directories: t.Collection[str]) -> list[tuple[str, str]]:
        """Domain and path of each disk that a domain of the host has, whoever made it, outside these directories."""
        return [
            (about.domain, path)
            for _domain, about in self._found
            for path, _format in about.files
            if not any(path.startswith(directory + os.sep) for directory in directories)
        ]

    def query(self, tenant: str | None, service: str | None) -> list[Machine]:
        """The tenant's machines, of one service or of all; those of all tenants for None. They run if they did when they were listed."""
        machines = []
        for domain, about in self._found:
            owner = about.owner
            if owner and tenant in (None, owner.tenant) and service in (None, owner.service):
                machines.append(self._existing(owner, None, domain, about, domain.was_running))
        return sorted(machines, key=lambda one: (one.owner.service, one.found.number if one.found else 0))

    def ensure(self, wishes: t.Sequence[MachineWish], start: bool) -> list[Machine]:
        """Define what is missing and, if asked, start what is off. Nothing is changed unless all of it can be tried."""
        machines = [self._machine(wish.owner, wish) for wish in wishes]
        platform = Platform(self._chosen_domain_type(), self._host.arch(), self._security())
        new = [machine for machine in machines if machine.found is None]
        needing_network = [m for m in machines if m.found is None or (start and not m.running)]
        problems = [machine.problem for machine in machines if machine.problem]
        problems += [*self._memory_problems(new), *self._network_problems(needing_network)]
        problems += self._hardware_problems(new, platform.domain_type)
        problems += [told for machine in machines for told in self._dns.problems(machine.owner, machine.spec)]
        # Those that exist have their disks, and whoever only wants them to run need not repeat them.
        problems += [
            f"disks: {machine.owner.machine} is to be defined and has none; at least one is needed."
            for machine in new
            if machine.wish and not machine.wish.disks
        ]
        if not self._check:
            problems += self._missing_files(needing_network)
            problems += self._given_problems(new)
        macs, mac_problems = self._macs(new)
        problems += mac_problems
        if problems:
            raise MachinesFailed(
                " ".join(problems),
                problems=problems,
                failed=[{"machine": m.owner.machine, "reason": m.reason, "msg": m.problem} for m in machines if m.problem],
                machines=[machine.result() for machine in machines],
                changed=False,
            )
        for machine in machines:
            try:
                self._ensure_one(machine, platform, macs.get(machine.owner, []), start)
            except FleetError as error:
                machine.fail("start_failed" if machine.found else "define_failed", error.message)
        return machines

    def await_reports(self, machines: t.Sequence[Machine], timeout_s: float) -> None:
        """Wait until the guest of each machine has said that it is up; those whose seed asks for no report are not waited for."""
        begin = self._clock()
        looked = begin
        pending = []
        for machine in machines:
            self._read_report(machine)
            if machine.problem is None and machine.running and self._may_still_report(machine):
                pending.append(machine)
        while pending and not self._check:
            now = self._clock()
            look_at_domains = now - looked >= _LOOK_AT_DOMAIN_S
            if look_at_domains:
                looked = now
            for machine in list(pending):
                # Asked before the report is read: a guest may report and power off.
                machine.running = not look_at_domains or self._still_runs(machine)
                self._read_report(machine)
                if not self._may_still_report(machine):
                    pending.remove(machine)
                elif not machine.running:
                    machine.fail("stopped", machine.with_console(f"stopped after {now - begin:.0f} s without a report"))
                    pending.remove(machine)
            if now - begin >= timeout_s:
                for machine in pending:
                    machine.fail("silent", machine.with_console(f"has not reported within {timeout_s:.0f} s"))
                break
            if pending:
                self._sleep(POLL_S)
        for machine in machines:
            self._judge(machine)

    def stop(self, owners: t.Sequence[Owner], timeout_s: float, force: bool, drop_saved: bool = False) -> list[Machine]:
        """Let the guests power off; those that do not in time are stopped if ``force``, else they have failed.

        :param drop_saved: whether a guest whose memory was saved counts as off; else it has failed, as it would be cut off in its work, and
            no other one is stopped.
        """
        machines = [self._machine(owner, None) for owner in owners]
        for machine in machines:
            if machine.memory_saved and not machine.problem and not drop_saved:
                machine.fail(
                    "saved",
                    f"{machine.owner.machine} is not off: its memory was saved (virsh managedsave), and would be lost. Start it, so that"
                    " it can power off, or drop what was saved (virsh managedsave-remove).",
                )
        if any(machine.reason == "saved" for machine in machines):
            return machines  # nobody is stopped for what cannot go on
        pending = [machine for machine in machines if machine.running and machine.problem is None]
        for machine in pending:
            machine.actions.append("stopped")
            if self._check:
                machine.running = False
            else:
                self._ask_to_stop(machine)
        asked = begin = self._clock()
        while not self._check:
            pending = [m for m in pending if self._still_runs(m)]
            now = self._clock()
            if not pending or now - begin >= timeout_s:
                break
            if now - asked >= _ASK_AGAIN_S:
                asked = now
                for machine in pending:
                    self._ask_to_stop(machine)
            self._sleep(POLL_S)
        for machine in machines:
            if machine.problem:
                continue
            if self._check or machine not in pending:
                machine.running = False
            elif force and machine.domain:
                try:
                    machine.domain.destroy()
                except FleetError as error:
                    machine.fail("still_running", error.message)
                    continue
                machine.running = False
                machine.actions.append("forced")
            else:
                machine.fail(
                    "still_running",
                    f"{machine.owner.machine} has not powered off within {timeout_s:.0f} s; force=true would cut its power.",
                )
                machine.actions.remove("stopped")
        return machines

    def _ask_to_stop(self, machine: Machine) -> None:
        try:
            if machine.domain:
                machine.domain.shutdown()
        except LibvirtError:  # it may have ended by itself; whether it has is what counts
            pass

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
                self._remove_one(machine, path, keep_firmware, machine.owner in keep_files)
            except FleetError as error:
                machine.fail("remove_failed", error.message)
        return machines

    def _remove_one(self, machine: Machine, path: str, keep_firmware: bool, keep_files: bool = False) -> None:
        if machine.domain:
            machine.actions.append("removed")
            # Before the domain, which says what is the machine's own.
            self._dns.remove(machine.owner, machine.spec)
            if not self._check:
                machine.domain.destroy()
                if keep_files:
                    machine.domain.undefine(True, drop_tpm=True)  # that is on this host alone
                else:
                    machine.domain.undefine(keep_firmware)
        # Storage that hosts share has machines of others too, whose domains are not here.
        theirs = not machine.domain and layout.owner_of(os.path.dirname(path)) not in (None, machine.owner.tenant)
        left = not (keep_files or theirs) and remove_leftovers(path, self._check, keep_firmware)
        if not keep_firmware:
            left = remove_tpm_state(machine.owner.domain_uuid, self._check) or left
        if left and not machine.domain:
            machine.actions.append("cleaned")
        if not self._check:
            machine.running, machine.found, machine.domain = False, None, None

    def _survey(self) -> list[tuple[Domain, Description]]:
        """One domain that cannot be read hides no other."""
        found = []
        for domain in self._host.domains():
            try:
                about = describe(domain.xml())
            except DomainGone:
                continue
            except (LibvirtError, Malformed) as error:
                about = unread(domain.name, domain.uuid, error.message)
            found.append((domain, about))
        return found

    def _existing(
        self, owner: Owner, wish: MachineWish | None, domain: Domain, about: Description, running: t.Callable[[], bool]
    ) -> Machine:
        machine = Machine(owner, wish, domain, about)
        try:
            machine.running = running()
            machine.dns = self._dns.there(owner, about.spec)
        except FleetError as error:
            machine.fail("unknown", error.message)
        self._read_report(machine)
        return machine

    def _machine(self, owner: Owner, wish: MachineWish | None) -> Machine:
        """What there is of this machine. It has failed where its domain's name or UUID is another's, and where it moves."""
        machine = self._of(owner, wish)
        moving = unended(self._state_dir, owner) if self._state_dir is not None else None
        if moving is not None:
            machine.fail("moving", moving)
        return machine

    def _of(self, owner: Owner, wish: MachineWish | None) -> Machine:
        for domain, about in self._found:
            if about.owner == owner:
                return self._existing(owner, wish, domain, about, domain.running)
        machine = Machine(owner, wish)
        for _domain, about in self._found:
            if about.domain == owner.domain or about.uuid == owner.domain_uuid:
                machine.fail(*_foreign(about, owner))
                break
        return machine

    def _chosen_domain_type(self) -> str:
        if self._domain_type == "auto":
            return "kvm" if self._host.accelerated() else "qemu"
        if self._domain_type == "kvm" and not self._host.accelerated():
            raise InvalidOption("domain_type", "kvm", "this host offers no kvm (is /dev/kvm there?); use auto or qemu")
        return self._domain_type

    def _security(self) -> tuple[str, ...]:
        """Models that would relabel base disks; a model that the host does not have is an error to libvirt."""
        return ("dac", *(model for model in ("selinux",) if model in self._host.security_models()))

    def _memory_problems(self, new: t.Sequence[Machine]) -> list[str]:
        if not new:
            return []
        available = self._host.memory_mib()
        return [
            f"Machine {m.owner.machine} wants {m.wish.memory_mib} MiB of memory, the host has {available} MiB."
            for m in new
            if m.wish and m.wish.memory_mib > available
        ]

    def _hardware_problems(self, new: t.Sequence[Machine], domain_type: str) -> list[str]:
        wishes = [machine.wish for machine in new if machine.wish and machine.wish.hardware]
        if not wishes:
            return []
        offers = offers_of(self._host, domain_type)
        wanted: dict[str, list[str]] = {}
        for wish in wishes:
            for name, problem in table.lacks(wish.hardware, offers, {"cpus": wish.cpus, "memory_mib": wish.memory_mib}):
                wanted.setdefault(f"{name}: the host {problem}", []).append(wish.owner.machine)
        return [f"{problem} (wanted by {', '.join(names)})." for problem, names in wanted.items()]

    def _network_problems(self, machines: t.Sequence[Machine]) -> list[str]:
        wanted: dict[tuple[str, str], list[str]] = {}
        for machine in machines:
            for card in machine.wish.cards if machine.wish else ():
                wanted.setdefault((card.source, card.kind), []).append(machine.owner.machine)
        if not wanted:
            return []
        networks = self._host.networks()
        active = ", ".join(sorted(name for name, is_active in networks.items() if is_active)) or "none"
        problems = []
        for (name, kind), users in wanted.items():
            who = f"wanted by {', '.join(dict.fromkeys(users))}"
            if kind != "network":
                if not self._host.has_interface(name):
                    problems.append(f"The {cards.word_of(kind)} {name}, {who}, does not exist on the host.")
            elif not networks.get(name, False):
                state = "is not active" if name in networks else "does not exist"
                problems.append(
                    f"The network {name}, {who}, {state}; active networks: {active}. "
                    "community.libvirt.virt_net defines and starts networks."
                )
        return problems

    def _missing_files(self, machines: t.Sequence[Machine]) -> list[str]:
        problems = []
        for machine in machines:
            wish = machine.wish
            for path in [*(disk.path for disk in wish.disks), *([wish.seed] if wish.seed else [])] if wish else []:
                if not os.path.exists(path):
                    problems.append(f"The file {path} of machine {machine.owner.machine} does not exist.")
        return problems

    def _given_problems(self, new: t.Sequence[Machine]) -> list[str]:
        wishes = [machine.wish for machine in new if machine.wish]
        return [told for wish in wishes for told in given_problems(wish.hardware, wish.owner.domain, self._pools)]

    def _macs(self, new: t.Sequence[Machine]) -> tuple[dict[Owner, list[str]], list[str]]:
        """One address per card that no other card on this host has."""
        users = {mac: about for _domain, about in self._found for mac in about.macs}
        mine: dict[str, Owner] = {}
        chosen: dict[Owner, list[str]] = {}
        problems: list[str] = []
        # Addresses that users chose come first: derived ones can make room.
        for derive in (False, True):
            for machine in new:
                cards = machine.wish.cards if machine.wish else ()
                macs = chosen.setdefault(machine.owner, [""] * len(cards))
                for index, card in enumerate(cards):
                    if derive == bool(card.mac):
                        continue
                    mac = (card.mac or machine.owner.mac(index)).lower()
                    attempt = 0
                    while derive and (mac in users or mac in mine):
                        attempt += 1
                        mac = machine.owner.mac(index, attempt)
                    if mac in users or mac in mine:
                        other = mine[mac].domain if mac in mine else _shown(users[mac], machine.owner.tenant)
                        problems.append(f"The MAC address {mac} of machine {machine.owner.machine} is already used by {other}.")
                    mine[mac] = machine.owner
                    macs[index] = mac
        return chosen, problems

    def _ensure_one(self, machine: Machine, platform: Platform, macs: t.Sequence[str], start: bool) -> None:
        wish = machine.wish
        if wish is None:
            return
        if machine.found is None:
            xml = build(wish, platform, macs, self._chains(wish.owner, [(d.path, d.image_format) for d in wish.disks]))
            if not self._check:
                open_machine_directory(wish.directory, make=True).close()
                machine.domain = self._host.define(xml, wish.owner.domain, "xml" in wish.hardware)
                xml = machine.domain.xml()
            machine.actions.append("defined")
            machine.found = describe(xml)
            if machine.domain and wish.autostart:
                machine.domain.set_autostart(True)
        else:
            wanted = describe(build(wish, platform, [card.mac or "" for card in wish.cards], {}))
            machine.drift = drift(wanted, machine.found, wish)
            if machine.domain and machine.domain.autostart() != wish.autostart:
                machine.drift.append({"path": "autostart", "from": not wish.autostart, "to": wish.autostart})
        # Before it starts: those who look for it by its name then find it as soon as it answers.
        if self._dns.ensure(machine.owner, machine.spec):
            machine.actions.append("named")
        machine.dns = dict.fromkeys(self._dns.there(machine.owner, machine.spec), True)
        if start and not machine.running:
            self._start(machine, platform)
        self._read_report(machine)

    def _start(self, machine: Machine, platform: Platform) -> None:
        """The disks that the domain has, whatever the wish says of them, are what QEMU will open."""
        if machine.found:
            chains = self._chains(machine.owner, machine.found.files)
            if not self._check and machine.domain:
                for path in (machine.found.console, machine.found.report, machine.found.nvram, machine.found.seed):
                    check_log(path)
                check_given(machine.found, self._pools)
                # Disks may have been flattened or moved onto another base since the domain was defined.
                xml = with_chains(machine.domain.xml(), chains, platform.security)
                if xml is not None:
                    machine.domain = self._host.define(xml, machine.domain.name)
                machine.domain.start()
        machine.actions.append("started")
        machine.running = True

    def _chains(self, owner: Owner, files: t.Iterable[tuple[str, str | None]]) -> dict[str, list[Layer]]:
        """What lies under each disk, checked. In check mode an earlier step would make those that are missing."""
        places = Places(self._pools, owner.service)
        return {path: backing_chain(path, kind, places) for path, kind in files if not self._check or os.path.lexists(path)}

    def _still_runs(self, machine: Machine) -> bool:
        try:
            return machine.domain is not None and machine.domain.running()
        except DomainGone:
            return False

    def _seed_record(self, machine: Machine) -> SeedRecord | None:
        seed = machine.found.seed if machine.found else None
        return read_record(os.path.dirname(seed)) if seed and is_machine_directory(os.path.dirname(seed)) else None

    def _read_report(self, machine: Machine) -> None:
        """What the guest has said so far, and whether it was asked to say anything."""
        found = machine.found
        if found is None or found.report is None:
            return
        try:
            record = self._seed_record(machine)
            machine.report_expected = record is not None and record.token is not None
            machine.report = read_report(found.report, record.token) if record and record.token else None
            machine.report_error = None
        except FleetError as error:
            machine.report_error = error

    @staticmethod
    def _may_still_report(machine: Machine) -> bool:
        """A guest that printed half a report may print a whole one yet; a pipe in the file's place stays what it is."""
        if isinstance(machine.report_error, UnsafePath):
            return False
        return machine.report is None and machine.report_expected

    def _judge(self, machine: Machine) -> None:
        """A report can also say that something is wrong, or make no sense."""
        report = machine.report
        if machine.report_error is not None and machine.reason in (None, "silent", "stopped"):
            machine.problem = None  # silence, explained
            machine.fail("unreadable", f"{machine.owner.machine}: what its guest reported cannot be read: {machine.report_error.message}")
        if report is None or machine.problem:
            return
        record = self._seed_record(machine)
        expected = record.hostname if record else machine.owner.machine
        errors = f": {'; '.join(report['errors'])}" if report["errors"] else ""
        allowed = machine.wish is not None and machine.wish.allow_degraded
        if report["status"] == "degraded" and not allowed:
            machine.fail(
                "cloud_init_degraded",
                f"{machine.owner.machine} has come up, but cloud-init is degraded{errors or ' (see cloud-init status --long)'};"
                " mend its user data, or allow it (allow_degraded)",
            )
        elif report["status"] not in ("done", "degraded"):
            machine.fail("cloud_init_failed", f"{machine.owner.machine} reports that cloud-init failed{errors}")
        elif report["hostname"].split(".")[0] != expected.split(".")[0]:
            machine.fail(
                "wrong_hostname",
                f"{machine.owner.machine} reports the host name {report['hostname']!r}, its seed says {expected!r}",
            )


def _disk_bytes(about: Description) -> int:
    """What the disks of a machine may grow to, as far as its description says so."""
    disks = about.spec.get("disks")
    sizes = [disk.get("size_bytes") for disk in disks.values() if isinstance(disk, dict)] if isinstance(disks, dict) else []
    return sum(size for size in sizes if isinstance(size, int) and size > 0)


def _shown(about: Description, tenant: str) -> str:
    """A domain's name, for those who may know it."""
    return about.domain if about.owner is not None and about.owner.tenant == tenant else "another machine of this host"


def _fixed_addresses(about: Description) -> list[dict[str, str]]:
    """What its guest was told to use, of whichever tenant: no two machines may have the same address."""
    networks = about.spec.get("networks")
    told = []
    for card in networks if isinstance(networks, list) else ():
        kind = cards.kind_of(card) if isinstance(card, dict) else None
        for address in (card.get("address"), card.get("address6")) if kind else ():
            if isinstance(address, str) and kind:
                told.append({"network": cards.network_name(kind.name, card), "address": address})
    return told


def _may_be_copy(about: Description) -> bool:
    """Whether the UUID of a domain without owner is derived from names: a copy of a machine whose metadata was lost has such."""
    return about.owner is None and about.uuid[14:15] == "5"


def _foreign(about: Description, owner: Owner) -> tuple[str, str]:
    """Why a domain that has the machine's name or UUID is left alone."""
    what = f"The domain {about.domain} (UUID {about.uuid})"
    if about.problem:
        return "unknown", f"{what} cannot be read, so it may be {owner.machine} or not: {about.problem}"
    whose = "was not made by this collection"
    if about.owner:
        o = about.owner
        whose = f"belongs to machine {o.machine} of service {o.service}" if o.tenant == owner.tenant else "belongs to another tenant"
    return (
        "foreign_domain",
        f"{what} {whose} and is left alone. Choose another service or machine name than {owner.service} and "
        f"{owner.machine}, or rename that domain.",
    )
