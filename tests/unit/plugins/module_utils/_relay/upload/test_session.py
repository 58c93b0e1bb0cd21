# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A parent, with a child that the test plays: what is cancelled, closed, limited, and what a child may not ask for."""

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PeerLost
from ansible_collections.basecast.fleet.plugins.module_utils._relay.states import FAILED, LOST
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._relay.ends import Parent


def test_what_is_here_can_be_cancelled_too(parent: Parent) -> None:
    parent.begin()
    parent.offer.announce([1, 2, 3])
    parent.child.send(protocol.PACE, 1)
    parent.child.send(protocol.WANT, 0, protocol.encode_indexes([1, 2, 3]))
    assert parent.child.frame(protocol.DATA)[1] == 1
    parent.child.send(protocol.CANCEL, 0, protocol.encode_indexes([2]))
    parent.child.send(protocol.PACE, 0)
    assert parent.child.frame(protocol.DATA)[1] == 3


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
    ("offered", "times", "indexes", "sentence"),
    [
        (False, 1, [0], "asks for chunks that were not offered"),
        (True, 1, [0, 1, 0], "asks for a chunk that it has asked for"),
        (True, 2, [1], "asks for a chunk that it has asked for"),
        (True, 2, list(range(1, 40)), "asks for too many chunks at once"),
    ],
    ids=["nothing is offered", "twice in one request", "twice", "too many"],
)
def test_a_child_that_asks_for_what_cannot_be_is_sent_away(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, offered: bool, times: int, indexes: list[int], sentence: str
) -> None:
    if "too many" in sentence:
        monkeypatch.setattr(protocol, "MAX_ITEMS", 50)
    if offered:
        parent.begin()
        parent.offer.announce([0])
    with pytest.raises(PeerLost):
        for _time in range(times):
            parent.child.send(protocol.WANT, 0, protocol.encode_indexes(indexes))
        for _chunk in range(times * len(indexes)):
            parent.child.frame(protocol.DATA)
    assert parent.error is not None
    assert parent.error.message == f"child {sentence}."
