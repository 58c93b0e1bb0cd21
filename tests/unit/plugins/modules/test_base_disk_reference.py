# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.modules import base_disk_reference
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(base_disk_reference)


def test_names_references_and_pins(run: Run, disk_pools: dict[str, str]) -> None:
    store = Store(disk_pools["one"], pool="one")
    first, second = put_base(store), put_base(store, b"second".ljust(512))
    wanted = {
        "tenant": "blue",
        "references": [
            {"sha256": first.sha256, "name": "a", "version": "1"},
            {"sha256": second.sha256},
            {"sha256": second.sha256, "pin": "keep"},
        ],
    }
    predicted, real, again = run(True, **wanted), run(**wanted), run(**wanted)
    assert predicted["references"] == real["references"]
    assert [item["action"] for item in real["references"]] == ["added"] * 4
    assert (real["changed"], again["changed"]) == (True, False)
    assert again["diff"]["before"] == again["diff"]["after"]
    clash = run(tenant="blue", references=[{"sha256": second.sha256, "name": "a", "version": "1"}])
    assert clash["failure"]["kind"] == "name_taken"
    assert not run(tenant="red", references=[{"sha256": second.sha256, "name": "a", "version": "1"}]).get("failed")

    assert run(tenant="blue", state="absent", references=[{"name": "a", "version": "1"}])["changed"]
    assert run(tenant="blue", state="absent", all=True)["changed"]
    found = store.find(second.sha256)
    assert found is not None
    assert (found.tenants(), found.pins()) == (["red"], ["keep"])
    assert run(state="absent", references=[{"sha256": second.sha256, "pin": "keep"}])["changed"]
    assert not run(state="absent", references=[{"sha256": second.sha256, "pin": "keep"}])["changed"]


def test_references_of_a_base_on_its_way(run: Run, disk_pools: dict[str, str]) -> None:
    entry = {"sha256": "a" * 64, "name": "a", "version": "1"}
    assert run(references=[entry])["failure"]["kind"] == "base_missing"
    assert run(references=[entry], expected=True)["failure"]["kind"] == "invalid_option"
    assert run(references=[{**entry, "pool": "one"}], expected=True)["changed"]
    assert len(Store(disk_pools["one"]).references("a" * 64)) == 2
    assert Store(disk_pools["two"]).references("a" * 64) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"references": [{}]},
        {"references": [{"sha256": "x"}]},
        {"references": [{"sha256": "a" * 64, "name": "a"}]},
        {"references": [{"sha256": "a" * 64, "pin": "a/b"}]},
        {"references": [{"name": "a", "version": "1"}]},
        {"all": True},
        {"tenant": "..", "state": "absent", "all": True},
    ],
)
def test_refused_options(run: Run, arguments: dict[str, t.Any]) -> None:
    assert run(**arguments)["failed"]
