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
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import ChunkHasher
from ansible_collections.basecast.fleet.plugins.module_utils._relay.clock import TokenBucket
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.fetcher import Fetch, Sink, Surroundings
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent_selection import Patience, Route, route_of
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.transfer import BaseIds, Terms
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.faulty import FaultyEndpoint, FaultyStream
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.memory import MemoryEndpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PeerLost, RelayError, StorageFailed
from ansible_collections.basecast.fleet.plugins.module_utils._relay.states import FETCHING, LOST, ROOTED
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.offer import Offer
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.rate_limits import Limits, Throttle
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.session import Session
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.channel import Channel
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.socket_stream import SocketStream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHUNK = 4096
DATA = b"".join(bytes(CHUNK) if n % 5 == 4 else os.urandom(CHUNK) for n in range(24)) + os.urandom(77)


IMPATIENT = Patience(0.4, 0.1, 0.4)


class Site:
    """Parents in memory behind streams that may fail, and one fetch."""

    def __init__(self, parents: dict[str, dict[str, t.Any]], marks: t.Iterable[int] = (), route: Route | None = None) -> None:
        hasher = ChunkHasher(CHUNK)
        hasher.update(DATA)
        self.sha256, self.chunks = hasher.finish()
        self.parents = parents
        self.route = route or route_of(list(parents))
        self.stop = threading.Event()
        self.endpoint = MemoryEndpoint(len(DATA), CHUNK)
        for index in marks:
            offset = self.chunks.offset(index)
            self.endpoint.write(offset, memoryview(DATA)[offset : offset + self.chunks.length(index)])
            self.endpoint.mark(index)
        self.offer = Offer("me", self.sha256)
        self.threads: list[threading.Thread] = []
        self.connections = dict.fromkeys(parents, 0)
        self.offers: list[Offer] = []
        self.endpoints = {
            name: FaultyEndpoint(MemoryEndpoint(len(DATA), CHUNK, DATA), faults.get("wrong_reads"), None, faults.get("lost", ()))
            for name, faults in parents.items()
        }

    def connect(self, name: str) -> Channel:
        faults = self.parents[name]
        self.connections[name] += 1
        if self.connections[name] in faults.get("refuse", ()):
            raise PeerLost(f"{name} cannot be reached.")
        ours, theirs = socket.socketpair()
        number = self.connections[name] - 1
        offer = Offer(name, self.sha256)
        limits = Limits(time.monotonic)
        limits.set(rate_mbps=faults.get("mbps"))
        thread = threading.Thread(target=self._serve, args=(theirs, offer, limits))
        thread.start()
        self.threads.append(thread)
        self.offers.append(offer)
        if number >= faults.get("silent", 0):
            self._fill(offer, name, faults.get("has"))
        damage = faults.get("streams", [])
        stream = FaultyStream(SocketStream(ours), **(damage[number] if number < len(damage) else {}))
        return Channel(stream, name, time.monotonic, silence_s=0.2)

    def _fill(self, offer: Offer, name: str, has: t.Sequence[int] | None) -> None:
        if has is None:
            offer.set_whole(self.chunks, self.endpoints[name])
            return
        # It is itself still fetching, from a holder that is none of our business.
        above = self.parents[name].get("above", "elsewhere")
        offer.set_view(FETCHING, ROOTED if name == "p0" else LOST, [(above,)])
        offer.set_parts(self.chunks, self.endpoints[name])
        for index in has:
            offer.announce([index])

    def _serve(self, connection: socket.socket, offer: Offer, limits: Limits) -> None:
        channel = Channel(SocketStream(connection), "child", time.monotonic, silence_s=1.0, heartbeat_s=0.05)
        with contextlib.suppress(RelayError, OSError):
            channel.receive(range(256))
            Session(channel, offer, limits, self.stop).run()
        channel.close()

    def fetch(self, patience: Patience = IMPATIENT, sink: t.Any = (), **base: t.Any) -> Fetch:
        around = Surroundings(self.connect, time.monotonic, threading.Event(), Throttle(time.monotonic), others=lambda: list(self.parents))
        return Fetch(
            BaseIds(self.sha256, len(DATA), CHUNK, self.chunks.sha256)._replace(**base),
            self.route,
            Terms("me", share=True, patience=patience),
            Sink(self.endpoint, self.offer)._replace(**dict(sink)),
            around,
        )

    def close(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive()


faults = st.fixed_dictionaries(
    {},
    optional={
        "refuse": st.sets(st.integers(1, 3), min_size=1),
        "silent": st.integers(1, 2),
        "has": st.lists(st.integers(0, 24), max_size=25, unique=True),
        "wrong_reads": st.dictionaries(st.integers(0, 24).map(lambda n: n * CHUNK), st.sampled_from([1, 2, -1]), max_size=3),
        "lost": st.sets(st.integers(0, 24).map(lambda n: n * CHUNK), max_size=2),
        "streams": st.lists(
            st.dictionaries(st.sampled_from(["cut_after", "stall_after", "flip_at"]), st.integers(0, len(DATA)), max_size=1),
            max_size=2,
        ),
    },
)


def is_sound(faults: dict[str, t.Any]) -> bool:
    """Whether a host with these faults gives every chunk in the end."""
    return set(faults) <= {"silent"}


@st.composite
def sites(draw: st.DrawFn) -> Site:
    """One to four hosts with their faults, stripes that name some of them in any order, and what is here already."""
    described = draw(st.lists(faults, min_size=1, max_size=4))
    parents = {f"p{number}": faults for number, faults in enumerate(described)}
    choices = st.lists(st.sampled_from(sorted(parents)), min_size=1, max_size=4, unique=True)
    stripes = draw(st.lists(choices, min_size=1, max_size=3))
    weights = draw(st.lists(st.integers(1, 4), min_size=len(stripes), max_size=len(stripes)))
    route = route_of(stripes, [float(weight) for weight in weights])
    return Site(parents, draw(st.sets(st.integers(0, 24), max_size=8)), route)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(site=sites())
def test_whatever_fails_the_result_is_the_file_or_an_error(site: Site) -> None:
    sound = any(map(is_sound, site.parents.values()))
    # Where it has to come to a good end, a busy machine gets its time.
    fetch = site.fetch(Patience(0.4, 0.1, 8.0 if sound else 0.4))
    ended = threading.Event()
    threading.Thread(target=lambda: ended.wait(40) or fetch.transfer.fail(RelayError("it hangs")), daemon=True).start()
    try:
        fetch.run()
    except RelayError as error:
        assert error.message
        assert error.message != "it hangs", (site.parents, site.route)
        assert fetch.attempts, "an error without any attempt"
        assert not sound, (error.message, site.parents, site.route, fetch.attempts)
    else:
        assert bytes(site.endpoint.data) == DATA
        assert all(site.endpoint.marks())
    finally:
        ended.set()
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


def test_what_a_crawling_parent_was_asked_for_is_recalled_and_comes_from_another() -> None:
    """It was asked for everything at once: without that, nothing would be left to try another with."""
    site = Site({"p0": {"mbps": 0.02}, "p1": {}})
    fetch = site.fetch(Patience(0.4, 0.1, 5.0))
    ended = threading.Event()
    threading.Thread(target=lambda: ended.wait(35) or fetch.transfer.fail(RelayError("it hangs")), daemon=True).start()
    fetch.run()
    ended.set()
    site.close()
    assert bytes(site.endpoint.data) == DATA
    assert [attempt.error for attempt in fetch.attempts if "it was left" in attempt.error], fetch.attempts
    assert fetch.received_from["p1"] > len(DATA) // 2, fetch.received_from


def test_a_parent_that_lives_again_is_used_again() -> None:
    site = Site({"p0": {"refuse": {1, 2}}})
    site.fetch(Patience(0.4, 0.1, 5.0)).run()
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


def test_what_a_parent_had_before_a_new_connection_is_not_asked_for() -> None:
    """Its node was started again and has not been told its part yet: who asks it for chunks is turned away."""
    site = Site({"p0": {"streams": [{"cut_after": len(DATA) // 3}], "silent": 0}})
    connect = site.connect

    def reconnect(name: str) -> Channel:
        site.parents[name]["silent"] = site.connections[name] + 1 if site.connections[name] else 0
        channel = connect(name)
        if site.connections[name] > 1:
            threading.Timer(0.3, site._fill, (site.offers[-1], name, None)).start()
        return channel

    site.connect = reconnect  # type: ignore[method-assign]
    fetch = site.fetch(Patience(5.0, 1.0, 5.0))
    fetch.run()
    site.close()
    assert bytes(site.endpoint.data) == DATA
    assert site.connections == {"p0": 2}, fetch.attempts
    assert len(fetch.attempts) == 1


@pytest.mark.parametrize(
    ("above", "sentence"),
    [("me", "p0 has no living parent itself"), ("elsewhere", "p0 has got nothing new for")],
    ids=["it waits for us", "it waits for nothing"],
)
def test_a_parent_that_will_never_have_more_is_given_up(above: str, sentence: str) -> None:
    site = Site({"p0": {"has": list(range(6)), "above": above}})
    # Longer than the longest pause between two attempts.
    fetch = site.fetch(Patience(0.4, 0.1, 4.5))
    ended = threading.Event()
    threading.Thread(target=lambda: ended.wait(20) or fetch.transfer.fail(RelayError("it hangs")), daemon=True).start()
    with pytest.raises(RelayError, match="No living parent for"):
        fetch.run()
    ended.set()
    site.close()
    assert any(sentence in attempt.error for attempt in fetch.attempts), fetch.attempts


def test_a_chunk_list_that_is_not_the_runs_is_refused() -> None:
    site = Site({"p0": {}})
    fetch = site.fetch(chunks_sha256="0" * 64)
    with pytest.raises(RelayError, match="p0 sent a chunk list with digest"):
        fetch.run()
    site.close()
    assert not any(site.endpoint.marks())


def test_a_chunk_list_of_another_size_is_refused() -> None:
    """As many chunks and the right digest: then it is the size that was told wrong."""
    site = Site({"p0": {}})
    fetch = site.fetch(size_bytes=len(DATA) - 1)
    with pytest.raises(RelayError, match="The chunk list is that of a file of"):
        fetch.run()
    site.close()
    assert not any(site.endpoint.marks())


def test_a_pool_that_cannot_even_take_the_chunk_list_is_an_error(tmp_path: Path) -> None:
    site = Site({"p0": {}})
    fetch = site.fetch(sink={"scratch": str(tmp_path / "gone")})
    with pytest.raises(StorageFailed, match="The pool cannot take the base: No such file or directory"):
        fetch.run()
    site.close()


@pytest.mark.parametrize(("where", "sentence"), [("endpoint", "storing chunk"), ("throttle", "fetching from p0")])
def test_a_defect_ends_the_fetch_with_word_of_it(monkeypatch: pytest.MonkeyPatch, where: str, sentence: str) -> None:
    site = Site({"p0": {}})
    fetch = site.fetch()

    def defect(*_arguments: t.Any) -> t.NoReturn:
        raise ValueError("it cannot be")

    if where == "endpoint":
        monkeypatch.setattr(site.endpoint, "write", defect)
    else:
        monkeypatch.setattr(fetch.transfer.throttle, "take", defect)
    with pytest.raises(RelayError, match=f"Unexpected ValueError while {sentence}.*: it cannot be"):
        fetch.run()
    site.close()


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


def test_what_nobody_thought_of_ends_the_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site({"p0": {}})

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(site.endpoint, "write", broken)
    with pytest.raises(RelayError, match=r"Unexpected ZeroDivisionError while storing chunk \d+: by nothing\. This is a defect"):
        site.fetch().run()
    site.close()
