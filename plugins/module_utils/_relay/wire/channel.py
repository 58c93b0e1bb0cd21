# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Frames over a stream, with heartbeats: a peer that is silent for too long is lost."""

from __future__ import annotations

import typing as t

from ..clock import Clock
from ..endpoints import Stream, StreamTimeout
from ..errors import PeerLost
from . import protocol

HEARTBEAT_S = 2.0
SILENCE_S = 6.0

# A peer that does not take what we send may be waiting for its disk; it costs one thread.
STUCK_SEND_S = 30.0


class Channel:
    """One connection, used by one thread. ``abort`` may be called from any."""

    def __init__(
        self,
        stream: Stream,
        peer: str,
        clock: Clock,
        silence_s: float = SILENCE_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.peer = peer
        self.stream = stream
        self._clock = clock
        self._silence_s = silence_s
        self._heartbeat_s = min(heartbeat_s, silence_s / 3)
        self._heard = clock()
        self._spoke = clock()
        self._header = memoryview(bytearray(protocol.HEADER_BYTES))
        self.received_bytes = 0
        stream.set_timeout(self._heartbeat_s)

    @property
    def heartbeat_s(self) -> float:
        return self._heartbeat_s

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
        moved = self._clock()
        while rest:
            try:
                count = self.stream.send(rest)
            except StreamTimeout:
                if self._clock() - moved > max(STUCK_SEND_S, self._silence_s):
                    raise PeerLost(f"{self.peer} takes nothing any more.", peer=self.peer) from None
                continue
            except OSError as error:
                raise PeerLost(f"The connection to {self.peer} broke: {describe(error)}.", peer=self.peer) from error
            rest = rest[count:]
            moved = self._clock()
        self._spoke = moved

    def beat(self) -> None:
        """Show the peer that we are alive, if it has heard nothing for a heartbeat."""
        if self._clock() - self._spoke >= self._heartbeat_s:
            self.send(protocol.PING)

    def check_silence(self) -> None:
        """:raises PeerLost: if the peer has been silent for too long."""
        silent = self._clock() - self._heard
        if silent >= self._silence_s:
            raise PeerLost(f"{self.peer} has been silent for {silent:.1f} s.", peer=self.peer)

    def receive(
        self,
        place: t.Callable[[protocol.Header], memoryview] | None = None,
        between: t.Callable[[protocol.Header], None] = lambda _header: None,
    ) -> tuple[protocol.Header, memoryview]:
        """The next frame.

        :param place: gives the buffer that the payload of DATA goes to.
        :param between: called while its payload comes, after each part.
        :raises PeerLost: connection closed, broken or silent.
        """
        # The time that we spent elsewhere is not the peer's silence.
        self._heard = self._clock()
        self._fill(self._header)
        header = protocol.decode_header(self._header)
        if header.kind == protocol.DATA and place is not None:
            payload = place(header)
        else:
            payload = memoryview(bytearray(header.length))
        self._fill(payload, between=lambda: between(header))
        return header, payload

    def receive_message(self, kind: int) -> dict[str, t.Any]:
        """The next frame, which has to be a message of this kind (heartbeats do not count)."""
        while True:
            header, payload = self.receive()
            if header.kind == kind:
                return protocol.decode_message(payload)
            if header.kind != protocol.PING:
                raise protocol.ProtocolError(f"{self.peer} sent a frame of kind {header.kind} instead of {kind}.")
            self.beat()

    def _fill(self, view: memoryview, beat: bool = True, between: t.Callable[[], None] = lambda: None) -> None:
        while view:
            try:
                count = self.stream.receive_into(view)
            except StreamTimeout:
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
            between()

    def abort(self) -> None:
        """End the connection at once, from any thread: who waits for it gets PeerLost."""
        self.stream.abort()

    def close(self) -> None:
        self.stream.close()


def describe(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
