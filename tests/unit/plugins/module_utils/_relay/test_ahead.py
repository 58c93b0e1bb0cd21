# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chunks that are asked for before the parent has them: both ends of one connection, the other played by the test."""

from __future__ import annotations

import os
import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay import feed as feed_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay import fetch as fetch_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay import source as source_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay.channel import Channel
from ansible_collections.basecast.fleet.plugins.module_utils._relay.chunks import ChunkHasher, ChunkList
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.memory import MemoryEndpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.socket import SocketStream, Waker, poll
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PeerLost, RelayError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.fetch import Fetch
from ansible_collections.basecast.fleet.plugins.module_utils._relay.ledger import Ledger, everything
from ansible_collections.basecast.fleet.plugins.module_utils._relay.limits import Limits
from ansible_collections.basecast.fleet.plugins.module_utils._relay.source import FAILED, FETCHING, LOST, ROOTED, Offer, Serving
from ansible_collections.basecast.fleet.plugins.module_utils._relay.steering import BALANCE, Patience, route_of
from ansible_collections.basecast.fleet.plugins.module_utils._relay.stripes import Stripes

CHUNK = 4096
COUNT = 40
DATA = os.urandom(CHUNK * COUNT)


def chunk_list() -> tuple[str, ChunkList]:
    hasher = ChunkHasher(CHUNK)
    hasher.update(DATA)
    return hasher.finish()


SHA256, CHUNKS = chunk_list()


def until(condition: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "the condition was not reached in time"
        time.sleep(0.005)


class End:
    """The test's end of a connection."""

    def __init__(self, peer: str) -> None:
        self.theirs, ours = socket.socketpair()
        self.channel = Channel(SocketStream(ours), peer, time.monotonic, silence_s=5.0, heartbeat_s=0.05)

    def frame(self, *kinds: int) -> tuple[int, int, bytes]:
        """The next frame of these kinds; others are passed over."""
        while True:
            header, payload = self.channel.receive()
            if header.kind in kinds:
                return header.kind, header.number, bytes(payload)
            self.channel.beat()

    def send(self, kind: int, number: int = 0, payload: bytes = b"") -> None:
        self.channel.send(kind, number, payload)


# ---- the parent


class Parent:
    """A host that has nothing yet, with a child that the test plays."""

    def __init__(self) -> None:
        self.offer = Offer("parent", SHA256)
        self.offer.set_view(FETCHING, ROOTED, [("holder",)])
        self.child = End("parent")
        self.stop = threading.Event()
        self.error: RelayError | None = None
        channel = Channel(SocketStream(self.child.theirs), "child", time.monotonic, silence_s=5.0, heartbeat_s=0.05)
        self._thread = threading.Thread(target=self._serve, args=(channel,))
        self._thread.start()

    def _serve(self, channel: Channel) -> None:
        try:
            Serving(channel, self.offer, Limits(time.monotonic), self.stop).run()
        except RelayError as error:
            self.error = error
        finally:
            channel.close()

    def begin(self) -> None:
        self.offer.set_parts(CHUNKS, MemoryEndpoint(len(DATA), CHUNK, DATA))

    def close(self) -> None:
        self.stop.set()
        self.child.channel.close()
        self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def parent() -> t.Iterator[Parent]:
    parent = Parent()
    yield parent
    parent.close()


def test_a_parent_says_when_it_can_be_asked_for_what_is_still_to_come(parent: Parent) -> None:
    kind, _number, _payload = parent.child.frame(protocol.STATE)
    parent.begin()
    kind, _number, payload = parent.child.frame(protocol.HAVE)
    assert (kind, payload) == (protocol.HAVE, b"")


def test_a_chunk_is_sent_as_soon_as_it_is_there_and_without_a_word_before(parent: Parent) -> None:
    parent.begin()
    parent.child.frame(protocol.HAVE)
    parent.child.frame(protocol.HAVE, protocol.PING)
    parent.child.send(protocol.WANT, 0, protocol.encode_indexes([5, 3, 7]))
    parent.child.frame(protocol.PING)
    parent.offer.announce([9, 7])
    kind, number, payload = parent.child.frame(protocol.DATA, protocol.HAVE)
    assert (kind, number, payload) == (protocol.DATA, 7, DATA[7 * CHUNK : 8 * CHUNK])
    parent.offer.announce([3])
    parent.offer.announce([5])
    assert [parent.child.frame(protocol.DATA)[1] for _each in range(2)] == [3, 5]


def test_of_other_chunks_a_child_that_waits_is_told_seldom_but_surely(parent: Parent) -> None:
    parent.begin()
    parent.child.frame(protocol.HAVE)
    parent.child.send(protocol.WANT, 0, protocol.encode_indexes([0]))
    parent.child.frame(protocol.PING)
    begin = time.monotonic()
    for index in range(10, 40):
        parent.offer.announce([index])
        time.sleep(0.01)
    told: set[int] = set()
    frames = 0
    while len(told) < 30:
        _kind, _number, payload = parent.child.frame(protocol.HAVE)
        told |= {index for first, number in protocol.decode_ranges(payload, COUNT) for index in range(first, first + number)}
        frames += 1
    assert told == set(range(10, 40))
    assert frames <= 2 + (time.monotonic() - begin) / 0.5


def test_only_what_it_waits_for_wakes_a_child() -> None:
    offer = Offer("parent", SHA256)
    offer.set_parts(CHUNKS, MemoryEndpoint(len(DATA), CHUNK, DATA))
    waiting, idle = Waker(), Waker()
    offer.subscribe(waiting, "a", {3, 4})
    offer.subscribe(idle, "b", set())
    offer.announce([5, 6])
    assert not poll(waiting.fileno(), None, 0)[0]
    assert poll(idle.fileno(), None, 0)[0]
    offer.announce([7, 4])
    assert poll(waiting.fileno(), None, 0)[0]
    waiting.close()
    idle.close()


def test_what_is_cancelled_is_not_sent_any_more(parent: Parent) -> None:
    parent.begin()
    parent.child.frame(protocol.HAVE)
    parent.child.send(protocol.WANT, 0, protocol.encode_indexes([1, 2, 3]))
    parent.child.send(protocol.CANCEL, 0, protocol.encode_indexes([1, 3, 30]))
    parent.child.frame(protocol.PING)
    parent.offer.announce([1, 2, 3, 4])
    parent.child.send(protocol.WANT, 0, protocol.encode_indexes([4]))
    assert sorted(parent.child.frame(protocol.DATA)[1] for _each in range(2)) == [2, 4]
    assert parent.child.frame(protocol.DATA, protocol.PING)[0] == protocol.PING


def test_what_is_here_can_be_cancelled_too(parent: Parent) -> None:
    parent.begin()
    parent.offer.announce([1, 2, 3])
    parent.child.send(protocol.PACE, 1)
    parent.child.send(protocol.WANT, 0, protocol.encode_indexes([1, 2, 3]))
    assert parent.child.frame(protocol.DATA)[1] == 1
    parent.child.send(protocol.CANCEL, 0, protocol.encode_indexes([2]))
    parent.child.send(protocol.PACE, 0)
    assert parent.child.frame(protocol.DATA)[1] == 3


def test_what_is_being_read_is_closed_afterwards() -> None:
    """Its descriptor may be another file's as soon as it is closed."""
    offer = Offer("parent", SHA256)
    told: list[str] = []

    class Endpoint(MemoryEndpoint):
        def read_into(self, offset: int, view: memoryview) -> None:
            offer.withdraw()
            super().read_into(offset, view)
            told.append("read")

        def close(self) -> None:
            told.append("closed")

    offer.set_parts(CHUNKS, Endpoint(len(DATA), CHUNK, DATA))
    assert offer.load(0, memoryview(bytearray(CHUNK))) == CHUNK
    assert told == ["read", "closed"]


def test_what_a_child_waits_for_comes_when_the_base_is_whole(parent: Parent) -> None:
    parent.begin()
    parent.child.frame(protocol.HAVE)
    parent.child.send(protocol.WANT, 0, protocol.encode_indexes([8, 6]))
    parent.child.frame(protocol.PING)
    parent.offer.set_whole(CHUNKS, MemoryEndpoint(len(DATA), CHUNK, DATA))
    assert [parent.child.frame(protocol.DATA)[1] for _each in range(2)] == [6, 8]


def test_a_parent_that_fails_says_so_to_a_child_that_waits(parent: Parent) -> None:
    parent.begin()
    parent.child.frame(protocol.HAVE)
    parent.child.send(protocol.WANT, 0, protocol.encode_indexes([8, 6]))
    parent.child.frame(protocol.PING)
    parent.offer.withdraw()
    parent.offer.set_view(FAILED, LOST, (), "no room")
    _kind, _number, payload = parent.child.frame(protocol.STATE)
    assert protocol.decode_message(payload)["msg"] == "no room"
    parent.child.send(protocol.PING)
    assert parent.child.frame(protocol.PING)


@pytest.mark.parametrize(
    ("offered", "times", "sentence"),
    [(False, 1, "asks for chunks that were not offered"), (True, 2, "asks for too many chunks at once")],
    ids=["nothing is offered", "too many"],
)
def test_a_child_that_asks_for_what_cannot_be_is_sent_away(parent: Parent, offered: bool, times: int, sentence: str) -> None:
    if offered:
        parent.begin()
        parent.offer.announce([0])
    with pytest.raises(PeerLost):
        for _time in range(times):
            parent.child.send(protocol.WANT, 0, protocol.encode_indexes([0] * protocol.MAX_ITEMS))
        for _chunk in range(times * protocol.MAX_ITEMS):
            parent.child.frame(protocol.DATA)
    assert parent.error is not None
    assert parent.error.message == f"child {sentence}."


def test_what_is_on_its_way_to_all_children_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "BUFFERED_BYTES", 3 * (protocol.HEADER_BYTES + CHUNK))
    offer = Offer("parent", SHA256)
    assert offer.buffers is None
    offer.set_parts(CHUNKS, MemoryEndpoint(len(DATA), CHUNK, DATA))
    buffers = offer.buffers
    assert buffers is not None
    taken = [buffers.take(0) for _child in range(4)]
    assert taken.pop() is None
    for buffer in taken:
        assert buffer is not None
        buffers.give(buffer)
    assert buffers.take(0) in taken


# ---- the child


class Child:
    """A fetch whose parents the test plays."""

    def __init__(self, *parents: str, stripes: int = 1) -> None:
        self.parents: dict[str, End] = {}
        self.endpoint = MemoryEndpoint(len(DATA), CHUNK)
        self.stop = threading.Event()
        self.offer = Offer("child", SHA256)
        self.failure: RelayError | None = None
        choices = [[*parents[nth:], *parents[:nth]] for nth in range(stripes)]
        self.fetch = Fetch(
            SHA256, len(DATA), CHUNK, CHUNKS.sha256, "child", route_of(choices), self._connect, self.endpoint, self.offer,
            time.monotonic, self.stop, share=True, patience=Patience(5.0, 5.0, 5.0),
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _connect(self, name: str) -> Channel:
        end = End("child")
        self.parents[name] = end
        return Channel(SocketStream(end.theirs), name, time.monotonic, silence_s=5.0, heartbeat_s=0.05)

    def _run(self) -> None:
        try:
            self.fetch.run()
        except RelayError as error:
            self.failure = error

    def greet(self, name: str, list_too: bool = True) -> End:
        """The parent says that a holder is above it, and gives the chunk list."""
        until(lambda: name in self.parents)
        end = self.parents[name]
        end.frame(protocol.OPEN)
        end.channel.send_message(protocol.STATE, {"state": FETCHING, "feed": ROOTED, "paths": [[name, "S"]], "turn": True})
        if list_too:
            end.frame(protocol.LIST)
            end.send(protocol.LIST_PART, 0, CHUNKS.part(0, protocol.LIST_PART_BYTES))
        return end

    def wanted(self, end: End) -> list[int]:
        return protocol.decode_indexes(end.frame(protocol.WANT)[2], COUNT)

    def give(self, end: End, index: int) -> None:
        end.send(protocol.DATA, index, DATA[index * CHUNK : (index + 1) * CHUNK])

    def ended(self) -> bool:
        self._thread.join(5)
        return not self._thread.is_alive() and self.failure is None

    def close(self) -> None:
        self.stop.set()
        self.fetch.abort()
        for end in self.parents.values():
            end.channel.close()
        self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def child_of() -> t.Iterator[t.Callable[..., Child]]:
    children: list[Child] = []

    def make(*parents: str, **options: t.Any) -> Child:
        children.append(Child(*parents, **options))
        return children[-1]

    yield make
    for child in children:
        child.close()


def test_a_child_asks_for_what_its_parent_is_still_to_get(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p")
    end = child.greet("p")
    end.send(protocol.HAVE)
    wanted = child.wanted(end)
    assert wanted == list(range(len(wanted)))
    for index in wanted:
        child.give(end, index)
    while len(wanted) < COUNT:
        more = child.wanted(end)
        wanted += more
        for index in more:
            child.give(end, index)
    assert sorted(wanted) == list(range(COUNT))
    assert child.ended()
    assert bytes(child.endpoint.data) == DATA


def test_a_child_asks_nobody_before_it_was_told_that_it_can(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p")
    end = child.greet("p")
    assert end.frame(protocol.WANT, protocol.PING)[0] == protocol.PING


def test_each_parent_is_asked_ahead_for_its_own_stripes_only(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p", "q", stripes=2)
    ends = [child.greet("p"), child.greet("q", list_too=False)]
    stripes = Stripes((1.0, 1.0))
    for stripe, end in enumerate(ends):
        end.send(protocol.HAVE)
        assert {stripes.of(index) for index in child.wanted(end)} == {stripe}


def test_what_a_parent_waits_for_too_long_others_may_bring(
    child_of: t.Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "AHEAD_IDLE_S", 0.3)
    child = child_of("p")
    end = child.greet("p")
    end.send(protocol.HAVE)
    wanted = child.wanted(end)
    cancelled = protocol.decode_indexes(end.frame(protocol.CANCEL)[2], COUNT)
    assert sorted(cancelled) == wanted
    ledger = child.fetch.ledger
    assert ledger is not None
    until(lambda: bool(ledger.take(bytearray(b"\1" * COUNT), everything(COUNT), COUNT, {0})))
    # It was on its way all the same.
    child.give(end, wanted[0])
    until(lambda: child.endpoint.marks()[wanted[0]] == 1)
    assert child.failure is None


def test_a_chunk_on_its_way_counts_as_owed(child_of: t.Callable[..., Child]) -> None:
    """A link that crawls is busy, a parent that waits is not: the header of a chunk makes the difference."""
    child = child_of("p")
    end = child.greet("p")
    end.send(protocol.HAVE)
    (first, *_rest) = child.wanted(end)
    (feed,) = child.fetch._running()
    assert feed._busy_since is None
    frame = protocol.encode(protocol.DATA, first, DATA[first * CHUNK : (first + 1) * CHUNK])
    end.channel.send_frame(frame[:100])
    until(lambda: feed._busy_since is not None)
    end.channel.send_frame(frame[100:])


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
        (protocol.DATA, 1, DATA[: CHUNK - 1], "a chunk that was not asked for"),
        (protocol.DATA, 1, DATA[: CHUNK + 1], "a chunk that was not asked for"),
        (protocol.PACKED, 0, b"x", "a chunk that was not asked for"),
        (protocol.PACKED, 1, bytes(CHUNK), "a compressed chunk that is not smaller"),
    ],
    ids=["twice", "too short", "too long", "compressed and twice", "compressed and not smaller"],
)
def test_what_cannot_be_the_chunk_that_was_asked_for_is_not_taken(
    child_of: t.Callable[..., Child], kind: int, number: int, payload: bytes, sentence: str
) -> None:
    child = child_of("p")
    child.fetch.compression = True
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
        (protocol.STATE, 0, b'{"feed": "rooted", "paths": "p"}', "a state that cannot be read"),
        (protocol.STATE, 0, b'{"feed": "?", "paths": []}', "a state that cannot be read"),
        (protocol.WANT, 0, b"", f"a frame of kind {protocol.WANT}"),
    ],
    ids=["list elsewhere", "list too long", "paths", "feed", "a frame for parents"],
)
def test_what_a_parent_may_not_say(child_of: t.Callable[..., Child], kind: int, number: int, payload: bytes, sentence: str) -> None:
    child = child_of("p")
    end = child.greet("p", list_too=False)
    end.frame(protocol.LIST)
    end.send(kind, number, payload)
    until(lambda: bool(child.fetch.attempts))
    assert child.fetch.attempts[0].error == f"p sent {sentence}."


def test_a_path_without_end_leads_nowhere(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p")
    end = child.greet("p")
    (feed,) = child.fetch._running()
    until(lambda: feed.state == ROOTED)
    circle = [f"kvm{number}" for number in range(feed_module.MAX_PATH)]
    end.channel.send_message(protocol.STATE, {"state": FETCHING, "feed": ROOTED, "paths": [circle], "turn": True})
    until(lambda: feed.state == LOST)


def test_a_parent_that_cannot_read_so_many_chunks_is_left(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p")
    end = child.greet("p")
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    assert len(child.wanted(end)) > feed_module.MAX_UNREADABLE
    (feed,) = child.fetch._running()
    for index in range(feed_module.MAX_UNREADABLE):
        end.send(protocol.NOT_HERE, index, b"Input/output error")
    until(lambda: feed.ended)
    assert "p cannot read chunk 31: Input/output error" in str(feed.error)


def test_what_a_lost_parent_was_asked_for_ahead_comes_from_the_next(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p", "q")
    end = child.greet("p")
    end.send(protocol.HAVE)
    assert child.wanted(end)
    end.channel.close()
    other = child.greet("q", list_too=False)
    other.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    assert child.wanted(other) == list(range(COUNT))


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
    monkeypatch.setattr(fetch_module, "LIST_STALL_S", 0.3)
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
    (feed,) = child.fetch._running()
    assert feed._busy_since is None
    end.channel.send_message(protocol.STATE, {**told, "turn": True})
    until(lambda: feed._busy_since is not None)


def test_what_parents_that_are_gone_needed_is_given_back(child_of: t.Callable[..., Child]) -> None:
    """A buffer for each connection, as long as it lasts."""
    names = [f"p{number}" for number in range(6)]
    child = child_of(*names)
    for name in names[:-1]:
        end = child.greet(name, list_too=child.fetch.chunks is None)
        end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
        child.wanted(end)
        end.channel.close()
    last = child.greet(names[-1], list_too=False)
    last.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    for index in child.wanted(last):
        child.give(last, index)
    assert child.ended()
    assert child.fetch._free.qsize() == fetch_module.BUFFERS + 1


# ---- a parent that is left


def half_a_chunk(child: Child, end: End) -> tuple[list[int], int, bytes]:
    """What was asked for, the chunk of which half has come, and the other half of its frame."""
    end.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    wanted = child.wanted(end)
    frame = protocol.encode(protocol.DATA, wanted[0], DATA[wanted[0] * CHUNK : (wanted[0] + 1) * CHUNK])
    end.channel.send_frame(frame[:100])
    (feed,) = child.fetch._running()
    until(lambda: feed.received_bytes > 0 and feed._buffer is not None)
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
    (feed,) = child.fetch._running()
    child.close()
    chunk = memoryview(bytearray(DATA[:CHUNK]))
    child.fetch.hand_over(0, chunk, chunk, feed)
    assert not any(child.endpoint.marks())


# ---- the ledger


def test_ahead_goes_on_where_it_was_and_passes_over_what_is_not_to_be_asked() -> None:
    ledger = Ledger(bytearray(1 if index in (0, 3) else 0 for index in range(12)), Stripes((1.0, 1.0)))
    pattern = Stripes((1.0, 1.0))
    own = [index for index in range(12) if pattern.of(index) == 0 and index not in (0, 3)]
    taken, front = ledger.take_ahead(0, 2, {0}, {own[0]})
    assert taken == own[1:3]
    more, front = ledger.take_ahead(front, 9, {0}, ())
    assert more == own[3:]
    assert front == 12
    assert ledger.take_ahead(0, 9, {0}, ()) == ([own[0]], 12)
    assert ledger.of_stripes(range(12), {1}) == {index for index in range(12) if pattern.of(index) == 1}
