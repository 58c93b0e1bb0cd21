# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: example_results
type: aggregate
short_description: Writes what became of each task, as a line of JSON
description: Each line has the keys C(play), C(task), C(host), C(state), C(changed) and C(msg).
options:
  path:
    description: The file.
    type: path
    required: true
    env: [{name: EXAMPLE_RESULTS}]
"""

import json
import typing as t

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "example_results"

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        self._play = play.get_name()

    def _write(self, state: str, result: t.Any) -> None:
        told = result._result
        line = {
            "play": self._play,
            "task": result._task.get_name(),
            "host": result._host.get_name(),
            "state": state,
            "changed": bool(told.get("changed")),
            "msg": str(told.get("msg", told.get("censored", ""))),
        }
        with open(self.get_option("path"), "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._write("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._write("failed", result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        self._write("skipped", result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        self._write("unreachable", result)
