# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.modules import service_record


@pytest.fixture
def run(capsys: t.Any, tmp_path: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    def run_(**args: t.Any) -> dict[str, t.Any]:
        with patch_module_args({"state_dir": str(tmp_path), **args}), pytest.raises(SystemExit):
            service_record.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


def test_a_record_is_written_once_and_read_back(run: t.Any) -> None:
    wanted = {"service": "shop", "state": "present", "record": {"format": 1, "machines": ["web-1"]}}
    first, second = run(**wanted), run(**wanted)
    assert (first["changed"], second["changed"]) == (True, False)
    assert run(service="shop")["records"] == {"shop": wanted["record"]}
    assert run()["records"] == {"shop": wanted["record"]}
    assert run(service="blog")["records"] == {}
    assert run(tenant="acme")["records"] == {}


def test_the_diff_shows_which_keys_change_and_no_values(run: t.Any) -> None:
    run(service="shop", state="present", record={"a": "hunter2", "b": 1})
    result = run(service="shop", state="present", record={"a": "hunter3", "b": 1}, _ansible_diff=True)
    before, after = result["diff"]["before"], result["diff"]["after"]
    assert before["a"] != after["a"] and before["b"] == after["b"]
    assert "hunter" not in json.dumps([result["diff"], result["invocation"]])


def test_removal(run: t.Any) -> None:
    run(service="shop", state="present", record={})
    assert run(service="shop", state="absent", _ansible_check_mode=True)["changed"]
    assert run(service="shop", state="absent")["changed"]
    assert not run(service="shop", state="absent")["changed"]
    assert run()["records"] == {}


def test_check_mode_writes_nothing(run: t.Any, tmp_path: t.Any) -> None:
    assert run(service="shop", state="present", record={}, _ansible_check_mode=True)["changed"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "args, message",
    [
        ({"state": "absent"}, "service: none given; state absent needs the name of a service"),
        ({"state": "present", "service": "shop"}, "state is present but all of the following are missing: record"),
        ({"service": "../shop"}, "service: '../shop' is not accepted; a name has"),
        ({"service": "shop", "state_dir": "here"}, "state_dir: 'here' is not accepted; an absolute path is needed"),
    ],
)
def test_what_cannot_be_meant_is_refused(args: t.Any, message: str, run: t.Any) -> None:
    result = run(**args)
    assert result["failed"] and message in result["msg"]
