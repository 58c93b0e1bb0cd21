# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The loop that answers one child about one base."""

from __future__ import annotations

import math
import threading
import time
import typing as t
from collections import deque

from ..._base_format.chunk_list import ChunkList
from ..clock import TokenBucket
from ..errors import PartialContent, ProtocolError
from ..wire import protocol
from ..wire.channel import Channel
from ..wire.compression import Press, codecs
from ..wire.socket_stream import Waker, poll
from .link_meter import LinkMeter
from .offer import Offer, View
from .rate_limits import Limits
from .turns import STALL_S

# A child that took less than its pace for a while may have that much more at once.
PACE_BURST_S = 0.2

# A child that has asked for chunks before they are here gets them at once; of all others it hears so often.
NEWS_PAUSE_S = 0.5

# The chunk list is sent so often on one connection: a child asks once.
MOST_LISTS = 2

# One that asks for chunks and then takes them at a trickle gives up its stream meanwhile.
LONG_PAUSE_S = 1.0


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
