# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Serving a base to other nodes: what is offered, and the loop that answers one child."""

from __future__ import annotations

import math
import threading
import time
import typing as t
from array import array
from collections import Counter, deque

from ..._base_format.chunk_list import ChunkList
from ..._text import clean
from ..clock import Clock, TokenBucket
from ..endpoints import Endpoint
from ..endpoints.operations import LoadChunk
from ..errors import PartialContent, ProtocolError
from ..states import HOLDING, MAX_PATHS, PENDING, ROOTED, WAITING
from ..wire import protocol
from ..wire.channel import Channel
from ..wire.compression import Press, codecs
from ..wire.messages import MAX_MSG
from ..wire.socket_stream import Waker, poll
from .link_meter import LinkMeter
from .rate_limits import Limits

# Hosts from one to where its bytes come from, nearest first. A host that finds itself in every path of a parent would
# wait for itself.
Path = t.Tuple[str, ...]


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


# A child that is first in the order and takes nothing for so long does not hold the others up.
STALL_S = 1.0

# A child that took less than its pace for a while may have that much more at once.
PACE_BURST_S = 0.2

# Announcements that are looked at together: few enough to cost little memory for a child that comes late.
NEWS = 16384

# A child that has asked for chunks before they are here gets them at once; of all others it hears so often.
NEWS_PAUSE_S = 0.5

# Chunks that are on their way from the disk to the children at the same time, in bytes: whoever comes when all are
# taken waits for the slowest of many.
BUFFERED_BYTES = 16 * 1024 * 1024

# Of these one child has at most so many: one for each connection that a child opens by itself.
BUFFERS_OF_CHILD = 4

# The chunk list is sent so often on one connection: a child asks once.
MOST_LISTS = 2

# One that asks for chunks and then takes them at a trickle gives up its stream meanwhile.
LONG_PAUSE_S = 1.0


class Order:
    """Children that a plan wants to be served one after the other; without such an order all are served at once.

    A child gets its chunks only when no child before it is asking for any. Children that the plan did not foresee come
    last.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ranks: dict[str, int] = {}
        self._asking: dict[str, float] = {}

    def set(self, children: t.Sequence[str]) -> None:
        with self._lock:
            self._ranks = {child: rank for rank, child in enumerate(children)}

    def may_send(self, child: str) -> bool:
        """Whether it is this child's turn."""
        with self._lock:
            if not self._ranks:
                return True
            now = self._clock()
            last = len(self._ranks)
            rank = self._ranks.get(child, last)
            held_up = any(self._ranks.get(other, last) < rank and now - since < STALL_S for other, since in self._asking.items())
            # Who is held up has not stalled.
            self._asking[child] = now if held_up else self._asking.get(child, now)
            return not held_up

    def sent(self, child: str) -> None:
        with self._lock:
            if self._ranks:
                self._asking[child] = self._clock()

    def satisfied(self, child: str) -> bool:
        """The child asks for nothing more, for now; whether others may have waited for that."""
        with self._lock:
            return self._asking.pop(child, None) is not None


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


class Session:
    """Answers one child about one base until the child leaves, falls silent, or the node stops."""

    def __init__(
        self,
        channel: Channel,
        offer: Offer,
        limits: Limits,
        stop: threading.Event,
        meter: LinkMeter | None = None,
        codec: str | None = None,
        served: t.Callable[[], None] = lambda: None,
    ) -> None:
        """:param codec: by which chunks may be made smaller, see compression.codecs.
        :param served: called after each chunk.
        """
        self._served = served
        self._channel = channel
        self._meter = meter or LinkMeter(time.monotonic)
        self._offer = offer
        self._limits = limits
        self._waker = Waker()
        self._codec = codec
        self._press = None if codec is None else Press(codecs()[codec](), time.monotonic)
        self._stop = stop
        # What the child wants, as far as it is here, and what it wants as soon as it is.
        self._wants: deque[int] = deque()
        self._lists = 0
        self._awaited: set[int] = set()
        self._begun = False
        self._news_at = -math.inf
        self._list_wanted = False
        self._sent_view: tuple[View, bool] | None = None
        self._turn = True
        self._cursor = 0
        self._retractions = offer.retractions
        # What the child wants at the most.
        self._pace = TokenBucket(None, time.monotonic, PACE_BURST_S)

    def run(self) -> None:
        """:raises PeerLost: when the child leaves; ProtocolError:"""
        waker = self._waker
        self._offer.subscribe(waker, self._channel.peer, self._awaited)
        try:
            while not self._stop.is_set():
                if self._offer.retractions != self._retractions:
                    self._channel.send_message(protocol.BYE, {"msg": "what this host had of the base is gone"})
                    return
                seconds = self._channel.heartbeat_s
                if self._awaited:
                    self._wants.extend(self._offer.arrived(self._awaited))
                early = self._too_early_s() if self._wants else 0.0
                if early > LONG_PAUSE_S:
                    self._limits.streams.leave(self._waker)
                self._turn = not self._wants or early > LONG_PAUSE_S or self._may_send()
                self._tell_news()
                if self._wants and not self._turn:
                    seconds = min(seconds, STALL_S / 2)
                elif self._wants:
                    seconds = min(seconds, early)
                    if not seconds:
                        self._send_chunk(self._wants.popleft())
                readable = self._channel.stream.readable()
                if not readable:
                    readable, woken = poll(self._channel.stream.fileno(), waker.fileno(), seconds)
                    if woken:
                        waker.clear()
                if readable:
                    self._handle()
                elif seconds:
                    self._channel.check_silence()
                if seconds:
                    # After its signs of life, too: a child that sends them as often as this one waits would hear none.
                    self._channel.beat()
        finally:
            self._satisfied()
            self._offer.unsubscribe(waker)
            waker.close()

    def _may_send(self) -> bool:
        return self._offer.order.may_send(self._channel.peer) and self._limits.streams.may_send(self._waker, self._channel.peer)

    def _too_early_s(self) -> float:
        seconds = self._pace.wait_s
        if seconds:
            # It is not the link that keeps it waiting.
            self._meter.pause(self._channel.peer)
        return seconds

    def _satisfied(self) -> None:
        self._meter.pause(self._channel.peer)
        self._limits.streams.leave(self._waker)
        self._offer.satisfied(self._channel.peer)

    def _tell_news(self) -> None:
        told = self._offer.view, self._turn
        if told != self._sent_view:
            self._channel.send_message(protocol.STATE, told[0].message(self._turn, self._codec))
            self._sent_view = told
        if self._list_wanted:
            chunks = self._offer.chunks
            if chunks is not None:
                self._send_list(chunks)
                self._list_wanted = False
        self._tell_chunks()

    def _tell_chunks(self) -> None:
        if not self._begun and self._offer.chunks is not None:
            # There may be none yet: now the child can ask for what is still to come.
            self._begun = True
            self._channel.send(protocol.HAVE)
        now = time.monotonic()
        if self._awaited and now - self._news_at < NEWS_PAUSE_S:
            return
        self._news_at = now
        while True:
            payloads, self._cursor = self._offer.news(self._cursor)
            for payload in payloads:
                self._channel.send(protocol.HAVE, 0, payload)
            if not payloads:
                return

    def _send_list(self, chunks: ChunkList) -> None:
        for offset in range(0, chunks.list_bytes, protocol.LIST_PART_BYTES):
            self._channel.send(protocol.LIST_PART, offset, chunks.part(offset, protocol.LIST_PART_BYTES))

    def _handle(self) -> None:
        header, payload = self._channel.receive(protocol.FROM_CHILD)
        if header.kind == protocol.LIST:
            self._lists += 1
            if self._lists > MOST_LISTS:
                raise ProtocolError(f"{self._channel.peer} asks for the chunk list again and again.")
            self._list_wanted = True
        elif header.kind == protocol.WANT:
            chunks = self._offer.chunks
            if chunks is None:
                raise ProtocolError(f"{self._channel.peer} asks for chunks that were not offered.")
            if len(self._wants) + len(self._awaited) + header.length // 8 > protocol.MAX_ITEMS:
                raise ProtocolError(f"{self._channel.peer} asks for too many chunks at once.")
            wanted = protocol.decode_indexes(payload, chunks.count)
            fresh = set(wanted)
            if len(fresh) < len(wanted) or not fresh.isdisjoint(self._awaited) or not fresh.isdisjoint(self._wants):
                raise ProtocolError(f"{self._channel.peer} asks for a chunk that it has asked for.")
            self._wants.extend(self._offer.sort(wanted, self._awaited))
        elif header.kind == protocol.CANCEL:
            chunks = self._offer.chunks
            # All of it may have gone while the request was on its way.
            cancelled = set() if chunks is None else set(protocol.decode_indexes(payload, chunks.count))
            self._awaited.difference_update(cancelled)
            self._wants = deque(index for index in self._wants if index not in cancelled)
            if not self._wants:
                self._satisfied()
        elif header.kind == protocol.PACE:
            self._pace.set_rate(header.number or None)

    def _send_chunk(self, index: int) -> None:
        buffers = self._offer.buffers
        if buffers is None:
            return
        buffer = None
        while buffer is None:
            buffer = buffers.take(self._channel.peer, self._channel.heartbeat_s)
            self._channel.beat()
            if self._stop.is_set() and buffer is None:
                return
        try:
            self._send_frame(index, buffer)
        finally:
            buffers.give(self._channel.peer, buffer)

    def _send_frame(self, index: int, buffer: bytearray) -> None:
        view = memoryview(buffer)
        self._meter.sending(self._channel.peer)
        try:
            length = self._offer.load(index, view[protocol.HEADER_BYTES :])
        except (PartialContent, OSError) as error:
            self._channel.send(protocol.NOT_HERE, index, str(error).encode()[: protocol.REASON_BYTES])
            return
        kind = protocol.DATA
        if self._press is not None:
            packed = self._press.pack(view[protocol.HEADER_BYTES : protocol.HEADER_BYTES + length])
            if packed is not None:
                kind, length = protocol.PACKED, len(packed)
                view[protocol.HEADER_BYTES : protocol.HEADER_BYTES + length] = packed
        begin = time.monotonic()
        self._pause(self._limits.up.take(length, self._channel.peer))
        protocol.pack_header(buffer, kind, length, index)
        self._channel.send_frame(view[: protocol.HEADER_BYTES + length])
        if self._press is not None:
            self._press.sent(time.monotonic() - begin, length)
        self._pace.take(length)
        self._served()
        self._offer.sent_bytes += length
        self._offer.order.sent(self._channel.peer)
        self._meter.sent(self._channel.peer, length)
        if not self._wants:
            self._satisfied()

    def _pause(self, seconds: float) -> None:
        while seconds > 0 and not self._stop.wait(min(seconds, self._channel.heartbeat_s)):
            seconds -= self._channel.heartbeat_s
            self._channel.beat()
