# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.modules import host_removal

TOLD: dict[str, t.Any] = {
    "machines": [
        {
            "machine": "web-1",
            "wanted": True,
            "actions": ["stopped", "removed", "disks removed"],
            "disks": [{"path": "/pool/root.qcow2", "state": "absent"}],
            "problem": None,
        }
    ],
    "record": "removed",
    "references": [{"kind": "name", "name": "tiny", "version": "1"}],
    "problem": None,
    "warnings": ["a name is kept"],
    "changed": True,
}


@pytest.fixture
def run(capsys: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    def run_(told: t.Any = None, **args: t.Any) -> dict[str, t.Any]:
        def perform(self: t.Any) -> t.Any:
            if isinstance(told, Exception):
                raise told
            return TOLD if told is None else told

        monkeypatch.setattr(host_removal.Removal, "perform", perform)
        with patch_module_args({"service": "shop", **args}), pytest.raises(SystemExit):
            host_removal.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"service": "a/b"}, "service: 'a/b' is not accepted"),
        ({"tenant": ".."}, "tenant: '..' is not accepted"),
        ({"machines": ["web-1", "../x"]}, "machines[1]: '../x' is not accepted"),
        ({"pools": {"default": "here"}}, "pools.default: 'here' is not accepted"),
        ({"state_dir": "var"}, "state_dir: 'var' is not accepted"),
        ({"runtime_dir": "run"}, "runtime_dir: 'run' is not accepted"),
        ({"shutdown_timeout_s": -1}, "shutdown_timeout_s: -1.0 is not accepted"),
        ({"busy_timeout_s": -1}, "busy_timeout_s: -1.0 is not accepted"),
    ],
)
def test_what_cannot_be_meant_is_refused(args: dict[str, t.Any], message: str, run: t.Any) -> None:
    result = run(**args)
    assert result["failed"] and message in result["msg"]


def test_the_diff_shows_what_goes(run: t.Any) -> None:
    result = run(_ansible_diff=True)
    assert result["changed"] and "a name is kept" in str(result["warnings"])
    assert result["diff"]["before"] == {
        "machines": {"web-1": "present"},
        "disks": ["/pool/root.qcow2"],
        "references": ["name tiny 1"],
        "record": "present",
    }
    assert result["diff"]["after"] == {"machines": {"web-1": "absent"}, "disks": [], "references": [], "record": "removed"}


@pytest.mark.parametrize("check", [True, False])
def test_what_is_still_there_is_a_failure(check: bool, run: t.Any) -> None:
    machine = {**TOLD["machines"][0], "problem": "it is a parent"}
    other = {**machine, "machine": "web-2", "wanted": False, "problem": "not asked for"}
    told = {**TOLD, "machines": [machine, other], "problem": "The record cannot be read."}
    result = run(told, _ansible_check_mode=check)
    assert result.get("failed", False) is not check and len(result["removal"]["machines"]) == 2
    if not check:
        assert result["msg"] == "Not everything was removed: web-1: it is a parent; The record cannot be read."


def test_a_refusal_is_a_sentence(run: t.Any) -> None:
    result = run(FleetError("shop is being deployed.", kind="busy"))
    assert result["failed"] and result["msg"] == "shop is being deployed." and "exception" not in result
