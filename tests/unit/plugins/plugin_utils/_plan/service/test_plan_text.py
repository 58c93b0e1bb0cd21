# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_text import WIDTH, plan_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import held, host, manifest


def test_a_plan_says_what_a_deployment_would_make() -> None:
    wanted = manifest(memory_mib=600, disk={"size_gib": 9}, cloud_init={"user_data": {}})
    lines = plan_text(service_plan(wanted, {"a": host(held()), "b": host(held())}))
    assert lines[0] == "Service shop (tenant default): 2 machines, 2 to be made"
    assert lines[1] == "  web: 1 CPU, 600 MiB, network default, cloud-init"
    assert "    disk root: 9 GiB, differencing disk of tiny 1, pool default" in lines
    assert "    web-1 on a: to be made" in lines
    assert all(len(line) <= WIDTH for line in lines)


def test_surplus_machines_and_drift_are_in_the_plan() -> None:
    first = service_plan(manifest(), {"a": host(held()), "b": host(held())})
    there = [
        {"machine": m["machine"], "group": "web", "number": m["number"], "spec": {**m["spec"], "memory_mib": 96}}
        for m in first["machines"]
        if m["host"] == "a"
    ]
    extra = {"machine": "web-9", "group": "web", "number": 9, "spec": {}}
    plan = service_plan(manifest(), {"a": host(held(), machines=[*there, extra]), "b": host(held())})
    text = "\n".join(plan_text(plan))
    assert "surplus: web-9 on a" in text or "surplus: web-9 on a" in " ".join(text.split())
    assert "drift: web-1: memory 96 → 512 MiB; nothing would be rebuilt" in text or "drift: web-1: memory 96 →" in text


def test_reasons_are_told_once_for_all_hosts_that_share_them() -> None:
    lines = plan_text(service_plan(manifest(), {name: host(held()) for name in "ab"}))
    placed = [line for line in lines if line.strip().startswith("placed on")]
    assert len(placed) == len({line.partition(": ")[2] for line in placed})
