# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.report import deploy_report
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.roll_back import roll_back


def plan(on_failure: str = "roll_back") -> t.Any:
    machines = [
        {"machine": f"{role}-1", "group": role, "host": host, "state": "create", "reason": "", "drift": []}
        for role, host in (("web", "b"), ("db", "a"), ("mail", "a"))
    ]
    order = {"on_failure": on_failure, "stages": [["db", "mail"], ["web"]]}
    return {"service": "shop", "problems": [], "surplus": [], "machines": machines, "order": order}


def made(name: str, *actions: str, **more: t.Any) -> dict[str, t.Any]:
    return {"machine": name, "state": "deployed", "running": True, "actions": list(actions), "new_disks": [], "problem": None, **more}


NEW = ("defined", "started")
GOOD = {
    "a": {"state": "done", "machines": [made("db-1", *NEW), made("mail-1", "started", state="started")]},
    "b": {"state": "done", "machines": [made("web-1", *NEW)]},
}
ILL = {**GOOD, "b": {"state": "failed", "machines": [made("web-1", *NEW, state="failed", problem="port 80 is silent")]}}
WAITED = {**GOOD, "b": {"state": "failed", "machines": [made("web-1", state="failed", running=False, problem="not its turn")]}}


@pytest.mark.parametrize(
    ("policy", "outcomes", "steps"),
    [
        ("roll_back", GOOD, []),
        ("keep", ILL, []),
        ("roll_back", ILL, [{"b": ["web-1"]}, {"a": ["db-1", "mail-1"]}]),
        ("roll_back", WAITED, [{"a": ["db-1", "mail-1"]}]),
        ("roll_back", {**ILL, "a": {"state": "unreachable", "msg": "lost"}}, [{"b": ["web-1"]}]),
        (
            "roll_back",
            {
                **GOOD,
                "b": {
                    "state": "failed",
                    "machines": [made("web-1", state="failed", problem="no", new_disks=[{"name": "root", "pool": "p"}])],
                },
            },
            [{"b": ["web-1"]}, {"a": ["db-1", "mail-1"]}],
        ),
        ("roll_back", {"a": {"state": "done", "machines": [made("db-1"), made("mail-1")]}, "b": WAITED["b"]}, []),
    ],
)
def test_what_was_made_is_taken_back_the_last_role_first(policy: str, outcomes: t.Any, steps: t.Any) -> None:
    assert roll_back(plan(policy), outcomes)["steps"] == steps


def test_the_report_says_what_was_taken_back_and_why() -> None:
    removals = {
        "a": [
            {
                "removal": {
                    "machines": [
                        {"machine": "db-1", "actions": ["stopped", "removed", "disks removed"], "problem": None},
                        {"machine": "mail-1", "actions": ["stopped", "forced"], "problem": None},
                    ]
                }
            }
        ],
        "b": [{"msg": "the host went away"}],
    }
    after = roll_back(plan(), ILL, removals)["outcomes"]
    report = deploy_report(plan(), after)
    assert not report["ok"] and report["missing"] == ["web-1", "db-1", "mail-1"]
    assert [machine["reason"] for machine in report["machines"]] == [
        "port 80 is silent; it was not rolled back: the host went away",
        "removed again (on_failure: roll_back): it had come up, and web-1 failed",
        "powered off again (on_failure: roll_back): it had come up, and web-1 failed",
    ]


def test_the_report_says_why_a_machine_was_left_alone() -> None:
    left = {"machine": "mail-1", "actions": [], "problem": "its migration has not ended"}
    removals = {"a": [{"removal": {"machines": [left]}, "msg": "Not everything was removed"}], "b": []}
    machines = {machine["machine"]: machine for machine in roll_back(plan(), ILL, removals)["outcomes"]["a"]["machines"]}
    assert machines["mail-1"]["problem"].endswith("it was not rolled back: its migration has not ended")
