# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import heapq

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import heap, jit
from hypothesis import given, settings
from hypothesis import strategies as st

ENTRIES = st.tuples(st.sampled_from([-1.5, 0.0, 2.0, float("inf")]), st.integers(0, 3), st.integers(-1, 2))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), ENTRIES), max_size=60))
def test_entries_come_back_as_from_pythons_heap(steps: list[tuple[float, int, int] | None]) -> None:
    """None takes the least entry, anything else is put in."""
    ours, pythons = heap.heap_for(60), []
    heap.clear(ours)
    for step in steps:
        if step is not None:
            heap.push(ours, *step)
            heapq.heappush(pythons, step)
        elif pythons:
            assert tuple(heap.pop(ours)) == heapq.heappop(pythons)
        assert heap.size(ours) == len(pythons)
    while pythons:
        assert tuple(heap.pop(ours)) == heapq.heappop(pythons)


def test_a_cleared_heap_is_empty() -> None:
    ours = heap.heap_for(2)
    heap.push(ours, 1.0, 1, 1)
    heap.clear(ours)
    assert heap.size(ours) == 0


@pytest.mark.skipif(not jit.COMPILED, reason="heaps of Python grow by themselves")
def test_a_full_heap_reports_it() -> None:
    ours = heap.heap_for(1)
    assert not heap.full(ours)
    heap.push(ours, 1.0, 1, 1)
    assert heap.full(ours)
