# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible import constants
from ansible.plugins.action import ActionBase

from ..plugin_utils._progress.text import clean

# Callbacks whose output is for people only; others turn results into data.
PLAIN = ("default", "ansible.builtin.default")


class ActionModule(ActionBase):
    """Prints on the controller, and contacts no host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        del tmp
        _result, given = self.validate_argument_spec(argument_spec={"lines": {"type": "list", "elements": "str", "required": True}})
        lines = [clean(line) for text in given["lines"] for line in (text.splitlines() or [""])]
        if constants.DEFAULT_STDOUT_CALLBACK in PLAIN:
            for line in lines:
                self._display.display(line)
            return {**result, "changed": False, "msg": lines}
        return {**result, "changed": False, "msg": lines, "_ansible_verbose_always": True}
