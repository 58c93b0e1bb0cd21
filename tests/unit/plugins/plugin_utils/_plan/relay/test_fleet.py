# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.fleet import relay_plans
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.parts import relay_parts

SIZE = 1_250_000_000  # 10 s at 1 Gbit/s


def relay(sources: list[str], targets: list[str]) -> dict[str, t.Any]:
    return {
        "base": "debian 1", "sha256": "a" * 64, "size_bytes": SIZE, "estimated": False, "metadata": {"sha256": "a" * 64},
        "sources": dict.fromkeys(sources, "default"), "targets": dict.fromkeys(targets, "default"), "shared_pools": [],
    }  # fmt: skip


def links(hosts: list[str], mbps: t.Callable[[str, str], float]) -> list[dict[str, t.Any]]:
    return [{"from": a, "to": b, "mbps": mbps(a, b)} for a in hosts for b in hosts if a != b]


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
@pytest.mark.parametrize("fast", range(10))
def test_the_fast_one_of_ten_holders_serves(mode: str, fast: int) -> None:
    sources = [f"h{k}" for k in range(10)]
    known = links([*sources, "t"], lambda a, b: 1000 if a == f"h{fast}" else 10)
    (plan,) = relay_plans([relay(sources, ["t"])], known, mode=mode)
    assert plan["predicted_s"] == pytest.approx(10, rel=0.05)
    assert {edge["from"] for tree in plan["trees"] for edge in tree["edges"]} == {f"h{fast}"}
    assert len(plan["standby"]) == 2
    parts = relay_parts([relay(sources, ["t"])], [plan])
    assert set(parts) == {*plan["standby"], f"h{fast}", "t"}
    assert parts["t"][0]["parents"][0][0] == f"h{fast}"


def test_the_nearest_idle_holders_stand_by() -> None:
    rates = {"h0": 1000, "h1": 10, "h2": 20, "h3": 500, "h4": 400}
    (plan,) = relay_plans([relay([*rates], ["t"])], links([*rates, "t"], lambda a, b: rates.get(a, 5)), mode="staged")
    assert plan["standby"] == ["h3", "h4"]
    assert set(plan["sources"]) == {"h0", "h3", "h4"}
