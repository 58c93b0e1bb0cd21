# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""The networks of a group of machines, as each of its machines has them."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.hardware import cards
from ....module_utils._machine.owner import Owner
from .addresses import NAMES, VERSIONS, address_mistakes, addresses_of, is_fixed

# Given for all machines of a group together.
_OF_MANY = [key for key, _gateway in VERSIONS.values()]

Group = Mapping[str, t.Any]


def networks_of(group: Group, machine: str) -> list[dict[str, t.Any]]:
    """Each with the addresses that the manifest gives to this machine, if it gives any."""
    found = []
    for network in group["networks"]:
        mac = (network.get("macs") or {}).get(machine)
        kept = {key: value for key, value in network.items() if key not in ("macs", *_OF_MANY)}
        found.append({**kept, **addresses_of(network, machine), **({"mac": mac.lower()} if mac else {})})
    return found


def hardware_of(networks: Sequence[Group], macs: Sequence[str]) -> list[dict[str, t.Any]]:
    """What the host has to know of a machine's networks; the rest is its guest's.

    :param macs: of the cards that a guest has to find by them; none where nothing is said to the guest.
    """
    found = [{key: value for key, value in network.items() if key not in NAMES} for network in networks]
    return [{**card, "mac": mac} for card, mac in zip(found, macs, strict=True)] if macs else found


def macs_of(networks: Sequence[Group], owner: Owner) -> list[str]:
    """The addresses by which the guest finds its cards, if it is told how they are set up."""
    return [network.get("mac") or owner.mac(index) for index, network in enumerate(networks)] if is_fixed(networks) else []


def mac_problems(
    manifest: Mapping[str, t.Any], machines: Sequence[Mapping[str, t.Any]], hosts: Mapping[str, t.Any]
) -> tuple[list[str], list[str]]:
    """Addresses of network cards that another machine of the fleet has, on whichever host: those that the manifest gives are
    problems; those that follow from machines' names are notes, since they only matter where both are on one network.

    :param machines: the plan's, each with its ``spec``.
    """
    groups = {group["name"]: group for group in manifest["machines"]}
    problems: list[str] = []
    notes: list[str] = []
    found = _macs_found(manifest, hosts)
    for machine in machines:
        if machine["state"] != "create":
            continue
        group, name = groups[machine["group"]], machine["machine"]
        place = group.get("places", {}).get("networks", group["place"])
        owner = Owner(manifest["tenant"], manifest["service"], name)
        for number, card in enumerate(machine["spec"]["networks"]):
            given = card.get("mac")
            mac = given or owner.mac(number)
            others = [user for user in found.get(mac, []) if user.owner != owner]
            # Its host chooses another one where it is not given.
            elsewhere = [user for user in others if user.host != machine["host"]]
            if given and others:
                problems.append(f"{place}[{number}].macs: {given!r} is not accepted; {others[0].text} has it, and {name} would get it too")
            elif elsewhere:
                notes.append(f"{name} gets the MAC address {mac}, which {elsewhere[0].text} has; give it another with macs")
            found.setdefault(mac, []).append(_User(machine["host"], owner, name))
    return problems, notes


class _User(t.NamedTuple):
    """Who has an address.

    :param owner: None for what is not the tenant's own.
    :param text: how messages call it; another tenant's has no name.
    """

    host: str
    owner: Owner | None
    text: str


def _macs_found(manifest: Mapping[str, t.Any], hosts: Mapping[str, t.Any]) -> dict[str, list[_User]]:
    found: dict[str, list[_User]] = {}
    for host, facts in hosts.items():
        for domain in facts.get("domains") or []:
            names = [domain.get(key) for key in ("tenant", "service", "machine")]
            mine = all(names) and names[0] == manifest["tenant"]
            user = _User(
                host, Owner(*names) if mine else None, f"{domain.get('domain') or '?'} on {host}" if mine else f"another machine on {host}"
            )
            for mac in domain.get("macs") or []:
                found.setdefault(str(mac).lower(), []).append(user)
    return found


def network_mistakes(groups: list[Group]) -> Iterator[tuple[int, int, str, str]]:
    """What networks of a manifest can be wrong about, beside their form: index of the group, of the network, key, and sentence."""
    owners: dict[str, str] = {}
    for at, group in enumerate(groups):
        networks = group.get("networks") or []
        for number, network in enumerate(networks):
            for key, problem in cards.mistakes(network):
                yield at, number, key, problem
            for machine, mac in (network.get("macs") or {}).items():
                if not re.fullmatch(re.escape(group["name"]) + r"-[1-9][0-9]*", machine):
                    yield at, number, "macs", f"{machine!r} is not a machine of this group; they are called {group['name']}-NUMBER"
                elif mac.lower() in owners:
                    yield at, number, "macs", f"{mac} is given to {owners[mac.lower()]} already; each card has an address of its own"
                owners.setdefault(mac.lower(), machine)
        for number, problem in cards.order_mistakes(networks):
            yield at, number, "boot", problem
    yield from address_mistakes(groups)
