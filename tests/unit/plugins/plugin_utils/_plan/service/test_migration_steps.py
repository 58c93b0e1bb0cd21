# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.migration_steps import (
    FORWARD,
    RECORDED,
    RELOCATED,
    UNDONE_HERE,
    UNDONE_THERE,
    migration_report,
    migration_steps,
)

KEY = {"tenant": "default", "service": "shop", "machine": "web-1"}
MOVE = {**KEY, "source": "a", "target": "b", "live": False, "group": "web", "number": 1, "arrival": {"home": "default"}}
RECORD = {"tenant": "default", "service": "shop", "generation": 4, "assignments": {"web-1": {"host": "a"}}, "hosts": ["a", "c"]}
STEPS = (*FORWARD[:3], UNDONE_THERE, UNDONE_HERE, *FORWARD[3:], RELOCATED, RECORDED)
ON = {"prepared": "b", "received": "b", "finished": "b", UNDONE_THERE: "b"}


def run(move: dict[str, t.Any], fails: t.Mapping[str, str]) -> tuple[list[str], dict[str, t.Any]]:
    """The steps that are taken, and the report. ``fails``: the state in which a step ends instead."""
    plan = {"moves": [move], "records": [RECORD], "addresses": {"b": "192.0.2.2"}}
    results: dict[str, dict[str, t.Any]] = {}
    taken = []
    for step in STEPS:
        for host, machines in migration_steps(plan, results, step).items():
            taken.append(step)
            told = [
                {**{key: one[key] for key in KEY}, "state": fails.get(step, "done"), "problem": "no" if step in fails else None}
                for one in machines
            ]
            asked = [[one[key] for key in KEY] for one in machines]
            lost = fails.get(step) == "lost"
            results.setdefault(host, {})[step] = {
                "machines": [] if lost else told,
                "port": 7,
                "msg": "gone" if lost else "",
                "asked": asked,
            }
            assert host == ("c" if step == RECORDED else ON.get(step, "a"))
    return taken, migration_report(plan, results)


def test_all_steps_in_their_order() -> None:
    taken, report = run(MOVE, {})
    assert taken == [*FORWARD, RECORDED] and report["ok"] and report["machines"][0]["state"] == "moved"


WITHIN_POOL = {**MOVE, "target": "a", "within": "fast"}


@pytest.mark.parametrize(
    ("move", "ends", "state", "words"),
    [
        (WITHIN_POOL, {}, "moved", "web-1  a, to the pool fast  off"),
        (WITHIN_POOL, {RELOCATED: "failed"}, "as before", "web-1 on a to the pool fast: no"),
        (WITHIN_POOL, {RELOCATED: "unknown"}, "unknown", "no Run again."),
        (WITHIN_POOL, {RELOCATED: "lost"}, "unknown", "gone Run again."),
        ({**WITHIN_POOL, "undo": True}, {}, "undone", "an earlier migration was ended"),
    ],
)
def test_another_pool_of_the_host_is_one_step(move: dict[str, t.Any], ends: dict[str, str], state: str, words: str) -> None:
    taken, report = run(move, ends)
    assert taken == [RELOCATED] and report["machines"][0]["state"] == state and report["ok"] is (not ends)
    assert words in "\n".join([*report["text"], *report["failures"]])
    (told,) = migration_steps({"moves": [move], "records": []}, {}, RELOCATED)["a"]
    assert told == {**KEY, **({} if move.get("undo") else {"pool": "fast", "live": False})}


@pytest.mark.parametrize(
    ("fails", "taken", "state"),
    [
        ({"prepared": "failed"}, ["prepared", UNDONE_THERE], "as before"),
        ({"sent": "failed"}, ["prepared", "sent", UNDONE_THERE], "as before"),
        ({"received": "failed"}, [*FORWARD[:3], UNDONE_THERE, UNDONE_HERE], "as before"),
        ({"sent": "unknown"}, ["prepared", "sent"], "unknown"),
        ({"sent": "lost"}, ["prepared", "sent"], "unknown"),
        ({"received": "lost"}, [*FORWARD[:3]], "unknown"),
        ({"handed_over": "failed"}, [*FORWARD[:4]], "unfinished"),
        ({"handed_over": "lost"}, [*FORWARD[:4]], "unfinished"),
        ({"finished": "failed"}, [*FORWARD[:5], RECORDED], "unfinished"),
        ({"removed": "failed"}, [*FORWARD, RECORDED], "unfinished"),
        ({"sent": "failed", UNDONE_THERE: "failed"}, ["prepared", "sent", UNDONE_THERE], "as before"),
    ],
)
def test_a_step_that_fails_leads_back_or_is_told(fails: dict[str, str], taken: list[str], state: str) -> None:
    found, report = run(MOVE, fails)
    assert found == taken and report["machines"][0]["state"] == state and not report["ok"] and len(report["failures"]) == 1


def test_a_live_machine_that_was_sent_is_not_taken_back() -> None:
    found, report = run({**MOVE, "live": True}, {"received": "failed"})
    assert UNDONE_THERE not in found and report["machines"][0]["state"] == "unknown"


def test_no_machine_is_let_go_on_both_sides() -> None:
    """Whatever fails: what undoes on the target and what lets the machine go on there never come together."""
    for states in itertools.product(("", "failed", "unknown", "lost"), repeat=len(FORWARD)):
        fails = {step: state for step, state in zip(FORWARD, states, strict=True) if state}
        for live in (False, True):
            taken, report = run({**MOVE, "live": live}, fails)
            assert not ({UNDONE_THERE, UNDONE_HERE} & set(taken) and "handed_over" in taken), fails
            assert ("removed" in taken) <= ("finished" in taken and "finished" not in fails), fails
            assert report["ok"] is (not fails or not set(fails) & set(taken))


@pytest.mark.parametrize(
    ("more", "taken", "state"),
    [
        ({"undo": True}, [UNDONE_THERE, UNDONE_HERE], "undone"),
        ({"undo": True, "target_lost": True}, [UNDONE_HERE], "undone"),
        ({"from_step": "handed_over"}, ["handed_over", "finished", "removed", RECORDED], "moved"),
        ({"from_step": "finished"}, ["finished", "removed", RECORDED], "moved"),
        ({"from_step": "removed"}, ["removed", RECORDED], "moved"),
    ],
)
def test_what_was_interrupted_goes_on_where_it_was(more: dict[str, t.Any], taken: list[str], state: str) -> None:
    found, report = run({**MOVE, **more}, {})
    assert found == taken and report["machines"][0]["state"] == state and report["ok"]


def test_records_name_the_new_host_everywhere() -> None:
    plan = {"moves": [{**MOVE, "from_step": "finished"}], "records": [RECORD], "addresses": {}}
    numbers = {"generation": 5, "assignments": {"web-1": {"host": "b"}}}
    assert migration_steps(plan, {}, "finished") == {"b": [{**KEY, **numbers}]}
    assert migration_steps(plan, {}, RECORDED) == {"c": [{**KEY, **numbers}]}


@pytest.mark.parametrize(("step", "host", "run"), [(UNDONE_THERE, "b", "r0"), ("finished", "b", "r0"), ("handed_over", "a", "r1")])
def test_a_step_names_the_run_that_began(step: str, host: str, run: str) -> None:
    more = {"undo": True} if step == UNDONE_THERE else {"from_step": step}
    plan = {"moves": [{**MOVE, **more, "begun_by": {"source": "r1", "target": "r0"}}], "records": [RECORD], "addresses": {}}
    assert migration_steps(plan, {}, step)[host][0]["begun_by"] == run
    plan["moves"] = [{**MOVE, **more}]
    assert "begun_by" not in migration_steps(plan, {}, step)[host][0]


def test_a_source_is_sure_only_where_the_target_was_asked() -> None:
    for lost in (True, False):
        plan = {"moves": [{**MOVE, "undo": True, "target_lost": lost}], "records": [RECORD], "addresses": {}}
        results = {} if lost else {"b": {UNDONE_THERE: {"machines": [{**KEY, "state": "absent", "problem": None}]}}}
        assert migration_steps(plan, results, UNDONE_HERE)["a"][0]["certain"] is not lost
