# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.modules import base_disk_import, base_disk_upload

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(base_disk_upload)


def test_a_place_is_used_and_given_back(run: Run, run_on_pools: t.Callable[..., Run], disk_pools: dict[str, str]) -> None:
    assert run(True, pool="one", file_name="a.raw")["path"] is None
    assert not os.path.exists(disk_pools["one"] + "/bases")
    path = run(pool="one", file_name="a.raw")["path"]
    pathlib.Path(path).write_bytes(bytes(512))
    imported = run_on_pools(base_disk_import)(pool="one", src=path, consume=True)
    assert imported["base"]["size_bytes"] == 512
    assert os.listdir(disk_pools["one"] + "/bases/.incoming") == []
    assert not run(pool="one", path=path, state="absent")["changed"]


def test_a_place_that_is_not_used_goes(run: Run) -> None:
    path = run(pool="one", file_name="a.raw")["path"]
    assert run(True, pool="one", path=path, state="absent")["changed"]
    assert os.path.isdir(os.path.dirname(path))
    assert run(pool="one", path=path, state="absent")["changed"]
    assert not os.path.exists(os.path.dirname(path))


def test_nothing_else_is_removed(run: Run, disk_pools: dict[str, str]) -> None:
    assert "path" in run(pool="one", path=disk_pools["two"], state="absent")["msg"]
    assert os.path.isdir(disk_pools["two"])
