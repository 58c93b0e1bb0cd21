# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.scale_decision import (
    DOWN,
    KEEP,
    UNKNOWN,
    UP,
    Decision,
    State,
    decide,
)
from hypothesis import given
from hypothesis import strategies as st

DEFAULTS = {"metric": "load", "of": "machine", "target": None, "up": None, "down": None}
RULE = {**DEFAULTS, "tolerance_percent": 10, "step": 1, "cool_down_s": 300, "min": 1, "max": 10}
TARGET = {**RULE, "target": 50.0, "step": 20}
BOUNDS = {**RULE, "up": 80.0, "down": 30.0}


def at(count: int, present: int | None = -1, changed_at: float | None = None, now: float = 10_000.0) -> State:
    return State(count, count if present == -1 else present, changed_at, now)


@pytest.mark.parametrize(
    ("rule", "state", "reading", "action", "count", "words"),
    [
        (TARGET, at(2), 100.0, UP, 4, "load is 100 for each machine, target 50"),
        (TARGET, at(4), 25.0, DOWN, 2, "load is 25 for each machine"),
        (TARGET, at(4), 54.0, KEEP, 4, "within 10 %"),
        ({**TARGET, "target": 100.0}, at(2), 110.0, KEEP, 2, "within 10 %"),
        ({**TARGET, "target": 1e-300}, at(2), 1e18, UP, 10, "outside of the bounds"),
        (TARGET, at(4), 0.0, DOWN, 1, "target 50"),
        ({**TARGET, "of": "service"}, at(2), 201.0, UP, 5, "load is 100.5 for each machine"),
        ({**TARGET, "step": 1}, at(2), 500.0, UP, 3, "10 would be more than step, 1, at once"),
        (TARGET, at(4), 500.0, UP, 10, "40 would be outside of the bounds, 1 to 10"),
        ({**TARGET, "min": 3}, at(4), 1.0, DOWN, 3, "outside of the bounds, 3 to 10"),
        ({**TARGET, "min": 3}, at(1), 50.0, UP, 3, "1 would be outside of the bounds"),
        (BOUNDS, at(2), 81.0, UP, 3, "above up, 80"),
        (BOUNDS, at(2), 80.0, KEEP, 2, "between down, 30, and up, 80"),
        (BOUNDS, at(4), 10.0, DOWN, 3, "below down, 30"),
        (BOUNDS, at(1), 0.0, KEEP, 1, "with fewer it would be above up, 80"),
        ({**BOUNDS, "down": 60.0}, at(2), 50.0, KEEP, 2, "with fewer it would be above up"),
        ({**BOUNDS, "step": 3}, at(5), 29.0, DOWN, 2, "below down"),
        # Unknown is neither zero nor empty.
        (TARGET, at(4), None, UNKNOWN, 4, "the reading of load is none"),
        (TARGET, at(4), math.nan, UNKNOWN, 4, "nan, which is no load"),
        (TARGET, at(4), math.inf, UNKNOWN, 4, "inf, which is no load"),
        (TARGET, at(4), -1.0, UNKNOWN, 4, "-1, which is no load"),
        (TARGET, at(4, present=None), 1.0, UNKNOWN, 4, "how many machines exist is not known"),
        (TARGET, at(4, present=3), 1.0, KEEP, 4, "the number that exist is 3, not 4; the change before is not complete"),
        (TARGET, at(4, changed_at=9_800.0), 500.0, KEEP, 4, "the last change was 200 s ago; cool_down_s is 300"),
        (TARGET, at(4, changed_at=9_700.0), 500.0, UP, 10, "target"),
        (TARGET, at(4, changed_at=10_060.0), 500.0, KEEP, 4, "60 s ahead of this controller's clock"),
    ],
)
def test_a_rule_decides(rule: dict[str, t.Any], state: State, reading: float | None, action: str, count: int, words: str) -> None:
    found = decide(rule, state, reading)
    assert (found.action, found.count) == (action, count)
    assert words in "; ".join(found.reasons)


def test_a_load_that_swings_within_the_cool_down_changes_the_number_once() -> None:
    count, changed_at, changes = 2, None, 0
    for minute in range(5):
        found = decide(TARGET, State(count, count, changed_at, minute * 60.0), 200.0 if minute % 2 == 0 else 1.0)
        if found.count != count:
            count, changed_at, changes = found.count, minute * 60.0, changes + 1
    assert (changes, count) == (1, 8)


rules = st.builds(
    lambda base, step, least, room, of: {**base, "step": step, "min": least, "max": least + room, "of": of},
    st.sampled_from([TARGET, BOUNDS, {**BOUNDS, "down": 79.9}, {**TARGET, "tolerance_percent": 0}]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 20),
    st.sampled_from(["machine", "service"]),
)


@given(rules, st.integers(1, 30), st.floats(0, 1e6))
def test_a_decision_keeps_to_its_step_and_bounds_and_does_not_turn_back(rule: dict[str, t.Any], count: int, reading: float) -> None:
    found = decide(rule, at(count), reading)
    assert abs(found.count - count) <= rule["step"]
    assert (found.count > count, found.count < count) == (found.action == UP, found.action == DOWN)
    low, high = min(rule["min"], count), max(rule["max"], count)
    assert low <= found.count <= high
    # The same work, spread over the new number, leads straight back neither up nor down.
    after = reading if rule["of"] == "service" else reading * count / found.count
    again = decide(rule, at(found.count), after)
    if rule["min"] <= count <= rule["max"]:
        assert {found.action, again.action} != {UP, DOWN}, (found, again)


@given(rules, st.integers(1, 30), st.floats() | st.none(), st.integers(0, 30) | st.none(), st.floats(0, 1e9) | st.none())
def test_what_is_not_known_changes_nothing(
    rule: dict[str, t.Any], count: int, reading: float | None, present: int | None, changed_at: float | None
) -> None:
    found = decide(rule, State(count, present, changed_at, 1e6), reading)
    assert isinstance(found, Decision) and found.reasons
    unknown = reading is None or not math.isfinite(reading) or reading < 0 or present is None
    cooling = changed_at is not None and 1e6 - changed_at < rule["cool_down_s"]
    if unknown or cooling or present != count:
        assert found.count == count
    assert (found.action == UNKNOWN) is unknown
