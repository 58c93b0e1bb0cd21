# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible_collections.basecast.fleet.plugins.action import relay_certificates
from ansible_collections.basecast.fleet.plugins.plugin_utils import _certificates


def run(**arguments: t.Any) -> dict[str, t.Any]:
    task = MagicMock(async_val=0, args=arguments, check_mode=False, diff=False)
    action = relay_certificates.ActionModule(task, MagicMock(), MagicMock(), None, None, None)
    return action.run(task_vars={})


def test_certificates_are_made_for_each_host() -> None:
    result = run(run="r", hosts=["kvm1", "kvm2"], valid_s=60)
    assert result["changed"] is False
    assert set(result["certificates"]) == {"kvm1", "kvm2"}
    assert set(result["certificates"]["kvm1"]) == {"ca", "certificate", "key"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run": "../x", "hosts": ["a"]}, "run: '../x' is not accepted"),
        ({"run": "r", "hosts": ["a"], "valid_s": 0}, "valid_s: 0.0 is not accepted"),
        ({"run": "r"}, "missing required arguments: hosts"),
        ({"run": "r", "hosts": ["a"], "valid": 3}, "valid"),
    ],
    ids=["run", "valid_s", "hosts", "unknown"],
)
def test_wrong_options_are_refused(arguments: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleError, match=message):
        run(**arguments)


def test_without_cryptography_the_message_tells_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_certificates, "CRYPTOGRAPHY_ERROR", ImportError("No module named 'cryptography'"))
    with pytest.raises(AnsibleActionFail, match="needs the Python library cryptography on the controller"):
        run(run="r", hosts=["a"])
