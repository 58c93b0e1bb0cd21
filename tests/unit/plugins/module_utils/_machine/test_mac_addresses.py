# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Card
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

from .conftest import only, refused


def test_a_derived_address_makes_room(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish, other = make_wish(), make_wish("web-2", cards=(Card("default", mac=make_wish().owner.mac(0).upper()),))
    first, second = machines().ensure([wish, other], start=False)
    assert first.found and first.found.macs == (wish.owner.mac(0, 1),)
    assert second.found and second.found.macs == (wish.owner.mac(0),)
    assert only(machines().ensure([wish], start=False)).drift == []


def test_a_chosen_address_that_is_taken(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    card = Card("default", mac="52:54:00:aa:bb:01")
    machines().ensure([make_wish("web-2", service="blog", cards=(card,))], start=False)
    message = "The MAC address 52:54:00:aa:bb:01 of machine web-1 is already used by blog-web-2"
    refused(host, machines, [make_wish(cards=(card,))], message)


def test_who_has_an_address_is_not_told_to_other_tenants(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    card = Card("default", mac="52:54:00:aa:bb:01")
    machines().ensure([make_wish("web-2", service="secret", owner=Owner("other", "secret", "web-2"), cards=(card,))], start=False)
    told = machines().domains.every_domain("default", "shop")
    assert [one["macs"] for one in told] == [["52:54:00:aa:bb:01"]] and "secret" not in str(told)
    refused(host, machines, [make_wish(cards=(card,))], "is already used by another machine of this host")
