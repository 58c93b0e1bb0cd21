# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._move.within import Wish, Within
from ansible_collections.basecast.fleet.plugins.modules import machine_relocate


def test_machines_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    host = types.SimpleNamespace(pools={"slow": "/slow", "fast": "/fast", "large": "/large"})
    monkeypatch.setattr(machine_relocate.moves, "checked_host", lambda *_more: host)

    def move(_within: Within, wish: Wish) -> dict[str, t.Any]:
        return {"state": "moved", "from": {"root": "slow"}}

    monkeypatch.setattr(Within, "move", move)
    machines = [
        {"tenant": "default", "service": "shop", "machine": "web-1", "pool": "fast", "live": False},
        {"tenant": "default", "service": "blog", "machine": "web-1", "pool": "large", "live": False},
    ]
    params = {"run": "r1", "state": "moved", "machines": machines, "at_once": 1, "shutdown_timeout_s": 1.0, "timeout_s": 1.0}
    told = machine_relocate._work(t.cast(t.Any, types.SimpleNamespace(params=params, check_mode=True)))
    assert told["changed"]
    assert told["diff"] == {
        "before": {"default/shop/web-1/root": "slow", "default/blog/web-1/root": "slow"},
        "after": {"default/shop/web-1/root": "fast", "default/blog/web-1/root": "large"},
    }
