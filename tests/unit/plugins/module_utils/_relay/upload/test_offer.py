# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A parent, with a child that the test plays: what is cancelled, closed, limited, and what a child may not ask for."""

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.memory import MemoryEndpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload import offer as offer_module
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.offer import Offer
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._relay.ends import CHUNK, CHUNKS, COUNT, DATA, SHA256


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


def test_what_is_on_its_way_to_all_children_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offer_module, "BUFFERED_BYTES", 3 * (protocol.HEADER_BYTES + CHUNK))
    offer = Offer("parent", SHA256)
    assert offer.buffers is None
    offer.set_parts(CHUNKS, MemoryEndpoint(len(DATA), CHUNK, DATA))
    buffers = offer.buffers
    assert buffers is not None
    taken = [buffers.take(f"child{number}", 0) for number in range(4)]
    assert taken.pop() is None
    for number, buffer in enumerate(taken):
        assert buffer is not None
        buffers.give(f"child{number}", buffer)
    assert buffers.take("child1", 0) in taken
    assert buffers.take("child1", 0) is None, "one child has a part of them only"
    assert buffers.take("child2", 0) in taken


def test_each_chunk_is_announced_once() -> None:
    """What another run of this host announced of a partial is announced again by the node that goes on with it."""
    offer = Offer("parent", SHA256)
    offer.set_parts(CHUNKS, MemoryEndpoint(len(DATA), CHUNK, DATA))
    offer.announce([3, 4])
    offer.set_parts(CHUNKS, MemoryEndpoint(len(DATA), CHUNK, DATA))
    offer.announce(index for index in (3, 4, 7))
    payloads, cursor = offer.news(0)
    assert [protocol.decode_ranges(payload, COUNT) for payload in payloads] == [[(3, 2), (7, 1)]]
    assert offer.news(cursor)[0] == []
