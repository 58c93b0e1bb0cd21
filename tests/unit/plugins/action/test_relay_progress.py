# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math
import time
import types
import typing as t

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.basecast.fleet.plugins.action.relay_progress import ActionModule
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.monitor import test_step as watched


def deep(levels: int) -> t.Any:
    value: t.Any = []
    for _level in range(levels):
        value = [value]
    return value


ANSWERS: list[t.Any] = [
    {"fleet": "x"},
    {"fleet": 5},
    {"fleet": [1]},
    {"fleet": {"1": 5}},
    {"fleet": {"1": {"bases": []}}},
    {"fleet": {"1": {"bases": {"b": None}}}},
    {"fleet": {"1": {"bases": {"b": {"state": "no state"}}}}},
    {"fleet": {"1": {"bases": {"b": {"state": "fetching", "share": "\x1b[2J"}}}}},
    {"fleet": {"1": {"bases": {"b": {"state": "fetching", "share": math.nan}}}}},
    {"fleet": {"1": {"bases": deep(50_000)}}},
    {"fleet": deep(50_000)},
    {"fleet": {"\x1b]0;owned\x07": {"bases": 1}}},
    {"fleet": {"1": {"bases": {}, "stale": 1}}},
]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_a_watcher_that_tells_nonsense_counts_as_silent(monkeypatch: pytest.MonkeyPatch, answer: t.Any) -> None:
    """Another host is asked then; no host ends the watch for all."""
    state = {**watched.begin({"S>1": 10, "1>2": 10, "1>3": 10}), "watcher": "1", "began": time.time()}
    given = {
        "watch": state,
        "run": "r",
        "runtime_dir": "/run/basecast",
        "stage": 0,
        "collected": [],
        "poll_s": 1,
        "answer_s": 1,
        "once": True,
    }
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    action = ActionModule.__new__(ActionModule)
    action._display = types.SimpleNamespace(vv=print)
    monkeypatch.setattr(action, "validate_argument_spec", lambda argument_spec: (None, given))
    monkeypatch.setattr(action, "_execute_module", lambda *_names, **_more: answer)
    told = action.run(task_vars={})
    assert told["act"] and told["watch"]["ask"] == ["1"] and told["watch"]["watcher"] != "1"
    assert "fleet" not in told


@pytest.mark.parametrize("watch", [{}, {"watcher": "1"}, {"watcher": 5, "plan": []}])
def test_a_watch_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, watch: dict[str, t.Any]) -> None:
    given = {"watch": watch, "run": "r", "stage": 0, "collected": [], "poll_s": 1, "answer_s": 1, "once": True}
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    action = ActionModule.__new__(ActionModule)
    monkeypatch.setattr(action, "validate_argument_spec", lambda argument_spec: (None, given))
    with pytest.raises(AnsibleActionFail, match=r"watch: invalid state: .*; expected what the filter relay_watch returns"):
        action.run(task_vars={})
