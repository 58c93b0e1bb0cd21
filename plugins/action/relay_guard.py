# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import select
import signal
import time
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..plugin_utils import _cancellation

# Between two attempts to connect again, in seconds: several fit into the time that nodes wait for a guard.
PAUSE_S = 2.0

# A module that ran for so long had a node to guard; one that did not, and ends, has none.
SHORT_S = 4.0
MOST_SHORT = 5


class ActionModule(ActionBase):
    """Leaves a process behind that runs the module on the host until the run is cancelled or its nodes have ended."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        del tmp
        _result, _arguments = self.validate_argument_spec(
            argument_spec={"run": {"type": "str", "required": True}, "runtime_dir": {"type": "path", "default": "/run/basecast"}}
        )
        result.update(changed=False, guarded=not self._task.check_mode)
        cancelled = _cancellation.descriptor()
        if cancelled is None:
            result["guarded"] = False
            result["warnings"] = ["The run is not guarded: the play's hosts do not come from the lookup basecast.fleet.cancellable."]
        elif not self._task.check_mode:
            child = os.fork()
            if not child:
                # Twice, so that nobody has to wait for it.
                if not os.fork():
                    self._stay(cancelled, task_vars or {})
                os._exit(0)
            os.waitpid(child, 0)
        return result

    def _stay(self, cancelled: int, task_vars: dict[str, t.Any]) -> t.NoReturn:
        """The process that stays behind. It must not return into Ansible's code."""
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            short = 0
            while short < MOST_SHORT:
                began = time.monotonic()
                if self._hold(cancelled, task_vars):
                    break
                short = short + 1 if time.monotonic() - began < SHORT_S else 0
                if select.select([cancelled], [], [], PAUSE_S)[0]:
                    break
        finally:
            os._exit(0)

    def _hold(self, cancelled: int, task_vars: dict[str, t.Any]) -> bool:
        """Run the module in a process of its own until that ends, or the run is cancelled; whether it is over."""
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.setpgid(0, 0)
                # What goes wrong here is nobody's to read: the task has ended.
                Display().verbosity = 0
                answer = self._execute_module(module_name="basecast.fleet.relay_guard", task_vars=task_vars)
                os.write(writer, b"1" if answer.get("guarded") or answer.get("failed") else b"0")
            finally:
                os._exit(0)
        os.close(writer)
        try:
            ready, _writable, _failed = select.select([cancelled, reader], [], [])
            if cancelled in ready:
                # With everything that it started: that ends the connection.
                for number in (signal.SIGTERM, signal.SIGKILL):
                    try:
                        os.killpg(child, number)
                    except ProcessLookupError:
                        break
                    time.sleep(0.2)
                return True
            return os.read(reader, 1) == b"1"
        finally:
            os.close(reader)
            os.waitpid(child, 0)
