# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.references import name_of
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.modules import base_disk
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(base_disk)


def test_from_pool_to_pool_and_away(run: Run, disk_pools: dict[str, str]) -> None:
    one, two = Store(disk_pools["one"], pool="one"), Store(disk_pools["two"], pool="two")
    base = put_base(one, refer=[name_of("default", "a", "1"), name_of("blue", "b", "1")])
    wanted = {"pool": "two", "bases": [base.sha256]}
    predicted, real, again = run(True, **wanted), run(**wanted), run(**wanted)
    assert (predicted["actions"], predicted["diff"]) == (real["actions"], real["diff"])
    assert (real["changed"], again["changed"]) == (True, False)
    copied = two.find(base.sha256)
    assert copied is not None
    assert copied.names() == [{"tenant": "default", "name": "a", "version": "1"}]

    refused = run(state="absent", **wanted)
    assert refused["failure"]["kind"] == "base_in_use"
    two.unrefer(base.sha256, two.references(base.sha256))
    assert run(True, state="absent", **wanted)["changed"]
    assert two.find(base.sha256) is not None
    assert run(state="absent", **wanted)["changed"]
    assert two.find(base.sha256) is None
    assert not run(state="absent", **wanted)["changed"]
    assert one.find(base.sha256) is not None


def test_a_base_that_is_nowhere(run: Run) -> None:
    assert run(pool="one", bases=["a" * 64])["failure"]["kind"] == "base_missing"
    assert run(pool="one", from_pool="three", bases=["a" * 64])["failure"]["kind"] == "invalid_option"
