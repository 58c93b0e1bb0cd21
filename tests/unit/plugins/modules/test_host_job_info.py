# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._job.journal import Journal, this_process
from ansible_collections.basecast.fleet.plugins.modules import host_job_info


@pytest.fixture
def run(capsys: t.Any, tmp_path: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    def run_(**options: t.Any) -> dict[str, t.Any]:
        options = {"service": "shop", "runtime_dir": str(tmp_path), "begin_s": 0, **options}
        with patch_module_args(options), pytest.raises(SystemExit):
            host_job_info.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


@pytest.fixture
def journal(tmp_path: t.Any) -> Journal:
    found = Journal(str(tmp_path), "default", "shop")
    found.open()
    return found


def told(state: str) -> dict[str, t.Any]:
    return {"format": 1, "run": "r", "state": state, "msg": "", **this_process()}


@pytest.mark.parametrize("name", [None, "run-1"])
def test_no_job_is_absent(name: str | None, run: t.Any) -> None:
    result = run(**({"run": name} if name else {}))
    assert result["job"]["state"] == "absent" and not result.get("failed")
    assert (name or "any run") in result["job"]["msg"]


def test_the_latest_job_is_told(run: t.Any, journal: Journal) -> None:
    journal.write("a", told("done"))
    assert run()["job"]["state"] == "done"
    assert run(run="a")["job"]["state"] == "done" and run(run="b")["job"]["state"] == "absent"


def test_an_end_is_waited_for(journal: Journal) -> None:
    journal.write("a", told("running"))
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 5:
            journal.write("a", told("failed"))

    params = {"run": "a", "service": "shop", "tenant": "default", "timeout_s": 3.0, "begin_s": 0.0}
    assert host_job_info.collected(journal, params, lambda: now[0], sleep)["state"] == "running" and 3 <= now[0] < 4
    assert host_job_info.collected(journal, {**params, "timeout_s": 60.0}, lambda: now[0], sleep)["state"] == "failed"


def test_a_job_that_was_just_handed_over_is_waited_for(journal: Journal) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 2:
            journal.write("a", told("running"))

    params = {"run": "a", "service": "shop", "tenant": "default", "timeout_s": 0.0, "begin_s": 10.0}
    assert host_job_info.collected(journal, params, lambda: now[0], sleep)["state"] == "running"


@pytest.mark.parametrize("options, option", [({"run": "/"}, "run"), ({"service": ".."}, "service"), ({"timeout_s": -1}, "timeout_s")])
def test_what_cannot_be_meant_is_refused(options: dict[str, t.Any], option: str, run: t.Any) -> None:
    assert run(**options)["failure"]["option"] == option


def test_a_broken_file_is_an_error(run: t.Any, journal: Journal) -> None:
    with open(journal.path("a"), "w", encoding="utf-8") as file:
        file.write("{")
    result = run(run="a")
    assert result["failed"] and "a.json" in result["msg"]


@pytest.mark.parametrize(
    ("role", "states", "ended"),
    [
        ("db", {"db": "deployed", "web": "waiting"}, True),
        ("db", {"db": "checking"}, False),
        ("db", {"web": "waiting"}, True),
        (None, {}, False),
    ],
)
def test_the_end_of_a_role_suffices(journal: Journal, role: str | None, states: dict[str, str], ended: bool) -> None:
    machines = [{"machine": f"{name}-1", "group": name, "state": state} for name, state in states.items()]
    journal.write("a", {**told("running"), "machines": machines})
    now = [0.0]
    params = {"run": "a", "service": "shop", "tenant": "default", "timeout_s": 3.0, "begin_s": 0.0, "role": role}
    host_job_info.collected(journal, params, lambda: now[0], lambda seconds: now.__setitem__(0, now[0] + seconds))
    assert (now[0] < 1) == ended
