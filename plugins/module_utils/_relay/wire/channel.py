# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Frames over a stream, with heartbeats: a peer that is silent for too long is lost."""

from __future__ import annotations

import contextlib
import typing as t

from ..clock import Clock
from ..endpoints import Stream, StreamTimeout
from ..errors import PeerLost, PeerRefused, RelayError, describe
from . import messages, protocol

HEARTBEAT_S = 2.0
SILENCE_S = 6.0

# A peer that does not take what we send may be waiting for its disk; it costs one thread.
STUCK_SEND_S = 30.0

# How long one frame may take from its first byte to its last: so many seconds (to a peer that takes little, STUCK_SEND_S), and
# one more for so many bytes.
FRAME_S = 10.0
FRAME_BYTES_PER_S = 4096

# While a payload comes, the thread is woken about so often, and for so many bytes at the latest. Each time costs more than the
# bytes of a segment, as what it works with has left the processor's caches.
WAKE_S = 0.05
WAKE_BYTES = 128 * 1024

# A payload grows as it comes: what its header claims costs nothing.
_STEP_BYTES = 4096


class Channel:
    """One connection, used by one thread. ``abort`` may be called from any."""

    def __init__(
        self,
        stream: Stream,
        peer: str,
        clock: Clock,
        silence_s: float = SILENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
        count: t.Callable[[protocol.Header], None] = lambda _header: None,
    ) -> None:
        """:param count: told the header of each frame that comes; raises LimitExceeded if it is one too many."""
        self.peer = peer
        self.stream = stream
        self._clock = clock
        self._silence_s = silence_s
        self._heartbeat_s = min(heartbeat_s, silence_s / 3)
        self._heard = clock()
        self._spoke = clock()
        self._header = memoryview(bytearray(protocol.HEADER_BYTES))
        self._count = count
        # The end of what is being done with this peer, and what that is.
        self._end: tuple[float, str, type[RelayError]] | None = None
        # For how many bytes it is worth to wake, by the speed of the last payload.
        self._worth = 1
        self.received_bytes = 0
        stream.set_timeout(self._heartbeat_s)

    @property
    def heartbeat_s(self) -> float:
        return self._heartbeat_s

    @contextlib.contextmanager
    def within(self, seconds: float, what: str, error: type[RelayError] = PeerLost) -> t.Iterator[None]:
        """Inside of this the peer has so much time in all, however often it shows that it is alive.

        :param what: what it does, for the error that is raised otherwise.
        """
        before, self._end = self._end, (self._clock() + seconds, what, error)
        try:
            yield
        finally:
            self._end = before

    def greet(self) -> None:
        """Exchange the versions."""
        self.send_frame(protocol.preface())
        data = bytearray(protocol.PREFACE_BYTES)
        self._fill(memoryview(data), beat=False)
        protocol.check_preface(bytes(data), self.peer)

    def send(self, kind: int, number: int = 0, payload: bytes = b"") -> None:
        self.send_frame(protocol.encode(kind, number, payload))

    def send_message(self, kind: int, message: t.Mapping[str, t.Any]) -> None:
        self.send_frame(protocol.encode_message(kind, message))

    def send_frame(self, frame: t.Any) -> None:
        """Send a frame that is already encoded.

        :raises PeerLost: if the connection breaks, or nothing of it is taken for a long time.
        """
        rest = memoryview(frame)
        begin = moved = self._clock()
        longest = longest_s(len(rest)) + max(0.0, STUCK_SEND_S - FRAME_S)
        while rest:
            try:
                count = self.stream.send(rest)
            except StreamTimeout:
                if self._clock() - moved > max(STUCK_SEND_S, self._silence_s):
                    raise PeerLost(f"{self.peer} takes nothing any more.", peer=self.peer) from None
                self._check_end()
                continue
            except OSError as error:
                raise PeerLost(f"The connection to {self.peer} broke: {describe(error)}.", peer=self.peer) from error
            rest = rest[count:]
            moved = self._clock()
            if rest:
                self._check_end()
                if moved - begin > longest:
                    raise PeerLost(f"{self.peer} takes what it is sent by drops.", peer=self.peer)
        self._spoke = moved

    def beat(self) -> None:
        """Show the peer that we are alive, if it has heard nothing for a heartbeat."""
        if self._clock() - self._spoke >= self._heartbeat_s:
            self.send(protocol.PING)

    def check_silence(self) -> None:
        """:raises PeerLost: if the peer has been silent for too long, or its time is over."""
        self._check_end()
        silent = self._clock() - self._heard
        if silent >= self._silence_s:
            raise PeerLost(f"{self.peer} has been silent for {silent:.1f} s.", peer=self.peer)

    def _check_end(self) -> None:
        if self._end is not None and self._clock() > self._end[0]:
            raise self._end[2](f"{self.peer} {self._end[1]} for too long.", peer=self.peer)

    def receive(
        self,
        kinds: t.Container[int],
        place: t.Callable[[protocol.Header], memoryview | None] = lambda _header: None,
        between: t.Callable[[protocol.Header], None] = lambda _header: None,
    ) -> tuple[protocol.Header, memoryview]:
        """The next frame.

        :param kinds: of frames that may come now. Nothing of others is taken in.
        :param place: gives the buffer that a payload goes to; None for one that grows as it comes.
        :param between: called while it comes, after each part.
        :raises PeerLost: connection closed, broken, silent or too slow; ProtocolError: a frame that must not come.
        """
        # The time that we spent elsewhere is not the peer's silence.
        self._heard = self._clock()
        self._fill(self._header)
        header = protocol.decode_header(self._header)
        if header.kind not in kinds:
            raise protocol.ProtocolError(f"{self.peer} sent a frame of kind {header.kind} where none may come.", peer=self.peer)
        self._count(header)
        buffer = place(header)
        if buffer is None:
            return header, self._grow(header)
        begin = self._clock()
        self._fill(buffer, between=lambda: between(header))
        self._worth = min(WAKE_BYTES, int(len(buffer) / max(self._clock() - begin, 1e-6) * WAKE_S))
        return header, buffer

    def receive_frame(self, kind: int) -> tuple[protocol.Header, memoryview]:
        """The next frame, which has to be of this kind (heartbeats do not count)."""
        kinds = (kind, protocol.PING, protocol.BYE)
        while True:
            header, payload = self.receive(kinds)
            if header.kind == kind:
                return header, payload
            if header.kind == protocol.BYE:
                raise PeerRefused(f"{self.peer}: {messages.read_bye(payload, self.peer).msg}", peer=self.peer)
            self._check_end()
            self.beat()

    def _grow(self, header: protocol.Header) -> memoryview:
        """The payload in a buffer that is never much longer than what has come of it."""
        begin, longest = self._clock(), longest_s(header.length)
        payload = bytearray()
        while len(payload) < header.length:
            step = min(header.length - len(payload), max(_STEP_BYTES, len(payload)))
            part = memoryview(bytearray(step))
            self._fill(part, since=begin, longest=longest)
            payload += part
        return memoryview(payload)

    def _fill(
        self,
        view: memoryview,
        beat: bool = True,
        between: t.Callable[[], None] = lambda: None,
        since: float | None = None,
        longest: float | None = None,
    ) -> None:
        """:param since: when the frame began; None: with the first byte of this."""
        if longest is None:
            longest = longest_s(len(view))
        while view:
            try:
                count = self.stream.receive_into(view, min(self._worth, len(view)))
            except StreamTimeout:
                # It comes more slowly than before, and any byte is a sign of life.
                self._worth = 1
                self.check_silence()
                if beat:
                    self.beat()
                continue
            except OSError as error:
                raise PeerLost(f"The connection to {self.peer} broke: {describe(error)}.", peer=self.peer) from error
            if not count:
                raise PeerLost(f"{self.peer} closed the connection.", peer=self.peer)
            self._heard = self._clock()
            self.received_bytes += count
            view = view[count:]
            if since is None:
                since = self._heard
            if view:
                self._check_end()
                if self._heard - since > longest:
                    raise PeerLost(f"{self.peer} sends by drops.", peer=self.peer)
            between()

    def abort(self) -> None:
        """End the connection at once, from any thread: who waits for it gets PeerLost."""
        self.stream.abort()

    def close(self) -> None:
        self.stream.close()


def longest_s(length: int) -> float:
    """How long a frame of so many bytes may take."""
    return FRAME_S + length / FRAME_BYTES_PER_S
