# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A watch between two tasks: plain data, and what is not a watch."""

from __future__ import annotations

import dataclasses
import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.monitor.state import STAGED, Actions, Lost, data_of, watch_of

RELAY = {"sha256": "1" * 64, "sources": {"a": "p"}, "targets": {"b": "p"}, "size_bytes": 10}
FIRST = {"relays": [RELAY], "plans": [{"predicted_s": 7.0, "targets": ["b"]}], "began": 1000}


def test_what_is_left_out_is_as_at_the_beginning() -> None:
    watch = watch_of({**FIRST, "measured": None, "sites": None, "watcher": None})
    assert (watch.watched_from, watch.measured_at, watch.first_predicted_s) == (1000.0, 1000.0, [7.0])
    assert (watch.settings.patience_s, watch.done, watch.failed, watch.fleet) == (60.0, False, None, {})


def test_a_watch_survives_the_way_through_plain_data() -> None:
    lost = {"b": {"since": 1001.0, "next": 1031.0, "why": "no route", "last": True}}
    watch = watch_of({**FIRST, "lost": lost, "settings": {"retry_s": "5"}, "watched_from": 1003, "heard": {"a": "silent"}, "looks": 4})
    data = data_of(watch, Actions(act=True, ask=("a",), lines=["x"]))
    assert (data["ask"], data["lines"], data["act"], data["lost"]) == (["a"], ["x"], True, lost)
    again = watch_of(json.loads(json.dumps(data)))
    assert dataclasses.replace(again) == watch_of(data)
    assert (again.settings.retry_s, again.lost, again.looks) == (5.0, {"b": Lost(1001.0, 1031.0, "no route", True)}, 4)


def test_a_host_that_was_lost_before_is_tried_at_once() -> None:
    watch = watch_of({**FIRST, "lost": {"b": {"state": "unreachable", "step": "lost", "msg": "no route"}}})
    assert watch.lost == {"b": Lost(1000.0, 1000.0, "no route")}


def test_a_watch_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        watch_of(FIRST).done = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"plan": []}, "a state of relay_watch"),
        ({"began": None}, "began.*a number of seconds"),
        ({"began": "soon"}, "began.*a number of seconds"),
        ({"relays": {}}, "relays.*a list of relays"),
        ({"relays": [{"sha256": "1"}]}, "a relay with sha256, sources and targets"),
        ({"plans": ["x"]}, "a plan of relay_plans"),
        ({"plans": []}, "one for each of the 1 relays"),
        ({"lost": ["b"]}, "lost.*a dictionary"),
        ({"lost": {"b": "gone"}}, "a dictionary with since, next and why"),
        ({"fleet": []}, "fleet.*a dictionary"),
        ({"lost_links": ["a"]}, "lost_links.*a list"),
        ({"settings": "fast"}, "settings"),
        ({"watcher": 3}, "watcher.*text"),
    ],
)
def test_what_is_no_watch_is_named(change: dict[str, t.Any], words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        watch_of({**FIRST, **change})


def test_a_stage_needs_no_begin() -> None:
    without = {key: value for key, value in FIRST.items() if key != "began"}
    assert watch_of(without, STAGED).plans == FIRST["plans"]
    with pytest.raises(InvalidOption, match="relays, plans and began"):
        watch_of(without)
