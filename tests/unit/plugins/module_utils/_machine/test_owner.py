# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner, checked_owner, may_be_of


def test_identifiers_never_change() -> None:
    # Machines that exist were made with these values.
    owner = Owner("default", "shop", "web-1")
    assert owner.domain == "shop-web-1"
    assert owner.domain_uuid == "d62a21f7-7942-5033-9370-5f97983b6cdd"
    assert owner.instance_id == "65e14f41-9529-56c3-a729-cc494a596f38"
    assert owner.mac(0) == "52:54:00:df:a8:6b"
    assert owner.host_names == ("shop-web-1", "web-1.shop.internal")
    assert owner.directory("/pool") == "/pool/machines/shop/web-1"


def test_tenants_with_equal_services_get_different_machines() -> None:
    one, other = Owner("default", "shop", "web-1"), Owner("acme", "shop", "web-1")
    assert one.domain_uuid != other.domain_uuid
    assert one.mac(0) != other.mac(0)


def test_each_card_and_each_attempt_has_its_own_address() -> None:
    owner = Owner("default", "shop", "web-1")
    assert len({owner.mac(card, attempt) for card in range(8) for attempt in range(8)}) == 64


@pytest.mark.parametrize(
    "tenant, service, machine, option",
    [("..", "shop", "web-1", "tenant"), ("a", "s/p", "web-1", "service"), ("a", "shop", "Web_1", "machines[0].machine")],
)
def test_names_that_could_leave_their_place_are_refused(tenant: t.Any, service: t.Any, machine: t.Any, option: str) -> None:
    with pytest.raises(InvalidOption) as error:
        checked_owner(tenant, service, machine, "machines[0].machine")
    assert error.value.fields["option"] == option


@pytest.mark.parametrize(
    ("name", "may_be"),
    [("shop-web-1", True), ("web-1.shop.internal", True), ("shop", False), ("workshop-web-1", False), ("web-1.workshop.internal", False)],
)
def test_names_that_a_service_may_have(name: str, may_be: bool) -> None:
    assert may_be_of("shop", name) is may_be
