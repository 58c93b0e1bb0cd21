# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several connections to one parent."""

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download import parent as lanes_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent import BUSY_LANE_BYTES, Parent
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent_selection import Order

CHUNK = 16 * 1024


class Connection:
    """What a connection shows to its lanes."""

    def __init__(self) -> None:
        self.parent = "p"
        self.state = "rooted"
        self.paths: list[tuple[str, ...]] = []
        self.asked = 3
        self.inline_store = False
        self.busy_s = 0.0
        self.bytes = 0
        self.rate: float | None = None
        self.orders: list[Order] = []

    def measure(self, _now: float) -> tuple[float, int]:
        return self.busy_s, self.bytes

    def expect(self, rate: float | None) -> None:
        self.rate = rate

    def order(self, order: Order) -> None:
        self.orders.append(order)


def lanes_of(monkeypatch: pytest.MonkeyPatch, cores: int = 16) -> tuple[Parent, Connection]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    first = Connection()
    return Parent(t.cast("t.Any", first), 0.0), first


def drive(lanes: Parent, begin: float, seconds: float, bytes_per_s: float, busy: float = 1.0) -> float:
    """Each connection brings so much; the time afterwards."""
    now = begin
    while now < begin + seconds:
        now += 0.25
        for one in t.cast("list[t.Any]", lanes.connections):
            one.bytes += int(bytes_per_s / 4)
            one.busy_s += 0.25 * busy
        lanes.sample(now)
    return now


def test_a_connection_that_is_as_fast_as_a_core_gets_company_as_long_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes, _first = lanes_of(monkeypatch, cores=12)
    now = drive(lanes, 0.0, 3.0, 1.1 * BUSY_LANE_BYTES)
    for expected in (True, True, False):
        assert lanes.worth_another(now) is expected
        if expected:
            lanes.widen(t.cast("t.Any", Connection()), now)
            assert not lanes.worth_another(now)
            now = drive(lanes, now, 3.0, 1.1 * BUSY_LANE_BYTES)
    assert len(lanes.connections) == 3


@pytest.mark.parametrize(
    ("rate", "busy", "cores"), [(0.9, 1.0, 16), (1.1, 0.3, 16), (1.1, 1.0, 2), (1.1, 1.0, 7)], ids=["slow", "waiting", "two", "seven"]
)
def test_it_stays_alone(monkeypatch: pytest.MonkeyPatch, rate: float, busy: float, cores: int) -> None:
    """Where it is slower, where its parent itself waits, and where the host has few cores."""
    lanes, _first = lanes_of(monkeypatch, cores)
    assert not lanes.worth_another(drive(lanes, 0.0, 5.0, rate * BUSY_LANE_BYTES, busy))


def test_together_they_are_one_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes, first = lanes_of(monkeypatch)
    now = drive(lanes, 0.0, 2.0, 4_000_000)
    assert first.inline_store
    second = Connection()
    lanes.widen(t.cast("t.Any", second), now)
    now = drive(lanes, now, 6.0, 4_000_000)
    assert lanes.asked == 6
    assert lanes.pace.rate == pytest.approx(8_000_000, rel=0.01)
    assert first.rate == second.rate == pytest.approx(4_000_000, rel=0.01)
    lanes.order(Order(frozenset({0}), pace=1000))
    assert [one.orders[-1].pace for one in (first, second)] == [500, 500]
    before = lanes.pace.received
    lanes.narrow(t.cast("t.Any", second))
    now = drive(lanes, now, 1.0, 0)
    assert lanes.pace.received == before
    assert lanes.asked == 3


@pytest.mark.parametrize("dies", [False, True])
def test_a_base_comes_over_several_connections_and_nothing_twice(
    fleet: t.Any, content_of: t.Any, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    """Also when one of them breaks on the way."""
    monkeypatch.setattr(lanes_module, "BUSY_LANE_BYTES", 1)
    monkeypatch.setattr(lanes_module, "OWED_PART", -1.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(16)))
    content = content_of(os.urandom(4 * 1024 * 1024), CHUNK)
    content.put(fleet.pool("S"))
    for host in "SA":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": ["S"]}, "cut_through", rate_mbps=8.0)
    job = fleet.nodes["A"]._jobs[content.sha256]
    fleet.until(lambda: job._fetch is not None and len(job._fetch.connections()) >= 3)
    assert fleet.nodes["S"].door.peers >= 3
    assert fleet.children("S", content) == 1
    if dies:
        job._fetch.connections()[1]._channel.abort()
    fleet.nodes["S"].limits.set(rate_mbps=0)
    fleet.nodes["A"].limits.set(rate_mbps=0)
    fleet.wait("A")
    assert fleet.holds("A", content)
    base = fleet.base("A", content)
    assert not base["attempts"]
    assert base["received_bytes"] <= content.wire_bytes * 1.05 + (8 * CHUNK if dies else 0)
