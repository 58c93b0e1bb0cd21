# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import place_machines
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_manifest

from tests.placement import __main__ as placement
from tests.placement import check, convert


def instance(count: int, role: dict[str, t.Any], hosts: list[dict[str, t.Any]], free_gib: int = 2000) -> dict[str, t.Any]:
    fleet = [{"id": f"h{at}", "cpus": 32, "mem_mib": 131072, "site": f"s{at % 2}", **host} for at, host in enumerate(hosts)]
    pools = [
        {"id": f"p{at}", "hosts": [f"h{at}"], "free_gib": free_gib, "promised_gib": 0, "overcommit_pct": 100} for at in range(len(hosts))
    ]
    base = {"id": "root", "size_gib": 20, "bytes": 2_000_000_000, "parent": None}
    disks = [{"base": "root", "size_gib": 20, "differencing": True}]
    return {
        "name": "case",
        "hosts": fleet,
        "pools": pools,
        "bases": [base],
        "presence": {"root": [pool["id"] for pool in pools]},
        "bring_seconds": {"root": {pool["id"]: 20 for pool in pools}},
        "machines": [{"role": "w", "count": count, "cpus": 1, "mem_mib": 1024, "disks": disks, **role}],
    }


CASES = [
    ("memory", instance(5, {"mem_mib": 65536}, [{}, {}]), ["memory"], 1),
    ("cpu", instance(5, {"cpus": 16}, [{}, {}]), ["cpu"], 1),
    ("pool", instance(5, {}, [{}, {}], free_gib=45), ["pool"], 1),
    ("memory and pool each", instance(6, {"mem_mib": 65536}, [{}, {}], free_gib=45), [], 2),
    ("labels", instance(3, {"mem_mib": 65536, "labels": ["ssd"]}, [{"labels": ["ssd"]}, {}]), ["memory", "labels"], 1),
    ("maintenance", instance(3, {"mem_mib": 65536}, [{"maintenance": True}, {}]), ["memory", "maintenance"], 1),
    ("affinity", instance(3, {"mem_mib": 65536, "affinity": {"group": "g", "by": "host"}}, [{}, {}]), ["memory", "affinity"], 1),
    ("anti-affinity", instance(3, {"anti_affinity": "w"}, [{}, {}]), ["anti_affinity"], 1),
    ("members of others", instance(2, {"anti_affinity": "w"}, [{"members": {"w": 1}}, {}]), ["anti_affinity"], 1),
    ("spread", instance(5, {"spread": {"group": "w", "limit": 2}}, [{}, {}, {}]), ["spread"], 1),
]


@pytest.mark.parametrize(("case", "binds", "left"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_limits_that_bind_are_named(case: dict[str, t.Any], binds: list[str], left: int) -> None:
    answer, _seconds = placement.answer_of(case)
    broken, vector = check.vector_of(case, convert.assignment_of(case, answer))
    assert not broken
    assert vector["unplaced"] == left
    assert sorted(answer["binds"]) == sorted(binds)
    assert all(entry["hosts"] for entry in answer["unplaced"])


def test_each_group_names_the_limits_that_bind_it() -> None:
    result = place_machines(
        parse_manifest(
            {
                "format": 1,
                "service": "shop",
                "machines": [
                    {"name": "wide", "count": 1, "cpus": 600, "memory_mib": 64, "disks": [{"name": "root", "size_gib": 1}]},
                    {"name": "large", "count": 1, "cpus": 1, "memory_mib": 64, "disks": [{"name": "root", "size_gib": 9000}]},
                ],
            }
        ),
        {"a": {"reachable": True, "capacity": {"cpus": 4, "memory_mib": 4096, "pools": {"default": {"free_bytes": 10**12}}}}},
    )
    wide, large = result["problems"]
    assert "1 machine of wide does not fit; what binds: cpu. a: cpu:" in wide
    assert "1 machine of large does not fit; what binds: pool. a: pool" in large
    assert set(result["binds"]) == {"cpu", "pool"}
