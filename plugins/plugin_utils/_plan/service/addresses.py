# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""Fixed addresses of machines: which card of which machine has which, and what the guest is told of it.

An address belongs to the number of a machine: the first of a list is that of number 1. It stays when other machines go.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.hardware import cards
from ....module_utils._machine.media import CLOUD_INIT, CLOUDBASE, IGNITION
from . import customization, machine_values

Group = Mapping[str, t.Any]
Card = Mapping[str, t.Any]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

# The key of the addresses, and that of the gateway, by the version of the protocol.
VERSIONS = {4: ("address", "gateway"), 6: ("address6", "gateway6")}
_EXAMPLES = {4: "192.0.2.10/24", 6: "2001:db8::10/64"}
_RANGES = {4: "192.0.2.10-192.0.2.30/24", 6: "2001:db8::10-2001:db8::30/64"}

_TEXT = {"type": "string", "minLength": 1}


def _addresses_schema(version: int) -> dict[str, t.Any]:
    what = f"addresses of IPv{version} are a list of addresses ({_EXAMPLES[version]}) and ranges ({_RANGES[version]}), or one text"
    one = {**_TEXT, "description": f"an address such as {_EXAMPLES[version]} or a range such as {_RANGES[version]} is expected"}
    return {
        "description": what,
        "examples": [_RANGES[version]],
        "oneOf": [_TEXT, {"type": "array", "minItems": 1, "maxItems": 10_000, "items": one}],
    }


_GATEWAY = {"type": "string", "pattern": r"^[0-9a-fA-F.:]{2,45}$(?!\n)"}

SCHEMAS: dict[str, dict[str, t.Any]] = {
    "address": _addresses_schema(4),
    "address6": _addresses_schema(6),
    "gateway": {**_GATEWAY, "description": "the IPv4 address of a router in the network of the addresses is expected"},
    "gateway6": {**_GATEWAY, "description": "the IPv6 address of a router in the network of the addresses is expected"},
    "dhcp": {"type": "boolean", "description": "true (an IPv4 address by DHCP, as without this key) or false (none) is expected"},
    "dns": {
        "type": "array",
        "minItems": 1,
        "items": {**_GATEWAY, "description": "the address of a name server is expected"},
        "description": "addresses of name servers are a list",
        "examples": ["[192.0.2.53]"],
    },
    "search": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$(?!\n)",
            "description": "the name of a domain is expected",
        },
        "description": "domains in which names are searched are a list",
        "examples": ["[example.org]"],
    },
    "dns_entry": {
        "type": "boolean",
        "description": "true (the DNS of the libvirt network knows the machine's names and addresses) or false (it does not) is expected",
    },
    "routes": {
        "type": "array",
        "minItems": 1,
        "description": "routes are a list of mappings of to, via and metric",
        "examples": ["[{to: 198.51.100.0/24, via: 192.0.2.2}]"],
        "items": {
            "type": "object",
            "description": "a route is a mapping of to, via and metric",
            "examples": ["{to: 198.51.100.0/24, via: 192.0.2.2}"],
            "properties": {
                "to": {**_TEXT, "description": "the network that is reached, such as 198.51.100.0/24, is expected"},
                "via": {**_GATEWAY, "description": "the address of a router is expected"},
                "metric": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1, "description": "a metric is a number of at least 0"},
            },
            "required": ["to", "via"],
            "additionalProperties": False,
        },
    },
}
NAMES = tuple(SCHEMAS)
# What the guest is told; an entry in the DNS is the host's.
_OF_GUEST = tuple(name for name in NAMES if name != "dns_entry")


class Block(t.NamedTuple):
    """Addresses that follow each other in one network."""

    first: int
    size: int
    network: Network

    @property
    def last(self) -> int:
        return self.first + self.size - 1

    def at(self, index: int) -> str:
        return f"{ipaddress.ip_address(self._bytes(self.first + index))}/{self.network.prefixlen}"

    def _bytes(self, number: int) -> bytes:
        """A number alone would be read as IPv4 where it is small."""
        return number.to_bytes(self.network.max_prefixlen // 8, "big")


def block_of(text: str, version: int) -> Block:
    """An address or a range with its prefix. :raises ValueError: what is wrong, as a sentence."""
    addresses, slash, prefix = text.strip().partition("/")
    first, dash, last = (part.strip() for part in addresses.partition("-"))
    expected = f"expected an address such as {_EXAMPLES[version]} or a range such as {_RANGES[version]}"
    if not slash or not re.fullmatch("[0-9]{1,3}", prefix):
        raise ValueError(f"{text!r} is not accepted; it needs the length of its network's prefix, {expected}")
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    try:
        begin, end = kind(first), kind(last if dash else first)
        network: Network = ipaddress.ip_network(f"{begin}/{prefix}", strict=False)
    except ValueError as error:
        raise ValueError(f"{text!r} is not accepted; {expected}") from error
    if "%" in text:
        raise ValueError(f"{text!r} is not accepted; {expected}")
    if int(end) < int(begin):
        raise ValueError(f"{text!r} is not accepted; it ends before it begins")
    if end not in network:
        raise ValueError(f"{text!r} is not accepted; {end} is outside of the network {network}")
    for one in (begin, end):
        why = _why_not(one, network)
        if why:
            raise ValueError(f"{text!r} is not accepted; {one} is {why}")
    return Block(int(begin), int(end) - int(begin) + 1, network)


def _why_not(address: Address, network: Network) -> str:
    """Why no machine can have it."""
    if network.max_prefixlen - network.prefixlen > 1:
        if address == network.network_address:
            return f"the network {network} itself"
        if network.version == 4 and address == network.broadcast_address:
            return f"the broadcast address of {network}"
    special = {"a multicast address": address.is_multicast, "a loopback address": address.is_loopback, "no address": address.is_unspecified}
    return next((words for words, holds in special.items() if holds), "")


def _items(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _is_template(given: str | Sequence[str]) -> bool:
    return isinstance(given, str) and "{{" in given


def address_of(given: str | Sequence[str], version: int, machine: str) -> str | None:
    """That of one machine, with its prefix; None where there are too few. :raises ValueError: a template makes none of this machine."""
    number = machine_values.number_of(machine)
    if _is_template(given):
        values = {"machine.name": machine, "machine.number": str(number)}
        block = block_of(machine_values.filled(str(given), values), version)
        return block.at(0) if block.size == 1 else None
    index = number - 1
    for text in _items(given):
        block = block_of(text, version)
        if index < block.size:
            return block.at(index)
        index -= block.size
    return None


def addresses_of(card: Card, machine: str) -> dict[str, str]:
    """A card's addresses on one machine by their keys; those that cannot be told are left out, which is a problem of the plan."""
    found = {}
    for version, (key, _gateway) in VERSIONS.items():
        if card.get(key) is not None:
            try:
                address = address_of(card[key], version, machine)
            except ValueError:
                continue
            if address is not None:
                found[key] = address
    return found


def is_fixed(networks: Sequence[Card]) -> bool:
    """Whether the guest is told how its cards are set up; if not, it asks by DHCP, as it always did."""
    return any(card.get(name) is not None for card in networks for name in _OF_GUEST)


def network_config(networks: Sequence[Card], macs: Sequence[str]) -> dict[str, t.Any]:
    """Of one machine, for cloud-init (network configuration version 2).

    :param networks: as networks_of tells them.
    """
    return {
        "version": 2,
        "ethernets": {f"card{index}": _entry(card, mac) for index, (card, mac) in enumerate(zip(networks, macs, strict=True))},
    }


def _entry(card: Card, mac: str) -> dict[str, t.Any]:
    addresses = [card[key] for key, _gateway in VERSIONS.values() if card.get(key)]
    # The network instead of the word default, which not every version of cloud-init knows.
    routes = [
        {"to": network, "via": card[gateway]}
        for (_key, gateway), network in zip(VERSIONS.values(), ("0.0.0.0/0", "::/0"), strict=True)
        if card.get(gateway)
    ]
    routes += [{key: value for key, value in route.items() if value is not None} for route in card.get("routes") or ()]
    servers = {"addresses": list(card.get("dns") or ()), "search": list(card.get("search") or ())}
    dhcp = card.get("dhcp")
    return {
        "match": {"macaddress": mac},
        "dhcp4": not addresses if dhcp is None else dhcp,
        **({"addresses": addresses} if addresses else {}),
        **({"routes": routes} if routes else {}),
        **({"nameservers": {key: value for key, value in servers.items() if value}} if any(servers.values()) else {}),
    }


def network_data(networks: Sequence[Card], macs: Sequence[str]) -> dict[str, t.Any]:
    """Of one machine, as OpenStack's configuration drive has it; that knows no search domains."""
    links: list[dict[str, str]] = []
    found: list[dict[str, t.Any]] = []
    servers: list[dict[str, str]] = []
    for index, (card, mac) in enumerate(zip(networks, macs, strict=True)):
        link = f"card{index}"
        links.append({"id": link, "type": "phy", "ethernet_mac_address": mac})
        dns = [{"type": "dns", "address": address} for address in card.get("dns") or ()]
        servers += [one for one in dns if one not in servers]
        addresses = [(version, gateway, card[key]) for version, (key, gateway) in VERSIONS.items() if card.get(key)]
        if card.get("dhcp") or (not addresses and card.get("dhcp") is None):
            found.append({"id": f"{link}-dhcp", "link": link, "type": "ipv4_dhcp"})
        for version, gateway, address in addresses:
            own = ipaddress.ip_interface(address)
            routes = [(route["to"], route["via"]) for route in card.get("routes") or ()]
            routes += [("0.0.0.0/0" if version == 4 else "::/0", card[gateway])] if card.get(gateway) else []
            found.append(
                {
                    "id": f"{link}-ipv{version}",
                    "link": link,
                    "type": f"ipv{version}",
                    "ip_address": str(own.ip),
                    "netmask": str(own.netmask),
                    "routes": [_route(to, via) for to, via in routes if ipaddress.ip_network(to).version == version],
                    "services": dns,
                }
            )
    return {"links": links, "networks": found, "services": servers}


def _route(to: str, via: str) -> dict[str, str]:
    network = ipaddress.ip_network(to)
    return {"network": str(network.network_address), "netmask": str(network.netmask), "gateway": via}


# --- mistakes ------------------------------------------------------------------------------------


class _Given(t.NamedTuple):
    """Addresses of a card of a manifest: where they stand, and which they are."""

    at: int
    number: int
    key: str
    who: str
    network: str
    block: Block


def address_mistakes(groups: Sequence[Group]) -> Iterator[tuple[int, int, str, str]]:
    """What addresses of a manifest can be wrong about, beside their form: index of the group, of the card, key, and sentence."""
    given: list[_Given] = []
    for at, group in enumerate(groups):
        networks = group.get("networks") or []
        for number, card in enumerate(networks):
            for key, problem in _card_mistakes(card, group):
                yield at, number, key, problem
            for version, (key, _gateway) in VERSIONS.items():
                if card.get(key) is not None:
                    for block, problem in _blocks(card[key], version, group):
                        if block is not None:
                            given.append(_Given(at, number, key, group["name"], _network(card), block))
                        else:
                            yield at, number, key, problem
        yield from ((at, number, key, problem) for number, key, problem in _two_gateways(networks))
        yield from ((at, number, key, problem) for number, key, problem in _outside(networks, [one for one in given if one.at == at]))
    yield from _overlapping(given)


def _card_mistakes(card: Card, group: Group) -> Iterator[tuple[str, str]]:
    yield from _dns_entry_mistakes(card)
    used = [name for name in _OF_GUEST if card.get(name) is not None]
    if not used:
        return
    if customization.kind_of(group) not in (CLOUD_INIT, CLOUDBASE):
        if customization.kind_of(group) == IGNITION:
            yield used[0], "Ignition's guests learn it from their configuration; write it there, and leave it out here"
        else:
            yield used[0], "guests learn it from their seed, and this group has none; add cloud_init: {}"
    elif (group.get("cloud_init") or {}).get("network_config") is not None:
        yield used[0], "it is given together with cloud_init.network_config, which says all of it; give one of the two"
    elif (group.get("cloudbase") or {}).get("network_data") is not None:
        yield used[0], "it is given together with cloudbase.network_data, which says all of it; give one of the two"
    if card.get("address") is not None and card.get("dhcp"):
        yield "dhcp", "it is true, and the card has an address of its own; give one of the two"
    for key, gateway in VERSIONS.values():
        if card.get(gateway) is not None and card.get(key) is None:
            yield gateway, f"there is no {key} to go with it; give both, or leave it to DHCP"


def _dns_entry_mistakes(card: Card) -> Iterator[tuple[str, str]]:
    if not card.get("dns_entry"):
        return
    kind = cards.kind_of(card)
    if kind is not None and kind.name != "network":
        yield "dns_entry", f"only libvirt's networks have a DNS, and the card is on a {kind.word}; leave it out"
    elif all(card.get(key) is None for key, _gateway in VERSIONS.values()):
        yield "dns_entry", "the card has no address that is known before its machine runs; give it an address or address6"


def _blocks(given: str | Sequence[str], version: int, group: Group) -> Iterator[tuple[Block | None, str]]:
    """The addresses in blocks, or what is wrong with them."""
    count = group.get("count")
    if _is_template(given):
        wrong = list(machine_values.mistakes(str(given), machine_values.OF_ADDRESS))
        yield from ((None, problem) for problem in wrong)
        for number in () if wrong else range(1, (count or 1) + 1):
            name = f"{group['name']}-{number}"
            try:
                block = block_of(machine_values.filled(str(given), {"machine.name": name, "machine.number": str(number)}), version)
            except ValueError as error:
                yield None, f"of {name}: {error}"
                return
            if block.size != 1:
                yield None, f"of {name}: it is a range; a template makes one address"
                return
            yield block, ""
        return
    total = 0
    for text in _items(given):
        try:
            block = block_of(text, version)
        except ValueError as error:
            yield None, str(error)
            return
        total += block.size
        yield block, ""
    if count and total < count:
        yield None, f"{_addresses(total)} for {count} machines; give one for each"


def _addresses(count: int) -> str:
    return f"{count} address" + ("es" if count != 1 else "")


def _two_gateways(networks: Sequence[Card]) -> Iterator[tuple[int, str, str]]:
    for _key, gateway in VERSIONS.values():
        having = [number for number, card in enumerate(networks) if card.get(gateway) is not None]
        for number in having[1:]:
            yield number, gateway, "another card of the machine has one; a machine has one default route, give other networks as routes"


def _outside(networks: Sequence[Card], given: Sequence[_Given]) -> Iterator[tuple[int, str, str]]:
    """Routers that machines do not reach."""
    for number, card in enumerate(networks):
        for version, (key, gateway) in VERSIONS.items():
            blocks = [one.block for one in given if one.number == number and one.key == key]
            if card.get(gateway) is not None and blocks:
                yield from ((number, gateway, problem) for problem in _router_mistakes(card[gateway], version, blocks))
                address = _parsed(card[gateway])
                if address is not None and any(block.first <= int(address) <= block.last for block in blocks):
                    yield number, gateway, f"{card[gateway]!r} is not accepted; it is among the addresses of the machines"
        for route in card.get("routes") or ():
            yield from ((number, "routes", problem) for problem in _route_mistakes(route, [one for one in given if one.number == number]))
        for server in card.get("dns") or ():
            if _parsed(server) is None:
                yield number, "dns", f"{server!r} is not accepted; the address of a name server is expected"


def _router_mistakes(text: str, version: int, blocks: Sequence[Block]) -> Iterator[str]:
    address = _parsed(text)
    if address is None or address.version != version:
        yield f"{text!r} is not accepted; an address of IPv{version} is expected"
        return
    if address.is_link_local:
        return  # of every network
    for network in dict.fromkeys(block.network for block in blocks):
        why = _why_not(address, network)
        if address not in network:
            yield f"{text!r} is not accepted; it is outside of the network {network} of the machines"
        elif why:
            yield f"{text!r} is not accepted; it is {why}"


def _route_mistakes(route: Mapping[str, t.Any], given: Sequence[_Given]) -> Iterator[str]:
    try:
        to: Network = ipaddress.ip_network(route["to"])
    except ValueError:
        yield f"{route['to']!r} is not accepted; a network such as 198.51.100.0/24 is expected"
        return
    blocks = [one.block for one in given if one.key == VERSIONS[to.version][0]]
    via = _parsed(route["via"])
    if blocks:
        yield from _router_mistakes(route["via"], to.version, blocks)
    elif via is None or via.version != to.version:
        yield f"{route['via']!r} is not accepted; an address of IPv{to.version} is expected"


def _parsed(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _overlapping(given: Sequence[_Given]) -> Iterator[tuple[int, int, str, str]]:
    """Addresses that two cards of one network would have; of each card the first."""
    told = set()
    networks: dict[tuple[str, str], list[_Given]] = {}
    for one in given:
        networks.setdefault((one.key, one.network), []).append(one)
    for (key, _network_name), mates in networks.items():
        before: _Given | None = None
        for one in sorted(mates, key=lambda one: (one.block.first, one.at, one.number)):
            if before is not None and one.block.first <= before.block.last and (one.at, one.number, key) not in told:
                told.add((one.at, one.number, key))
                shared = one.block.at(0).partition("/")[0]
                yield (
                    one.at,
                    one.number,
                    key,
                    f"{shared} is given twice ({_where(before)}, {_where(one)}); each card has an address of its own",
                )
            if before is None or one.block.last > before.block.last:
                before = one


def _where(one: _Given) -> str:
    return f"networks[{one.number}] of {one.who}"


# --- in the plan -----------------------------------------------------------------------------------


def address_problems(manifest: Mapping[str, t.Any], machines: Sequence[Mapping[str, t.Any]], hosts: Mapping[str, t.Any]) -> list[str]:
    """Machines for which there is no address, and addresses that another machine of the fleet has.

    :param machines: the plan's, each with its ``spec``.
    """
    groups = {group["name"]: group for group in manifest["machines"]}
    problems: list[str] = []
    found, given = _found(hosts), dict[tuple[str, str], str]()
    for machine in machines:
        group = groups[machine["group"]]
        place = group.get("places", {}).get("networks", group["place"])
        for number, (asked, card) in enumerate(zip(group["networks"], machine["spec"].get("networks") or (), strict=False)):
            for version, (key, _gateway) in VERSIONS.items():
                at = f"{place}[{number}].{key}"
                if asked.get(key) is not None and card.get(key) is None:
                    problems.append(f"{at}: {_why_none(asked[key], version, machine['machine'])}")
                elif card.get(key) is not None:
                    here = (_network(card), _alone(card[key]))
                    other = given.get(here) or (found.get(here) if machine["state"] == "create" else None)
                    if other:
                        problems.append(f"{at}: {here[1]!r} is not accepted; {other} has it, and {machine['machine']} would get it too")
                    given[here] = machine["machine"]
    return problems


def _why_none(asked: str | Sequence[str], version: int, machine: str) -> str:
    try:
        address_of(asked, version, machine)
    except ValueError as error:
        return f"of {machine}: {error}"
    total = sum(block_of(text, version).size for text in _items(asked)) if not _is_template(asked) else 0
    return f"{_addresses(total)}, and {machine} needs number {machine_values.number_of(machine)}; give more"


def _found(hosts: Mapping[str, t.Any]) -> dict[tuple[str, str], str]:
    """Whose an address is now, by the network and the address."""
    found: dict[tuple[str, str], str] = {}
    for host, facts in hosts.items():
        for domain in facts.get("domains") or []:
            who = f"the domain {domain.get('domain') or '?'} on {host}" if domain.get("tenant") else f"another tenant's machine on {host}"
            for card in domain.get("addresses") or []:
                found[str(card.get("network")), _alone(str(card.get("address")))] = who
    return found


def _network(card: Card) -> str:
    """As hosts tell it of their domains."""
    kind = cards.kind_of(card)
    return cards.network_name(kind.name if kind else "", card)


def _alone(address: str) -> str:
    return address.partition("/")[0]
