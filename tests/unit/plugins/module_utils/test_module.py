# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils import _module
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError


class Failed(Exception):
    pass


class Module:
    """What an Ansible module does with the end of its work."""

    def __init__(self, **_spec: t.Any) -> None:
        self.warn = print

    def fail_json(self, msg: str, **more: t.Any) -> t.NoReturn:
        raise Failed(f"{more['failure']['kind']}: {msg}")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ZeroDivisionError("by nothing"), "unexpected: Unexpected ZeroDivisionError: by nothing. This is a defect; -vvv shows where."),
        (FleetError("The disk is full."), "failed: The disk is full."),
    ],
)
def test_every_error_of_a_module_is_a_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception, told: str) -> None:
    def work(_module_: t.Any) -> t.NoReturn:
        raise error

    monkeypatch.setattr(_module, "AnsibleModule", Module)
    with pytest.raises(Failed) as caught:
        _module.run_module(work)
    assert str(caught.value) == told
