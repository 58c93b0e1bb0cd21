# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.callback.progress import CallbackModule, fleet_of, is_live, job_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


TERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("mode", "out", "environment", "no_colour", "stdout_callback", "live"),
    [
        ("auto", Terminal(), TERM, False, "ansible.builtin.default", True),
        ("auto", io.StringIO(), TERM, False, "default", False),
        ("auto", Terminal(), TERM, True, "default", False),
        ("auto", Terminal(), {"TERM": "dumb"}, False, "default", False),
        ("auto", Terminal(), {}, False, "default", False),
        ("auto", Terminal(), {**TERM, "CI": "true"}, False, "default", False),
        ("auto", Terminal(), {**TERM, "CI": ""}, False, "default", True),
        ("auto", Terminal(), {**TERM, "AWX_ISOLATED_DATA_DIR": "/runner"}, False, "default", False),
        ("auto", Terminal(), TERM, False, "awx_display", False),
        ("log", Terminal(), TERM, False, "default", False),
        ("live", Terminal(), {**TERM, "CI": "true"}, True, "default", True),
        ("live", io.StringIO(), TERM, False, "default", False),
    ],
)
def test_it_draws_only_where_somebody_looks_at_a_terminal(
    mode: str, out: t.Any, environment: dict[str, str], no_colour: bool, stdout_callback: str, live: bool
) -> None:
    assert is_live(mode, out, environment, no_colour, stdout_callback) is live


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"fleet": {}, "node": {}},
        {"fleet": [], "fleet_settled": True, "node": {}},
        {"fleet": {}, "fleet_settled": "yes", "node": {}},
        {"fleet": {}, "fleet_settled": True},
    ],
    ids=str,
)
def test_other_results_are_none_of_its_business(result: dict[str, t.Any]) -> None:
    assert fleet_of(result) is None


def test_results_that_carry_a_fleet() -> None:
    found = fleet_of({"changed": False, "fleet": {"a": {}}, "fleet_settled": False, "node": {"run": "nightly"}})
    assert found == ("nightly", {"a": {}}, False)


@pytest.mark.parametrize(
    "result",
    [{}, {"job": None}, {"job": {"state": "done"}}, {"job": {"state": "done", "machines": {}}}, {"job": {"machines": []}}],
    ids=str,
)
def test_a_result_without_a_job(result: dict[str, t.Any]) -> None:
    assert job_of(result) is None


def test_a_result_that_carries_a_job() -> None:
    assert job_of({"job": {"state": "running", "machines": []}}) == {"state": "running", "machines": []}


class Task:
    """A task of a role: the line of a retry names it without the role."""

    name = "Follow the relay"
    resolved_action = action = "basecast.fleet.relay_progress"
    until: t.ClassVar[list[str]] = ["done"]

    def get_name(self, include_role_fqcn: bool = True) -> str:
        return f"{'basecast.fleet.relay' if include_role_fqcn else 'relay'} : {self.name}"


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("FAILED - RETRYING: [kvm1]: Follow the relay (3 retries left).", True),
        ("FAILED - RETRYING: [kvm1]: relay : Follow the relay (3 retries left).", True),
        ("FAILED - RETRYING: [kvm1]: basecast.fleet.relay : Follow the relay (3 retries left).", True),
        ("FAILED - RETRYING: [kvm1]: Wait for the database (3 retries left).", False),
        ("ok: [kvm1]: Follow the relay (3 retries left).", False),
    ],
)
def test_only_retries_of_the_task_that_watches_are_left_out(line: str, hidden: bool) -> None:
    callback = CallbackModule()
    assert not callback._is_retry(line)
    callback.v2_playbook_on_task_start(Task(), False)
    assert callback._is_retry(line) is hidden
