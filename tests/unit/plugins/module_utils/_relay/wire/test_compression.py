# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import random
import resource
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent_selection import Patience
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.faulty import FaultyEndpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import ProtocolError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.settings import Settings
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import compression

CHUNK = 16 * 1024
QUICK = Settings(60, 30, 0.9, Patience(pending=3.0, lost=0.5, alone=3.0), compression=True)
WORDS = [os.urandom(6).hex() for _number in range(200)]
CODECS = [compression.Deflate, compression.Zstd, compression.Zstandard]


def text(size: int) -> bytes:
    return " ".join(random.choices(WORDS, k=size // 13 + 1)).encode()[:size]


@pytest.mark.parametrize("codec", CODECS)
def test_what_goes_in_comes_out(codec: type[compression.Codec]) -> None:
    for data in (text(256 * 1024), text(1), os.urandom(5000), bytes(CHUNK)):
        into = memoryview(bytearray(len(data)))
        packed = codec().compress(memoryview(data))
        codec().decompress(memoryview(packed), into)
        assert bytes(into) == data
    assert len(codec().compress(memoryview(text(256 * 1024)))) < 128 * 1024


def test_both_ways_to_zstandard_understand_each_other() -> None:
    data = text(100_000)
    for one, other in ((compression.Zstd(), compression.Zstandard()), (compression.Zstandard(), compression.Zstd())):
        into = memoryview(bytearray(len(data)))
        other.decompress(memoryview(one.compress(memoryview(data))), into)
        assert bytes(into) == data


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("lie", ["longer", "shorter", "cut off", "garbage"])
def test_whoever_lies_about_a_length_is_found_out_and_costs_no_memory(codec: type[compression.Codec], lie: str) -> None:
    size = {"longer": 1 << 30, "shorter": CHUNK - 1}.get(lie, CHUNK)
    packed = bomb(codec(), size)
    if lie == "cut off":
        packed = packed[: len(packed) // 2]
    elif lie == "garbage":
        packed = os.urandom(1000)
    into = memoryview(bytearray(CHUNK))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ProtocolError):
        codec().decompress(memoryview(packed), into)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def bomb(codec: compression.Codec, size: int) -> bytes:
    """So many zero bytes, made in small pieces where they are many."""
    if size < 1 << 20:
        return codec.compress(memoryview(bytes(size)))
    piece = bytes(1 << 20)
    if isinstance(codec, compression.Deflate):
        stream: t.Any = compression.zlib.compressobj(1)
    elif isinstance(codec, compression.Zstandard):
        stream = compression._zstandard.ZstdCompressor(level=1).compressobj(size=size)
    else:
        stream = compression._zstd.ZstdCompressor(level=1)
    return b"".join([*(stream.compress(piece) for _number in range(size >> 20)), stream.flush()])


class Slow:
    """A codec that takes its time, and leaves this part."""

    def __init__(self, now: list[float], seconds: float, part: float) -> None:
        self._now, self._seconds, self._part = now, seconds, part

    def compress(self, view: memoryview) -> bytes:
        self._now[0] += self._seconds
        return bytes(int(len(view) * self._part))

    def decompress(self, data: memoryview, into: memoryview) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("compress_s", "part", "line_s", "pays"),
    [(0.01, 0.5, 0.1, True), (0.01, 0.5, 0.015, False), (0.01, 0.99, 0.1, False), (0.001, 1.2, 1.0, False)],
    ids=["slow line", "quick line", "not smaller", "larger"],
)
def test_compression_is_used_where_it_pays(compress_s: float, part: float, line_s: float, pays: bool) -> None:
    now = [0.0]
    press = compression.Press(Slow(now, compress_s, part), lambda: now[0])
    chunk = memoryview(bytearray(1000))
    packed = []
    for _number in range(200):
        found = press.pack(chunk)
        packed.append(found is not None)
        count = 1000 if found is None else len(found)
        press.sent(line_s * count / 1000, count)
    assert press.pays is pays
    # Now and then it is tried again, in case something has changed.
    tried = sum(packed) if part < 0.95 else 0
    assert tried == (200 if pays else 4 if part < 0.95 else 0)


@pytest.mark.parametrize("codec", ["zstd", "deflate"])
def test_a_slow_link_carries_less(fleet: t.Any, content_of: t.Any, monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    """Also a host without Zstandard, and one that may not compress at all."""
    content = content_of(text(30 * CHUNK) + bytes(CHUNK) + os.urandom(10 * CHUNK) + text(777))
    content.put(fleet.pool("S"))
    all_codecs = compression.codecs()
    monkeypatch.setattr(compression, "_zstd", None)
    fleet.add("S", settings=QUICK)
    fleet.add("A", settings=QUICK)
    fleet.add("B", settings=QUICK._replace(compression=False))
    if codec == "deflate":
        monkeypatch.setattr(compression, "_zstandard", None)
    assert next(iter(compression.codecs())) == codec
    assert "zstd" in all_codecs
    fleet.start(content, {"S": []}, links={"A": 4.0})
    fleet.start(content, {"A": ["S"], "B": ["S"]})
    fleet.wait("A", "B")
    for host in "AB":
        assert fleet.holds(host, content)
        assert fleet.base(host, content)["attempts"] == []
    assert fleet.base("A", content)["received_bytes"] < 0.75 * content.wire_bytes
    assert fleet.base("B", content)["received_bytes"] >= content.wire_bytes


def test_a_host_that_may_not_compress_sends_chunks_as_they_are(fleet: t.Any, content_of: t.Any) -> None:
    content = content_of(text(30 * CHUNK))
    content.put(fleet.pool("S"))
    fleet.add("S", settings=QUICK._replace(compression=False))
    fleet.add("A", settings=QUICK)
    fleet.start(content, {"S": []}, links={"A": 8.0})
    fleet.start(content, {"A": ["S"]})
    fleet.wait("A")
    assert fleet.holds("A", content)
    assert fleet.base("A", content)["received_bytes"] >= content.wire_bytes


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_digests_are_those_of_the_bytes_as_they_are(fleet: t.Any, content_of: t.Any, mode: str) -> None:
    content = content_of(text(30 * CHUNK))
    content.put(fleet.pool("S"))
    fleet.add(
        "S",
        settings=QUICK,
        wrap_endpoint=lambda inner: FaultyEndpoint(inner, wrong_reads={8 * CHUNK: 1, 20 * CHUNK: 1}),
    )
    for host in "AB":
        fleet.add(host, settings=QUICK)
    fleet.start(content, {"S": []}, mode, rate_mbps=8.0)
    fleet.start(content, {"A": ["S"], "B": ["A"]}, mode)
    fleet.wait("A", "B")
    assert "S sent wrong bytes for chunk 8" in fleet.base("A", content)["attempts"][0]["error"]
    assert fleet.base("A", content)["received_bytes"] < 0.8 * content.wire_bytes
    for host in "AB":
        assert fleet.holds(host, content)
