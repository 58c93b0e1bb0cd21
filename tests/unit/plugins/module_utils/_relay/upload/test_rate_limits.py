# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.rate_limits import IDLE_STREAM_S, Limits, Streams
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.socket_stream import Waker


def test_a_link_has_its_own_limit_besides_the_nodes() -> None:
    limits = Limits(lambda: 100.0)
    assert limits.set(rate_mbps=8.0, links={"slow": 0.8, "free": 0})
    assert limits.told() == {"rate_mbps": 8.0, "links": {"slow": 0.8}, "streams": 0}
    assert limits.up.take(100_000, "slow") == 0.0
    # The node took 0.1 s for that, the link 1 s; both longer than what may go at once.
    assert limits.up.take(1000, "slow") == pytest.approx(1.0)
    assert limits.up.take(1000, "other") == pytest.approx(0.101)
    assert limits.down.take(1000, "slow") == 0.0, "both directions have the whole limit"
    assert not limits.set(rate_mbps=8.0)
    assert limits.set(links={})
    assert limits.up.take(1000, "slow") == pytest.approx(0.102), "the link's limit is lifted, the node's holds"
    assert limits.set(rate_mbps=0)
    assert limits.up.take(1 << 40, "slow") == 0.0


def test_streams_are_given_to_so_many_at_a_time() -> None:
    now = [0.0]
    streams = Streams(lambda: now[0])
    first, second, third = Waker(), Waker(), Waker()
    try:
        names = {first: "A", second: "B", third: "C"}
        assert all(streams.may_send(child, name) for child, name in names.items())
        streams.set_most(2)
        assert streams.may_send(first, "A") is False, "the last two moved something, and it is one too many"
        assert streams.may_send(second, "B")
        assert streams.may_send(third, "C")
        assert not os.get_blocking(first.fileno())
        streams.leave(second)
        assert os.read(first.fileno(), 1), "who waits is woken"
        assert streams.may_send(first, "A")
        assert not streams.may_send(second, "B")
        now[0] += IDLE_STREAM_S
        assert streams.may_send(first, "A")
        assert streams.may_send(second, "B"), "the third has moved nothing for too long"
        assert not streams.may_send(third, "C")
        streams.set_most(0)
        assert streams.may_send(third, "C")
    finally:
        for waker in (first, second, third):
            waker.close()


def test_a_slow_link_slows_its_peer_only_and_may_be_changed_on_the_way(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(content, {"S": []}, links={"A": 0.5})
    fleet.start(content, {"A": ["S"], "B": ["S"]})
    fleet.wait("B")
    # Half a megabyte takes eight seconds at this rate.
    assert fleet.base("A", content)["state"] == "fetching"
    assert fleet.nodes["S"].progress()["limits"]["links"] == {"A": 0.5}
    assert fleet.nodes["S"].limits.set(links={})
    fleet.wait("A")
    assert fleet.holds("A", content)
    assert fleet.base("A", content)["seconds"] < 7


def test_the_receiver_may_limit_a_link_too(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    for host in "SA":
        fleet.add(host)
    fleet.start(content, {"S": []})
    fleet.start(content, {"A": ["S"]}, links={"S": 2.0})
    fleet.wait("A")
    assert fleet.base("A", content)["seconds"] > 0.8 * content.wire_bytes * 8 / 2e6


def test_one_stream_at_a_time_serves_one_child_after_the_other(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    for host in "SABC":
        fleet.add(host)
    fleet.start(content, {"S": []}, streams=1, rate_mbps=8.0)
    fleet.start(content, {"A": ["S"], "B": ["S"], "C": ["S"]})
    hosts = "ABC"
    fleet.until(lambda: any(fleet.base(host, content)["state"] == "holding" for host in hosts))
    halves = [host for host in hosts if fleet.base(host, content)["received_bytes"] > content.wire_bytes / 2]
    assert len(halves) == 1, "the others were served beside it"
    fleet.wait(*hosts)
    assert all(fleet.holds(host, content) for host in hosts)
