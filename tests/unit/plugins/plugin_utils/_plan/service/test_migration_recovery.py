# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.migration_recovery import migration_recovery
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_migration_plan import (
    KEY,
    NOTHING,
    SILENT,
    WEB,
    look,
    machine,
)


def entry(side: str, phase: str, live: bool = True) -> dict[str, t.Any]:
    return {**KEY, "machine": "web-1", "side": side, "phase": phase, "run": "r0", "peer": "b" if side == "source" else "a", "live": live}


UNDO, HAND, FINISH, REMOVE, REFUSE = "undo", "handed_over", "finished", "removed", "refuse"


WITHIN_POOL = {**KEY, "machine": "web-1", "side": "within", "phase": "leaving", "run": "r0", "peer": "fast", "live": True}


def test_a_move_to_another_pool_is_ended_by_its_host() -> None:
    looks = {"a": look(machine(), journal=[WITHIN_POOL]), "b": NOTHING}
    made = migration_recovery(looks, WEB)
    (move,) = made["moves"]
    assert (move["source"], move["target"], move["within"], move["undo"]) == ("a", "a", "fast", True) and made["problems"] == []
    assert "to the pool fast of a had not ended; it is ended" in made["text"][0]
    assert migration_recovery(looks, {**WEB, "machine": "web-2"})["moves"] == []
    assert len(migration_recovery({**looks, "b": SILENT}, {"host": "a"})["moves"]) == 1, "no other host has to be asked"
    busy = migration_recovery({"a": look(machine(), journal=[{**WITHIN_POOL, "process": 77}])}, WEB)
    assert busy["moves"] == [] and "process 77 of a is still at work on it" in busy["problems"][0]


@pytest.mark.parametrize(
    ("source", "target", "live", "here", "there", "decision"),
    [
        # Room was made, and nothing else.
        (None, "arriving", True, "running", "absent", UNDO),
        (None, "arriving", False, "off", "absent", UNDO),
        (None, "arriving", True, "absent", "absent", REFUSE),
        (None, "arriving", True, "running", "running", REFUSE),
        # It is leaving, off.
        ("leaving", None, False, "off", "absent", UNDO),
        ("leaving", "arriving", False, "off", "absent", UNDO),
        ("leaving", "arriving", False, "running", "absent", UNDO),
        ("leaving", "arriving", False, "off", "off", UNDO),
        ("leaving", "arrived", False, "off", "paused", UNDO),
        ("leaving", "arrived", False, "off", "running", REFUSE),
        # It is leaving, live: libvirt tells how far it was.
        ("leaving", "arriving", True, "running", "absent", UNDO),
        ("leaving", "arriving", True, "running", "paused", UNDO),
        ("leaving", "arriving", True, "running", "running", REFUSE),
        ("leaving", "arriving", True, "off", "running", HAND),
        ("leaving", "arrived", True, "off", "running", HAND),
        ("leaving", "arriving", True, "off", "off", HAND),
        ("leaving", "arriving", True, "off", "absent", UNDO),
        ("leaving", "arriving", True, "off", "paused", REFUSE),
        ("leaving", "arriving", True, "paused", "running", REFUSE),
        ("leaving", "arriving", True, "absent", "running", REFUSE),
        # The target has it.
        ("handed over", "arrived", True, "off", "running", FINISH),
        ("handed over", "arrived", False, "off", "paused", FINISH),
        ("handed over", "arrived", False, "absent", "running", FINISH),
        ("handed over", "arrived", False, "off", "absent", REFUSE),
        ("handed over", "arrived", True, "running", "running", REFUSE),
        ("handed over", None, True, "off", "running", REMOVE),
        ("handed over", None, True, "absent", "off", REMOVE),
        ("handed over", None, True, "off", "absent", REFUSE),
    ],
)
def test_every_interruption_is_undone_finished_or_refused(
    source: str | None, target: str | None, live: bool, here: str, there: str, decision: str
) -> None:
    looks = {
        host: look(*([machine(state=state)] if state != "absent" else []), journal=[entry(side, phase, live)] if phase else [])
        for host, side, phase, state in (("a", "source", source, here), ("b", "target", target, there))
    }
    found = migration_recovery(looks, WEB)
    if decision == REFUSE:
        assert found["moves"] == [] and "web-1: its migration from a to b has not ended" in found["problems"][0]
        return
    (move,) = found["moves"]
    assert found["problems"] == [] and (UNDO if move.get("undo") else move["from_step"]) == decision


@pytest.mark.parametrize(
    ("silent", "phase", "live", "here"),
    [
        ("a", "leaving", True, "running"),
        ("b", "leaving", True, "off"),
        ("b", "leaving", True, "paused"),
        ("b", "leaving", False, "absent"),
        ("b", "handed over", False, "off"),
    ],
)
def test_a_side_that_cannot_be_asked_is_named(silent: str, phase: str, live: bool, here: str) -> None:
    machines = [machine(state=here)] if here != "absent" else []
    looks = {
        "a": look(*machines, journal=[entry("source", phase, live)]),
        "b": look(journal=[entry("target", "arriving", live)]),
        silent: SILENT,
    }
    found = migration_recovery(looks, WEB)
    assert found["moves"] == [] and f"and {silent} cannot be asked (Connection timed out)" in found["problems"][0]
    other = {"a": "b", "b": "a"}[silent]
    assert f"{other} keeps what it has once you remove migrations/default/shop/web-1.json" in found["problems"][0]


@pytest.mark.parametrize(("live", "here"), [(True, "running"), (False, "running"), (False, "off")])
def test_a_lost_target_does_not_hold_a_machine_that_is_here(live: bool, here: str) -> None:
    """It was not handed over, so the target did not let it go on; what has come there is undone when the target is back."""
    looks = {"a": look(machine(state=here), journal=[entry("source", "leaving", live)]), "b": SILENT}
    found = migration_recovery(looks, WEB)
    (move,) = found["moves"]
    assert (move["undo"], move["target_lost"], found["problems"]) == (True, True, [])
    assert "on a alone since b cannot be asked" in found["text"][0]
    back = {"a": look(machine(state=here)), "b": look(journal=[entry("target", "arrived", live)])}
    assert migration_recovery(back, WEB)["moves"][0]["undo"]


@pytest.mark.parametrize(("there", "decided"), [("absent", True), ("paused", True), ("running", False)])
def test_what_a_lost_target_has_left_goes_when_it_is_back(there: str, decided: bool) -> None:
    """Its machine has moved to a third host meanwhile."""
    come = [machine(state=there)] if there != "absent" else []
    looks = {"a": NOTHING, "b": look(*come, journal=[entry("target", "arriving")]), "c": look(machine())}
    found = migration_recovery(looks, WEB)
    assert [move.get("undo") for move in found["moves"]] == ([True] if decided else []) and bool(found["problems"]) is not decided


def test_each_side_is_told_which_run_began() -> None:
    looks = {
        "a": look(machine(), journal=[{**entry("source", "leaving"), "run": "r1"}]),
        "b": look(journal=[{**entry("target", "arriving"), "run": "r0"}]),
    }
    assert migration_recovery(looks, WEB)["moves"][0]["begun_by"] == {"source": "r1", "target": "r0"}


def test_a_machine_that_nobody_has_can_be_given_up() -> None:
    looks = {"a": look(journal=[entry("source", "leaving")]), "b": look(journal=[entry("target", "arriving")])}
    found = migration_recovery(looks, WEB)
    assert "neither has its domain" in found["problems"][0] and "migrations/default/shop/web-1.json" in found["problems"][0]


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_migration_that_is_at_work_is_left_alone(side: str) -> None:
    busy = {"source": "a", "target": "b"}[side]
    looks = {
        host: look(*machines, journal=[{**entry(at, phase), "process": 77 if at == side else None}])
        for host, at, phase, machines in (("a", "source", "leaving", [machine()]), ("b", "target", "arriving", []))
    }
    found = migration_recovery(looks, WEB)
    assert found["moves"] == [] and f"process 77 of {busy} is still at work on it" in found["problems"][0]


def test_machines_that_are_not_meant_are_left_alone() -> None:
    looks = {"a": look(machine(), journal=[entry("source", "leaving")]), "b": NOTHING}
    assert migration_recovery(looks, {**WEB, "machine": "web-2"})["moves"] == []
    assert len(migration_recovery(looks, {"host": "b"})["moves"]) == 1
