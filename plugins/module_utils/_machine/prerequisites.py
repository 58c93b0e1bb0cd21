# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What machines need of their host before they are defined, and what of it is not there."""

from __future__ import annotations

import os
import typing as t

from .hardware import cards, table
from .hardware.offers import offers_of
from .libvirt_host import LibvirtHost
from .machine import Machine
from .network_dns import NetworkDns
from .starting import given_problems


def problems(
    host: LibvirtHost, dns: NetworkDns, machines: t.Sequence[Machine], start: bool, domain_type: str, pools: t.Collection[str], check: bool
) -> list[str]:
    """All that stands in the way, together.

    :param start: whether those that are off are to run.
    :param domain_type: kvm or qemu.
    :param pools: paths of the host's pools.
    :param check: files are not looked for, since an earlier step would make them.
    """
    new = [machine for machine in machines if machine.found is None]
    needing_network = [m for m in machines if m.found is None or (start and not m.running)]
    found = [machine.problem for machine in machines if machine.problem]
    found += [*_memory_problems(host, new), *_network_problems(host, needing_network)]
    found += _hardware_problems(host, new, domain_type)
    found += [told for machine in machines for told in dns.problems(machine.owner, machine.spec)]
    # Those that exist have their disks, and whoever only wants them to run need not repeat them.
    found += [
        f"disks: {machine.owner.machine} is to be defined and has none; at least one is needed."
        for machine in new
        if machine.wish and not machine.wish.disks
    ]
    if not check:
        found += [*_missing_files(needing_network), *_given_problems(new, pools)]
    return found


def _memory_problems(host: LibvirtHost, new: t.Sequence[Machine]) -> list[str]:
    if not new:
        return []
    available = host.memory_mib()
    return [
        f"Machine {m.owner.machine} wants {m.wish.memory_mib} MiB of memory, the host has {available} MiB."
        for m in new
        if m.wish and m.wish.memory_mib > available
    ]


def _hardware_problems(host: LibvirtHost, new: t.Sequence[Machine], domain_type: str) -> list[str]:
    wishes = [machine.wish for machine in new if machine.wish and machine.wish.hardware]
    if not wishes:
        return []
    offers = offers_of(host, domain_type)
    wanted: dict[str, list[str]] = {}
    for wish in wishes:
        for name, problem in table.lacks(wish.hardware, offers, {"cpus": wish.cpus, "memory_mib": wish.memory_mib}):
            wanted.setdefault(f"{name}: the host {problem}", []).append(wish.owner.machine)
    return [f"{problem} (wanted by {', '.join(names)})." for problem, names in wanted.items()]


def _network_problems(host: LibvirtHost, machines: t.Sequence[Machine]) -> list[str]:
    wanted: dict[tuple[str, str], list[str]] = {}
    for machine in machines:
        for card in machine.wish.cards if machine.wish else ():
            wanted.setdefault((card.source, card.kind), []).append(machine.owner.machine)
    if not wanted:
        return []
    networks = host.networks()
    active = ", ".join(sorted(name for name, is_active in networks.items() if is_active)) or "none"
    problems = []
    for (name, kind), users in wanted.items():
        who = f"wanted by {', '.join(dict.fromkeys(users))}"
        if kind != "network":
            if not host.has_interface(name):
                problems.append(f"The {cards.word_of(kind)} {name}, {who}, does not exist on the host.")
        elif not networks.get(name, False):
            state = "is not active" if name in networks else "does not exist"
            problems.append(
                f"The network {name}, {who}, {state}; active networks: {active}. community.libvirt.virt_net defines and starts networks."
            )
    return problems


def _missing_files(machines: t.Sequence[Machine]) -> list[str]:
    problems = []
    for machine in machines:
        wish = machine.wish
        for path in [*(disk.path for disk in wish.disks), *([wish.seed] if wish.seed else [])] if wish else []:
            if not os.path.exists(path):
                problems.append(f"The file {path} of machine {machine.owner.machine} does not exist.")
    return problems


def _given_problems(new: t.Sequence[Machine], pools: t.Collection[str]) -> list[str]:
    wishes = [machine.wish for machine in new if machine.wish]
    return [told for wish in wishes for told in given_problems(wish.hardware, wish.owner.domain, pools)]
