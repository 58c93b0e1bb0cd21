# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import marks
from ansible_collections.basecast.fleet.plugins.modules import storage_probe

RUN = "20260101T000000-abcdefgh"


@pytest.fixture
def probe(run_on_pools: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    call = run_on_pools(storage_probe)
    return lambda check_mode=False, **options: call(check_mode, **{"run": RUN, "expected": {"one": 2}, **options})


def test_two_hosts_of_one_pool(probe: t.Any, disk_pools: dict[str, str]) -> None:
    left = [probe(state="marked") for _host in range(2)]
    assert [list(one["marks"]) for one in left] == [["one"], ["one"]]
    found = [probe(state="seen", marks=one["marks"]) for one in left]
    assert found[0]["seen"] == found[1]["seen"] == {"one": sorted(one["marks"]["one"] for one in left)}
    assert [(one["changed"], one["marks"]) for one in found] == [(False, one["marks"]) for one in left]
    assert os.listdir(disk_pools["one"]) == os.listdir(disk_pools["two"]) == []


def test_a_pool_that_cannot_be_written_has_no_mark(probe: t.Any, disk_pools: dict[str, str]) -> None:
    with open(os.path.join(disk_pools["one"], marks.FOLDER), "w", encoding="ascii"):
        pass
    assert probe(state="marked")["marks"] == {}
    assert probe(state="seen", marks={})["seen"] == {}


def test_check_mode_leaves_nothing(probe: t.Any, disk_pools: dict[str, str]) -> None:
    assert probe(True, state="marked")["marks"] == {}
    assert os.listdir(disk_pools["one"]) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"run": "../x"}, "run: '../x' is not accepted; a name has"),
        ({"expected": {"three": 2}}, "expected: 'three' is not accepted; this host's pools are: one, two"),
        ({"expected": {"one": 0}}, "expected.one: 0 is not accepted; a whole number of at least 1 is needed"),
        ({"marks": {"one": "../../x"}}, "marks.one: '../../x' is not accepted; a mark that this module has returned is needed"),
        ({"wait_s": -1}, "wait_s: -1.0 is not accepted; a number of seconds from 0 to 600 is needed"),
    ],
)
def test_options_are_checked(probe: t.Any, options: dict[str, t.Any], message: str) -> None:
    told = probe(state="seen", **options)
    assert told["failed"] and message in told["msg"]
