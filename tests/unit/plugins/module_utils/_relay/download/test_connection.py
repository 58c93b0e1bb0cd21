# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A child, whose parents the test plays: what they may not say, and how it goes on when one fails or is left."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download import chunk_list_fetch as list_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download import connection as feed_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download import fetcher as fetch_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent_selection import BALANCE, route_of
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.stripes import Stripes
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import Cancelled, PeerLost
from ansible_collections.basecast.fleet.plugins.module_utils._relay.states import FETCHING, LOST, MAX_PATH, ROOTED
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._relay.ends import CHUNK, CHUNKS, COUNT, DATA, Child, End, until


def test_who_sends_wrong_bytes_is_named_at_once_and_not_asked_for_them_again(child_of: t.Callable[..., Child]) -> None:
    """Though it says once more that it has them, and the connection goes on with all other chunks."""
    child = child_of("p")
    end = child.greet("p")
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    wanted = child.wanted(end)
    assert wanted == list(range(COUNT))
    end.send(protocol.DATA, wanted[0], bytes(CHUNK))
    until(lambda: bool(child.fetch.attempts))
    assert child.fetch.attempts[0].error == "p sent wrong bytes for chunk 0 (offset 0)."
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    for index in wanted[1:]:
        child.give(end, index)
    with pytest.raises(PeerLost, match="closed the connection"):
        end.frame(protocol.WANT)
    assert child.endpoint.marks() == bytearray([0] + [1] * (COUNT - 1))


@pytest.mark.parametrize(
    ("kind", "number", "payload", "sentence"),
    [
        (protocol.DATA, 0, DATA[:CHUNK], "a chunk that was not asked for"),
        (protocol.DATA, 1, DATA[: CHUNK - 1], f"{CHUNK - 1} bytes as a chunk of {CHUNK}"),
        (protocol.DATA, 1, DATA[: CHUNK + 1], f"{CHUNK + 1} bytes as a chunk of {CHUNK}"),
        (protocol.PACKED, 0, b"x", "a chunk that was not asked for"),
        (protocol.PACKED, 1, bytes(CHUNK), "a compressed chunk that is not smaller"),
    ],
    ids=["twice", "too short", "too long", "compressed and twice", "compressed and not smaller"],
)
def test_what_cannot_be_the_chunk_that_was_asked_for_is_not_taken(
    child_of: t.Callable[..., Child], kind: int, number: int, payload: bytes, sentence: str
) -> None:
    child = child_of("p", compression=True)
    end = child.greet("p")
    told = {"state": FETCHING, "feed": ROOTED, "paths": [["p", "S"]], "turn": True, "codec": "deflate"}
    end.channel.send_message(protocol.STATE, told)
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    assert child.wanted(end)[:2] == [0, 1]
    child.give(end, 0)
    end.send(kind, number, payload)
    until(lambda: bool(child.fetch.attempts))
    assert child.fetch.attempts[0].error == f"p sent {sentence}."


@pytest.mark.parametrize(
    ("kind", "number", "payload", "sentence"),
    [
        (protocol.LIST_PART, 7, CHUNKS.part(0, 100), "a part of a chunk list that was not asked for"),
        (protocol.LIST_PART, 0, CHUNKS.to_bytes() + b"x", "a part of a chunk list that was not asked for"),
        (
            protocol.STATE,
            0,
            b'{"feed": "rooted", "paths": "p"}',
            "something that cannot be read: state: state: missing; expected one of waiting, fetching, holding, failed, foreign",
        ),
        (
            protocol.STATE,
            0,
            b'{"state": "holding", "feed": "?", "paths": []}',
            "something that cannot be read: state: feed: '?' is not accepted; expected one of rooted, pending, lost",
        ),
        (protocol.WANT, 0, b"", f"a frame of kind {protocol.WANT} where none may come"),
    ],
    ids=["list elsewhere", "list too long", "paths", "feed", "a frame for parents"],
)
def test_what_a_parent_may_not_say(child_of: t.Callable[..., Child], kind: int, number: int, payload: bytes, sentence: str) -> None:
    child = child_of("p")
    end = child.greet("p", list_too=False)
    end.frame(protocol.LIST)
    end.send(kind, number, payload)
    until(lambda: bool(child.fetch.attempts))
    assert child.fetch.attempts[0].error.rstrip(".") == f"p sent {sentence}"


@pytest.mark.parametrize("kind", ["long", "of long names"])
def test_a_path_without_end_leads_nowhere(child_of: t.Callable[..., Child], kind: str) -> None:
    child = child_of("p")
    end = child.greet("p")
    (connection,) = child.fetch.connections()
    until(lambda: connection.state == ROOTED)
    path = [f"kvm{number}" for number in range(MAX_PATH)] if kind == "long" else ["x" * 250] * 100
    end.channel.send_message(protocol.STATE, {"state": FETCHING, "feed": ROOTED, "paths": [path], "turn": True})
    until(lambda: connection.state == LOST)


def test_a_parent_that_cannot_read_so_many_chunks_is_left(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p")
    end = child.greet("p")
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    assert len(child.wanted(end)) > feed_module.MAX_UNREADABLE
    (connection,) = child.fetch.connections()
    for index in range(feed_module.MAX_UNREADABLE):
        end.send(protocol.NOT_HERE, index, b"Input/output error")
    until(lambda: connection.ended)
    assert "p cannot read chunk 31: Input/output error" in str(connection.error)


def test_who_is_done_takes_the_last_chunks_of_a_stripe_that_nobody_brings(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p", "q", stripes=2)
    end = child.greet("p")
    until(lambda: "q" in child.parents)
    child.parents["q"].channel.send_message(protocol.STATE, {"state": FETCHING, "feed": LOST, "paths": [], "turn": True})
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    stripes = Stripes((1.0, 1.0))
    own = child.wanted(end)
    assert own == [index for index in range(COUNT) if stripes.of(index) == 0]
    for index in own:
        child.give(end, index)
    assert child.wanted(end) == [index for index in reversed(range(COUNT)) if stripes.of(index) == 1]


def test_the_chunk_list_comes_from_another_parent_when_the_first_one_stalls(
    child_of: t.Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_module, "LIST_STALL_S", 0.3)
    child = child_of("p", "q", stripes=2)
    child.greet("p", list_too=False).frame(protocol.LIST)
    other = child.greet("q")
    other.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    assert child.wanted(other)


def test_several_parents_are_told_their_pace(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p", "q", stripes=2)
    ends = [child.greet("p"), child.greet("q", list_too=False)]
    child.fetch.set_route(route_of([["p", "q"], ["q", "p"]], [3.0, 1.0], expected_mbps=80.0))
    for end, share in zip(ends, (0.75, 0.25), strict=True):
        assert end.frame(protocol.PACE)[1] == pytest.approx(BALANCE * share * 10e6, abs=1)


def test_compressed_chunks_are_taken_only_by_those_who_asked_for_them(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p")
    end = child.greet("p")
    told = {"state": FETCHING, "feed": ROOTED, "paths": [["p", "S"]], "turn": True, "codec": "deflate"}
    end.channel.send_message(protocol.STATE, told)
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    assert 0 in child.wanted(end)
    end.send(protocol.PACKED, 0, b"x")
    until(lambda: bool(child.fetch.attempts))
    assert child.fetch.attempts[0].error == "p sent a chunk that was not asked for."


def test_who_waits_for_its_turn_does_not_call_its_parent_slow(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p")
    end = child.greet("p")
    told = {"state": FETCHING, "feed": ROOTED, "paths": [["p", "S"]], "turn": False}
    end.channel.send_message(protocol.STATE, told)
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    assert child.wanted(end)
    (connection,) = child.fetch.connections()
    assert connection._account.busy_since is None
    end.channel.send_message(protocol.STATE, {**told, "turn": True})
    until(lambda: connection._account.busy_since is not None)


def test_what_parents_that_are_gone_needed_is_given_back(child_of: t.Callable[..., Child]) -> None:
    """A buffer for each connection, as long as it lasts."""
    names = [f"p{number}" for number in range(6)]
    child = child_of(*names)
    for name in names[:-1]:
        end = child.greet(name, list_too=child.fetch.transfer.chunks.listed is None)
        end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
        child.wanted(end)
        end.channel.close()
    last = child.greet(names[-1], list_too=False)
    last.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    for index in child.wanted(last):
        child.give(last, index)
    assert child.ended()
    assert child.fetch.transfer.buffers.free == fetch_module.BUFFERS + 1


def half_a_chunk(child: Child, end: End) -> tuple[list[int], int, bytes]:
    """What was asked for, the chunk of which half has come, and the other half of its frame."""
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    wanted = child.wanted(end)
    frame = protocol.encode(protocol.DATA, wanted[0], DATA[wanted[0] * CHUNK : (wanted[0] + 1) * CHUNK])
    end.channel.send_frame(frame[:100])
    (connection,) = child.fetch.connections()
    until(lambda: connection.received_bytes > 0 and connection._buffer is not None)
    child.fetch.set_route(route_of([["q"]]))
    return wanted, wanted[0], frame[100:]


def test_a_parent_that_is_left_finishes_its_chunk_while_others_bring_the_rest(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p")
    end = child.greet("p")
    wanted, index, rest = half_a_chunk(child, end)
    other = child.greet("q", list_too=False)
    end.channel.send_frame(rest[:100])
    cancelled = protocol.decode_indexes(end.frame(protocol.CANCEL)[2], COUNT)
    assert sorted(cancelled) == wanted[1:]
    end.channel.send_frame(rest[100:])
    until(lambda: child.endpoint.marks()[index] == 1)
    with pytest.raises(PeerLost, match="closed the connection"):
        end.frame(protocol.WANT)
    other.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    asked: list[int] = []
    while len(asked) < COUNT - 1:
        more = child.wanted(other)
        asked += more
        for each in more:
            child.give(other, each)
    assert sorted(asked) == [each for each in range(COUNT) if each != index]
    assert child.ended()
    assert bytes(child.endpoint.data) == DATA


@pytest.mark.parametrize(("in_all", "idle"), [(60.0, 0.5), (0.5, 60.0)], ids=["idle", "in all"])
def test_a_parent_that_is_left_and_brings_nothing_is_not_waited_for(
    child_of: t.Callable[..., Child], monkeypatch: pytest.MonkeyPatch, in_all: float, idle: float
) -> None:
    monkeypatch.setattr(feed_module, "LEAVE_S", in_all)
    monkeypatch.setattr(feed_module, "LEAVE_IDLE_S", idle)
    child = child_of("p")
    end = child.greet("p")
    _wanted, index, _rest = half_a_chunk(child, end)
    other = child.greet("q", list_too=False)
    other.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    asked: list[int] = []
    while len(asked) < COUNT:
        more = child.wanted(other)
        asked += more
        for each in more:
            child.give(other, each)
    assert index in asked
    assert child.ended()


def test_what_comes_after_the_end_of_a_fetch_is_not_written(child_of: t.Callable[..., Child]) -> None:
    """Of a thread that was about to store it: the partial is not ours any more."""
    child = child_of("p")
    end = child.greet("p")
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    child.wanted(end)
    (connection,) = child.fetch.connections()
    child.close()
    chunk = memoryview(bytearray(DATA[:CHUNK]))
    child.fetch.take_chunk(0, chunk, chunk, connection)
    assert not any(child.endpoint.marks())


def test_what_is_stopped_asks_for_nothing_more(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p")
    child.greet("p")
    (connection,) = child.fetch.connections()
    connection.stop()
    with pytest.raises(Cancelled, match="Not needed any more"):
        connection._check()
    until(lambda: connection.ended)
    assert connection.error is None


def test_what_nobody_thought_of_ends_one_connection(child_of: t.Callable[..., Child], monkeypatch: pytest.MonkeyPatch) -> None:
    child = child_of("p")
    end = child.greet("p")
    (connection,) = child.fetch.connections()

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(connection, "_take_announced", broken)
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    until(lambda: connection.ended)
    assert str(connection.error) == "Unexpected ZeroDivisionError while fetching from p: by nothing. This is a defect."
