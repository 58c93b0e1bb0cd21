# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from tests.placement import __main__ as placement
from tests.placement import check, convert, families

INSTANCES = sorted(pathlib.Path(placement.__file__).parent.glob("instances/*.json"))
SMALL = [path for path in INSTANCES if len(json.loads(path.read_text())["hosts"]) <= 6]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_small_instance_is_optimal(path: pathlib.Path) -> None:
    row, _assignment = placement.row_of(json.loads(path.read_text()))
    assert row["vector"] == row["best"]
    assert not row["broken"]
    assert not row["ties"]
    assert set(row["binds"]) == set(row["wanted_binds"] or [])


@pytest.mark.parametrize("seed", range(4))
def test_fresh_instance_keeps_all_limits(seed: int) -> None:
    instance = families.instance(20, 6, seed)
    answer, _seconds = placement.answer_of(instance)
    broken, vector = check.vector_of(instance, convert.assignment_of(instance, answer))
    assert not broken
    assert vector["unplaced"] == len(answer["unplaced"])
    assert placement.answer_of(instance)[0] == answer


@pytest.mark.parametrize(
    ("limit", "change"),
    [
        ("memory", {"used_mem_mib": 131072}),
        ("cpu", {"used_cpus": 64}),
        ("maintenance", {"maintenance": True}),
        ("anti_affinity", {"members": {"w": 1}}),
    ],
)
def test_the_checker_sees_a_broken_limit(limit: str, change: dict[str, t.Any]) -> None:
    instance = json.loads((INSTANCES[0].parent / "tie_base_one.json").read_text())
    instance["machines"][0]["anti_affinity"] = "w"
    good = [{"machine": "web-01", "host": "h3", "pool": "p3"}]
    assert check.vector_of(instance, good)[0] == []
    instance["hosts"][2].update(change)
    assert [problem.split(":")[0] for problem in check.vector_of(instance, good)[0]] == [limit]
