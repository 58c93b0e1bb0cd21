# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.modules import diff_disk
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(diff_disk)


def test_a_copy_comes_and_goes(run: Run, disk_pools: dict[str, str]) -> None:
    base = put_base(Store(disk_pools["one"], pool="one"))
    disk = {"machine": "web-1", "name": "root", "pool": "one", "base": base.sha256, "differencing": False}
    predicted, real, again = (run(check, service="shop", disks=[disk]) for check in (True, False, False))
    assert predicted["diff"] == real["diff"]
    assert real["diff"]["before"] == {"disks": []}
    assert (real["changed"], again["changed"]) == (True, False)
    assert real["disks"][0]["path"] == f"{disk_pools['one']}/machines/shop/web-1/root.raw"
    assert again["diff"] == {"before": {"disks": []}, "after": {"disks": []}}


def test_a_base_on_its_way_is_a_warning(run: Run) -> None:
    # A digest of its own: Ansible tells each warning once in the life of a process.
    disk = {"machine": "web-1", "name": "root", "pool": "one", "base": "d1" * 32}
    predicted = run(True, service="shop", disks=[disk])
    assert predicted["changed"]
    assert "d1" * 32 in str(predicted["warnings"])
    assert run(service="shop", disks=[disk])["failure"]["kind"] == "base_missing"


@pytest.mark.parametrize(
    ("service", "disk"),
    [
        ("../shop", {"machine": "m", "name": "d"}),
        ("shop", {"machine": "..", "name": "d"}),
        ("shop", {"machine": "m", "name": "a/b"}),
        ("shop", {"machine": "m", "name": ".hidden"}),
        ("shop", {"machine": "m"}),
        ("shop", {"machine": "m", "name": "d", "pool": "three"}),
        ("shop", {"machine": "m", "name": "d", "base_pool": "three"}),
        ("shop", {"machine": "m", "name": "d", "base": "x"}),
        ("shop", {"machine": "m", "name": "d", "size_bytes": 0}),
    ],
)
def test_refused_options(run: Run, service: str, disk: dict[str, t.Any]) -> None:
    result = run(service=service, disks=[{"pool": "one", **disk}])
    assert result["failure"]["kind"] == "invalid_option"
