# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Heaps of (key, a, b) for inner loops.

Compiled, they lie in arrays that the caller makes once: a loop that makes no lists itself need not count the references to
all arrays that it is given. Interpreted, Python's own heaps are faster. Both give entries back in the same order.
"""

from __future__ import annotations

import heapq
import typing as t

from . import jit
from .jit import Floats, Ints, kernel


class Heap(t.NamedTuple):
    """``size[0]`` entries; interpreted, ``key`` is a heap of whole entries."""

    key: Floats
    a: Ints
    b: Ints
    size: Ints


def heap_for(capacity: int) -> Heap:
    """Room for so many entries."""
    if not jit.COMPILED:
        return Heap([], [], [], [])
    return Heap(jit.fill_floats(capacity), jit.fill_ints(capacity), jit.fill_ints(capacity), jit.fill_ints(1))


if jit.COMPILED:

    @kernel
    def clear(heap: Heap) -> None:
        """Leaves no entry."""
        heap.size[0] = 0

    @kernel
    def size(heap: Heap) -> int:
        """How many entries there are."""
        return heap.size[0]

    @kernel
    def full(heap: Heap) -> bool:
        """Whether no further entry has room."""
        return bool(heap.size[0] == len(heap.key))

    @kernel
    def push(heap: Heap, key: float, a: int, b: int) -> None:
        """Adds an entry, for which there has to be room."""
        keys, first, second = heap.key, heap.a, heap.b
        i = heap.size[0]
        heap.size[0] = i + 1
        while i > 0:
            up = (i - 1) >> 1
            if not (key < keys[up] or (key == keys[up] and (a < first[up] or (a == first[up] and b < second[up])))):
                break
            keys[i], first[i], second[i] = keys[up], first[up], second[up]
            i = up
        keys[i], first[i], second[i] = key, a, b

    @kernel
    def pop(heap: Heap) -> tuple[float, int, int]:
        """Takes the least entry, of which there has to be one."""
        keys, first, second = heap.key, heap.a, heap.b
        least = keys[0], first[0], second[0]
        last = heap.size[0] - 1
        heap.size[0] = last
        key, a, b = keys[last], first[last], second[last]
        i = 0
        while True:
            j = 2 * i + 1
            if j >= last:
                break
            k = j + 1
            if k < last and (
                keys[k] < keys[j] or (keys[k] == keys[j] and (first[k] < first[j] or (first[k] == first[j] and second[k] < second[j])))
            ):
                j = k
            if not (keys[j] < key or (keys[j] == key and (first[j] < a or (first[j] == a and second[j] < b)))):
                break
            keys[i], first[i], second[i] = keys[j], first[j], second[j]
            i = j
        keys[i], first[i], second[i] = key, a, b
        return least

else:

    def clear(heap: Heap) -> None:
        """Leaves no entry."""
        heap.key.clear()

    def size(heap: Heap) -> int:
        """How many entries there are."""
        return len(heap.key)

    def full(heap: Heap) -> bool:
        """Whether no further entry has room."""
        return False

    def push(heap: Heap, key: float, a: int, b: int) -> None:
        """Adds an entry."""
        heapq.heappush(t.cast("list[tuple[float, int, int]]", heap.key), (key, a, b))

    def pop(heap: Heap) -> tuple[float, int, int]:
        """Takes the least entry, of which there has to be one."""
        return heapq.heappop(t.cast("list[tuple[float, int, int]]", heap.key))
