# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Each machine exists once: its name and its UUID are compared across all hosts that were seen. One that moves is on two of them."""

from __future__ import annotations

import typing as t
from collections.abc import Container, Iterator, Mapping, Sequence

from ....module_utils._machine.moves import how_to_end
from ....module_utils._machine.owner import Owner
from ..placement import Observed

Manifest = Mapping[str, t.Any]


def identity_problems(manifest: Manifest, assignments: Sequence[Mapping[str, t.Any]], hosts: Observed) -> list[str]:
    """Sentences for machines that exist twice, and for names and UUIDs that other domains have.

    :param assignments: place_machines's.
    """
    moving = moving_machines(hosts, manifest["tenant"], manifest["service"])
    return [*moving.values(), *_twice(hosts, moving), *_taken(manifest, assignments, hosts)]


def unreadable(facts: Mapping[str, t.Any], manifest: Manifest, machine: str) -> str:
    """Why it cannot be known whether this domain of the host is the machine; empty when it can."""
    owner = _owner(manifest, machine)
    for domain in facts.get("domains") or []:
        if domain.get("problem") and (domain.get("domain") == owner.domain or domain.get("uuid") == owner.domain_uuid):
            return f"{_domain(domain)} cannot be read: {domain['problem']}"
    return ""


def _owner(manifest: Manifest, machine: str) -> Owner:
    return Owner(manifest["tenant"], manifest["service"], machine)


def moving_machines(hosts: Observed, tenant: str, service: str) -> dict[str, str]:
    """A sentence for each machine on its way: which host has it is known when its migration has ended."""
    found: dict[str, str] = {}
    for host, facts in hosts.items():
        for move in facts.get("moves") or []:
            ways = {"source": f"from {host} to {move['peer']}", "within": f"on {host} to the pool {move['peer']}"}
            way = ways.get(move["side"], f"from {move['peer']} to {host}")
            found[move["machine"]] = (
                f"machine {move['machine']}: its migration {way} has not ended; wait for the run that does it, or"
                f" end it ({how_to_end(Owner(tenant, service, move['machine']))})"
            )
    return found


def _twice(hosts: Observed, moving: Container[str]) -> Iterator[str]:
    where: dict[str, list[tuple[str, t.Any]]] = {}
    for host, facts in hosts.items():
        for machine in facts.get("machines") or []:
            where.setdefault(machine["machine"], []).append((host, machine.get("uuid")))
    for name, found in where.items():
        if len(found) > 1 and name not in moving:
            yield (
                f"machine {name} exists on {_and([host for host, _uuid in found])}"
                f"{_same_uuid([uuid for _host, uuid in found])}; remove all but one of them"
                " (basecast.fleet.machine with state absent)"
            )


def _same_uuid(uuids: Sequence[t.Any]) -> str:
    return f" with the same UUID {uuids[0]}" if uuids[0] and len(set(uuids)) == 1 else ""


def _taken(manifest: Manifest, assignments: Sequence[Mapping[str, t.Any]], hosts: Observed) -> Iterator[str]:
    by_uuid: dict[str, list[tuple[str, Mapping[str, t.Any]]]] = {}
    by_name: dict[tuple[str, str], Mapping[str, t.Any]] = {}
    for host, facts in hosts.items():
        for domain in facts.get("domains") or []:
            by_uuid.setdefault(str(domain.get("uuid")), []).append((host, domain))
            if domain.get("domain"):
                by_name[host, domain["domain"]] = domain
    mine = {(host, machine["machine"]) for host, facts in hosts.items() for machine in facts.get("machines") or []}
    for entry in assignments:
        owner = _owner(manifest, entry["machine"])
        for host, domain in by_uuid.get(owner.domain_uuid, []):
            if (host, entry["machine"]) not in mine and not domain.get("problem"):
                yield (
                    f"{entry['place']}: the UUID {owner.domain_uuid} of machine {entry['machine']} is that of"
                    f" {_domain(domain)} on {host}; undefine that domain or give it another UUID"
                )
        other = by_name.get((entry["host"], owner.domain))
        if other is None or (entry["host"], entry["machine"]) in mine or other.get("problem"):
            continue
        if other.get("uuid") != owner.domain_uuid:
            yield (
                f"{entry['place']}: machine {entry['machine']} would be the domain {owner.domain} on {entry['host']},"
                f" which exists and {_whose(other)}; rename that domain, or choose another name for the service"
            )


def _domain(domain: Mapping[str, t.Any]) -> str:
    return f"the domain {domain['domain']}" if domain.get("domain") else "another domain"


def _whose(domain: Mapping[str, t.Any]) -> str:
    """Hosts do not tell whose the domains of other tenants are."""
    if domain.get("service") is None:
        return "is none of this tenant's machines"
    return f"belongs to service {domain['service']} of tenant {domain.get('tenant')}"


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
