# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Machines in the DNS of the libvirt networks that their cards are on.

The record of a machine, kept with its domain, says which entries are its own. All others are somebody else's, and are left alone.
"""

from __future__ import annotations

import ipaddress
import typing as t
import xml.etree.ElementTree as ET

from .._errors import FleetError
from .libvirt_host import LibvirtHost
from .owner import Owner
from .xml_document import parse_xml

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Spec = t.Mapping[str, t.Any]

# Kinds of forwarding with which libvirt runs a name server on the network; None is an isolated one.
_WITH_DNS = (None, "nat", "route", "open")


class DnsRefused(FleetError):
    """A machine cannot have its entries."""

    kind = "dns_refused"


class Entry(t.NamedTuple):
    """What the DNS of a network answers."""

    network: str
    address: str
    names: tuple[str, ...]


class _Half(t.NamedTuple):
    """One of the two definitions of a network."""

    lasting: bool
    root: ET.Element


def entries_of(owner: Owner, spec: Spec) -> list[Entry]:
    """Those of a machine, as its record says."""
    networks = spec.get("networks")
    found = []
    for card in networks if isinstance(networks, list) else ():
        if not isinstance(card, dict) or card.get("dns_entry") is not True or not isinstance(card.get("network"), str):
            continue
        for key in ("address", "address6"):
            address = _address(str(card.get(key)).partition("/")[0])
            if address is not None:
                found.append(Entry(card["network"], str(address), owner.host_names))
    return found


def entries_in(network: str, root: ET.Element) -> list[Entry]:
    """All that a network's definition has."""
    return [
        Entry(network, host.get("ip", ""), tuple((name.text or "").strip() for name in host.iterfind("hostname")))
        for host in root.iterfind("./dns/host")
    ]


def why_none(root: ET.Element) -> str:
    """Why there is no DNS on a network, as the end of a sentence that begins with its name; empty where there is."""
    forward, dns = root.find("forward"), root.find("dns")
    mode = None if forward is None else forward.get("mode", "nat")
    if mode not in _WITH_DNS:
        return f"has no DNS of libvirt, since its mode is {mode}"
    if root.find("ip") is None:
        return "has no DNS of libvirt, since the host has no address on it"
    if dns is not None and dns.get("enable") == "no":
        return "has its DNS switched off (<dns enable='no'>)"
    return ""


class NetworkDns:
    """
    :param host: the host's libvirt.
    :param check: change nothing.
    """

    def __init__(self, host: LibvirtHost, check: bool = False) -> None:
        self._host = host
        self._check = check
        self._halves: dict[str, list[_Half]] | None = None

    def there(self, owner: Owner, spec: Spec) -> dict[str, bool]:
        """Whether each address of a machine that is to have an entry has it."""
        found: dict[str, bool] = {}
        for entry in entries_of(owner, spec):
            whole = all(_same(entry, half.root) == set(entry.names) for half in self._of(entry.network))
            found[entry.address] = whole and found.get(entry.address, True)
        return found

    def problems(self, owner: Owner, spec: Spec) -> list[str]:
        """Why a machine cannot have its entries. A network that is not there is no matter of its DNS."""
        return list(dict.fromkeys(self._problems(entries_of(owner, spec), owner.machine)))

    def _problems(self, mine: t.Sequence[Entry], machine: str) -> t.Iterator[str]:
        for network in dict.fromkeys(entry.network for entry in mine):
            halves = self._of(network)
            reason = why_none(halves[0].root) if halves else ""
            if reason:
                yield f"The network {network} {reason}; {machine} cannot have an entry in it (dns_entry)."
            else:
                others = [entry for half in halves for entry in entries_in(network, half.root)]
                yield from (f"{sentence}." for sentence in entry_problems(mine, others, machine))

    def ensure(self, owner: Owner, spec: Spec) -> bool:
        """Have the entries of a machine; whether any was missing.

        :raises DnsRefused: it cannot have them; nothing was changed.
        """
        problems = self.problems(owner, spec)
        if problems:
            raise DnsRefused(" ".join(problems))
        changed = False
        for entry in entries_of(owner, spec):
            for half in self._of(entry.network):
                found = _same(entry, half.root)
                if found == set(entry.names):
                    continue
                changed = True
                if found is not None:  # some of its names: libvirt adds none to an entry
                    self._update(entry, half, add=False)
                self._update(entry, half, add=True)
        self._halves = None if changed else self._halves
        return changed

    def remove(self, owner: Owner, spec: Spec) -> bool:
        """Take the entries of a machine out; whether there were any."""
        changed = False
        for entry in entries_of(owner, spec):
            for half in self._of(entry.network):
                found = _same(entry, half.root)
                if found and found <= set(entry.names):
                    changed = True
                    self._update(entry, half, add=False)
        self._halves = None if changed else self._halves
        return changed

    def told(self, machines: t.Iterable[tuple[Owner, Spec]]) -> dict[str, dict[str, t.Any]]:
        """``{network: {"problem", "entries": [{"address", "names"}]}}``: why there is no DNS on it, and which entries are of none of
        these machines.
        """
        known = {(entry.network, entry.address): set(entry.names) for owner, spec in machines for entry in entries_of(owner, spec)}
        found = {}
        for network, halves in self._all().items():
            others = [
                entry
                for half in halves
                for entry in entries_in(network, half.root)
                if not set(entry.names) <= known.get((network, str(_address(entry.address))), set())
            ]
            found[network] = {
                "problem": why_none(halves[0].root) if halves else "",
                "entries": [{"address": entry.address, "names": list(entry.names)} for entry in dict.fromkeys(others)],
            }
        return found

    def _update(self, entry: Entry, half: _Half, add: bool) -> None:
        if self._check:
            return
        element = ET.Element("host", ip=entry.address)
        for name in entry.names if add else ():  # others of the machine's entries have the same names
            ET.SubElement(element, "hostname").text = name
        self._host.update_dns(entry.network, ET.tostring(element, "unicode"), add, half.lasting)

    def _of(self, network: str) -> list[_Half]:
        return self._all().get(network, [])

    def _all(self) -> dict[str, list[_Half]]:
        """Of each network what works now and what it starts with again, as far as there is either."""
        if self._halves is None:
            self._halves = {
                name: [
                    _Half(lasting, parse_xml(xml, f"the network {name}"))
                    for lasting, xml in ((False, found.live), (True, found.lasting))
                    if xml is not None
                ]
                for name, found in self._host.network_xmls().items()
            }
        return self._halves


def entry_problems(mine: t.Sequence[Entry], others: t.Iterable[Entry], machine: str) -> t.Iterator[str]:
    """A sentence, without its end, for each entry of a network that has an address or a name of a machine's own entries.

    :param others: an entry with no other names than the machine's, at one of its addresses, may have been left by it.
    """
    for found in dict.fromkeys(others):
        if any(_is_in_the_way(found, entry, mine) for entry in mine if entry.network == found.network):
            names = ", ".join(found.names) or "another name"
            yield (
                f"The DNS of the network {found.network} has {found.address} as {names}, which is not an entry of {machine}; remove it"
                f" (virsh net-update {found.network} delete dns-host \"<host ip='{found.address}'/>\" --live --config), or choose another"
                " address, or give the service another name"
            )


def _is_in_the_way(found: Entry, entry: Entry, mine: t.Sequence[Entry]) -> bool:
    address = str(_address(found.address))
    own = any(one.address == address for one in mine if one.network == found.network)
    # In the DNS, capitals are no other letters.
    theirs, ours = ({name.lower() for name in one.names} for one in (found, entry))
    if own and theirs and theirs <= ours:
        return False
    return address == entry.address or bool(theirs & ours)


def _same(entry: Entry, root: ET.Element) -> set[str] | None:
    """The names that the entry's address has, None where it has no entry."""
    found = (set(one.names) for one in entries_in(entry.network, root) if str(_address(one.address)) == entry.address)
    return next(found, None)


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
