# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PeerLost, PeerRefused, RelayError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.measure import prober
from ansible_collections.basecast.fleet.plugins.module_utils._relay.measure.prober import Prober, Settings, Turn, rate_of, turns_of
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.transport import Address

ROUNDS = [[["A", "D"], ["B", "C"]], [["A", "C"], ["D", "B"]], [["A", "B"], ["C", "D"]]]
SMALL = Settings(payload_bytes=256 * 1024, max_s=0.2, deadline_s=10.0)


def test_a_host_takes_its_turns_in_the_order_of_the_rounds() -> None:
    assert turns_of("B", ROUNDS) == [Turn(0, "C", True), Turn(1, "D", False), Turn(2, "A", False)]
    assert turns_of("X", ROUNDS) == []


def shaped(mbps: float, burst_bytes: int, seconds: float, step: int = 64 * 1024) -> list[tuple[float, int]]:
    """Arrivals behind a token bucket that was full: the burst within a millisecond, the rest at the rate."""
    arrivals = [(0.001 * n * step / burst_bytes, n * step) for n in range(1, burst_bytes // step + 1)]
    while arrivals[-1][0] < seconds:
        arrivals.append((arrivals[-1][0] + step * 8e-6 / mbps, arrivals[-1][1] + step))
    return arrivals


@pytest.mark.parametrize("mbps", [20, 60, 200, 500])
def test_the_burst_of_a_shaper_does_not_count(mbps: float) -> None:
    burst_bytes = max(131072, int(mbps * 1e6 / 8 / 250 * 4))
    assert rate_of(shaped(mbps, burst_bytes, 0.2)) == pytest.approx(mbps, rel=0.01)


@pytest.mark.parametrize("at", [0.12, 0.15, 0.19])
def test_a_moment_without_the_processor_does_not_count(at: float) -> None:
    arrivals = [(max(when, at + 0.03) if when > at else when, count) for when, count in shaped(50, 131072, 0.2, 16 * 1024)]
    assert rate_of(arrivals) == pytest.approx(50, rel=0.05)


@pytest.mark.parametrize(
    ("arrivals", "mbps"),
    [([(0.0, 1000), (1.0, 126_000)], 1.0), ([(1.0, 500)], 0.0), ([], 0.0)],
    ids=["short", "one", "none"],
)
def test_little_that_arrives_is_enough(arrivals: list[tuple[float, int]], mbps: float) -> None:
    assert rate_of(arrivals) == pytest.approx(mbps)


def probers(fleet: t.Any, hosts: str) -> dict[str, Prober]:
    peers = {host: Address("127.0.0.1", fleet.nodes[host].port) for host in hosts}
    for host in hosts:
        fleet.nodes[host].set_peers(peers)
    return {host: fleet.nodes[host].prober for host in hosts}


def links(prober: Prober) -> set[tuple[str, str]]:
    return {(link["from"], link["to"]) for link in prober.result()["links"]}


def test_nodes_measure_all_links_among_themselves_in_any_order_of_starts(fleet: t.Any) -> None:
    for host in "ABCD":
        fleet.add(host)
    nodes = probers(fleet, "ABCD")
    for host in "DBCA":
        assert nodes[host].start(turns_of(host, ROUNDS), SMALL, lambda: {"default": {"write_mbps": 100.0, "read_mbps": 200.0}})
        assert not nodes[host].start(turns_of(host, ROUNDS), SMALL, dict)
    found: set[tuple[str, str]] = set()
    for host in "ABCD":
        assert nodes[host].wait(10)
        result = nodes[host].result()
        assert result["unmeasured"] == []
        assert result["disks"] == {"default": {"write_mbps": 100.0, "read_mbps": 200.0}}
        assert {link["from"] for link in result["links"]} == {host}
        assert all(link["mbps"] > 10 and 0 < link["latency_s"] < 0.5 for link in result["links"]), result
        assert found.isdisjoint(links(nodes[host]))
        found |= links(nodes[host])
    assert found == {(a, b) for a in "ABCD" for b in "ABCD" if a != b}


def test_the_same_rounds_are_measured_again_in_another_series(fleet: t.Any) -> None:
    for host in "AB":
        fleet.add(host)
    nodes = probers(fleet, "AB")
    found: list[dict[str, t.Any]] = []
    for series in range(3):
        # Whoever is first has to wait for the other, and not to take it for one that has ended.
        for host in ("AB", "BA", "AB")[series]:
            assert nodes[host].start(turns_of(host, [[["A", "B"]]], series), SMALL, dict)
        for host in "AB":
            assert nodes[host].wait(10)
            result = nodes[host].result()
            assert result["unmeasured"] == []
            found += result["links"]
    assert len(found) == 6


def test_a_dead_partner_is_left_out_and_the_others_are_measured(fleet: t.Any) -> None:
    for host in "ABCD":
        fleet.add(host)
    nodes = probers(fleet, "ABCD")
    fleet.kill("D")
    for host in "ABC":
        nodes[host].start(turns_of(host, ROUNDS), SMALL, dict)
    found: set[tuple[str, str]] = set()
    for host in "ABC":
        assert nodes[host].wait(10)
        found |= links(nodes[host])
        assert [one["partner"] for one in nodes[host].result()["unmeasured"]] == ["D"]
        assert "refused" in nodes[host].result()["unmeasured"][0]["msg"]
    assert found == {(a, b) for a in "ABC" for b in "ABC" if a != b}


def begun(fleet: t.Any) -> t.Any:
    """A is to be measured by B in its first round; B is played by the test."""
    for host in "AB":
        fleet.add(host)
        fleet.nodes[host].set_peers(fleet.peers())
    fleet.nodes["A"].set_peers(fleet.peers())
    fleet.nodes["A"].prober.start([Turn(0, "B", False)], SMALL, dict)
    channel = fleet.nodes["B"].connect("A")
    channel.send_message(protocol.PROBE, {"round": 0, "payload_bytes": 1 << 30, "max_s": 3600.0})
    return channel


def test_a_partner_that_sends_more_than_is_measured_is_dropped(fleet: t.Any) -> None:
    channel = begun(fleet)
    channel.receive_frame(protocol.PROBE_GO)
    for number in range(prober.ECHOES):
        channel.send(protocol.PROBE_ECHO, number)
        channel.receive_frame(protocol.PROBE_ECHO)
    with pytest.raises(PeerLost):
        for _frame in range(10_000):
            channel.send(protocol.PROBE_DATA, 0, bytes(protocol.PROBE_DATA_BYTES))
        channel.receive_frame(protocol.PROBE_RESULT)
    fleet.until(lambda: any("B sends more than is to be measured" in line for line in fleet.logs["A"]))
    assert fleet.nodes["A"].prober.wait(10)


@pytest.mark.parametrize("stage", ["before the echoes", "before the payload", "in the payload", "before the result"])
def test_a_partner_that_stops_in_the_middle_is_given_up(fleet: t.Any, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """It shows that it is alive all the time."""
    monkeypatch.setattr(prober, "PAIR_SPARE_S", 0.5)
    channel = begun(fleet)
    channel.receive_frame(protocol.PROBE_GO)
    if stage != "before the echoes":
        for number in range(prober.ECHOES):
            channel.send(protocol.PROBE_ECHO, number)
            channel.receive_frame(protocol.PROBE_ECHO)
    if stage in ("in the payload", "before the result"):
        channel.send(protocol.PROBE_DATA, 0, bytes(1000))
    if stage == "before the result":
        channel.send(protocol.PROBE_END)
    since = time.monotonic()
    with pytest.raises(PeerLost):
        while time.monotonic() - since < 8:
            channel.send(protocol.PING)
            time.sleep(0.1)
    assert fleet.nodes["A"].prober.wait(5)


def test_turns_that_are_not_in_the_plan_are_not_remembered(fleet: t.Any) -> None:
    channel = begun(fleet)
    channel.receive_frame(protocol.PROBE_GO)
    measured = fleet.nodes["A"].prober
    for number in range(1, 8):
        other = fleet.nodes["B"].connect("A")
        other.send_message(protocol.PROBE, {"round": 1000 + number, "payload_bytes": 1, "max_s": 1})
        with pytest.raises((PeerRefused, PeerLost)):
            other.receive_frame(protocol.PROBE_GO)
        other.close()
        with measured._changed:  # more than a few at a time are a breach of the rules, which ends the first one too
            assert measured._changed.wait_for(lambda: measured._waiting["B"] <= 1, 10)
    channel.close()
    assert measured.wait(10)
    assert measured._left <= {(0, "B")}
    assert measured._arrived <= {(0, "B")}


def refuse(host: str, _seconds: float) -> t.NoReturn:
    raise PeerLost(f"{host} cannot be reached.")


def test_other_rounds_wait_until_these_are_over() -> None:
    measured = Prober("A", refuse, time.monotonic, threading.Event())
    assert measured.start([Turn(0, "B", False)], Settings(deadline_s=0.2), dict)
    with pytest.raises(RelayError, match="Other rounds are being measured on this host; collect them first"):
        measured.start([Turn(0, "C", False)], Settings(), dict)
    assert measured.wait(5)


def test_turns_behind_the_deadline_are_left_out() -> None:
    measured = Prober("A", refuse, time.monotonic, threading.Event())
    measured.start([Turn(0, "B", True), Turn(1, "C", False)], Settings(deadline_s=0.0), dict)
    assert measured.wait(5)
    assert [(one["msg"], one["lost"]) for one in measured.result()["unmeasured"]] == [("The time for measuring was over.", False)] * 2


def test_a_partner_that_is_further_on_is_not_waited_for(fleet: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "KNOCK_EVERY_S", 0.05)
    for host in "AB":
        fleet.add(host)
    nodes = probers(fleet, "AB")
    nodes["B"].start([Turn(0, "A", True)], Settings(deadline_s=0.0), dict)
    assert nodes["B"].wait(5)
    nodes["A"].start([Turn(0, "B", False)], SMALL, dict)
    assert nodes["A"].wait(5)
    assert [one["msg"] for one in nodes["A"].result()["unmeasured"]] == ["B has left this turn out."]
