# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.needs import MOST_HOLDERS, candidates


def holders(count: int) -> dict[str, str]:
    return {f"h{k}": "default" for k in range(count)}


@pytest.mark.parametrize("count", [1, 3, 10, MOST_HOLDERS])
def test_every_holder_is_a_candidate(count: int) -> None:
    assert candidates(holders(count), ["t"], {}) == holders(count)


def test_of_many_holders_the_known_fast_ones_take_part() -> None:
    many = holders(400)
    hosts: dict[str, t.Any] = {name: {} for name in many}
    hosts["h390"] = {"measured": {"links": [{"to": "t", "mbps": 940}, {"to": "u", "mbps": 10}]}}
    hosts["h391"] = {"measured": {"links": [{"to": "u", "mbps": 940}]}}
    chosen = candidates(many, ["t"], hosts)
    assert len(chosen) <= MOST_HOLDERS
    assert "h390" in chosen


def test_of_many_unknown_holders_no_stretch_is_left_out() -> None:
    places = sorted(int(name[1:]) for name in candidates(holders(400), ["t"], {}))
    assert len(places) == MOST_HOLDERS
    assert max(b - a for a, b in zip([0, *places], [*places, 400], strict=True)) <= 8
