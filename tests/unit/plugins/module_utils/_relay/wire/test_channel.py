# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PeerLost
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.channel import Channel
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.socket_stream import SocketStream

STEPS: dict[str, t.Callable[[Channel], t.Any]] = {
    "send": lambda channel: channel.send(protocol.PING),
    "receive": lambda channel: channel.receive((protocol.PING,)),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_connection_that_breaks_names_the_peer(step: str) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(SocketStream(ours), "kvm2", time.monotonic)
    channel.send(protocol.PING)
    theirs.close()  # with bytes that it has not read: that is a reset
    with pytest.raises(PeerLost, match=r"The connection to kvm2 broke: .+\.") as caught:
        STEPS[step](channel)
    assert caught.value.fields["peer"] == "kvm2"
    channel.close()


CHUNK = 256 * 1024


class Waits(SocketStream):
    """Counts how often its thread has slept."""

    number = 0

    def _wait(self, event: int, end: float) -> None:
        self.number += 1
        super()._wait(event, end)


@pytest.fixture
def line() -> t.Iterator[tuple[Channel, Waits, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _address = server.accept()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = Waits(ours)
    channel = Channel(stream, "kvm2", time.monotonic, silence_s=3.0, heartbeat_s=0.3)
    yield channel, stream, theirs
    channel.close()
    theirs.close()


def trickle(theirs: socket.socket, pauses: t.Sequence[float]) -> None:
    """A chunk in as many pieces as there are pauses."""
    piece = CHUNK // len(pauses)
    theirs.sendall(protocol.encode(protocol.DATA, 7, bytes(CHUNK))[: protocol.HEADER_BYTES])
    for pause in pauses:
        time.sleep(pause)
        theirs.sendall(bytes(piece))


def fetch(channel: Channel, theirs: socket.socket, pauses: t.Sequence[float]) -> int:
    """Bytes of the chunk that has come."""
    sender = threading.Thread(target=trickle, args=(theirs, pauses))
    sender.start()
    buffer = memoryview(bytearray(CHUNK))
    header, payload = channel.receive((protocol.DATA,), lambda _header: buffer)
    sender.join()
    assert header.number == 7
    return len(payload)


def test_a_chunk_that_trickles_does_not_wake_for_each_piece(line: tuple[Channel, Waits, socket.socket]) -> None:
    channel, stream, theirs = line
    fetch(channel, theirs, [0.001] * 64)  # tells how quick the link is
    stream.number = 0
    assert fetch(channel, theirs, [0.001] * 64) == CHUNK
    assert 1 <= stream.number <= 24


def test_a_chunk_whose_rest_is_late_or_slow_comes_whole(line: tuple[Channel, Waits, socket.socket]) -> None:
    channel, _stream, theirs = line
    fetch(channel, theirs, [0.0] * 4)
    # Longer than a heartbeat, with fewer bytes there than the thread sleeps for.
    assert fetch(channel, theirs, [*[0.0] * 7, 0.8, *[0.05] * 24]) == CHUNK
    assert fetch(channel, theirs, [0.4] * 4) == CHUNK
    # Frames of a few bytes come at once afterwards.
    begin = time.monotonic()
    theirs.sendall(protocol.encode(protocol.PING))
    assert channel.receive((protocol.PING,))[0].kind == protocol.PING
    assert time.monotonic() - begin < 0.25
