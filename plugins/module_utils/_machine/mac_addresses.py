# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""MAC addresses of new machines' cards."""

from __future__ import annotations

import typing as t

from .domain import Description
from .domain_list import DomainList
from .machine import Machine
from .owner import Owner


def choose(new: t.Sequence[Machine], domains: DomainList) -> tuple[dict[Owner, list[str]], list[str]]:
    """One address per card that no other card on this host has."""
    users = {mac: about for _domain, about in domains for mac in about.macs}
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


def _shown(about: Description, tenant: str) -> str:
    """A domain's name, for those who may know it."""
    return about.domain if about.owner is not None and about.owner.tenant == tenant else "another machine of this host"
