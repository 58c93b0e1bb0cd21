# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Serving a base to other nodes: what is offered, and the loop that answers one child."""

from __future__ import annotations

import threading
import typing as t
from array import array
from collections import deque

from . import protocol
from .channel import Channel
from .chunks import ChunkList
from .endpoints import Endpoint
from .endpoints.socket import Waker, poll
from .errors import PartialContent, ProtocolError
from .operations import LoadChunk
from .stats import TokenBucket

# States of a base on a host.
WAITING, FETCHING, HOLDING, FAILED = "waiting", "fetching", "holding", "failed"

# Where a host's bytes come from in the end: a holder; a host that has not been told its part yet; nobody alive.
ROOTED, PENDING, LOST = "rooted", "pending", "lost"


class View(t.NamedTuple):
    """What children are told of a base."""

    state: str
    feed: str
    path: tuple[str, ...]
    msg: str

    def message(self) -> dict[str, t.Any]:
        return {"state": self.state, "feed": self.feed, "path": list(self.path), "msg": self.msg}


class _Shared:
    """An endpoint that several threads read; closed after the last one, so that no descriptor is reused under them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.readers = 0
        self.retired = False

    def close_if_unused(self) -> None:
        if self.retired and not self.readers:
            self.endpoint.close()


class Offer:
    """What this node can serve of one base at the moment. Thread-safe; children's threads are woken by changes."""

    def __init__(self, host: str, sha256: str) -> None:
        self.sha256 = sha256
        self._host = host
        self._lock = threading.Lock()
        self._view = View(WAITING, PENDING, (host,), "")
        self._chunks: ChunkList | None = None
        self._shared: _Shared | None = None
        self._whole = False
        self._announced: array[int] = array("Q")
        self._wakers: set[Waker] = set()
        self.sent_bytes = 0

    def set_view(self, state: str, feed: str, path: t.Sequence[str] = (), msg: str = "") -> None:
        """:param path: the hosts above this one, nearest first."""
        view = View(state, feed, (self._host, *path), msg)
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
        """These chunks are verified and stored."""
        with self._lock:
            self._announced.extend(indexes)
            self._wake()

    def set_whole(self, chunks: ChunkList, endpoint: Endpoint) -> None:
        """The base lies in the store, complete."""
        with self._lock:
            self._replace(chunks, endpoint)
            self._whole = True
            self._view = View(HOLDING, ROOTED, (self._host,), "")
            self._wake()

    def withdraw(self) -> None:
        """Nothing can be read any more; the endpoint is closed."""
        with self._lock:
            self._replace(None, None)
            self._whole = False
            del self._announced[:]
            self._wake()

    @property
    def view(self) -> View:
        with self._lock:
            return self._view

    @property
    def chunks(self) -> ChunkList | None:
        with self._lock:
            return self._chunks

    def news(self, cursor: int) -> tuple[list[bytes], int]:
        """Payloads of HAVE after the cursor, and the new cursor."""
        with self._lock:
            if self._whole and self._chunks is not None:
                whole = 1 << 62
                return ([protocol.encode_whole(self._chunks.count)] if cursor < whole else []), whole
            fresh = self._announced[cursor:]
            return protocol.encode_ranges(fresh), cursor + len(fresh)

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

    def subscribe(self, waker: Waker) -> None:
        with self._lock:
            self._wakers.add(waker)

    def unsubscribe(self, waker: Waker) -> None:
        with self._lock:
            self._wakers.discard(waker)

    def _replace(self, chunks: ChunkList | None, endpoint: Endpoint | None) -> None:
        """Offers own their endpoints: the one before is closed when nobody reads it any more."""
        old = self._shared
        self._chunks = chunks
        self._shared = None if endpoint is None else _Shared(endpoint)
        if old is not None:
            old.retired = True
            old.close_if_unused()

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.wake()


class Serving:
    """Answers one child about one base until the child leaves, falls silent, or the node stops."""

    def __init__(self, channel: Channel, offer: Offer, bucket: TokenBucket, stop: threading.Event) -> None:
        self._channel = channel
        self._offer = offer
        self._bucket = bucket
        self._stop = stop
        self._wants: deque[int] = deque()
        self._list_wanted = False
        self._sent_view: View | None = None
        self._cursor = 0
        self._buffer: bytearray | None = None

    def run(self) -> None:
        """:raises PeerLost: when the child leaves; ProtocolError:"""
        waker = Waker()
        self._offer.subscribe(waker)
        try:
            while not self._stop.is_set():
                self._tell_news()
                if self._wants:
                    self._send_chunk(self._wants.popleft())
                seconds = 0.0 if self._wants else self._channel.heartbeat_s
                readable = self._channel.stream.readable()
                if not readable:
                    readable, woken = poll(self._channel.stream.fileno(), waker.fileno(), seconds)
                    if woken:
                        waker.clear()
                if readable:
                    self._handle()
                elif not self._wants:
                    self._channel.check_silence()
                    self._channel.beat()
        finally:
            self._offer.unsubscribe(waker)
            waker.close()

    def _tell_news(self) -> None:
        view = self._offer.view
        if view != self._sent_view:
            self._channel.send_message(protocol.STATE, view.message())
            self._sent_view = view
        if self._list_wanted:
            chunks = self._offer.chunks
            if chunks is not None:
                self._send_list(chunks)
                self._list_wanted = False
        payloads, self._cursor = self._offer.news(self._cursor)
        for payload in payloads:
            self._channel.send(protocol.HAVE, 0, payload)

    def _send_list(self, chunks: ChunkList) -> None:
        data = chunks.to_bytes()
        for offset in range(0, len(data), protocol.LIST_PART_BYTES):
            self._channel.send(protocol.LIST_PART, offset, data[offset : offset + protocol.LIST_PART_BYTES])

    def _handle(self) -> None:
        header, payload = self._channel.receive()
        if header.kind == protocol.LIST:
            self._list_wanted = True
        elif header.kind == protocol.WANT:
            chunks = self._offer.chunks
            if chunks is None:
                raise ProtocolError(f"{self._channel.peer} asks for chunks that were not offered.")
            if len(self._wants) + header.length // 8 > protocol.MAX_ITEMS:
                raise ProtocolError(f"{self._channel.peer} asks for too many chunks at once.")
            self._wants.extend(protocol.decode_indexes(payload, chunks.count))
        elif header.kind != protocol.PING:
            raise ProtocolError(f"{self._channel.peer} sent a frame of kind {header.kind}.")

    def _send_chunk(self, index: int) -> None:
        chunks = self._offer.chunks
        if self._buffer is None:
            if chunks is None:
                return
            self._buffer = bytearray(protocol.HEADER_BYTES + chunks.chunk_bytes)
        view = memoryview(self._buffer)
        try:
            length = self._offer.load(index, view[protocol.HEADER_BYTES :])
        except (PartialContent, OSError) as error:
            self._channel.send(protocol.NOT_HERE, index, str(error).encode()[: protocol.MAX_MESSAGE_BYTES])
            return
        self._pause(self._bucket.take(length))
        protocol.pack_header(self._buffer, protocol.DATA, length, index)
        self._channel.send_frame(view[: protocol.HEADER_BYTES + length])
        self._offer.sent_bytes += length

    def _pause(self, seconds: float) -> None:
        while seconds > 0 and not self._stop.wait(min(seconds, self._channel.heartbeat_s)):
            seconds -= self._channel.heartbeat_s
            self._channel.beat()
