# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import ProtocolError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.status.gossip import shallow_candidates
from ansible_collections.basecast.fleet.plugins.module_utils._relay.status.table import (
    AHEAD_MS,
    AUDIT_S,
    MAX_BASES,
    MAX_MSG,
    MAX_NAME,
    MAX_PARENTS,
    BaseReport,
    Cadence,
    Report,
    StatusTable,
    base_report,
    decode,
    encode,
)
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from hypothesis import given
from hypothesis import strategies as st

HOSTS = ("a", "b", "c")
SHA = "5" * 64


def base(state: str = "fetching", done: int = 1, parents: tuple[str, ...] = ("a",), msg: str = "") -> BaseReport:
    return BaseReport(state, done, 100, done, 8.0, 12.0, parents, msg)


def report(number: int, state: str = "fetching", done: int = 1, born: int = 1, settled: bool = False) -> Report:
    return Report(born, number, True, settled, {SHA: base(state, done)})


def table(host: str = "a", hosts: t.Iterable[str] = HOSTS, now: float = 0.0) -> StatusTable:
    one = StatusTable(host, 1, now)
    one.set_hosts(hosts, now)
    one.begin(now)
    return one


def tell(sender: StatusTable, receiver: StatusTable, now: float, cursor: int = 0, via: int = 1) -> int:
    """Everything after the cursor goes over the wire."""
    while sender.has_news(cursor):
        items, cursor = sender.news(cursor, via, now)
        reports = decode(encode(items), "peer").reports
        for host, age_s, one in reports:
            receiver.merge(host, one, age_s, now, via)
    return cursor


news = st.lists(
    st.tuples(
        st.sampled_from(("b", "c", "stranger")),
        st.builds(
            report,
            number=st.integers(0, 3),
            state=st.sampled_from(("waiting", "fetching", "holding", "failed")),
            done=st.integers(0, 2),
            born=st.integers(0, 2),
            settled=st.booleans(),
        ),
        st.sampled_from((0.0, 1.0, 30.0)),
    ),
    max_size=12,
)


@given(news, st.randoms(use_true_random=False))
def test_the_table_is_the_same_whoever_is_heard_first_and_however_often(heard: list[tuple[str, Report, float]], random: t.Any) -> None:
    """Merging is commutative, associative and idempotent, lies with a number twice included."""
    shuffled = [*heard, *random.sample(heard, len(heard) // 2)]
    random.shuffle(shuffled)
    one, other = table(), table()
    for target, order in ((one, heard), (other, shuffled)):
        for host, its_report, age_s in order:
            target.merge(host, its_report, age_s, 100.0, 1)
    assert one.view(100.0) == other.view(100.0)
    assert one.settled(100.0) == other.settled(100.0)
    assert "stranger" not in one.view(100.0)
    assert "stranger" not in "".join(one.news(0, 2, 100.0)[0])


@given(news)
def test_a_second_table_learns_everything_over_the_wire(heard: list[tuple[str, Report, float]]) -> None:
    one, other = table("a"), table("a")
    for host, its_report, age_s in heard:
        one.merge(host, its_report, age_s, 100.0, 1)
    tell(one, other, 100.0, via=2)
    first, second = one.view(100.0), other.view(100.0)
    assert {host: view["bases"] for host, view in first.items()} == {host: view["bases"] for host, view in second.items()}


@given(st.permutations(range(6)))
def test_old_news_never_stands_above_newer(order: list[int]) -> None:
    one = table()
    for number in order:
        one.merge("b", report(number, done=number), 0.0, 1.0, 1)
    assert one.view(1.0)["b"]["bases"][SHA]["bytes"] == 5


def test_a_node_that_was_started_again_stands_above_the_first_one() -> None:
    one = table()
    one.merge("b", report(500, "failed", born=1, settled=True), 0.0, 1.0, 1)
    one.merge("b", report(0, "waiting", born=2), 0.0, 2.0, 1)
    assert one.view(2.0)["b"]["bases"][SHA]["state"] == "waiting"


def test_what_others_say_of_this_host_is_overruled() -> None:
    """Its own last node lived in a later time: the clock was set back since."""
    one, other = table("a"), table("b")
    one.report(True, False, {SHA: base(done=7)}, 1.0)
    lie = report(9, "holding", born=50, settled=True)
    other.merge("a", lie, 0.0, 1.0, 1)
    assert one.merge("a", lie, 0.0, 1.0, 1)
    assert one.view(1.0)["a"]["bases"][SHA]["bytes"] == 7
    tell(one, other, 2.0, via=2)
    assert other.view(2.0)["a"]["bases"][SHA]["bytes"] == 7
    # Nothing higher can be said: then the lie stays with those who heard it, and everything sent can still be read.
    assert not one.merge("a", report(0, born=(1 << 62) - 1), 0.0, 2.0, 1)
    tell(one, table("b"), 3.0)


def test_only_what_changed_is_told_and_not_to_who_told_it() -> None:
    one = table()
    one.merge("b", report(1), 0.0, 1.0, via=1)
    one.merge("c", report(1), 0.0, 1.0, via=2)
    items, cursor = one.news(0, 1, 1.0)
    assert sorted(json.loads(f"{{{','.join(items)}}}")) == ["a", "c"]
    assert not one.has_news(cursor)
    assert not one.merge("c", report(1), 5.0, 1.0, via=2)
    assert not one.has_news(cursor)
    one.merge("c", report(2), 0.0, 2.0, via=2)
    assert [item[:3] for item in one.news(cursor, 1, 2.0)[0]] == ['"c"']
    assert one.news(cursor, 2, 2.0)[0] == []


def test_a_change_of_state_is_urgent_and_bytes_are_not() -> None:
    one = table()
    cursor = one.news(0, 1, 1.0)[1]
    assert one.report(True, False, {SHA: base(done=1)}, 1.0)
    assert one.has_urgent_news(cursor)
    cursor = one.news(cursor, 1, 1.0)[1]
    assert not one.report(True, False, {SHA: base(done=2)}, 1.5)
    assert one.report(True, False, {SHA: base(done=3)}, 2.1)
    assert one.has_news(cursor)
    assert not one.has_urgent_news(cursor)
    # The same again is told as a sign of life.
    assert not one.report(True, False, {SHA: base(done=3)}, 3.5)
    assert one.report(True, False, {SHA: base(done=3)}, 4.2)
    assert one.report(True, True, {SHA: base("holding", 100, ())}, 4.3)
    assert one.has_urgent_news(cursor)
    one.merge("b", report(1), 0.0, 5.0, 1)
    cursor = one.news(cursor, 2, 5.0)[1]
    one.merge("b", report(2, done=9), 0.0, 5.0, 1)
    assert not one.has_urgent_news(cursor)
    one.merge("b", report(3, "failed", settled=True), 0.0, 5.0, 1)
    assert one.has_urgent_news(cursor)


def test_age_counts_from_when_it_was_said_and_no_clocks_are_compared() -> None:
    """Three hosts whose clocks have nothing to do with each other."""
    a, b, c = table("a", now=1_000_000.0), table("b", now=5.0), table("c", now=777.0)
    a.report(True, False, {SHA: base(done=7)}, 1_000_000.0)
    (item,) = (item for item in a.news(0, 1, 1_000_003.0)[0] if item.startswith('"a"'))
    b.merge(*merged(item), 5.0, 1)
    (item,) = (item for item in b.news(0, 2, 9.0)[0] if item.startswith('"a"'))
    c.merge(*merged(item), 777.0, 1)
    assert b.view(5.0)["a"]["age_s"] == 3.0
    assert c.view(778.0)["a"]["age_s"] == 8.0
    assert not c.is_stale("a", 778.0)
    assert c.is_stale("a", 781.0)
    assert not c.is_stale("c", 10_000.0)
    # The same report by a shorter way is younger.
    c.merge("a", b.view(9.0) and merged(item)[1], 1.0, 777.0, 2)
    assert c.view(778.0)["a"]["age_s"] == 2.0


def merged(item: str) -> tuple[str, Report, float]:
    ((host, age_s, one),) = decode(encode([item]), "peer").reports
    return host, one, age_s


def test_settled_means_that_nobody_who_is_heard_has_work() -> None:
    one = table(now=0.0)
    assert not one.settled(0.0)
    one.report(True, True, {SHA: base("holding", 100, ())}, 0.0)
    one.merge("b", report(1, "failed", settled=True), 0.0, 1.0, 1)
    assert not one.settled(9.0), "nothing was heard of c yet"
    assert one.settled(11.0), "c is silent"
    one.merge("c", report(1), 0.0, 12.0, 1)
    assert not one.settled(21.0)
    assert one.settled(22.5), "c has fallen silent"
    one.merge("c", report(2, "holding", settled=True), 0.0, 23.0, 1)
    assert one.settled(23.0)
    one.begin(50.0)
    one.set_hosts(["d"], 50.0)
    one.merge("d", Report(1, 1, False, False, {}), 0.0, 50.0, 1)
    assert not one.settled(51.0), "d was not given its part yet"
    assert one.settled(61.0)


def test_large_fleets_report_less_often_and_in_pieces() -> None:
    assert Cadence.of(8) == (1.0, 2.0, 10.0)
    assert Cadence.of(10_000) == (50.0, 100.0, 304.0)
    hosts = [f"kvm{number:05}.example.org" for number in range(10_000)]
    one = StatusTable(hosts[0], 1, 0.0)
    one.set_hosts(hosts, 0.0)
    for host in hosts[1:]:
        one.merge(host, report(1), 0.0, 1.0, 1)
    other = StatusTable(hosts[1], 1, 0.0)
    other.set_hosts(hosts, 0.0)
    cursor, frames, size = 0, 0, 0
    while one.has_news(cursor):
        items, cursor = one.news(cursor, 2, 1.0)
        frame = protocol.encode(protocol.NEWS, 0, encode(items))
        frames, size = frames + 1, size + len(frame)
        for host, age_s, its_report in decode(frame[protocol.HEADER_BYTES :], "peer").reports:
            other.merge(host, its_report, age_s, 1.0, 1)
    view = other.view(1.0)
    assert all(view[host]["bases"] for host in hosts[2:])
    # All of it once in the time between two reports of a host: what a line carries.
    assert size / Cadence.of(len(hosts)).own_s < 50_000
    assert frames < Cadence.of(len(hosts)).own_s


def test_what_one_host_says_reaches_all_in_few_steps() -> None:
    """Lines of the shallow tree alone, each of which carries a frame both ways in every step."""
    hosts = [f"kvm{number:03}" for number in range(150)]
    tables = {host: table(host, hosts) for host in hosts}
    lines = [(host, shallow_candidates(host, hosts)[0], number) for number, host in enumerate(hosts[1:], start=1)]
    cursors = dict.fromkeys(((one, other) for a, b, _number in lines for one, other in ((a, b), (b, a))), 0)

    def step(now: float) -> None:
        frames = []
        for a, b, number in lines:
            for one, other in ((a, b), (b, a)):
                items, cursors[one, other] = tables[one].news(cursors[one, other], number, now)
                frames.append((other, number, items))
        for other, number, items in frames:
            for host, age_s, its_report in decode(encode(items), "peer").reports:
                tables[other].merge(host, its_report, age_s, now, number)

    steps = 0
    tables[hosts[-1]].report(True, True, {SHA: base("holding", 100, ())}, 0.5)
    while not all(one.view(1.0)[hosts[-1]]["bases"] for one in tables.values()):
        steps += 1
        step(1.0)
    assert steps <= 6
    for _step in range(6):
        step(1.0)
    # Who knows everything has nothing to tell: a line carries the same report twice at the most.
    assert all(not tables[one].has_news(cursor) for (one, _other), cursor in cursors.items())


def test_the_largest_report_fits_into_a_frame() -> None:
    progress = {"state": "failed", "bytes": 1 << 60, "size_bytes": 1 << 60, "received_bytes": 1 << 60, "msg": "ü" * 1000}
    largest = base_report(progress, ["é" * MAX_NAME] * 20, 1e9, 1e300)
    assert (len(largest.parents), len(largest.msg)) == (MAX_PARENTS, MAX_MSG)
    # Host names of that length do not exist; those of a usual one do fit in the largest number.
    bases = {f"{number:064x}": largest._replace(parents=("h" * 63,) * MAX_PARENTS) for number in range(MAX_BASES)}
    one = table()
    one.report(True, True, bases, 1.0)
    protocol.encode(protocol.NEWS, 0, encode(one.news(0, 1, 1.0)[0]))


def test_how_far_machines_are_travels_with_the_bases() -> None:
    one, other = table("a"), table("b")
    one.report(True, True, {}, 1.0)
    cursor = tell(one, other, 1.0)
    assert other.view(1.0)["a"]["machines"] is None
    assert one.report(True, True, {}, 1.1, machines=(4, 3, 2, 1, 0))
    tell(one, other, 1.2, cursor)
    assert other.view(1.2)["a"]["machines"] == {"wanted": 4, "disks": 3, "started": 2, "reported": 1, "failed": 0}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"b": []},
        {"b": [0.0, 1, 1, 1, 1]},
        {"b": [-1.0, 1, 1, 1, 1, {}]},
        {"b": [1e400, 1, 1, 1, 1, {}]},
        {"b": [0.0, -1, 1, 1, 1, {}]},
        {"b": [0.0, 1, 1 << 63, 1, 1, {}]},
        {"b": [0.0, 1, 1.5, 1, 1, {}]},
        {"b": [0.0, 1, 1, 1, 1, []]},
        {"b": [0.0, 1, 1, 1, 1, {"../x": ["holding", 1, 1, 1, 0, None, [], ""]}]},
        {"b": [0.0, 1, 1, 1, 1, {SHA: ["idle", 1, 1, 1, 0, None, [], ""]}]},
        {"b": [0.0, 1, 1, 1, 1, {SHA: ["holding", 1, 1, 1, 0, None, "kvm1", ""]}]},
        {"b": [0.0, 1, 1, 1, 1, {SHA: ["holding", 1, 1, 1, 0, None, ["x" * 256], ""]}]},
        {"b": [0.0, 1, 1, 1, 1, {SHA: ["holding", 1, 1, 1, 0, None, ["x"] * 9, ""]}]},
        {"b": [0.0, 1, 1, 1, 1, {SHA: ["holding", 1, 1, 1, 0, None, [], "x" * 161]}]},
        {"b": [0.0, 1, 1, 1, 1, {SHA: ["holding", 1, 1, 1, "fast", None, [], ""]}]},
        {"b": [0.0, 1, 1, 1, 1, {}, 0, [1, 2, 3, 4]]},
        {"b": [0.0, 1, 1, 1, 1, {}, 0, [1, 2, 3, 4, 5, 6]]},
        {"b": [0.0, 1, 1, 1, 1, {}, 0, [1, 2, 3, 4, -1]]},
        {"b": [0.0, 1, 1, 1, 1, {}, 0, [1, 2, 3, 4, 1.5]]},
        {"b": [0.0, 1, 1, 1, 1, {}, 0, [1, 2, 3, 4, 1 << 40]]},
        {"b": [0.0, 1, 1, 1, 1, {}, 0, {"wanted": 1}]},
        {"b": [0.0, 1, 1, 1, 1, {}, 0, None]},
        {"b": [0.0, 1, 1, 1, 1, {}, 0, [], 1]},
        {"b": [0.0, 1, 1, 1, 1, {f"{n:064x}": ["holding", 1, 1, 1, 0, None, [], ""] for n in range(25)}]},
    ],
    ids=str,
)
def test_news_that_cannot_be_are_refused(value: t.Any) -> None:
    with pytest.raises(ProtocolError, match="b sent something that cannot be read: news"):
        decode(json.dumps({"hosts": value}), "b")


LONG = tuple("ü" * 250 + f"{number:03d}" for number in range(MAX_PARENTS))
PASSED_ON: dict[str, list[t.Any]] = {
    "an age": [1e9, 5, 2, 1, 0, {}],
    "texts of many bytes": [
        0,
        5,
        2,
        1,
        0,
        {f"{n:064x}": ["failed", 1, 1, 1, 1, 1, ["a"], "\U0001f600" * MAX_MSG] for n in range(MAX_BASES)},
    ],
    "controls": [0, 5, 2, 1, 0, {f"{n:064x}": ["failed", 1, 1, 1, 1, 1, ["a"], "\x1b" * MAX_MSG] for n in range(MAX_BASES)}],
    "parents with long names": [0, 5, 2, 1, 0, {f"{n:064x}": ["failed", 1, 1, 1, 1, 1, LONG, "ü" * 100] for n in range(10)}],
    "numbers": [1e9, 5, (1 << 62) - 1, 1, 1, {SHA: ["waiting", (1 << 62) - 1, 0, 0, 1e15, 1e15, [], ""]}, 1, []],
    "fractions": [0.0001, 5, 2, 1, 0, {SHA: ["waiting", 0, 0, 0, 1e-300, 5e-324, [], "\\" * MAX_MSG]}],
}


@pytest.mark.parametrize("name", PASSED_ON)
def test_a_lie_makes_no_liar_of_who_passes_it_on(name: str) -> None:
    """What a host accepts from a peer, the next one accepts from it; else it would be shut out in the liar's place."""
    told = json.dumps({"hosts": {"b": PASSED_ON[name]}}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    hosts = (*HOSTS, *LONG)
    first, second = table("a", hosts), table("c", hosts)
    for host, age_s, one in decode(told, "liar").reports:
        assert first.merge(host, one, age_s, 10.0, 1)
    cursor = 0
    while first.has_news(cursor):
        items, cursor = first.news(cursor, 2, 500.0)
        protocol.encode(protocol.NEWS, 0, encode(items))
        for host, age_s, one in decode(encode(items), "a").reports:
            second.merge(host, one, age_s, 500.0, 1)
    assert second.view(500.0)["b"]["started"]


def test_a_text_cannot_reach_a_terminal_with_its_controls() -> None:
    value = [0.0, 1, 1, 1, 1, {SHA: ["failed", 1, 1, 1, 0, None, [], "gone\r\n\x9b1A"]}]
    ((_host, _age, one),) = decode(json.dumps({"hosts": {"b": value}}), "b").reports
    assert one.bases[SHA].msg == "gone \\x9b1A"
    value = [0.0, 1, 1, 1, 1, {SHA: ["failed", 1, 1, 1, 0, None, ["a\x1b[2J"], ""]}]
    with pytest.raises(ProtocolError, match=r"a\\x1b\[2J"):
        decode(json.dumps({"hosts": {"b": value}}), "b")


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), lambda v: st.lists(v) | st.dictionaries(st.text(), v))
)
def test_no_message_is_more_than_a_protocol_error(value: t.Any) -> None:
    for message in ({"hosts": value}, {"hosts": {"b": value}}, {"hosts": {"b": [0.0, 1, 1, 1, 1, {SHA: value}]}}):
        try:
            decode(json.dumps(message), "b")
        except ProtocolError:
            continue


def after(one: StatusTable, *told: tuple[str, Report, bool], now: float = 1.0) -> dict[str, t.Any]:
    for host, its_report, own in told:
        one.merge(host, its_report, 0.0, now, 1, own=own)
    return one.view(now)["b"]["bases"].get(SHA, {})


@pytest.mark.parametrize("born", [1, 2, 86_400_000, 2**40, 2**62 - 1])
@pytest.mark.parametrize("state", ["failed", "holding", "waiting"])
def test_a_hosts_own_word_stands_above_every_lie(born: int, state: str) -> None:
    lie, word = report(1 << 50, state, done=9, born=born, settled=True), report(3, done=7)
    assert after(table(), ("b", lie, False), ("b", word, True))["bytes"] == 7
    connected = table()
    connected.connected("b", 1)
    assert after(connected, ("b", word, True), ("b", lie, False))["bytes"] == 7


def test_a_host_of_which_something_wrong_was_told_is_asked_again() -> None:
    one = table()
    lie, word = report(1 << 50, "failed", born=1), report(3, done=7)
    assert after(one, ("b", lie, False))["state"] == "failed"
    assert after(one, ("b", word, True), ("b", lie, False), ("b", lie._replace(number=1 << 51), False))["bytes"] == 7
    asked = [one.to_ask(now) for now in (1.0, 2.0, 5.0, 12.0, 23.0)]
    assert asked == ["b", None, "b", None, "b"], "every ten seconds, and in its turn"
    # After a minute without another one, hearsay counts again.
    assert after(one, ("b", report(4, done=8), False), now=62.0)["bytes"] == 8


def test_a_number_that_no_clock_can_have_is_not_believed() -> None:
    one = table()
    assert after(one, ("b", report(1, "holding", born=AHEAD_MS * 2), False)) == {}
    assert one.to_ask(2.0) == "b"
    assert one.to_ask(2.0) is None


def test_a_new_node_of_a_host_is_asked_once() -> None:
    one = table()
    after(one, ("b", report(5, born=1), False), ("b", report(1, born=2), False))
    assert one.to_ask(2.0) == "b"
    after(one, ("b", report(1, born=2), True))
    assert one.to_ask(2.5) is None


def test_hosts_known_by_hearsay_only_are_asked_in_turn() -> None:
    one = table()
    after(one, ("b", report(1), False), ("c", report(1), False))
    assert one.to_ask(1.0) is None
    assert [one.to_ask(6.0 + AUDIT_S * turn) for turn in range(2)] == ["b", "c"]
    one.connected("b", 1)
    after(one, ("c", report(2), False), ("b", report(2), True), now=18.0)
    assert [one.to_ask(18.0 + AUDIT_S * turn) for turn in range(2)] == ["c", "c"]


def test_of_parents_only_hosts_of_the_run_are_kept() -> None:
    one = table()
    told = report(1)._replace(bases={SHA: base(parents=("a", "stranger", "c"))})
    assert after(one, ("b", told, False))["parents"] == ["a", "c"]


def test_an_older_word_does_not_stand_above_a_newer_one() -> None:
    one = table()
    assert after(one, ("b", report(5, done=5), True), ("b", report(4, done=4), True))["bytes"] == 5


def test_one_guard_that_is_heard_guards_everybody() -> None:
    holder, other = table("b"), table("a")
    assert not other.guarded(0.0)
    assert holder.report(True, False, {}, 1.0, guarded=True)
    cursor = tell(holder, other, 1.0)
    assert other.guarded(2.0)
    # A host that is silent guards nobody.
    assert not other.guarded(1.0 + other.cadence.stale_s + 1)
    assert holder.report(True, False, {}, 3.0, guarded=False)
    assert holder.has_urgent_news(cursor)
    tell(holder, other, 3.0, cursor)
    assert not other.guarded(3.0)
