# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Machines become domains of libvirt, and start."""

from __future__ import annotations

import os
import typing as t

from .._errors import InvalidOption
from .backing import Layer, Places, backing_chain
from .domain import Platform, build, describe, drift, with_chains
from .files import check_log, open_machine_directory
from .libvirt_host import LibvirtHost
from .machine import Machine
from .network_dns import NetworkDns
from .owner import Owner
from .readiness import note_report
from .starting import check_given


class Definer:
    """
    :param platform: what the host runs machines on.
    :param pools: paths of the host's pools.
    :param check: predict only.
    """

    def __init__(self, host: LibvirtHost, dns: NetworkDns, platform: Platform, pools: t.Collection[str], check: bool) -> None:
        self._host = host
        self._dns = dns
        self._platform = platform
        self._pools = pools
        self._check = check

    def define(self, machine: Machine, macs: t.Sequence[str], start: bool) -> None:
        """Define it where it is missing, compare it with its wish where it is not; start it if asked."""
        wish = machine.wish
        if wish is None:
            return
        if machine.found is None:
            xml = build(wish, self._platform, macs, self._chains(wish.owner, [(d.path, d.image_format) for d in wish.disks]))
            if not self._check:
                open_machine_directory(wish.directory, make=True).close()
                machine.domain = self._host.define(xml, wish.owner.domain, "xml" in wish.hardware)
                xml = machine.domain.xml()
            machine.actions.append("defined")
            machine.found = describe(xml)
            if machine.domain and wish.autostart:
                machine.domain.set_autostart(True)
        else:
            wanted = describe(build(wish, self._platform, [card.mac or "" for card in wish.cards], {}))
            machine.drift = drift(wanted, machine.found, wish)
            if machine.domain and machine.domain.autostart() != wish.autostart:
                machine.drift.append({"path": "autostart", "from": not wish.autostart, "to": wish.autostart})
        # Before it starts: those who look for it by its name then find it as soon as it answers.
        if self._dns.ensure(machine.owner, machine.spec):
            machine.actions.append("named")
        machine.dns = dict.fromkeys(self._dns.there(machine.owner, machine.spec), True)
        if start and not machine.running:
            self._start(machine)
        note_report(machine)

    def _start(self, machine: Machine) -> None:
        """The disks that the domain has, whatever the wish says of them, are what QEMU will open."""
        if machine.found:
            chains = self._chains(machine.owner, machine.found.files)
            if not self._check and machine.domain:
                for path in (machine.found.console, machine.found.report, machine.found.nvram, machine.found.seed):
                    check_log(path)
                check_given(machine.found, self._pools)
                # Disks may have been flattened or moved onto another base since the domain was defined.
                xml = with_chains(machine.domain.xml(), chains, self._platform.security)
                if xml is not None:
                    machine.domain = self._host.define(xml, machine.domain.name)
                machine.domain.start()
        machine.actions.append("started")
        machine.running = True

    def _chains(self, owner: Owner, files: t.Iterable[tuple[str, str | None]]) -> dict[str, list[Layer]]:
        """What lies under each disk, checked. In check mode an earlier step would make those that are missing."""
        places = Places(self._pools, owner.service)
        return {path: backing_chain(path, kind, places) for path, kind in files if not self._check or os.path.lexists(path)}


def platform_of(host: LibvirtHost, domain_type: str) -> Platform:
    """
    :param domain_type: auto, kvm or qemu.
    """
    return Platform(_chosen_domain_type(host, domain_type), host.arch(), _security(host))


def _chosen_domain_type(host: LibvirtHost, domain_type: str) -> str:
    if domain_type == "auto":
        return "kvm" if host.accelerated() else "qemu"
    if domain_type == "kvm" and not host.accelerated():
        raise InvalidOption("domain_type", "kvm", "this host offers no kvm (is /dev/kvm there?); use auto or qemu")
    return domain_type


def _security(host: LibvirtHost) -> tuple[str, ...]:
    """Models that would relabel base disks; a model that the host does not have is an error to libvirt."""
    return ("dac", *(model for model in ("selinux",) if model in host.security_models()))
