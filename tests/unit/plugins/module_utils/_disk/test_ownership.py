# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One file serves several tenants: none can take it from another, and they leave in any order."""

from __future__ import annotations

import itertools
import os

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import ownership, references, removal
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import BaseInUse
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

TENANTS = ("blue", "green", "red")


@pytest.mark.parametrize("order", list(itertools.permutations(TENANTS)), ids="-".join)
def test_tenants_leave_a_base_in_any_order(order: tuple[str, ...], pools: dict[str, Store]) -> None:
    refer = [one for tenant in TENANTS for one in (references.tenant_of(tenant), references.name_of(tenant, "debian", "12"))]
    base = put_base(pools["one"], refer=refer)
    for gone, tenant in enumerate(order):
        with pytest.raises(BaseInUse):
            removal.remove_bases(pools, "one", [base.sha256], False, tenant)
        ownership.apply(pools, ownership.plan_absent_tenant(pools, tenant))
        found = pools["one"].find(base.sha256)
        assert found is not None
        assert found.tenants() == sorted(order[gone + 1 :])
    assert removal.remove_bases(pools, "one", [base.sha256], False, "blue") == [base.sha256]


def test_a_tenant_drops_no_reference_of_another(pools: dict[str, Store]) -> None:
    base = put_base(pools["one"], refer=[references.tenant_of("blue"), references.tenant_of("red")])
    changes = ownership.plan_absent(pools, "blue", [ownership.Wish(base.sha256, pool="one")])
    assert {change.reference.tenant for change in changes} == {"blue"}


@pytest.mark.parametrize(
    ("tenant", "told", "hidden"),
    [
        (None, "is still needed by names: debian 12 of tenant red; tenants: red. Remove such machines and disks first", "other tenants"),
        ("red", "names: debian 12 of tenant red; tenants: red", "other tenants"),
        ("blue", "other tenants: 2 references and disks", "red"),
    ],
)
def test_who_else_needs_a_base_is_a_number(tenant: str | None, told: str, hidden: str, pools: dict[str, Store]) -> None:
    base = put_base(pools["one"], refer=[references.tenant_of("red"), references.name_of("red", "debian", "12")])
    with pytest.raises(BaseInUse) as error:
        removal.remove_bases(pools, "one", [base.sha256], False, tenant)
    assert told in error.value.message
    assert hidden not in str((error.value.message, error.value.fields))


def test_names_that_wait_for_a_base_count_as_new(pools: dict[str, Store]) -> None:
    """Else a policy could take those of an earlier time, from under the run that counts on them."""
    wish, store = ownership.Wish("7" * 64, "debian", "12", pool="one"), pools["one"]
    ownership.apply(pools, ownership.plan_present(pools, "red", [wish], expected=True, check_mode=False))
    before = store.references(wish.sha256 or "")
    os.utime(store.references_directory(wish.sha256 or ""), (1.0, 1.0))
    changes = ownership.plan_present(pools, "red", [wish], expected=True, check_mode=False)
    assert {change.action for change in changes} == {"none"}
    store.unrefer(wish.sha256 or "", before[:1])
    ownership.apply(pools, changes)
    assert store.references(wish.sha256 or "") == before and os.stat(store.references_directory(wish.sha256 or "")).st_mtime > 1.0


def test_children_of_others_are_a_number(pools: dict[str, Store]) -> None:
    base = put_base(pools["one"])
    own = put_base(pools["one"], b"own".ljust(4096), parent=base.sha256, refer=[references.tenant_of("blue")])
    theirs = put_base(pools["one"], b"theirs".ljust(4096), parent=base.sha256, refer=[references.tenant_of("red")])
    with pytest.raises(BaseInUse) as error:
        removal.remove_bases(pools, "one", [base.sha256], False, "blue")
    assert own.sha256 in error.value.message
    assert theirs.sha256 not in str((error.value.message, error.value.fields))
    assert "other tenants: 1 references and disks" in error.value.message


@pytest.mark.parametrize(
    ("wish", "expected", "told"),
    [
        (ownership.Wish(name="debian", version="12"), False, "to add a reference, sha256 is needed"),
        (ownership.Wish("a" * 64), True, "with expected: true, each entry needs a pool"),
    ],
)
def test_a_reference_needs_its_base_and_its_pool(wish: ownership.Wish, expected: bool, told: str, pools: dict[str, Store]) -> None:
    with pytest.raises(InvalidOption, match=told):
        ownership.plan_present(pools, "blue", [wish], expected, False)
