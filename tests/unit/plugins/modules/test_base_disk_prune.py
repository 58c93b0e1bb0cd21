# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.modules import base_disk_prune

SHA = "5" * 64


@pytest.fixture
def run(capsys: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    def run_(**args: t.Any) -> dict[str, t.Any]:
        results = [
            {"pool": "one", "what": SHA, "state": "removed", "reason": "", "bytes": 7},
            {"pool": "one", "what": "6" * 64, "state": "kept", "reason": "a pin", "bytes": 7},
        ]
        monkeypatch.setattr(base_disk_prune.Prune, "look", lambda self: {"pools": {}, "unknown": []})
        monkeypatch.setattr(base_disk_prune.Prune, "perform", lambda self: {"results": results, "changed": True})
        with patch_module_args({"pools": {"one": "/one"}, **args}), pytest.raises(SystemExit):
            base_disk_prune.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"pools": {"one": "here"}}, "pools.one: 'here' is not accepted"),
        ({"bases": {"two": [SHA]}}, "bases: 'two' is not accepted; this host's pools are: one"),
        ({"bases": {"one": ["../x"]}}, "bases.one: '../x' is not accepted"),
        ({"bases": {"one": SHA}}, "a list is needed"),
        ({"left": {"one": ["x"]}}, "left.one: 'x' is not accepted"),
        ({"used_at": {"x": 1}}, "used_at: 'x' is not accepted"),
        ({"used_at": {SHA: "now"}}, "a number of seconds is needed"),
        ({"left_age_s": -1}, "left_age_s: -1.0 is not accepted"),
        ({"state_dir": "var"}, "state_dir: 'var' is not accepted"),
        ({"runtime_dir": "run"}, "runtime_dir: 'run' is not accepted"),
    ],
)
def test_what_cannot_be_meant_is_refused(args: dict[str, t.Any], message: str, run: t.Any) -> None:
    result = run(**args)
    assert result["failed"] and message in result["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_the_diff_shows_what_goes(check: bool, run: t.Any) -> None:
    result = run(bases={"one": [SHA, SHA]}, _ansible_check_mode=check, _ansible_diff=True)
    assert result["changed"] and result["diff"] == {"before": {"present": [f"one: {SHA}"]}, "after": {"present": []}}
    assert ("pools" in result["prune"]) is check
