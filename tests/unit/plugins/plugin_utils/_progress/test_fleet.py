# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._progress.fleet import Fleet, row_of
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._progress.conftest import MiB, base, host


def fleet_of(hosts: dict[str, t.Any], now: float = 10.0) -> Fleet:
    fleet = Fleet("nightly", now)
    fleet.update(hosts, False, now)
    return fleet


def test_each_host_has_one_state(hosts: dict[str, t.Any]) -> None:
    assert {name: row_of(name, entry, 10.0).state for name, entry in hosts.items()} == {
        "kvm1": "held",
        "kvm2": "done",
        "kvm3": "fetching",
        "kvm4": "fetching",
        "kvm5": "fetching",
        "kvm6": "failed",
        "kvm7": "silent",
        "kvm8": "fetching",
        "kvm9": "waiting",
        "kvm10": "unknown",
    }
    assert row_of("kvm1", host(), 10.0).state == "held", "nothing is to be done there"
    assert row_of("kvm1", host(base("holding", 600), age_s=500.0, stale=True), 10.0).state == "done", "its node has ended"


def test_several_bases_of_a_host_are_one_row() -> None:
    held = base("holding", 600, received_bytes=0)
    first = base("fetching", 100, 200, rate_mbps=80.0, remaining_s=10.0, parents=["a", "b"])
    second = base("fetching", 0, 1000, rate_mbps=8.0, remaining_s=1000.0, parents=["b", "c"])
    row = row_of("kvm2", host(held, first, second), 10.0)
    assert (row.bytes, row.size_bytes, row.rate_mbps, row.remaining_s) == (100 * MiB, 1200 * MiB, 88.0, 1000.0)
    assert row.parents == ("a", "b", "c")
    assert row_of("kvm2", host(held, first, base("failed", msg="no")), 10.0).state == "fetching"
    assert row_of("kvm2", host(base("holding", 5, 5), base("failed", msg="no")), 10.0)[1:2] == ("failed",)


def test_the_newest_news_of_a_host_stand_whoever_tells_them() -> None:
    fleet = fleet_of({"a": host(base("fetching", 300, rate_mbps=1.0))}, 10.0)
    # Another node, asked later, has heard less.
    assert not fleet.update({"a": host(base("fetching", 200), age_s=9.0)}, False, 12.0)
    assert not fleet.update({"a": host(age_s=None, started=False, stale=True)}, False, 12.0)
    assert fleet.rows[0].bytes == 300 * MiB
    assert fleet.update({"a": host(base("fetching", 400), age_s=1.0)}, False, 14.0)
    assert not fleet.update({"a": host(base("fetching", 400), age_s=3.0)}, False, 16.0)
    assert fleet.update({"a": host(base("fetching", 400), age_s=14.0, stale=True)}, False, 27.0)
    assert fleet.rows[0].state == "silent"


def test_the_whole_takes_as_long_as_its_slowest_host(hosts: dict[str, t.Any]) -> None:
    moving = {name: hosts[name] for name in ("kvm1", "kvm2", "kvm3", "kvm4")}
    total = fleet_of(moving).total(10.5)
    assert total[:4] == (3, 1, 0, 0)
    assert (total.bytes, total.size_bytes, total.rate_mbps) == (1242 * MiB, 1800 * MiB, 1455.0)
    assert total.remaining_s == pytest.approx(5.0), "six seconds, of which one has passed"


def test_with_hosts_that_wait_it_takes_as_long_as_all_bytes_need(hosts: dict[str, t.Any]) -> None:
    moving = {name: hosts[name] for name in ("kvm3", "kvm4", "kvm5", "kvm6", "kvm7")}
    total = fleet_of(moving).total(10.5)
    assert total.remaining_s == pytest.approx((198 + 360 + 600) * MiB * 8 / 1e6 / 1455.0)
    waiting = {name: hosts[name] for name in ("kvm5", "kvm9", "kvm10")}
    assert fleet_of(waiting).total(10.5).remaining_s is None


def test_trouble_comes_first_then_the_slowest(hosts: dict[str, t.Any]) -> None:
    order = [row.host for row in fleet_of(hosts).by_interest(10.0)]
    assert order == ["kvm6", "kvm7", "kvm5", "kvm8", "kvm4", "kvm3", "kvm9", "kvm10", "kvm2"]
    assert [row.host for row in fleet_of(hosts).rows][-2:] == ["kvm9", "kvm10"]


def test_a_relay_that_has_settled_may_begin_again() -> None:
    fleet = Fleet("nightly", 0.0)
    assert fleet.update({"a": host(base("failed"))}, True, 5.0)
    assert fleet.settled_at == 5.0
    assert not fleet.update({"a": host(base("failed"), age_s=1.5)}, True, 6.0)
    assert fleet.settled_at == 5.0
    assert fleet.update({"a": host(base("fetching"))}, False, 7.0)
    assert fleet.settled_at is None
