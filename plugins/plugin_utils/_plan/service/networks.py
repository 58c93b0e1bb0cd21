# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""The networks of a group of machines, as each of its machines has them."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Mapping

from ....module_utils._machine.hardware import cards

Group = Mapping[str, t.Any]


def networks_of(group: Group, machine: str) -> list[dict[str, t.Any]]:
    """Each with the address that the manifest gives to this machine, if it gives any."""
    found = []
    for network in group["networks"]:
        mac = (network.get("macs") or {}).get(machine)
        found.append({**{key: value for key, value in network.items() if key != "macs"}, **({"mac": mac.lower()} if mac else {})})
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
