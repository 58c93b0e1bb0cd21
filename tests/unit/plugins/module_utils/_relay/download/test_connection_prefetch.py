# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chunks that are asked for before the parent has them: both ends of one connection, the other played by the test."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download import connection as feed_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.chunk_picker import ChunkPicker, everything
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.stripes import Stripes
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.memory import MemoryEndpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.offer import Offer
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.socket_stream import Waker, poll
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._relay.ends import (
    CHUNK,
    CHUNKS,
    COUNT,
    DATA,
    SHA256,
    Child,
    Parent,
    until,
)


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


def test_what_a_child_waits_for_comes_when_the_base_is_whole(parent: Parent) -> None:
    parent.begin()
    parent.child.frame(protocol.HAVE)
    parent.child.send(protocol.WANT, 0, protocol.encode_indexes([8, 6]))
    parent.child.frame(protocol.PING)
    parent.offer.set_whole(CHUNKS, MemoryEndpoint(len(DATA), CHUNK, DATA))
    assert [parent.child.frame(protocol.DATA)[1] for _each in range(2)] == [6, 8]


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


def test_what_a_parent_waits_for_too_long_others_may_bring(child_of: t.Callable[..., Child], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "AHEAD_IDLE_S", 0.3)
    child = child_of("p")
    end = child.greet("p")
    end.send(protocol.HAVE)
    wanted = child.wanted(end)
    cancelled = protocol.decode_indexes(end.frame(protocol.CANCEL)[2], COUNT)
    assert sorted(cancelled) == wanted
    ledger = child.fetch.transfer.chunks.picker
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
    (connection,) = child.fetch.connections()
    assert connection._account.busy_since is None
    frame = protocol.encode(protocol.DATA, first, DATA[first * CHUNK : (first + 1) * CHUNK])
    end.channel.send_frame(frame[:100])
    until(lambda: connection._account.busy_since is not None)
    end.channel.send_frame(frame[100:])


def test_what_a_lost_parent_was_asked_for_ahead_comes_from_the_next(child_of: t.Callable[..., Child]) -> None:
    child = child_of("p", "q")
    end = child.greet("p")
    end.send(protocol.HAVE)
    assert child.wanted(end)
    end.channel.close()
    other = child.greet("q", list_too=False)
    other.send(protocol.HAVE, 0, protocol.encode_whole(COUNT))
    assert child.wanted(other) == list(range(COUNT))


def test_ahead_goes_on_where_it_was_and_passes_over_what_is_not_to_be_asked() -> None:
    ledger = ChunkPicker(bytearray(1 if index in (0, 3) else 0 for index in range(12)), Stripes((1.0, 1.0)))
    pattern = Stripes((1.0, 1.0))
    own = [index for index in range(12) if pattern.of(index) == 0 and index not in (0, 3)]
    taken, front = ledger.take_ahead(0, 2, {0}, {own[0]})
    assert taken == own[1:3]
    more, front = ledger.take_ahead(front, 9, {0}, ())
    assert more == own[3:]
    assert front == 12
    assert ledger.take_ahead(0, 9, {0}, ()) == ([own[0]], 12)
    assert ledger.of_stripes(range(12), {1}) == {index for index in range(12) if pattern.of(index) == 1}
