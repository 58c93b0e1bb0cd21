# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._move.options import answer, each


class Failed(Exception):
    pass


class Module:
    def fail_json(self, **told: t.Any) -> t.NoReturn:
        raise Failed(told["msg"])


def test_one_machine_that_fails_holds_no_other_up_and_is_told() -> None:
    machines = [{"tenant": "default", "service": "shop", "machine": name} for name in ("web-1", "web-2", "web-3")]

    def step(index: int) -> dict[str, t.Any]:
        if index == 1:
            raise FleetError("The disk is full.")
        return {"state": "sent"}

    results = each(machines, step)
    assert [one["state"] for one in results] == ["sent", "failed", "sent"]
    with pytest.raises(Failed, match=r"^Not every machine went through: web-2: The disk is full\.$"):
        answer(t.cast(t.Any, Module()), results, True)
    assert answer(t.cast(t.Any, Module()), results[:1], True)["machines"] == results[:1]
