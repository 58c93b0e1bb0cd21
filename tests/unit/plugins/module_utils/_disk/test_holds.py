# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import holds
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError

from .conftest import put_base


@pytest.mark.parametrize("sweep", [True, False])
def test_a_hold_stands_until_it_is_given_back_or_too_old(store: Store, sweep: bool) -> None:
    base = put_base(store)
    assert holds.standing(store, sweep) == []
    assert holds.hold([store], "run-1", [base.sha256], 100.0) == []
    assert holds.standing(store, sweep) == [holds.Hold("run-1", (base.sha256,))]
    path = os.path.join(store.directory, ".held", "run-1.json")
    os.utime(path, (time.time() - 101, time.time() - 101))
    assert holds.standing(store, sweep) == [] and os.path.exists(path) is not sweep
    holds.hold([store], "run-1", [base.sha256], 100.0)
    assert holds.release(store, "run-1") and not holds.release(store, "run-1")
    assert holds.standing(store, sweep) == []


def test_only_what_is_there_is_held(pools: dict[str, Store]) -> None:
    base = put_base(pools["two"])
    assert holds.hold(list(pools.values()), "run-1", [base.sha256, "0" * 64], 100.0) == ["0" * 64]
    assert [len(holds.standing(store)) for store in pools.values()] == [0, 1]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"bases": ["x"], "ttl_s": 5}', '{"bases": []}'])
def test_a_hold_that_cannot_be_read_is_not_taken_as_none(content: str, store: Store) -> None:
    holds.hold([store], "run-1", [put_base(store).sha256], 100.0)
    with open(os.path.join(store.directory, ".held", "run-1.json"), "w", encoding="utf-8") as file:
        file.write(content)
    with pytest.raises(FleetError):
        holds.standing(store)


@pytest.mark.parametrize("below", [".held", ""])
@pytest.mark.parametrize("step", ["hold", "standing", "sweep", "release"])
def test_a_planted_link_is_not_followed(store: Store, tmp_path: Path, below: str, step: str) -> None:
    base = put_base(store)
    victim = tmp_path / "victim"
    for place in (victim, victim / ".held"):
        place.mkdir()
        (place / "run-1.json").write_text("precious")
    for place in (victim, victim / ".held"):
        os.utime(place, (1, 1))
    if below:
        os.symlink(victim, os.path.join(store.directory, below))
    else:
        os.rename(store.directory, store.directory + ".away")
        os.symlink(victim, store.directory)
    steps: dict[str, t.Callable[[], object]] = {
        "hold": lambda: holds.take(store, "run-1", [base.sha256], 100.0),
        "standing": lambda: holds.standing(store),
        "sweep": lambda: holds.standing(store, sweep=True),
        "release": lambda: holds.release(store, "run-1"),
    }
    try:
        with pytest.raises(UnsafePath, match="is a symbolic link"):
            steps[step]()
        found = [(path.stat().st_mtime, sorted(os.listdir(path))) for path in (victim, victim / ".held")]
        assert found == [(1.0, [".held", "run-1.json"]), (1.0, ["run-1.json"])]
    finally:
        if not below:
            os.unlink(store.directory)
            os.rename(store.directory + ".away", store.directory)


def test_a_file_that_no_run_has_made_is_named(store: Store) -> None:
    holds.hold([store], "run-1", [put_base(store).sha256], 100.0)
    directory = os.path.join(store.directory, ".held")
    os.rename(os.path.join(directory, "run-1.json"), os.path.join(directory, "my hold.json"))
    with pytest.raises(FleetError, match=r"\.held/my hold\.json is not a hold of a run; remove it"):
        holds.standing(store)
