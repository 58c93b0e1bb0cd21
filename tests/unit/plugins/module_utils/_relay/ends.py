# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Both ends of one connection: a parent with a child that the test plays, and a fetch whose parents it plays."""

from __future__ import annotations

import os
import socket
import threading
import time
import typing as t

from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import ChunkHasher, ChunkList
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.fetcher import Fetch, Sink, Surroundings
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent_selection import Patience, route_of
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.transfer import BaseIds, Terms
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.memory import MemoryEndpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import RelayError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.states import FETCHING, ROOTED
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.offer import Offer
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.rate_limits import Limits, Throttle
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.session import Session
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.channel import Channel
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.socket_stream import SocketStream

ANY = range(256)
CHUNK = 4096
COUNT = 40
DATA = os.urandom(CHUNK * COUNT)


def chunk_list() -> tuple[str, ChunkList]:
    hasher = ChunkHasher(CHUNK)
    hasher.update(DATA)
    return hasher.finish()


SHA256, CHUNKS = chunk_list()


def until(condition: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "the condition was not reached in time"
        time.sleep(0.005)


class End:
    """The test's end of a connection."""

    def __init__(self, peer: str) -> None:
        self.theirs, ours = socket.socketpair()
        self.channel = Channel(SocketStream(ours), peer, time.monotonic, silence_s=5.0, heartbeat_s=0.05)

    def frame(self, *kinds: int) -> tuple[int, int, bytes]:
        """The next frame of these kinds; others are passed over."""
        while True:
            header, payload = self.channel.receive(ANY)
            if header.kind in kinds:
                return header.kind, header.number, bytes(payload)
            self.channel.beat()

    def send(self, kind: int, number: int = 0, payload: bytes = b"") -> None:
        self.channel.send(kind, number, payload)


class Parent:
    """A host that has nothing yet, with a child that the test plays."""

    def __init__(self) -> None:
        self.offer = Offer("parent", SHA256)
        self.offer.set_view(FETCHING, ROOTED, [("holder",)])
        self.child = End("parent")
        self.stop = threading.Event()
        self.error: RelayError | None = None
        channel = Channel(SocketStream(self.child.theirs), "child", time.monotonic, silence_s=5.0, heartbeat_s=0.05)
        self._thread = threading.Thread(target=self._serve, args=(channel,))
        self._thread.start()

    def _serve(self, channel: Channel) -> None:
        try:
            Session(channel, self.offer, Limits(time.monotonic), self.stop).run()
        except RelayError as error:
            self.error = error
        finally:
            channel.close()

    def begin(self) -> None:
        self.offer.set_parts(CHUNKS, MemoryEndpoint(len(DATA), CHUNK, DATA))

    def close(self) -> None:
        self.stop.set()
        self.child.channel.close()
        self._thread.join(5)
        assert not self._thread.is_alive()


class Child:
    """A fetch whose parents the test plays."""

    def __init__(self, *parents: str, stripes: int = 1, compression: bool = False) -> None:
        self.parents: dict[str, End] = {}
        self.endpoint = MemoryEndpoint(len(DATA), CHUNK)
        self.stop = threading.Event()
        self.offer = Offer("child", SHA256)
        self.failure: RelayError | None = None
        choices = [[*parents[nth:], *parents[:nth]] for nth in range(stripes)]
        self.fetch = Fetch(
            BaseIds(SHA256, len(DATA), CHUNK, CHUNKS.sha256),
            route_of(choices),
            Terms("child", True, compression, Patience(5.0, 5.0, 5.0)),
            Sink(self.endpoint, self.offer),
            Surroundings(self._connect, time.monotonic, self.stop, Throttle(time.monotonic)),
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _connect(self, name: str) -> Channel:
        end = End("child")
        self.parents[name] = end
        return Channel(SocketStream(end.theirs), name, time.monotonic, silence_s=5.0, heartbeat_s=0.05)

    def _run(self) -> None:
        try:
            self.fetch.run()
        except RelayError as error:
            self.failure = error

    def greet(self, name: str, list_too: bool = True) -> End:
        """The parent says that a holder is above it, and gives the chunk list."""
        until(lambda: name in self.parents)
        end = self.parents[name]
        end.frame(protocol.OPEN)
        end.channel.send_message(protocol.STATE, {"state": FETCHING, "feed": ROOTED, "paths": [[name, "S"]], "turn": True})
        if list_too:
            end.frame(protocol.LIST)
            end.send(protocol.LIST_PART, 0, CHUNKS.part(0, protocol.LIST_PART_BYTES))
        return end

    def wanted(self, end: End) -> list[int]:
        return protocol.decode_indexes(end.frame(protocol.WANT)[2], COUNT)

    def give(self, end: End, index: int) -> None:
        end.send(protocol.DATA, index, DATA[index * CHUNK : (index + 1) * CHUNK])

    def ended(self) -> bool:
        self._thread.join(5)
        return not self._thread.is_alive() and self.failure is None

    def close(self) -> None:
        self.stop.set()
        self.fetch.abort()
        for end in self.parents.values():
            end.channel.close()
        self._thread.join(5)
        assert not self._thread.is_alive()
