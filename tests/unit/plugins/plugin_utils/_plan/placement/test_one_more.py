# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import Settings
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement.one_more import place_one_more
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_text import one_more_text
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import held, host, manifest


def there(*numbers: int) -> dict[str, t.Any]:
    machines = [{"machine": f"web-{number}", "group": "web", "number": number, "spec": {}} for number in numbers]
    domains = [{"domain": f"shop-web-{number}", "tenant": "default", "memory_mib": 512, "cpus": 1} for number in numbers]
    return host(held(), machines=machines, domains=domains)


@pytest.mark.parametrize(
    ("group", "on_a", "on_b", "machine", "goes_to", "moves"),
    [
        ({}, (), (), "web-1", "a", {}),
        ({"count": 1}, (1,), (), "web-2", "b", {"web-1": "b"}),
        ({"count": 9, "hosts": ["a", "b"]}, (1, 3), (2,), "web-4", "b", {"web-1": "b", "web-3": "b", "web-2": "a"}),
        ({"hosts": ["a"]}, (1,), (), "web-2", "a", {"web-1": None}),
        ({"per_host": 3}, (1,), (2,), "web-3", "a", {"web-1": "b", "web-2": "a"}),
    ],
    ids=["none", "spread", "count", "one-host", "per-host"],
)
def test_one_more_goes_beside_those_that_exist(
    group: dict[str, t.Any], on_a: tuple[int, ...], on_b: tuple[int, ...], machine: str, goes_to: str, moves: dict[str, t.Any]
) -> None:
    found = place_one_more(manifest(**group), {"a": there(*on_a), "b": there(*on_b)})["web"]
    assert (found["machine"], found["host"], found["problems"]) == (machine, goes_to, [])
    assert {move["machine"]: move["to"] for move in found["moves"]} == moves
    assert found["pools"] == {"root": "default"}
    text = " ".join(" ".join(one_more_text({"web": found})).split())
    assert f"web: one more machine ({machine}), or a clone, would go to {goes_to}, pool default" in text


def test_what_was_only_recorded_takes_no_room() -> None:
    entries = {f"web-{number}": {"host": "a", "group": "web", "number": number} for number in range(1, 6)}
    record = {"service": "shop", "generation": 1, "assignments": entries}
    found = place_one_more(manifest(count=2), {"a": {**there(), "record": record}})["web"]
    assert (found["machine"], found["host"]) == ("web-1", "a")


@pytest.mark.parametrize(
    ("facts", "quotas", "told"),
    [
        ({"maintenance": True}, {}, "a: it is in maintenance"),
        ({"reachable": False, "msg": "down"}, {}, "no host of this run can be asked"),
        ({}, {"default": {"machines": 0}}, "would pass the quota of tenant default"),
    ],
    ids=["maintenance", "unreachable", "quota"],
)
def test_no_room_is_told_with_its_reason(facts: dict[str, t.Any], quotas: dict[str, t.Any], told: str) -> None:
    wanted = manifest(count=1)
    wanted["machines"][0]["hosts"] = None
    found = place_one_more(wanted, {"a": {**there(), **facts}}, Settings(quotas=quotas))["web"]
    assert found["host"] is None
    assert told in " ".join(" ".join(one_more_text({"web": found})).split())
