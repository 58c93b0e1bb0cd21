# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import holds
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
