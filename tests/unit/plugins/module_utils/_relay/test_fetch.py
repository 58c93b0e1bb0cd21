# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.channel import Channel
from ansible_collections.basecast.fleet.plugins.module_utils._relay.chunks import ChunkHasher
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.faulty import (
    FaultyEndpoint,
    FaultyStream,
)
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.memory import MemoryEndpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.socket import SocketStream
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PeerLost, RelayError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.fetch import Fetch
from ansible_collections.basecast.fleet.plugins.module_utils._relay.limits import Limits
from ansible_collections.basecast.fleet.plugins.module_utils._relay.source import Offer, Serving
from ansible_collections.basecast.fleet.plugins.module_utils._relay.stats import TokenBucket
from ansible_collections.basecast.fleet.plugins.module_utils._relay.steering import Patience, route_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHUNK = 4096
DATA = b"".join(bytes(CHUNK) if n % 5 == 4 else os.urandom(CHUNK) for n in range(24)) + os.urandom(77)


class Site:
    """Parents in memory behind streams that may fail, and one fetch."""

    def __init__(self, parents: dict[str, dict[str, t.Any]], marks: t.Iterable[int] = ()) -> None:
        hasher = ChunkHasher(CHUNK)
        hasher.update(DATA)
        self.sha256, self.chunks = hasher.finish()
        self.parents = parents
        self.stop = threading.Event()
        self.endpoint = MemoryEndpoint(len(DATA), CHUNK)
        for index in marks:
            offset = self.chunks.offset(index)
            self.endpoint.write(offset, memoryview(DATA)[offset : offset + self.chunks.length(index)])
            self.endpoint.mark(index)
        self.offer = Offer("me", self.sha256)
        self.threads: list[threading.Thread] = []
        self.connections = dict.fromkeys(parents, 0)
        self.endpoints = {
            name: FaultyEndpoint(
                MemoryEndpoint(len(DATA), CHUNK, DATA), faults.get("wrong_reads"), None, faults.get("lost", ())
            )
            for name, faults in parents.items()
        }

    def connect(self, name: str) -> Channel:
        faults = self.parents[name]
        self.connections[name] += 1
        if self.connections[name] in faults.get("refuse", ()):
            raise PeerLost(f"{name} cannot be reached.")
        ours, theirs = socket.socketpair()
        offer = Offer(name, self.sha256)
        offer.set_whole(self.chunks, self.endpoints[name])
        thread = threading.Thread(target=self._serve, args=(theirs, offer))
        thread.start()
        self.threads.append(thread)
        damage = faults.get("streams", [])
        number = self.connections[name] - 1
        stream = FaultyStream(SocketStream(ours), **(damage[number] if number < len(damage) else {}))
        return Channel(stream, name, time.monotonic, silence_s=0.2)

    def _serve(self, connection: socket.socket, offer: Offer) -> None:
        channel = Channel(SocketStream(connection), "child", time.monotonic, silence_s=1.0, heartbeat_s=0.05)
        with contextlib.suppress(RelayError, OSError):
            channel.receive()
            Serving(channel, offer, Limits(time.monotonic), self.stop).run()
        channel.close()

    def fetch(self, alone: float = 0.4, trusted: bool = True) -> Fetch:
        return Fetch(
            self.sha256,
            len(DATA),
            CHUNK,
            self.chunks.sha256,
            "me",
            route_of(list(self.parents)),
            self.connect,
            self.endpoint,
            self.offer,
            time.monotonic,
            threading.Event(),
            trusted=trusted,
            patience=Patience(0.4, 0.1, alone),
        )

    def close(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive()


faults = st.fixed_dictionaries(
    {},
    optional={
        "refuse": st.sets(st.integers(1, 3)),
        "wrong_reads": st.dictionaries(
            st.integers(0, 24).map(lambda n: n * CHUNK), st.sampled_from([1, 2, -1]), max_size=3
        ),
        "lost": st.sets(st.integers(0, 24).map(lambda n: n * CHUNK), max_size=2),
        "streams": st.lists(
            st.dictionaries(
                st.sampled_from(["cut_after", "stall_after", "flip_at"]), st.integers(0, len(DATA)), max_size=1
            ),
            max_size=2,
        ),
    },
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    parents=st.lists(faults, min_size=1, max_size=3),
    marks=st.sets(st.integers(0, 24), max_size=8),
)
def test_whatever_fails_the_result_is_the_file_or_an_error(parents: list[dict[str, t.Any]], marks: set[int]) -> None:
    site = Site({f"p{number}": faults for number, faults in enumerate(parents)}, marks)
    fetch = site.fetch()
    try:
        fetch.run()
    except RelayError as error:
        assert error.message
        assert fetch.attempts, "an error without any attempt"
        assert all(parents), "one of the parents had no fault at all"
    else:
        assert bytes(site.endpoint.data) == DATA
        assert all(site.endpoint.marks())
    finally:
        site.close()
    # Right or not: what is marked is right.
    marked = site.endpoint.marks()
    for index in range(site.chunks.count):
        if marked[index]:
            part = slice(site.chunks.offset(index), site.chunks.offset(index) + site.chunks.length(index))
            assert bytes(site.endpoint.data[part]) == DATA[part], index


def test_what_a_lost_parent_was_asked_for_is_asked_from_the_next() -> None:
    site = Site({"p0": {"streams": [{"cut_after": len(DATA) // 3}]}, "p1": {}})
    fetch = site.fetch()
    fetch.run()
    site.close()
    assert bytes(site.endpoint.data) == DATA
    assert site.connections == {"p0": 1, "p1": 1}
    assert fetch.received_bytes < len(DATA)


def test_a_parent_that_lives_again_is_used_again() -> None:
    site = Site({"p0": {"refuse": {1, 2}}})
    site.fetch(alone=5.0).run()
    site.close()
    assert bytes(site.endpoint.data) == DATA
    assert site.connections == {"p0": 3}


def test_a_chunk_that_a_parent_cannot_read_comes_from_another() -> None:
    site = Site({"p0": {"lost": {3 * CHUNK}}, "p1": {}})
    fetch = site.fetch()
    fetch.run()
    site.close()
    assert bytes(site.endpoint.data) == DATA
    assert "p0 cannot read chunk 3" in fetch.attempts[0].error


def test_a_chunk_list_that_is_not_the_runs_is_refused() -> None:
    site = Site({"p0": {}})
    fetch = site.fetch()
    fetch.chunks_sha256 = "0" * 64
    with pytest.raises(RelayError, match="p0 sent a chunk list with digest"):
        fetch.run()
    site.close()
    assert not any(site.endpoint.marks())


def test_the_bucket_keeps_the_rate_and_allows_a_small_burst() -> None:
    now = [100.0]
    bucket = TokenBucket(1000.0, lambda: now[0], burst_s=0.5)
    assert bucket.take(500) == 0.0
    assert bucket.take(1000) == pytest.approx(0.5)
    assert bucket.take(1) == pytest.approx(1.5)
    now[0] += 100
    assert bucket.take(500) == 0.0
    assert bucket.take(500) == 0.0
    assert bucket.take(500) == pytest.approx(0.5)
    bucket.set_rate(None)
    assert bucket.take(1 << 40) == 0.0
