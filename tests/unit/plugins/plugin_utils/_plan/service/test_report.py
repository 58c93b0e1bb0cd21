# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.report import deploy_report
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import held, host, manifest


def test_machines_without_a_place_are_missing() -> None:
    wanted = {**manifest(hosts=["a"], count=9), "placement": {"partial": True}}
    plan = service_plan(wanted, {"a": host(held())})
    assert plan["problems"] == []
    report = deploy_report(plan, {}, predicted=True)
    assert report["missing"] == ["web-9"] and not report["ok"]
    assert report["failures"] == ["Missing: web-9."]
    assert "" not in report["hosts"]
    assert any("MISSING, unplaced: 1 machine of web does not fit; what binds: memory." in line for line in report["text"])
