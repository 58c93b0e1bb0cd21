# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.modules import host_status_info


@pytest.fixture
def run(capsys: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    def run_(**args: t.Any) -> dict[str, t.Any]:
        monkeypatch.setattr(host_status_info, "look", lambda request: {"known": True, "asked": request._asdict()})
        with patch_module_args(args), pytest.raises(SystemExit):
            host_status_info.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"tenant": ".."}, "tenant: '..' is not accepted"),
        ({"pools": {"default": "here"}}, "pools.default: 'here' is not accepted"),
        ({"state_dir": "var"}, "state_dir: 'var' is not accepted"),
        ({"runtime_dir": "run"}, "runtime_dir: 'run' is not accepted"),
        ({"part_timeout_s": 0}, "part_timeout_s: 0.0 is not accepted"),
    ],
)
def test_what_cannot_be_meant_is_refused(args: dict[str, t.Any], message: str, run: t.Any) -> None:
    result = run(**args)
    assert result["failed"] and message in result["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_the_look_is_returned_and_nothing_changes(check: bool, run: t.Any) -> None:
    result = run(tenant="shop", pools={"fast": "/fast/"}, _ansible_check_mode=check)
    asked = result["status"]["asked"]
    assert result["changed"] is False and (asked["tenant"], asked["pools"]) == ("shop", {"fast": "/fast"})
    assert run()["status"]["asked"]["tenant"] is None


def test_the_look_can_be_one_text(run: t.Any) -> None:
    assert json.loads(run(packed=True)["status"])["known"] is True
