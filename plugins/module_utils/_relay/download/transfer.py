# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the connections of one base share. They know this, and neither each other nor who opened them."""

from __future__ import annotations

import queue
import threading
import typing as t
from dataclasses import dataclass, field

from ..._base_format.chunk_list import ChunkList, chunk_count
from ..clock import Clock
from ..errors import Cancelled, RelayError
from ..upload.rate_limits import Throttle
from ..wire.channel import Channel
from .chunk_picker import ChunkPicker
from .parent_selection import Patience
from .peer_record import PeerRecords

MAX_ATTEMPTS_KEPT = 40

# Of one parent: the first one and the last ones, so that none hides the others.
MAX_ATTEMPTS_OF_PARENT = 8


class BaseIds(t.NamedTuple):
    """Which base it is, and of which chunks it consists."""

    sha256: str
    size_bytes: int
    chunk_bytes: int
    chunks_sha256: str

    @property
    def number(self) -> int:
        return chunk_count(self.size_bytes, self.chunk_bytes)


class Terms(t.NamedTuple):
    """How this host takes part.

    :param share: children get each chunk as soon as it is stored.
    """

    host: str
    share: bool = False
    compression: bool = False
    patience: Patience = Patience()


class Attempt(t.NamedTuple):
    """Why a parent is not fetched from any more.

    :param mbps: what it delivered at last, in 10^6 bit/s, if it was left for being slow.
    """

    parent: str
    error: str
    mbps: float | None = None


class Attempts:
    """What went wrong with parents: each thing once, and not too many of one of them. Thread-safe.

    :param kept: where they stand; they may be those of several fetches of a base.
    """

    def __init__(self, kept: list[Attempt], log: t.Callable[[str], None]) -> None:
        self.kept = kept
        self._log = log
        self._lock = threading.Lock()

    def note(self, parent: str, error: str, mbps: float | None = None) -> None:
        attempt = Attempt(parent, error, mbps)
        with self._lock:
            if attempt in self.kept:
                return
            mine = [one for one in self.kept if one.parent == parent]
            if len(mine) >= MAX_ATTEMPTS_OF_PARENT:
                self.kept.remove(mine[1])
            self.kept.append(attempt)
            del self.kept[:-MAX_ATTEMPTS_KEPT]
        self._log(error)


class Buffers:
    """Memory for chunks that were received and are not written yet. Thread-safe."""

    def __init__(self, chunk_bytes: int) -> None:
        self._chunk_bytes = chunk_bytes
        self._free: queue.Queue[memoryview] = queue.Queue()
        self._surplus = 0
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        return self._free.qsize()

    def add(self, number: int = 1) -> None:
        for _number in range(number):
            self._free.put(memoryview(bytearray(self._chunk_bytes)))

    def drop_one(self) -> None:
        """One less, as soon as one is free."""
        with self._lock:
            self._surplus += 1

    def take(self, check: t.Callable[[], None]) -> memoryview:
        """A free one; waits until one is released. ``check`` raises an error to end the wait."""
        while True:
            try:
                return self._free.get(timeout=0.5)
            except queue.Empty:
                check()

    def release(self, buffer: memoryview) -> None:
        with self._lock:
            if self._surplus > 0:
                self._surplus -= 1
                return
        self._free.put(buffer)


class Chunks:
    """What is known of the chunks of a base: the list, once it has come, which are missing, and who was seen to have them."""

    def __init__(self) -> None:
        self.listed: ChunkList | None = None
        self.picker: ChunkPicker | None = None
        # Chunks that a host that answered has, since there is no holder in sight any more.
        self._seen = bytearray()
        self._lock = threading.Lock()

    @property
    def complete(self) -> bool:
        return self.picker is not None and self.picker.complete

    def known(self, listed: ChunkList, picker: ChunkPicker) -> None:
        # In this order: with a picker there is always a list.
        self.listed, self.picker = listed, picker

    def look_out(self, count: int) -> None:
        """There is no holder in sight: note which chunks others have. 0: there is one."""
        if not count or not self._seen:
            self._seen = bytearray(count)

    def saw(self, first: int, number: int) -> None:
        """Some host has these chunks."""
        with self._lock:
            if self._seen:
                self._seen[first : first + number] = b"\1" * number

    def missing(self) -> str:
        """A sentence on what is missing."""
        if self.picker is None:
            return "No host sent the chunk list."
        with self._lock:
            nowhere = sum(not seen and not self.picker.is_done(index) for index, seen in enumerate(self._seen))
        return f"{self.picker.undone} chunks are missing, of which no host that answered has {nowhere or 'none'}."


@dataclass(frozen=True)
class Transfer:
    """One base on its way to this host. What changes about it stands in its parts, and each of them guards itself.

    :param connect: a greeted channel to a host; raises RelayError.
    :param records: of each host that was asked.
    :param changed: set when the fetch has to look at what has come.
    """

    base: BaseIds
    terms: Terms
    connect: t.Callable[[str], Channel]
    clock: Clock
    cancel: threading.Event
    throttle: Throttle
    attempts: Attempts
    buffers: Buffers
    records: PeerRecords = field(default_factory=PeerRecords)
    chunks: Chunks = field(default_factory=Chunks)
    changed: threading.Event = field(default_factory=threading.Event)
    failures: list[RelayError] = field(default_factory=list)

    def check(self) -> None:
        """:raises Cancelled: RelayError: if the fetch has failed."""
        if self.cancel.is_set():
            raise Cancelled("The node is being stopped.")
        if self.failures:
            raise self.failures[0]

    def fail(self, error: RelayError) -> None:
        """The first failure is the one that counts."""
        self.failures.append(error)
        self.changed.set()
