# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.modules import seed_image


def _run(capsys: t.Any, **args: t.Any) -> dict[str, t.Any]:
    with patch_module_args(args), pytest.raises(SystemExit):
        seed_image.main()
    return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))


@pytest.fixture
def request_(tmp_path: t.Any) -> dict[str, t.Any]:
    secret = {"write_files": [{"path": "/x", "content": "hunter2"}], "bootcmd": ["web-1"]}
    return {
        "pools": {"default": str(tmp_path)},
        "service": "shop",
        "seeds": [{"machine": "web-1", "user_data": secret}, {"machine": "web-2", "vendor_data": "#!/bin/sh\n# hunter2\n"}],
    }


def test_seeds_are_made_and_then_left_alone(capsys: t.Any, request_: t.Any) -> None:
    first = _run(capsys, **request_)
    second = _run(capsys, **request_)
    assert (first["changed"], second["changed"]) == (True, False)
    assert [seed["action"] for seed in first["seeds"]] == ["created", "created"]
    assert [{**seed, "action": "created"} for seed in second["seeds"]] == first["seeds"]
    assert all(os.path.exists(seed["path"]) for seed in first["seeds"])
    assert second["diff"] == {"before": {}, "after": {}}


def test_neither_result_nor_diff_nor_invocation_has_a_secret_or_hides_a_name(capsys: t.Any, request_: t.Any) -> None:
    result = _run(capsys, **request_, _ansible_diff=True)
    assert "hunter2" not in json.dumps(result)
    assert result["invocation"]["module_args"]["seeds"] == "(hidden)"
    # Names that also occur as values of the secret part are still told.
    assert result["seeds"][0]["machine"] == "web-1"
    assert result["diff"]["after"]["web-1"]["user_data"] == ["bootcmd", "write_files"]


@pytest.mark.parametrize("seed", [{"machine": "web-1", "user_data": {"a": "hunter2"}, "pool": "none"}, {"user_data": {"a": "hunter2"}}])
def test_failures_have_no_secret(seed: t.Any, capsys: t.Any, request_: t.Any) -> None:
    result = _run(capsys, **{**request_, "seeds": [seed]})
    assert result["failed"]
    assert "hunter2" not in json.dumps(result)


def test_check_mode_writes_nothing(capsys: t.Any, request_: t.Any, tmp_path: t.Any) -> None:
    assert _run(capsys, **request_, _ansible_check_mode=True)["changed"]
    assert os.listdir(tmp_path) == []


def test_each_machine_has_one_seed(capsys: t.Any, request_: t.Any) -> None:
    result = _run(capsys, **{**request_, "seeds": [{"machine": "web-1"}, {"machine": "web-1"}]})
    assert result["msg"] == "seeds[1].machine: 'web-1' is not accepted; each machine can have one seed only"
