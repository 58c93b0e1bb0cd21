# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.basecast.fleet.plugins.action.survey_info import ActionModule

SEEN = {"observation": {"record": {}}, "changed": False}
FAILED = {"failed": True, "msg": "The module interpreter was not found."}


@pytest.mark.parametrize(
    ("returned", "asked", "hidden"),
    [(SEEN, {"hidden": True}, True), (SEEN, {"hidden": "yes"}, True), (SEEN, {}, False), (FAILED, {"hidden": True}, False)],
)
def test_what_was_seen_is_hidden_and_why_nothing_was_is_not(
    monkeypatch: pytest.MonkeyPatch, returned: dict[str, t.Any], asked: dict[str, t.Any], hidden: bool
) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    action = ActionModule.__new__(ActionModule)
    action._task = types.SimpleNamespace(args=asked)
    monkeypatch.setattr(action, "_execute_module", lambda task_vars: dict(returned))
    assert action.run(task_vars={}) == {**returned, **({"_ansible_no_log": True} if hidden else {})}
