# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import signal
import time
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ..module_utils._errors import FleetError
from ..module_utils._text import clean
from ..plugin_utils._plan.monitor.stages import stage_has_ended
from ..plugin_utils._plan.monitor.state import News, data_of, watch_of
from ..plugin_utils._plan.monitor.step import step
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import checked_news


class TooLate(Exception):
    """The host did not answer in time."""


@contextlib.contextmanager
def time_limit(seconds: float) -> t.Iterator[None]:
    """Ends what hangs, for example a connection to a host that died silently. :raises TooLate:"""

    def end(_number: int, _frame: t.Any) -> None:
        raise TooLate(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class ActionModule(ActionBase):
    """Asks one host again and again, and says nothing until there is something to do."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        del tmp
        _result, given = self.validate_argument_spec(
            argument_spec={
                "watch": {"type": "dict", "required": True},
                "run": {"type": "str", "required": True},
                "runtime_dir": {"type": "str", "default": "/run/basecast"},
                "stage": {"type": "int", "required": True},
                "collected": {"type": "list", "elements": "str", "default": []},
                "poll_s": {"type": "float", "default": 15},
                "answer_s": {"type": "float", "default": 20},
                "once": {"type": "bool", "default": False},
            }
        )
        try:
            before = watch_of(plain(given["watch"]))
            while True:
                news = plain(checked_news(self._ask(given, task_vars), before.watcher)) if before.watcher else {}
                watch, actions = step(before, News(news.get("fleet") or {}, time.time()))
                ended = stage_has_ended(watch, given["stage"], given["collected"])
                if actions.act or ended or given["once"]:
                    break
        except (FleetError, KeyError, TypeError, ValueError) as error:
            raise AnsibleActionFail(f"watch: invalid state: {error}; expected what the filter relay_watch returns") from None
        told = {key: news[key] for key in ("fleet", "fleet_settled", "node") if key in news}
        return {**result, "changed": False, "act": actions.act, "ended": ended, "watch": data_of(watch, actions), **told}

    def _ask(self, given: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """What the host tells; nothing if it does not answer. It is asked itself then, as others are that are silent."""
        arguments = {"run": given["run"], "runtime_dir": given["runtime_dir"], "wait_s": given["poll_s"]}
        try:
            with time_limit(given["poll_s"] + given["answer_s"]):
                answer = self._execute_module("basecast.fleet.relay_info", arguments, task_vars=task_vars)
        except (AnsibleConnectionFailure, TooLate) as error:
            self._display.vv(f"The progress of the relay could not be asked: {clean(str(error))}")
            return {}
        return {} if answer.get("failed") or answer.get("unreachable") else answer
