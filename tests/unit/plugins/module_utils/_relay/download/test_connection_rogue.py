# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A parent with a valid certificate that does not do what parents do: it is left, named, and the base comes from another."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download import connection, parent_selection
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent_selection import Patience
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import channel
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.transport import Address
from ansible_collections.basecast.fleet.tests.rogue import PARENTS, Rogue
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._relay.conftest import QUICK as QUICK_NODE

QUICK = {
    (connection, "STATE_S"): 1.0,
    (connection, "LIST_S"): 1.0,
    (connection, "OWED_S"): 1.0,
    (channel, "FRAME_S"): 1.0,
    (channel, "FRAME_BYTES_PER_S"): 16384,
    (parent_selection, "LOOK_AFTER_S"): 60.0,
}


# What is said of it, where that does not depend on who is quicker.
NAMED = {
    "says nothing": "B has not said what it has of the base for 1 s.",
    "says holding and gives no list": "B has the chunk list and has sent nothing of it for 1 s.",
    "gives the list by drops": "B sends by drops.",
    "gives the list in parts of a byte": "B sent a part of a chunk list that was not asked for.",
    "gives another list": "B sent a chunk list with digest",
    "gives wrong bytes": "B sent wrong bytes for chunk",
    "announces a chunk of 16 MiB": "B sent 16777216 bytes as a chunk of 16384.",
    "changes its mind": "B has changed its mind 16 times and sent nothing.",
    "announces without end": "B announces more chunks than there are.",
    "floods pings": "B sends more control frames than a peer may.",
    "sends what children send": "B sent a frame of kind 6 where none may come.",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for (module, name), value in QUICK.items():
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("behaviour", PARENTS)
@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_rogue_parent_is_left_for_the_next(fleet: t.Any, content: t.Any, behaviour: str, mode: str) -> None:
    content.put(fleet.pool("S"))
    fleet.add("S")
    node = fleet.add("A")
    rogue = Rogue("B", fleet.credentials("B"), content.metadata)
    try:
        at = rogue.serve(behaviour, content.chunks, content.data)
        fleet.start(content, {"S": []}, mode)
        peers = {**fleet.peers(), "B": Address(*at)}
        begin = time.monotonic()
        node.start([fleet.request(content, "A", ["B", "S"])], peers, mode)
        fleet.wait("A", seconds=25)
        seconds = time.monotonic() - begin
    finally:
        rogue.close()
    assert fleet.holds("A", content)
    attempts = fleet.base("A", content)["attempts"]
    assert {one["parent"] for one in attempts} == {"B"}, attempts
    assert len(attempts) <= 8
    if mode == "staged":
        assert attempts[0]["error"].startswith(NAMED.get(behaviour, ""))
    assert "\x1b" not in str(fleet.base("A", content)) + str(fleet.logs["A"])
    assert seconds < 24


@pytest.mark.parametrize("behaviour", ["says holding and gives no list", "gives no chunk", "changes its mind"])
def test_a_rogue_that_is_the_only_parent_is_given_up(fleet: t.Any, content: t.Any, behaviour: str) -> None:
    # Longer than it takes until the parent is tried again: each time it promises the base anew.
    node = fleet.add("A", QUICK_NODE._replace(patience=Patience(pending=2.0, lost=0.5, alone=7.0)))
    rogue = Rogue("B", fleet.credentials("B"), content.metadata)
    try:
        at = rogue.serve(behaviour, content.chunks, content.data)
        node.start([fleet.request(content, "A", ["B"])], {**fleet.peers(), "B": Address(*at)})
        fleet.wait("A", seconds=25)
    finally:
        rogue.close()
    base = fleet.base("A", content)
    assert base["state"] == "failed"
    assert "B" in base["msg"]
