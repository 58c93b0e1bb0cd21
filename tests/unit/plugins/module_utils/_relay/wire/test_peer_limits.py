# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one member of the run may take of a node: counted by its name, and no more of it than leaves others alone."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import LimitExceeded, PeerRefused
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import peer_limits, protocol, transport
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.peer_limits import PeerLimits
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.protocol import Header
from ansible_collections.basecast.fleet.tests.rogue import ATTACKS, KINDS, Gone, Rogue

ATTACK_S = 1.5


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def limits() -> tuple[PeerLimits, Clock, list[str]]:
    clock, log = Clock(), list[str]()
    return PeerLimits(clock, log.append), clock, log


def test_connections_count_by_name() -> None:
    one, _clock, _log = limits()
    for _number in range(peer_limits.MAX_CONNECTIONS):
        one.enter("B")
    with pytest.raises(PeerRefused, match="B has 64 connections to this host already"):
        one.enter("B")
    one.enter("A")
    one.leave("B")
    one.enter("B")
    assert one.violations == [("B", "B has 64 connections to this host already.")]


def test_one_that_comes_too_often_is_refused_for_a_while() -> None:
    one, clock, _log = limits()

    def come() -> None:
        one.enter("B")
        one.leave("B")

    for _number in range(peer_limits.CONNECTIONS_BURST):
        come()
    with pytest.raises(LimitExceeded, match="B connects more often than"):
        come()
    clock.now += 1
    come()


def test_frames_count_by_their_size_and_chunks_give_some() -> None:
    one, clock, _log = limits()
    ping, want = Header(protocol.PING, 0, 0), Header(protocol.WANT, 32768, 0)
    for _number in range(peer_limits.FRAMES_BURST // 129):
        one.count("B", want)
    with pytest.raises(LimitExceeded, match="B sends more control frames than a peer may"):
        for _number in range(129):
            one.count("B", ping)
    one.count("A", ping)
    clock.now += 1
    for _number in range(int(peer_limits.FRAMES_PER_S) - 129):
        one.count("B", ping)
    for _number in range(1000):
        one.served("B")
        one.count("B", Header(protocol.DATA, 262144, 0))
        for _control in range(2 * peer_limits.FRAMES_OF_CHUNK):
            one.count("B", ping)


def test_announcements_of_a_large_base_are_no_flood() -> None:
    """200 GiB in scattered chunks: 13 MB of ranges, and a list of 26 MB."""
    one, _clock, _log = limits()
    for _number in range(200):
        one.count("B", Header(protocol.HAVE, 65536, 0))
    for _number in range(400):
        one.count("B", Header(protocol.LIST_PART, 65536, 0))


def test_after_three_violations_one_is_not_let_in() -> None:
    one, clock, log = limits()
    for number in range(10):
        one.violation("B", f"B did {number}")
    assert one.banned("B")
    assert not one.banned("A")
    with pytest.raises(PeerRefused, match="B has broken the rules of this run 10 times"):
        one.enter("B")
    assert [text for _peer, text in one.violations] == ["B did 0", "B did 7", "B did 8", "B did 9"]
    assert log == ["B did 0", "B did 1", "B did 2"], "one that goes on does not fill the log"
    clock.now += peer_limits.BANNED_S + 1
    one.enter("B")


def test_many_peers_do_not_hide_what_one_did() -> None:
    one, _clock, _log = limits()
    for number in range(100):
        one.violation(f"kvm{number}", "did something")
        one.violation(f"kvm{number}", "did more")
    assert len(one.violations) == peer_limits.KEPT
    assert one.violations[-1] == ("kvm99", "kvm99: did more")


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_does_not_hold_up_others(fleet: t.Any, content: t.Any, attack: str) -> None:
    content.put(fleet.pool("S"))
    node = fleet.add("S")
    fleet.add("A")
    fleet.start(content, {"S": []}, rate_mbps=3)
    threads = threading.active_count()
    rogue = Rogue("B", fleet.credentials("B"), content.metadata)
    attacking = threading.Thread(target=rogue.attack, args=(attack, ("127.0.0.1", node.port), ATTACK_S))
    attacking.start()
    time.sleep(0.3)
    fleet.start(content, {"A": ["S"]})
    fleet.wait("A")
    assert fleet.holds("A", content)
    assert threading.active_count() - threads < peer_limits.MAX_CONNECTIONS + 2 * transport.MAX_HANDSHAKES + 20
    attacking.join(30)
    assert not attacking.is_alive()
    assert fleet.base("S", content)["state"] == "holding"
    # One more of the run is served as if nothing had been.
    fleet.add("C")
    fleet.start(content, {"C": ["S"]}, rate_mbps=0)
    fleet.wait("C", seconds=10.0)
    assert not any("Traceback" in line or "\x1b" in line for line in fleet.logs["S"])


# What the sentence on the peer begins with. Where several rules are broken, which is noticed first is chance, and after
# the third the peer is not let in.
NAMED = {
    "40 headers that announce 16 MiB": "B sent a frame of kind 7 where none may come.",
    "every kind of frame in every length": "B",
    "deep, long and broken messages": "B sent something that cannot be read: open: it is nested",
    "random messages and frames": "B",
    "flood of PING": "B sends more control frames than a peer may.",
    "flood of WANT": "B asks for",
    "flood of CANCEL": "B sends more control frames than a peer may.",
    "flood of PACE": "B sends more control frames than a peer may.",
    "flood of LIST": "B asks for the chunk list again and again.",
    "a number of 2^63": "B sent something that cannot be read: news: hosts: A[1]: 9223372036854775808 is not accepted",
    "1,033 connections": "B has 64 connections to this host already.",
    "connects again and again": "B connects more often than 2 times a second.",
}
NAMED_S = 60.0


def told(fleet: t.Any, content: t.Any) -> list[str]:
    return [one["error"] for one in fleet.base("S", content)["attempts"] if one["parent"] == "B"]


@pytest.mark.parametrize("attack", NAMED)
def test_who_breaks_a_rule_is_named_in_attempts(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch, attack: str) -> None:
    if attack == "connects again and again":
        # How often it can depends on what else the machine does.
        monkeypatch.setattr(peer_limits, "CONNECTIONS_BURST", 10)
        monkeypatch.setattr(peer_limits, "CONNECTIONS_PER_S", 2.0)
    content.put(fleet.pool("S"))
    node = fleet.add("S")
    fleet.start(content, {"S": []})
    rogue = Rogue("B", fleet.credentials("B"), content.metadata)
    until = time.monotonic() + NAMED_S
    while not any(error.startswith(NAMED[attack]) for error in told(fleet, content)):
        assert time.monotonic() < until, told(fleet, content)
        rogue.attack(attack, ("127.0.0.1", node.port), ATTACK_S)


# Of what comes after OPEN: what a child may send, within its limits, is no violation; its effect is tested elsewhere.
@pytest.mark.parametrize("length", [0, 65536, 16 * 1024 * 1024, 2**32 - 1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_that_may_not_come_is_named(
    fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch, kind: int, length: int
) -> None:
    if kind in protocol.FROM_CHILD and length <= (32768 if kind in (protocol.WANT, protocol.CANCEL) else 0):
        pytest.skip("a child may send it")
    content.put(fleet.pool("S"))
    node = fleet.add("S")
    fleet.start(content, {"S": []})
    rogue = Rogue("B", fleet.credentials("B"), content.metadata)
    line = rogue.opened(("127.0.0.1", node.port))
    try:
        line.frame(kind, 0, b"x" * 64, length=length)
        while True:
            line.read()
    except Gone:
        pass
    finally:
        line.close()
    until = time.monotonic() + NAMED_S
    while not told(fleet, content):
        assert time.monotonic() < until
        time.sleep(0.02)
    (error,) = told(fleet, content)
    assert error.startswith((f"B: A frame of kind {kind} holds", f"B: A frame of unknown kind {kind} ", f"B sent a frame of kind {kind} where"))
