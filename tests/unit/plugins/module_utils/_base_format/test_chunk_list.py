# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import (
    CHUNK_BYTES,
    ChunkHasher,
    ChunkList,
    FileBytes,
    digest_of,
    hash_file,
    list_bytes,
)
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import BadChunkList
from hypothesis import given
from hypothesis import strategies as st

SMALL = 4096


def digests_of(data: bytes, chunk_bytes: int) -> list[bytes]:
    return [hashlib.sha256(data[i : i + chunk_bytes]).digest() for i in range(0, len(data), chunk_bytes)]


@given(data=st.binary(max_size=5 * SMALL), cuts=st.lists(st.integers(1, 2 * SMALL), max_size=12))
def test_one_pass_gives_what_slicing_gives(data: bytes, cuts: list[int]) -> None:
    hasher = ChunkHasher(SMALL)
    rest = data
    for cut in cuts:
        hasher.update(rest[:cut])
        rest = rest[cut:]
    hasher.update(memoryview(bytearray(rest)))
    sha256, chunks = hasher.finish()
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert [chunks.digest(i) for i in range(chunks.count)] == digests_of(data, SMALL)
    assert sum(chunks.length(i) for i in range(chunks.count)) == chunks.size_bytes == len(data)


def test_serialised_form_is_header_then_digests() -> None:
    data = bytes(CHUNK_BYTES) + b"x" * 10
    hasher = ChunkHasher()
    hasher.update(data)
    chunks = hasher.finish()[1]
    raw = chunks.to_bytes()
    assert raw[:24] == b"BCCHUNK1" + (CHUNK_BYTES + 10).to_bytes(8, "big") + CHUNK_BYTES.to_bytes(8, "big")
    assert raw[24:] == b"".join(digests_of(data, CHUNK_BYTES))
    assert chunks.sha256 == hashlib.sha256(raw).hexdigest()
    assert ChunkList.from_bytes(raw) == chunks


def test_a_list_in_a_file_equals_the_list_in_memory(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"abc" * 300_000)
    sha256, chunks = hash_file(str(disk))
    (tmp_path / "chunks").write_bytes(chunks.to_bytes())
    mapped = ChunkList.open(str(tmp_path / "chunks"))
    assert sha256 == hashlib.sha256(disk.read_bytes()).hexdigest()
    assert mapped == chunks
    assert mapped.sha256 == chunks.sha256
    assert (mapped.count, mapped.offset(3), mapped.length(3)) == (4, 3 * CHUNK_BYTES, 900_000 - 3 * CHUNK_BYTES)


def test_chunks_of_zero_bytes_are_found() -> None:
    data = b"\1" * CHUNK_BYTES + bytes(2 * CHUNK_BYTES) + b"\1" * CHUNK_BYTES + bytes(77)
    hasher = ChunkHasher()
    hasher.update(data)
    chunks = hasher.finish()[1]
    assert list(chunks.zeros()) == [1, 2, 4] == [index for index in range(5) if chunks.is_zero(index)]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_list_of_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    size = 200 * 1024**3
    length = list_bytes(size)
    place = FileBytes.temporary(str(tmp_path), length)
    assert not list(tmp_path.iterdir())
    place.write(0, ChunkList.from_digests(0, CHUNK_BYTES, b"").to_bytes()[:8] + struct.pack(">QQ", size, CHUNK_BYTES))
    place.write(length - 32, hashlib.sha256(bytes(CHUNK_BYTES)).digest())
    (tmp_path / "chunks").write_bytes(place[:])
    before = resident_bytes()
    for chunks in (ChunkList(place), ChunkList.open(str(tmp_path / "chunks"))):
        assert chunks.count == 819_200
        assert list(chunks.zeros()) == [819_199]
        assert chunks.sha256 == digest_of(place)
    assert resident_bytes() - before < 10 * 1024**2
    os.truncate(tmp_path / "chunks", length - 1)
    with pytest.raises(BadChunkList, match="ends after"):
        chunks.digest(819_199)


@pytest.mark.parametrize(
    ("data", "zero"),
    [
        (bytes(2 * SMALL + 5), [True, True, True]),
        (bytes(SMALL) + b"x" + bytes(SMALL), [True, False, True]),
        (bytes(SMALL) + bytes(SMALL - 1) + b"x", [True, False]),
    ],
)
def test_zero_chunks_are_known_by_their_digest(data: bytes, zero: list[bool]) -> None:
    hasher = ChunkHasher(SMALL)
    hasher.update(data)
    chunks = hasher.finish()[1]
    assert [chunks.is_zero(i) for i in range(chunks.count)] == zero


def test_an_empty_file_has_no_chunks() -> None:
    sha256, chunks = ChunkHasher().finish()
    assert sha256 == hashlib.sha256(b"").hexdigest()
    assert (chunks.count, chunks.size_bytes) == (0, 0)
    with pytest.raises(IndexError):
        chunks.digest(0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:20], "at least 24 bytes"),
        (lambda raw: b"X" + raw[1:], "begins with"),
        (lambda raw: raw[:-1], "has 56 bytes, this one has 55"),
        (lambda raw: raw + b"x", "has 56 bytes, this one has 57"),
        (lambda raw: raw[:16] + bytes(8) + raw[24:], "Chunks of 0 bytes"),
        (lambda raw: raw[:8] + b"\xff" * 8 + raw[16:], "this one has 56"),
    ],
)
def test_a_damaged_list_is_refused(damage: object, message: str) -> None:
    hasher = ChunkHasher(SMALL)
    hasher.update(b"hello")
    raw = hasher.finish()[1].to_bytes()
    with pytest.raises(BadChunkList, match=message):
        ChunkList.from_bytes(damage(raw))  # type: ignore[operator]


def test_a_list_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "chunks").write_bytes(bytes(100))
    listed = FileBytes.open(str(tmp_path / "chunks"))
    os.truncate(tmp_path / "chunks", 60)
    with pytest.raises(BadChunkList, match="The chunk list ends after 60 of 100 bytes"):
        listed[50:100]
