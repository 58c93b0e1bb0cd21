# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.chunk_picker import ChunkPicker
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.transfer import (
    MAX_ATTEMPTS_KEPT,
    MAX_ATTEMPTS_OF_PARENT,
    Attempts,
    BaseIds,
    Buffers,
    Chunks,
    Terms,
    Transfer,
)
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import Cancelled, RelayError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.rate_limits import Throttle

IDS = BaseIds("1" * 64, 100, 10, "2" * 64)


def transfer() -> Transfer:
    def refuse(host: str) -> t.NoReturn:
        raise RelayError(f"{host} is gone")

    attempts = Attempts([], lambda _line: None)
    return Transfer(IDS, Terms("me"), refuse, time.monotonic, threading.Event(), Throttle(time.monotonic), attempts, Buffers(10))


def test_a_transfer_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        transfer().base = IDS  # type: ignore[misc]


def test_the_first_failure_counts() -> None:
    one = transfer()
    one.check()
    one.fail(RelayError("first"))
    one.fail(RelayError("second"))
    assert one.changed.is_set()
    with pytest.raises(RelayError, match="first"):
        one.check()
    one.cancel.set()
    with pytest.raises(Cancelled, match="The node is being stopped"):
        one.check()


def test_an_attempt_is_noted_once_and_no_parent_hides_others() -> None:
    lines: list[str] = []
    attempts = Attempts([], lines.append)
    attempts.note("b", "b is gone")
    for number in [*range(60), 59]:
        attempts.note("a", f"a: {number}")
    assert len(lines) == 61
    of_a = [one.error for one in attempts.kept if one.parent == "a"]
    assert len(of_a) == MAX_ATTEMPTS_OF_PARENT
    assert (of_a[0], of_a[-1]) == ("a: 0", "a: 59")
    assert attempts.kept[0].parent == "b"
    for number in range(100):
        attempts.note(f"host {number}", "gone")
    assert len(attempts.kept) == MAX_ATTEMPTS_KEPT


def test_a_buffer_that_is_not_needed_any_more_is_dropped() -> None:
    buffers = Buffers(10)
    buffers.add(2)
    first, second = (buffers.take(lambda: None) for _number in range(2))
    buffers.drop_one()
    buffers.release(first)
    assert buffers.free == 0
    buffers.release(second)
    assert buffers.free == 1
    assert len(buffers.take(lambda: None)) == 10


def test_the_wait_for_a_buffer_ends_with_the_fetch() -> None:
    one = transfer()
    one.fail(RelayError("over"))
    with pytest.raises(RelayError, match="over"):
        one.buffers.take(one.check)


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        ([], "which no host that answered has 3."),
        ([(0, 2)], "which no host that answered has 2."),
        ([(0, 4)], "which no host that answered has none."),
    ],
    ids=["none", "some", "all"],
)
def test_missing_chunks_are_counted(seen: list[tuple[int, int]], sentence: str) -> None:
    chunks = Chunks()
    assert chunks.missing() == "No host sent the chunk list."
    chunks.picker = ChunkPicker(bytearray(b"\1\0\0\0"))
    chunks.look_out(4)
    for first, number in seen:
        chunks.saw(first, number)
    chunks.look_out(4)
    assert chunks.missing() == f"3 chunks are missing, of {sentence}"
