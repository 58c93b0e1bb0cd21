# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Deployed machines as hosts of an inventory: names, groups, variables, and the address that programs connect to."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ....module_utils._errors import FleetError, InvalidOption
from ....module_utils._names import is_host_label, is_name

GROUP = "basecast_machines"
SOURCES = ("agent", "lease", "arp", "report")
_MOST_BYTES = 1 << 28

Told = Mapping[str, t.Any]
Entry = dict[str, t.Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Choice:
    """Which machines become hosts, and which of their addresses counts.

    :param sources: of addresses, the best first; others are not used.
    :param networks: the address is in one of them; any if empty.
    :param states: of machines; any if empty.
    """

    sources: Sequence[str] = SOURCES
    networks: Sequence[str] = ()
    states: Sequence[str] = ("running",)
    services: Sequence[str] = ()
    parsed: list[Network] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        for source in self.sources:
            if source not in SOURCES:
                raise InvalidOption("address_sources", source, f"some of {', '.join(SOURCES)} are expected")
        for network in self.networks:
            try:
                self.parsed.append(ipaddress.ip_network(network))
            except ValueError as error:
                raise InvalidOption("address_networks", network, "networks such as 192.0.2.0/24 are expected") from error

    def address(self, machine: Told) -> str | None:
        """The first address of the best source that is in one of the networks; link-local ones lead nowhere."""
        for source in self.sources:
            for one in _addresses(machine):
                if one.get("source") == source and self._fits(one["address"]):
                    return str(one["address"])
        return None

    def _fits(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False  # it would be given to programs as an argument
        if "%" in text:
            return False  # behind it an address takes any text, and a guest chooses it
        if address.is_link_local or address.is_loopback or address.is_unspecified:
            return False
        return not self.parsed or any(address.version == network.version and address in network for network in self.parsed)


def machine_hosts(status: object, choice: Choice | None = None) -> list[Entry]:
    """``[{"name", "groups", "variables"}]`` of the machines of a status, as fleet_status makes it.

    :raises FleetError: it is no such status.
    """
    wanted = choice or Choice()
    told = status if isinstance(status, Mapping) else {}
    machines = told.get("machines")
    if not isinstance(machines, Sequence) or isinstance(machines, str) or told.get("format") != 1:
        raise FleetError("This is not the status of a fleet, as the playbook status writes it to basecast_status_file.")
    chosen = [one for one in machines if _is_sound(one) and _is_wanted(one, wanted)]
    names = _names(chosen)
    hosts: dict[str, Entry] = {}
    for machine in chosen:
        name = names[machine["tenant"], machine["service"], machine["machine"]]
        # A migration that was cut off leaves a machine twice: the one that runs is meant.
        if name not in hosts or (machine.get("running") and not hosts[name]["running"]):
            hosts[name] = {**_host(name, machine, wanted), "running": bool(machine.get("running"))}
    return [{key: host[key] for key in ("name", "groups", "variables")} for host in hosts.values()]


def _is_sound(machine: object) -> bool:
    """Names become names of hosts and groups, whoever wrote the file."""
    return (
        isinstance(machine, Mapping)
        and all(is_name(machine.get(key)) for key in ("tenant", "service"))
        and is_host_label(machine.get("machine"))
        and isinstance(machine.get("host"), str)
        and bool(machine.get("known"))
    )


def _items(machine: Told, key: str) -> list[t.Any]:
    """What is no list counts as none: one machine's oddity hides no other machine."""
    found = machine.get(key)
    return list(found) if isinstance(found, Sequence) and not isinstance(found, str) else []


def _addresses(machine: Told) -> list[Told]:
    return [one for one in _items(machine, "addresses") if isinstance(one, Mapping) and isinstance(one.get("address"), str)]


def _is_wanted(machine: Told, choice: Choice) -> bool:
    return (not choice.states or machine.get("state") in choice.states) and (not choice.services or machine["service"] in choice.services)


def _names(machines: Iterable[Told]) -> dict[tuple[str, str, str], str]:
    """As the domains are called; with the tenant in front where two tenants have the same names."""
    tenants: dict[str, set[str]] = {}
    for one in machines:
        tenants.setdefault(f"{one['service']}-{one['machine']}", set()).add(one["tenant"])
    found = {}
    for one in machines:
        name = f"{one['service']}-{one['machine']}"
        found[one["tenant"], one["service"], one["machine"]] = name if len(tenants[name]) == 1 else f"{one['tenant']}-{name}"
    return found


def _host(name: str, machine: Told, choice: Choice) -> Entry:
    address = choice.address(machine)
    variables = {
        "machine_name": machine["machine"],
        "machine_service": machine["service"],
        "machine_tenant": machine["tenant"],
        "machine_role": machine.get("role") or "",
        "machine_number": machine.get("number"),
        "machine_host": machine["host"],
        "machine_host_address": machine.get("host_address") or machine["host"],
        "machine_state": machine.get("state"),
        "machine_address": address,
        "machine_addresses": [one["address"] for one in _addresses(machine)],
        "machine_macs": _items(machine, "macs"),
        "machine_bases": _items(machine, "bases"),
        "machine_cpus": machine.get("cpus"),
        "machine_memory_mib": machine.get("memory_mib"),
    }
    if address is not None:
        variables["ansible_host"] = address
    return {"name": name, "groups": list(_groups(machine)), "variables": variables}


def _groups(machine: Told) -> Iterator[str]:
    yield GROUP
    yield f"service_{machine['service']}"
    if machine.get("role"):
        yield f"role_{machine['service']}_{machine['role']}"
    yield f"machines_on_{machine['host']}"
    yield f"tenant_{machine['tenant']}"
