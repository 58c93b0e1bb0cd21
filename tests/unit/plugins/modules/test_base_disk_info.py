# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.modules import base_disk_info

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(base_disk_info)


def test_empty_pools(run: Run, disk_pools: dict[str, str]) -> None:
    result = run()
    assert result["changed"] is False
    pool = result["pools"]["one"]
    assert (pool["path"], pool["exists"], pool["writable"]) == (disk_pools["one"], True, True)
    assert (pool["bases"], pool["partials"], pool["damaged"]) == ([], [], [])
    assert set(pool["filesystem"]) == {"type", "identity", "shared", "reflink", "immutable"}


def test_a_pool_that_is_not_there(run: Run) -> None:
    pool = run(pools={"gone": "/nowhere/at/all"})["pools"]["gone"]
    assert (pool["exists"], pool["writable"], pool["filesystem"]["identity"]) == (False, False, None)


@pytest.mark.parametrize("arguments", [{"bases": ["x"]}, {"pools": {"one": "relative"}}, {"pools": {"../x": "/a"}}, {"pools": {}}])
def test_refused_options(run: Run, arguments: dict[str, t.Any]) -> None:
    result = run(**arguments)
    assert result["failed"]
    assert result["failure"]["kind"] == "invalid_option"
