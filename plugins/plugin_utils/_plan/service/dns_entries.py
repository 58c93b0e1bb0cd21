# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""Entries of new machines in the DNS of their libvirt networks, as far as the hosts have told of what is there."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.network_dns import Entry, entries_of, entry_problems
from ....module_utils._machine.owner import Owner
from ..placement import Observed
from ..types import Manifest

Machine = Mapping[str, t.Any]

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


def dns_problems(manifest: Manifest, machines: Sequence[Machine], hosts: Observed) -> list[str]:
    """
    :param machines: the plan's, each with its ``spec``.
    """
    groups = {group["name"]: group for group in manifest["machines"]}
    found = []
    for machine in machines:
        if machine["state"] == "create":
            group = groups[machine["group"]]
            place = group.get("places", {}).get("networks", group["place"])
            owner = Owner(manifest["tenant"], manifest["service"], machine["machine"])
            entries = entries_of(owner, machine["spec"])
            found += [f"{place}: {sentence}" for sentence in conflicts(entries, machine["machine"], machine["host"], hosts)]
    return list(dict.fromkeys(found))


def missing_entries(machines: Sequence[Machine], hosts: Observed) -> Iterator[str]:
    """Existing machines that a DNS no longer knows; a deployment has it know them again."""
    for machine in machines:
        for found in (hosts.get(machine["host"]) or {}).get("machines") or () if machine["state"] == "exists" else ():
            if found["machine"] == machine["machine"] and found.get("dns_missing"):
                addresses = ", ".join(found["dns_missing"])
                yield f"{machine['machine']} on {machine['host']} gets its entry in the DNS of its network again ({addresses})"


def told(machine: Machine) -> list[Entry]:
    """Those of a machine that its host has told of, as a migration looks at it."""
    return [Entry(one["network"], one["address"], tuple(one["names"])) for one in machine.get("dns") or ()]


def conflicts(entries: Sequence[Entry], machine: str, host: str, hosts: Observed) -> Iterator[str]:
    """Why a host cannot give a machine its entries, beside networks without DNS.

    :param hosts: what each has told of itself.
    """
    for name in dict.fromkeys(name for entry in entries for name in entry.names):
        if not all(_LABEL.fullmatch(label) for label in name.split(".")):
            yield (
                f"dns_entry: {name!r} cannot be a name in the DNS: each part between dots has 1 to 63 letters, digits, '-' and '_', the"
                " first and last a letter or digit; give the service another name"
            )
    offers: t.Any = (hosts.get(host) or {}).get("offers") or {}
    others = [
        Entry(network, str(one["address"]), tuple(one["names"]))
        for network, about in (offers.get("dns") or {}).items()
        for one in about.get("entries") or ()
    ]
    yield from (f"{host}: {sentence}" for sentence in entry_problems(entries, others, machine))
