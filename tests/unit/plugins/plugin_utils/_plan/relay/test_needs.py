# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.fleet import relay_plans
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.needs import MOST_HOLDERS, candidates, relays_of
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.text import relay_plan_text


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


@pytest.mark.parametrize("imported", [False, True])
def test_whole_copies_of_the_host_that_hands_it_over_are_planned(imported: bool) -> None:
    """A holder, or the host that imports it, makes copies as well; into another pool the base goes once, then they follow."""
    digest = None if imported else "a" * 64
    held = {"sha256": digest, "size_bytes": 10**9}
    hosts = {
        name: {"reachable": True, "pools": {"fast": {"bases": [held] if name == "h1" and not imported else []}, "slow": {"bases": []}}}
        for name in ("h1", "h2")
    }
    base = {
        "title": "tiny 1",
        "sha256": digest,
        "holders": {} if imported else {"h1": "fast"},
        "import_on": "h1" if imported else None,
        "import_pool": "fast" if imported else None,
        "metadata": None if imported else held,
        "source_bytes": 10**9,
    }
    disks = [{"base": digest or "tiny", "differencing": whole is None, "pool": whole or "fast"} for whole in ("slow", "slow", "fast", None)]
    work = {name: {"fetch": [{"base": "tiny", "pool": "fast"}], "disks": disks} for name in hosts}
    (relay,) = relays_of({"tiny": base}, work, hosts)
    assert (relay["sources"], relay["targets"]) == ({"h1": "fast"}, {"h2": "fast"})
    assert relay["copies"] == {"h1": {"fast": 1, "slow": 2}, "h2": {"fast": 1, "slow": 2}}
    (plan,) = relay_plans([relay], mode="staged")
    assert [(entry["host"], entry["stage"]) for entry in plan["local"] if entry["host"] == "h1"] == [("h1", 1), ("h1", 1), ("h1", 2)]
    assert "h1: 1 local copy in fast from fast, stage 1, from" in relay_plan_text(plan)
