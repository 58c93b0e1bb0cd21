# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine exists once, whatever hosts say."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import (
    held,
    host,
    manifest,
    problems,
)

UUID = Owner("default", "shop", "web-1").domain_uuid


def web(number: int, uuid: str | None = None) -> dict[str, t.Any]:
    name = f"web-{number}"
    return {"machine": name, "group": "web", "number": number, "uuid": uuid or Owner("default", "shop", name).domain_uuid, "spec": {}}


def domain(name: str | None = "shop-web-1", uuid: str | None = UUID, **more: t.Any) -> dict[str, t.Any]:
    return {"domain": name, "uuid": uuid, "service": None, "tenant": None, "machine": None, "problem": None, **more}


LEAVES = {"machine": "web-1", "side": "source", "peer": "b"}
COMES = {"machine": "web-1", "side": "target", "peer": "a"}
UNENDED = "has not ended; wait for the run that does it, or end it (basecast.fleet.migrate -e service=shop -e machine=web-1)"
OURS = {"service": "shop", "tenant": "default", "machine": "web-1"}


@pytest.mark.parametrize(
    ("on_a", "on_b", "told"),
    [
        ({"machines": [web(1)]}, {}, ""),
        ({"machines": [web(1)], "domains": [domain(**OURS)]}, {}, ""),
        ({"machines": [web(1)]}, {"machines": [web(1)]}, f"machine web-1 exists on a and b with the same UUID {UUID}; remove"),
        ({"machines": [web(1)]}, {"machines": [web(1, "other")]}, "machine web-1 exists on a and b; remove"),
        ({}, {"domains": [domain("copy")]}, f"the UUID {UUID} of machine web-1 is that of the domain copy on b"),
        ({"machines": [web(1)]}, {"domains": [domain("copy")]}, "is that of the domain copy on b"),
        ({"domains": [domain(uuid="x")]}, {}, "shop-web-1 on a, which exists and is none of this tenant's machines"),
        (
            {"domains": [domain(uuid="x", service="shop", tenant="acme")]}, {},
            "shop-web-1 on a, which exists and belongs to service shop of tenant acme",
        ),
        ({}, {"domains": [domain(None)]}, f"the UUID {UUID} of machine web-1 is that of another domain on b"),
        ({"domains": [domain(None, None)]}, {"domains": [domain(None, None)]}, ""),
        ({"domains": [domain("mail", "x")]}, {"domains": [domain("mail", "x")]}, ""),
        ({"domains": [domain(uuid="x", problem="not XML")]}, {}, ""),
        ({"machines": [web(1)], "moves": [LEAVES]}, {"machines": [web(1)]}, f"from a to b {UNENDED}"),
        ({"machines": [web(1)]}, {"machines": [web(1)], "moves": [COMES]}, f"from a to b {UNENDED}"),
        ({}, {"moves": [{**COMES, "peer": "gone"}]}, f"from gone to b {UNENDED}"),
    ],
)  # fmt: skip
def test_names_and_uuids_are_compared_across_hosts(on_a: dict[str, t.Any], on_b: dict[str, t.Any], told: str) -> None:
    hosts = {"a": host(held(), **on_a), "b": host(held(), **on_b)}
    found = problems(service_plan(manifest(hosts=["a"]), hosts))
    assert told in found
    assert bool(found) is bool(told)


def test_a_move_is_one_problem_and_not_two() -> None:
    hosts = {"a": host(held(), machines=[web(1)], moves=[LEAVES]), "b": host(held(), machines=[web(1)], moves=[COMES])}
    assert problems(service_plan(manifest(hosts=["a"]), hosts)).count("web-1") == 2  # in the sentence, and in its command
