# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_chain_and_a_tree_end_with_the_right_bytes_everywhere(fleet: t.Any, content: t.Any, mode: str) -> None:
    content.put(fleet.pool("S"))
    plan = {"S": [], "A": ["S"], "B": ["A", "S"], "C": ["B", "A", "S"], "D": ["A", "S"]}
    for host in plan:
        fleet.add(host)
    fleet.start(content, plan, mode)
    fleet.wait(*plan)
    for host in plan:
        base = fleet.base(host, content)
        assert base["state"] == "holding", base
        assert base["attempts"] == []
        assert fleet.holds(host, content)
    assert fleet.base("C", content)["received_bytes"] < 1.01 * 31 * 16384 + 3000
    assert fleet.base("S", content)["sent_bytes"] == 30 * 16384 + 1000
    assert fleet.base("A", content)["sent_bytes"] == 2 * (30 * 16384 + 1000)
