# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: progress
type: aggregate
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Show how base disks come to the hosts of a fleet, and how far their machines are
description:
  - In a terminal, a line for each host that receives base disks, with what it has, how fast, from whom, and for how long
    still, and a line for all of them, below the output of the play, which goes on as usual.
  - In a log - of AWX, of a CI system, in a file - one line now and then, when something has changed.
  - Once the bases are there, the same for the machines of each host - which have their disks, were started, have reported -
    until the jobs of all hosts have ended. The time that is left is an estimate from machines of the run that have come up.
  - What it shows comes from the results of M(basecast.fleet.relay_info) and M(basecast.fleet.host_job_info), those of each
    retry included. The playbook C(basecast.fleet.deploy) looks at the fleet all the time while
    bases are on their way. The callback itself contacts nobody.
  - It is additional to the callback that prints the play, whichever that is.
requirements:
  - enabled by C(callbacks_enabled) in C(ansible.cfg) or by the environment variable E(ANSIBLE_CALLBACKS_ENABLED)
options:
  mode:
    description:
      - V(live) draws in the terminal, V(log) prints a line now and then.
      - V(auto) draws if standard output is a terminal that can do more than print, colours are not turned off, and it is
        neither AWX nor a CI system that watches.
    type: str
    choices: [auto, live, log]
    default: auto
    env:
      - name: BASECAST_PROGRESS
    ini:
      - section: basecast_progress
        key: mode
  log_interval_s:
    description: In a log there is at most one line in so many seconds.
    type: float
    default: 30
    env:
      - name: BASECAST_PROGRESS_LOG_INTERVAL_S
    ini:
      - section: basecast_progress
        key: log_interval_s
  max_lines:
    description:
      - The most lines that are drawn. With more hosts than that, those in trouble and the slowest are shown, and a line
        about the others.
      - They never take more than what the terminal has.
    type: int
    default: 24
    env:
      - name: BASECAST_PROGRESS_MAX_LINES
    ini:
      - section: basecast_progress
        key: max_lines
  hide_retries:
    description:
      - Whether to leave out the lines C(FAILED - RETRYING) for tasks that wait for a relay or for machines, which look every few
        seconds until they have ended. They are no failures, and this callback shows what they found.
      - With C(-vv) they are never left out.
    type: bool
    default: true
    env:
      - name: BASECAST_PROGRESS_HIDE_RETRIES
    ini:
      - section: basecast_progress
        key: hide_retries
seealso:
  - plugin: basecast.fleet.relay_info
    plugin_type: module
  - plugin: basecast.fleet.host_job_info
    plugin_type: module
"""

EXAMPLES = r"""
# ansible.cfg:
#
#   [defaults]
#   callbacks_enabled = basecast.fleet.progress
#
#   [basecast_progress]
#   max_lines = 40
#
# or for once, in a shell:
#
#   ANSIBLE_CALLBACKS_ENABLED=basecast.fleet.progress ansible-playbook -i inventory basecast.fleet.deploy -e manifest=shop.yml
"""

import atexit
import functools
import os
import sys
import threading
import time
import typing as t

from ansible import constants as C
from ansible.plugins.callback import CallbackBase

from ..module_utils._text import clean
from ..plugin_utils._progress import machines, text
from ..plugin_utils._progress.fleet import Fleet
from ..plugin_utils._progress.screen import Screen

MODULES = {"relay_info", "relay_progress", "host_job_info"}

# How often the view looks whether it has to be drawn again; it counts seconds down between two news.
TICK_S = 0.25
LEISURE = 20

# Variables of systems that show the output as a log, even where it looks like a terminal to the program.
LOGGED_BY = ("AWX_HOST", "AWX_ISOLATED_DATA_DIR", "AWX_PRIVATE_DATA_DIR", "CI", "RUNNER_OMIT_EVENTS")


def is_live(mode: str, out: t.Any, environment: t.Mapping[str, str], no_colour: bool, stdout_callback: str) -> bool:
    """Whether to draw, by the option and what there is to draw on."""
    if mode != "auto":
        return mode == "live" and bool(out.isatty())
    return (
        bool(out.isatty())
        and not no_colour
        and environment.get("TERM", "dumb") not in ("", "dumb", "unknown")
        and not any(environment.get(name) for name in LOGGED_BY)
        and not stdout_callback.startswith("awx")
    )


def fleet_of(result: t.Mapping[str, t.Any]) -> tuple[str, dict[str, t.Any], bool] | None:
    """(run, fleet, whether it has settled) of a result that carries them."""
    fleet, settled, node = result.get("fleet"), result.get("fleet_settled"), result.get("node")
    if not isinstance(fleet, dict) or not isinstance(settled, bool) or not isinstance(node, dict):
        return None
    return str(node.get("run")), fleet, settled


def job_of(result: t.Mapping[str, t.Any]) -> dict[str, t.Any] | None:
    """The job of a host in a result that carries one."""
    job = result.get("job")
    found = isinstance(job, dict) and isinstance(job.get("state"), str) and isinstance(job.get("machines"), list)
    return job if found else None


def harmless(method: t.Callable[..., None]) -> t.Callable[..., None]:
    """Showing progress never fails a run: what goes wrong here ends the showing, with a warning."""

    @functools.wraps(method)
    def guarded(self: CallbackModule, *args: t.Any, **kwargs: t.Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.give_up(error)

    return guarded


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "basecast.fleet.progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        # The one under which Ansible forks: no worker is born while we hold it.
        self._lock = getattr(self._display, "_lock", None) or threading.RLock()
        self._fleet: Fleet | None = None
        self._jobs: machines.Jobs | None = None
        self._jobs_shown = False
        self._screen: Screen | None = None
        self._ended = threading.Event()
        self._drawn: tuple[t.Any, ...] = ()
        self._logged_at: float | None = None
        self._watching: tuple[str, ...] = ()
        self._style = text.ASCII

    @harmless
    def set_options(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().set_options(*args, **kwargs)
        out = sys.stdout
        self._live = is_live(self.get_option("mode"), out, os.environ, C.ANSIBLE_NOCOLOR, C.DEFAULT_STDOUT_CALLBACK)
        self._interval_s = self.get_option("log_interval_s")
        self._max_lines = self.get_option("max_lines")
        if (out.encoding or "").lower().replace("-", "") == "utf8":
            self._style = text.UNICODE
        if self.get_option("hide_retries") and self._display.verbosity < 2:
            self._hide_retries()

    # -- what Ansible tells ----------------------------------------------------------------------------------------

    @harmless
    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        with self._lock:
            self._end_jobs()
        action = str(getattr(task, "resolved_action", None) or task.action)
        watches = action.rpartition(".")[2] in MODULES and task.until
        # The line of a retry names a task of a role without its role.
        self._watching = (task.get_name(include_role_fqcn=False), task.name, task.get_name()) if watches else ()

    @harmless
    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._take(result)

    @harmless
    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._take(result)

    @harmless
    def v2_runner_retry(self, result: t.Any) -> None:
        self._take(result)

    @harmless
    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        self._take(result)

    @harmless
    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        self._take(result)

    @harmless
    def v2_runner_on_async_poll(self, result: t.Any) -> None:
        self._take(result)

    @harmless
    def v2_runner_on_async_ok(self, result: t.Any) -> None:
        self._take(result)

    @harmless
    def v2_runner_on_async_failed(self, result: t.Any) -> None:
        self._take(result)

    @harmless
    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        with self._lock:
            self._end_jobs()
            unfinished = self._fleet if self._fleet is not None and self._fleet.settled_at is None else None
            self._close()
            if unfinished is not None:
                self._say(text.last_line(unfinished, time.monotonic()))

    # -- what is shown ---------------------------------------------------------------------------------------------

    def _take(self, result: t.Any) -> None:
        told = fleet_of(result.result)
        if told is None:
            self._take_job(result)
            return
        run, hosts, settled = told
        now = time.monotonic()
        with self._lock:
            if self._fleet is None or self._fleet.run != run:
                self._fleet = Fleet(run, now)
                self._logged_at = None
            fleet = self._fleet
            was_settled = fleet.settled_at is not None
            changed = fleet.update(hosts, settled, now)
            if settled:
                self._close()
                if not was_settled:
                    self._say(text.last_line(fleet, now))
            elif self._live:
                self._open()
            elif changed and (self._logged_at is None or now - self._logged_at >= self._interval_s):
                self._logged_at = now
                self._say(text.log_line(fleet, now))

    def _take_job(self, result: t.Any) -> None:
        """Only of tasks that ask again and again: for others there is nothing to be seen."""
        job = job_of(result.result) if self._watching else None
        if job is None:
            return
        now = time.monotonic()
        with self._lock:
            run = str(job.get("run"))
            if self._jobs is None or self._jobs.run != run:
                self._jobs = machines.Jobs(run, now)
                self._logged_at = None
            changed = self._jobs.update(result.host.get_name(), job, now)
            self._jobs_shown = self._jobs_shown or job["state"] == "running"
            if not self._jobs_shown:
                return
            if self._live:
                self._open()
            elif changed and (self._logged_at is None or now - self._logged_at >= self._interval_s):
                self._logged_at = now
                self._say(machines.log_line(self._jobs, now))

    def _end_jobs(self) -> None:
        """The task that waited for machines has ended."""
        jobs, shown = self._jobs, self._jobs_shown
        self._jobs, self._jobs_shown = None, False
        if jobs is not None and shown:
            self._close()
            self._say(machines.last_line(jobs, time.monotonic()))

    def _say(self, line: str) -> None:
        """A line that stays."""
        if line:
            self._display.display(line)

    def _open(self) -> None:
        if self._screen is None:
            streams = [sys.stdout, *([sys.stderr] if sys.stderr.isatty() else [])]
            self._screen = Screen(streams, self._lock)
            self._drawn = ()
            self._ended = threading.Event()
            atexit.register(self._close)
            threading.Thread(target=self._tick, args=(self._ended,), name="progress", daemon=True).start()

    def _close(self) -> None:
        with self._lock:
            self._ended.set()
            if self._screen is not None:
                self._screen.close()
                self._screen = None
                atexit.unregister(self._close)

    def _tick(self, ended: threading.Event) -> None:
        """Draws, in a thread of its own, so that seconds count down while nothing is heard."""
        pause = TICK_S
        while not ended.wait(pause):
            try:
                with self._lock:
                    begin = time.monotonic()
                    if not ended.is_set():
                        self._draw()
                # With thousands of hosts the controller has better things to do than to count for us.
                pause = max(TICK_S, LEISURE * (time.monotonic() - begin))
            except Exception as error:
                self.give_up(error)
                return

    def _draw(self) -> None:
        if self._screen is None:
            return
        width, height = self._screen.room
        now, most = time.monotonic(), min(height, self._max_lines)
        if self._jobs is not None:
            self._screen.draw(machines.lines(self._jobs, now, width, most, self._style))
        elif self._fleet is not None:
            self._screen.draw(text.lines(self._fleet, now, width, most, self._style))

    def give_up(self, error: Exception) -> None:
        with self._lock:
            self.disabled = True
            self._close()
            self._display.warning(f"The progress of the run is not shown any more: {type(error).__name__}: {clean(str(error))}")

    def _hide_retries(self) -> None:
        show = self._display.display

        @functools.wraps(show)
        def shown(msg: t.Any, *args: t.Any, **kwargs: t.Any) -> None:
            if not self._is_retry(msg):
                show(msg, *args, **kwargs)

        self._display.display = shown

    def _is_retry(self, msg: t.Any) -> bool:
        return (
            not self.disabled
            and isinstance(msg, str)
            and msg.startswith("FAILED - RETRYING: [")
            and any(f"]: {name} (" in msg for name in self._watching if name)
        )
