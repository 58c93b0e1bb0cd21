# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a host offers of a base to the children that fetch it."""

from __future__ import annotations

import threading
import time
import typing as t
from array import array
from collections import Counter, deque

from ..._base_format.chunk_list import ChunkList
from ..._text import clean
from ..clock import Clock
from ..endpoints import Endpoint
from ..endpoints.operations import LoadChunk
from ..errors import PartialContent
from ..states import HOLDING, MAX_PATHS, PENDING, ROOTED, WAITING
from ..wire import protocol
from ..wire.messages import MAX_MSG
from ..wire.socket_stream import Waker
from .turns import Order

# Hosts from one to where its bytes come from, nearest first. A host that finds itself in every path of a parent would
# wait for itself.
Path = t.Tuple[str, ...]

# Announcements that are looked at together: few enough to cost little memory for a child that comes late.
NEWS = 16384

# Chunks that are on their way from the disk to the children at the same time, in bytes: whoever comes when all are
# taken waits for the slowest of many.
BUFFERED_BYTES = 16 * 1024 * 1024

# Of these one child has at most so many: one for each connection that a child opens by itself.
BUFFERS_OF_CHILD = 4


class View(t.NamedTuple):
    """What children are told of a base."""

    state: str
    feed: str
    paths: tuple[Path, ...]
    msg: str

    def message(self, turn: bool, codec: str | None = None) -> dict[str, t.Any]:
        """:param turn: false while other children come first. :param codec: of compressed chunks, if there are any."""
        told = {"state": self.state, "feed": self.feed, "paths": self.paths, "msg": clean(self.msg, MAX_MSG), "turn": turn}
        return told if codec is None else {**told, "codec": codec}


class _Shared:
    """An endpoint that several threads read; closed after the last one, so that no descriptor is reused under them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.readers = 0
        self.retired = False

    def close_if_unused(self) -> None:
        if self.retired and not self.readers:
            self.endpoint.close()


class _Buffers:
    """Frames of one chunk each, for all children of a base; made when they are needed.

    One child has a part of them at most: those of one that takes nothing are not missing elsewhere.
    """

    def __init__(self, chunk_bytes: int) -> None:
        self._bytes = protocol.HEADER_BYTES + chunk_bytes
        self._left = max(2, BUFFERED_BYTES // self._bytes)
        self._most = max(1, min(BUFFERS_OF_CHILD, self._left // 4))
        self._free: deque[bytearray] = deque()
        self._taken: Counter[str] = Counter()
        self._changed = threading.Condition()

    def take(self, child: str, seconds: float) -> bytearray | None:
        """None if there is none within this time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._left and self._taken[child] < self._most, seconds):
                return None
            self._left -= 1
            self._taken[child] += 1
            return self._free.pop() if self._free else bytearray(self._bytes)

    def give(self, child: str, buffer: bytearray) -> None:
        with self._changed:
            self._left += 1
            self._taken[child] -= 1
            if not self._taken[child]:
                del self._taken[child]
            self._free.append(buffer)
            self._changed.notify_all()


class Offer:
    """What this node can serve of one base at the moment. Thread-safe; children's threads are woken by changes."""

    def __init__(self, host: str, sha256: str, clock: Clock = time.monotonic) -> None:
        self.sha256 = sha256
        self.order = Order(clock)
        self._host = host
        self._lock = threading.Lock()
        self._view = View(WAITING, PENDING, ((host,),), "")
        self._chunks: ChunkList | None = None
        self._shared: _Shared | None = None
        self._whole = False
        self._announced: array[int] = array("I")  # 200 GiB have 819,200
        # The same by chunk, and of each child what it waits for.
        self._here = bytearray()
        self._children: dict[Waker, tuple[str, set[int]]] = {}
        self._buffers: _Buffers | None = None
        self.sent_bytes = 0
        # How often what had been announced turned out to be gone: children of before have to come anew.
        self.retractions = 0

    def set_view(self, state: str, feed: str, above: t.Sequence[Path] = (), msg: str = "") -> None:
        """:param above: paths of the parents, shortest first."""
        paths = tuple((self._host, *path) for path in above[:MAX_PATHS]) or ((self._host,),)
        view = View(state, feed, paths, msg)
        with self._lock:
            if view == self._view:
                return
            self._view = view
            self._wake()

    def set_parts(self, chunks: ChunkList, endpoint: Endpoint) -> None:
        """From now on announced chunks can be read from this endpoint."""
        with self._lock:
            self._replace(chunks, endpoint)
            self._wake()

    def announce(self, indexes: t.Iterable[int]) -> None:
        """These chunks are verified and stored. Who takes over a partial names again what others announced of it."""
        with self._lock:
            # Children leave a parent that announces more than there is: each chunk once.
            fresh = [index for index in indexes if not self._here[index]]
            self._announced.extend(fresh)
            for index in fresh:
                self._here[index] = 1
            for waker, (_child, awaited) in self._children.items():
                # Who waits for others is not disturbed.
                if not awaited or not awaited.isdisjoint(fresh):
                    waker.wake()

    def set_whole(self, chunks: ChunkList, endpoint: Endpoint) -> None:
        """The base lies in the store, complete."""
        with self._lock:
            self._replace(chunks, endpoint)
            self._whole = True
            self._view = View(HOLDING, ROOTED, ((self._host,),), "")
            self._wake()

    def withdraw(self) -> None:
        """Nothing can be read any more; the endpoint is closed."""
        with self._lock:
            self._replace(None, None)
            self._whole = False
            self._here = bytearray(len(self._here))
            del self._announced[:]
            self._wake()

    def retract(self) -> None:
        """The same, and children must forget what was announced: their connections end."""
        self.retractions += 1
        self.withdraw()

    @property
    def view(self) -> View:
        with self._lock:
            return self._view

    @property
    def chunks(self) -> ChunkList | None:
        with self._lock:
            return self._chunks

    @property
    def buffers(self) -> _Buffers | None:
        """None as long as nothing can be read."""
        with self._lock:
            if self._buffers is None and self._chunks is not None:
                self._buffers = _Buffers(self._chunks.chunk_bytes)
            return self._buffers

    def news(self, cursor: int) -> tuple[list[bytes], int]:
        """Payloads of HAVE after the cursor, and the new cursor."""
        with self._lock:
            if self._whole and self._chunks is not None:
                whole = 1 << 62
                return ([protocol.encode_whole(self._chunks.count)] if cursor < whole else []), whole
            fresh = self._announced[cursor : cursor + NEWS]
            # In order, so that neighbours of several stripes become ranges.
            return protocol.encode_ranges(sorted(fresh)), cursor + len(fresh)

    def sort(self, wanted: t.Iterable[int], awaited: set[int]) -> list[int]:
        """Which of these chunks are here; the others are added to what a child waits for."""
        with self._lock:
            if self._whole:
                return list(wanted)
            here: list[int] = []
            for index in wanted:
                if self._here[index]:
                    here.append(index)
                else:
                    awaited.add(index)
            return here

    def arrived(self, awaited: set[int]) -> list[int]:
        """What a child waited for and is here now, in the order of the file; it is not awaited any more."""
        with self._lock:
            came = sorted(awaited) if self._whole else sorted(index for index in awaited if self._here[index])
            awaited.difference_update(came)
            return came

    def load(self, index: int, view: memoryview) -> int:
        """Read a chunk; its length. :raises OSError: PartialContent:"""
        with self._lock:
            chunks, shared = self._chunks, self._shared
            if chunks is None or shared is None:
                raise PartialContent(1, 0)
            shared.readers += 1
        try:
            operation = LoadChunk(shared.endpoint, chunks, index)
            operation.run(view)
            return operation.size
        finally:
            with self._lock:
                shared.readers -= 1
                shared.close_if_unused()

    def satisfied(self, child: str) -> None:
        """The child asks for nothing more: it may be another's turn."""
        if self.order.satisfied(child):
            with self._lock:
                self._wake()

    def subscribe(self, waker: Waker, child: str, awaited: set[int]) -> None:
        """:param awaited: the chunks that this child waits for; of others it is not told at once."""
        with self._lock:
            self._children[waker] = (child, awaited)

    def unsubscribe(self, waker: Waker) -> None:
        with self._lock:
            self._children.pop(waker, None)
            if not self._children and self._shared is not None:
                self._shared.endpoint.settle()

    def readers(self) -> int:
        """How many children there are at the moment, however many connections each has."""
        # Without the lock: endpoints ask while it is held.
        return len({child for child, _awaited in list(self._children.values())})

    def _replace(self, chunks: ChunkList | None, endpoint: Endpoint | None) -> None:
        """Offers own their endpoints: the one before is closed when nobody reads it any more."""
        old = self._shared
        if chunks is not None and len(self._here) != chunks.count:
            self._here = bytearray(chunks.count)
        self._chunks = chunks
        self._shared = None if endpoint is None else _Shared(endpoint)
        if old is not None:
            old.retired = True
            old.close_if_unused()

    def _wake(self) -> None:
        for waker in self._children:
            waker.wake()
