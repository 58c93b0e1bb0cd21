# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decisions alone: connections are records, and time is a number."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download import parent_selection as s
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.throughput import Throughput
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import (
    BadChunkList,
    PeerLost,
    PeerRefused,
    ProtocolError,
    RelayError,
    VersionMismatch,
    WrongIdentity,
)
from ansible_collections.basecast.fleet.plugins.module_utils._relay.states import LOST, PENDING, ROOTED

MIB = 1024 * 1024
CHUNK = 256 * 1024
LONG = 400_000


class Connection:
    def __init__(self, parent: str, now: float, state: str = ROOTED) -> None:
        self.parent = parent
        self.state = state
        self.pace = Throughput(now)
        self.asked = 9
        self.busy_s = 0.0
        self.bytes = 0


class World:
    """A host and its connections, each with a rate while it is busy, and the part of the time in which it is."""

    def __init__(self, parents: t.Sequence[t.Any], others: t.Sequence[str] = (), **route: t.Any) -> None:
        self.now = 100.0
        self.connections: dict[str, Connection] = {}
        self.left: list[int] | None = None
        self.rates: dict[str, tuple[float, float]] = {}
        self.states: dict[str, str] = {}
        self.told: list[tuple[str, float]] = []
        self.orders: dict[str, s.Order] = {}
        route_of = s.route_of(parents, **route)
        self.steering = s.ParentSelection(
            route_of, s.Patience(), self.now, lambda: others, lambda _host, text, mbps: self.told.append((text, mbps))
        )

    def step(self, seconds: float = 0.25) -> dict[str, s.Order]:
        self.now += seconds
        for host, connection in self.connections.items():
            rate, busy = self.rates.get(host, (10 * MIB, 1.0))
            connection.state = self.states.get(host, ROOTED)
            if connection.state == ROOTED:
                taken = int(rate * busy * seconds)
                limit = self.orders[host].limit
                if limit is not None:
                    taken = max(0, min(taken, limit * CHUNK - connection.bytes))
                connection.busy_s += taken / rate if limit is not None else busy * seconds
                connection.bytes += taken
            connection.pace.note(self.now, connection.busy_s, connection.bytes)
        self.orders = self.steering.decide(self.now, self.connections, self.left, CHUNK)
        self.connections = {host: self.connections.get(host) or Connection(host, self.now) for host in self.orders}
        return self.orders

    def run(self, seconds: float) -> set[str]:
        """Every parent that was in use at some time."""
        used: set[str] = set()
        for _number in range(int(seconds / 0.25)):
            used |= set(self.step())
        return used

    def end(self, host: str, error: t.Any = None) -> None:
        del self.connections[host]
        self.steering.ended(host, error or PeerLost(f"{host} is gone"), self.now)

    def own(self) -> dict[str, list[int]]:
        return {host: sorted(order.own) for host, order in self.orders.items() if order.limit is None}


def test_each_stripe_has_its_parent_and_equal_parents_share_a_feed() -> None:
    world = World([["a", "s"], ["b", "s"], ["a"]], weights=[1, 2, 1])
    world.left = [LONG, LONG, LONG]
    world.run(1)
    assert world.own() == {"a": [0, 2], "b": [1]}


def test_while_nobody_has_answered_yet_each_feed_has_its_own_stripes() -> None:
    world = World([["a"], ["b"]])
    world.states = dict.fromkeys("ab", s.CONNECTING)
    for _number in range(3):
        world.step()
        assert world.own() == {"a": [0], "b": [1]}


def test_at_the_end_of_the_file_a_crawling_parent_gives_back_what_was_asked_for() -> None:
    world = World(["a", "b"], expected_mbps=80.0)
    world.left = [10]
    world.rates = {"a": (0.05 * MIB, 1.0)}
    for _number in range(30):
        if "b" in world.step():
            break
    assert world.orders["a"].recall
    assert world.orders["b"].limit == s.TRIAL_CHUNKS
    plenty = World(["a", "b"], expected_mbps=80.0)
    plenty.left = [1000]
    plenty.rates = world.rates
    while "b" not in plenty.step():
        assert plenty.now < 120
    assert not plenty.orders["a"].recall


def test_a_lost_parent_is_replaced_by_its_stripes_next_choice() -> None:
    world = World([["a", "s"], ["b", "s"]])
    world.left = [LONG, LONG]
    world.run(1)
    world.end("a")
    world.step(0.1)
    assert world.own() == {"s": [0], "b": [1]}
    world.end("s")
    world.step(0.1)
    assert world.own() == {"b": [0, 1]}, "nobody else is left at this moment"
    world.end("b")
    world.run(1)
    assert sorted(stripe for own in world.own().values() for stripe in own) == [0, 1]


def test_without_any_parent_of_the_plan_everybody_is_asked_until_one_has_hope() -> None:
    world = World(["a"], others=["a", "b", "c", "d", "e", "f"])
    world.states = dict.fromkeys("abcdef", LOST)
    world.left = [LONG]
    world.step()
    assert world.own() == {"a": [0]}
    world.run(2)
    assert set(world.own()) == {"a", "b", "c", "d", "e"}
    world.end("b")
    assert "f" in world.step()
    world.states["f"] = ROOTED
    world.run(0.5)
    assert world.own() == {"f": [0]}


def test_hope_ends() -> None:
    world = World(["a"], others=["a", "b"])
    world.states = dict.fromkeys("ab", LOST)
    world.left = [LONG]
    with pytest.raises(PeerLost, match="No living parent for 60 s"):
        world.run(70)
    world = World(["a"], others=["a", "b"])
    world.step()
    world.end("a", PeerRefused("a has another base", foreign=True))
    world.step()
    world.end("b", PeerRefused("b has another base", foreign=True))
    with pytest.raises(PeerRefused, match="No parent can serve this base: a has another base"):
        world.run(1)


@pytest.mark.parametrize(("error", "times"), [(WrongIdentity, 1), (VersionMismatch, 1), (BadChunkList, 1), (ProtocolError, 3)])
def test_who_is_not_what_it_should_be_is_not_asked_again(error: type[RelayError], times: int) -> None:
    world = World(["a"])
    for _time in range(times):
        world.run(2)
        world.end("a", error("a is not what it should be"))
    with pytest.raises(PeerRefused, match="No parent can serve this base: a is not what it should be"):
        world.run(2)


def test_a_parent_that_has_not_begun_is_waited_for_once() -> None:
    world = World(["a"])
    world.states["a"] = PENDING
    world.run(80)
    world.steering.standings["a"].waited = True
    with pytest.raises(PeerLost):
        world.run(70)


def test_a_new_plan_keeps_what_comes_from_its_first_choice() -> None:
    world = World([["a", "s"], ["b", "s"]])
    world.left = [LONG, LONG]
    world.run(1)
    world.steering.set_route(s.route_of([["a", "b"], ["c", "b"]]))
    world.step()
    assert world.own() == {"a": [0], "c": [1]}


def test_a_new_plan_forgives() -> None:
    world = World(["a"])
    world.step()
    world.end("a", WrongIdentity("a is somebody else"))
    world.steering.set_route(s.route_of(["a"]))
    world.step()
    assert world.own() == {"a": [0]}


@pytest.mark.parametrize("expected", [None, 80.0], ids=["no expectation", "expected"])
def test_an_undisturbed_transfer_keeps_its_parents(expected: float | None) -> None:
    """Even when it is so long that others are looked at: they share a link, and are not better."""
    world = World(["a", "b", "c"], expected_mbps=expected)
    world.left = [LONG]
    world.rates = {"b": (9 * MIB, 1.0), "c": (12 * MIB, 1.0)}
    used = world.run(120)
    assert world.own() == {"a": [0]}
    assert world.told == []
    assert used == ({"a", "b", "c"} if expected is None else {"a"})


def test_a_crawling_parent_is_left_within_seconds_and_not_taken_again() -> None:
    world = World(["a", "b"], expected_mbps=80.0)
    world.left = [LONG]
    world.rates = {"a": (0.2 * MIB, 1.0)}
    world.run(5.5)
    assert world.own() == {"b": [0]}
    ((text, mbps),) = world.told
    assert text == "a delivered 1.7 Mbit/s where b delivers 83.9: it was left."
    assert mbps == pytest.approx(1.7, abs=0.1)
    world.run(50)
    assert world.own() == {"b": [0]}


def test_a_parent_that_is_cut_off_is_left_with_word_of_it() -> None:
    """Sooner than it would count as silent, while its rate of the last seconds still is something."""
    world = World(["a", "b"], expected_mbps=80.0)
    world.left = [LONG]
    world.run(4)
    world.rates = {"a": (0.0, 1.0)}
    world.run(6)
    assert world.own() == {"b": [0]}
    ((text, mbps),) = world.told
    assert mbps == 0
    assert "a delivered 0.0" not in text


@pytest.mark.parametrize("left", [10_000, 12], ids=["much is left", "15 s are left"])
def test_a_parent_that_slows_down_is_left(left: int) -> None:
    world = World(["a", "b"])
    world.left = [LONG]
    world.run(6)
    world.left = [left]
    world.rates = {"a": (0.2 * MIB, 1.0)}
    world.run(12)
    assert world.own() == {"b": [0]}


def test_a_parent_that_crawls_is_kept_for_the_last_seconds() -> None:
    world = World(["a", "b"], expected_mbps=80.0)
    world.left = [2]
    world.rates = {"a": (0.2 * MIB, 1.0)}
    assert world.run(20) == {"a"}


def test_who_was_left_for_crawling_comes_after_all_others() -> None:
    world = World(["a", "b", "c"], expected_mbps=80.0)
    world.left = [LONG]
    world.rates = {"a": (0.2 * MIB, 1.0)}
    world.run(5.5)
    assert world.own() == {"b": [0]}
    world.rates["b"] = world.rates["a"]
    assert "a" not in world.run(15)
    assert world.own() == {"c": [0]}
    world.end("c")
    world.step(0.1)
    assert world.own() == {"a": [0]}, "as slow as b, and nobody else is left"


def test_a_slow_parent_stays_where_the_others_are_no_better() -> None:
    world = World(["a", "b", "c"], expected_mbps=80.0)
    world.left = [LONG]
    world.rates = dict.fromkeys("abc", (0.2 * MIB, 1.0))
    world.run(60)
    assert world.own() == {"a": [0]}
    assert world.told == []


@pytest.mark.parametrize("rate", [(10 * MIB, 0.05), (0.2 * MIB, 0.3)], ids=["at once", "too little to judge by"])
def test_a_parent_that_waits_for_its_own_parent_does_not_crawl(rate: tuple[float, float]) -> None:
    """Little comes from it, but at once when it has something."""
    world = World(["a", "b"], expected_mbps=80.0)
    world.left = [LONG]
    world.rates = {"a": rate}
    assert world.run(60) == {"a"}


def test_one_stripe_that_crawls_beside_the_others_moves() -> None:
    """Alone it would not: what is left of it takes no more than 12 s."""
    world = World([["a", "c"], ["b", "c"]])
    world.left = [24, 24]
    world.rates = {"a": (0.5 * MIB, 1.0)}
    world.run(8)
    assert world.own() == {"c": [0], "b": [1]}


def test_who_brings_another_stripe_helps_the_one_that_crawls() -> None:
    world = World([["a", "b"], ["b", "a"]])
    world.left = [24, 24]
    world.rates = {"a": (0.5 * MIB, 1.0)}
    world.run(8)
    assert world.own() == {"a": [0], "b": [1]}
    assert (world.orders["a"].help, world.orders["b"].help) == (frozenset(), {0})


def test_who_is_done_helps_only_those_far_behind() -> None:
    world = World([["a"], ["b"]])
    world.left = [LONG, LONG]
    world.run(10)
    world.left = [0, 30]  # 0.75 s at its rate
    world.step()
    assert world.orders["a"].help == frozenset()
    world.left = [0, 400]
    world.step()
    assert world.orders["a"].help == {1}
    assert world.orders["b"].help == frozenset()
    # b has nothing under way most of the time: it waits itself, and another link is the slow one.
    world.rates = {"b": (10 * MIB, 0.1)}
    world.run(5)
    assert world.orders["a"].help == frozenset()
    world.rates = {}
    world.left = [400, 400]
    world.connections["a"].asked = 0
    world.step()
    assert world.orders["a"].help == frozenset()


EXPECTED = 20 * MIB * 8 / 1e6


def paces(world: World) -> dict[str, float]:
    """What each parent may send, as a part of what is expected."""
    return {host: order.pace / (20 * MIB) for host, order in world.orders.items()}


def balanced(**rates: float) -> World:
    world = World([["a", "c"], ["b", "c"]], weights=[3, 1], expected_mbps=EXPECTED)
    world.left = [LONG, LONG]
    world.rates = {host: (rate * MIB, 1.0) for host, rate in rates.items()}
    world.run(10)
    return world


def test_of_several_parents_each_keeps_to_its_share() -> None:
    assert paces(balanced(a=15, b=5)) == pytest.approx({"a": 0.75 * s.BALANCE, "b": 0.25 * s.BALANCE}, rel=0.01)


def test_the_share_is_that_of_what_the_links_carry() -> None:
    assert sum(paces(balanced(a=13.5, b=4.5)).values()) == pytest.approx(0.9 * s.BALANCE, rel=0.03)
    assert sum(paces(balanced(a=45, b=15)).values()) == pytest.approx(3 * s.BALANCE, rel=0.03), "more than expected"
    assert sum(paces(balanced(a=5, b=1)).values()) == pytest.approx(s.BALANCE, rel=0.03), "far less: something else is wrong"


def test_a_parent_that_fails_does_not_slow_the_others_down() -> None:
    world = balanced(a=14, b=5)
    before = paces(world)["b"]
    world.rates["a"] = (0.0, 1.0)
    for _number in range(40):
        world.step()
        assert paces(world).get("b", before) >= before or not paces(world)["b"]


@pytest.mark.parametrize(
    "change",
    [
        {"parents": ["a", "b"]},
        {"expected_mbps": None},
        {"left": [LONG, 0]},
    ],
    ids=["one parent", "not measured", "one is done"],
)
def test_who_disturbs_nobody_may_send_what_it_can(change: dict[str, t.Any]) -> None:
    world = World(change.get("parents", [["a"], ["b"]]), expected_mbps=change.get("expected_mbps", EXPECTED))
    world.left = change.get("left", [LONG, LONG])[: len(world.steering.route.choices)]
    world.run(10)
    assert set(paces(world).values()) == {0}
