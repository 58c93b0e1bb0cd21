# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import pathlib
import subprocess
import time
import types
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import unpack
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import NoSpace
from ansible_collections.basecast.fleet.plugins.module_utils._disk.room import Promise, Room
from ansible_collections.basecast.fleet.plugins.module_utils._disk.unpack import FileSink, HashingSink, UnpackingSink

IMAGE = b"head".ljust(3 << 20, b"\0") + os.urandom(1 << 18) + b"tail".ljust(1 << 20, b"\0")


def zstd(data: bytes, *options: str) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, check=True, capture_output=True).stdout


PACK: dict[str, t.Callable[[bytes], bytes]] = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress, "zstd": zstd}


def promise_in(path: pathlib.Path) -> Promise:
    return Room(str(path.parent)).begin("disk", [str(path)])


def into(path: pathlib.Path, kind: str, packed: bytes, block: int = 65536, again: bool = False) -> bytes:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    promise = promise_in(path)
    sink = UnpackingSink(kind, "disk", FileSink(descriptor, promise, lambda _end: None))
    try:
        if again:
            sink.write(packed[: len(packed) // 2])
            sink.restart()
        for offset in range(0, len(packed), block):
            sink.write(packed[offset : offset + block])
        sink.finish()
    finally:
        sink.close()
        promise.close()
        os.close(descriptor)
    return path.read_bytes()


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("block", [65536, 1000, 1 << 22])
def test_unpacked_as_it_comes(tmp_path: pathlib.Path, kind: str, block: int) -> None:
    assert into(tmp_path / "x", kind, PACK[kind](IMAGE), block) == IMAGE
    assert os.stat(tmp_path / "x").st_blocks * 512 < len(IMAGE) // 2, "runs of zeros are holes"


@pytest.mark.parametrize("kind", PACK)
def test_several_streams_and_a_second_begin(tmp_path: pathlib.Path, kind: str) -> None:
    packed = PACK[kind](IMAGE[:1000]) + PACK[kind](IMAGE[1000:])
    for block in (1, 7) if kind != "zstd" else (7,):
        assert into(tmp_path / "y", kind, PACK[kind](b"abc") + PACK[kind](b"def"), block) == b"abcdef"
    assert into(tmp_path / "x", kind, packed, again=True) == IMAGE


@pytest.mark.parametrize("kind", ["xz", "gzip"])
def test_padding_behind_a_stream(tmp_path: pathlib.Path, kind: str) -> None:
    assert into(tmp_path / "x", kind, PACK[kind](b"abc") + bytes(4) + PACK[kind](b"def") + bytes(8)) == b"abcdef"


def test_zstd_with_a_long_window(tmp_path: pathlib.Path) -> None:
    assert into(tmp_path / "x", "zstd", zstd(IMAGE, "--long=27")) == IMAGE


WRONG: dict[str, t.Callable[[bytes], bytes]] = {
    "cut off": lambda packed: packed[:-20],
    "nothing": lambda packed: b"",
    "the header alone": lambda packed: packed[:8],
    "something else": lambda packed: b"QFI\xfb" + bytes(1000),
    "a wrong byte": lambda packed: packed[: len(packed) // 2] + bytes([packed[len(packed) // 2] ^ 255]) + packed[len(packed) // 2 + 1 :],
    "something behind it": lambda packed: packed + b"<html>" * 100,
}


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("name", WRONG)
def test_damaged_archives(tmp_path: pathlib.Path, kind: str, name: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(unpack.Undecodable, match=f"disk cannot be unpacked as {kind}: .*say so with compression") as raised:
        into(tmp_path / "x", kind, WRONG[name](PACK[kind](os.urandom(100_000))))
    assert raised.value.message.isprintable()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("kind", PACK)
def test_a_bomb_ends_at_the_free_space(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    bomb = PACK[kind](bytes(64 << 20))
    assert len(bomb) < 100_000
    monkeypatch.setattr(os, "statvfs", lambda _path: types.SimpleNamespace(f_bavail=2000, f_blocks=0, f_frsize=4096))
    with pytest.raises(NoSpace, match="8192000 may be written there"):
        into(tmp_path / "x", kind, bomb)
    assert (tmp_path / "x").stat().st_size <= 8192000


EMPTY = {**PACK, "zstd, skipped": lambda _nothing: b"\x50\x2a\x4d\x18" + bytes(4)}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("content", [b"", b"x"])
def test_streams_that_hold_nothing_have_a_limit(tmp_path: pathlib.Path, name: str, content: bytes) -> None:
    """Each takes about as long as a page of data, and unpacks to nothing that would fill the pool."""
    packed = EMPTY[name](content) * 105_000
    before = time.process_time()
    with pytest.raises(unpack.Undecodable, match=r"has [0-9]+ streams or blocks by now, which hold [0-9]+ bytes"):
        into(tmp_path / "x", name.split(",", maxsplit=1)[0], packed, 1 << 20)
    assert time.process_time() - before < 1


def test_blocks_of_nothing_have_a_limit(tmp_path: pathlib.Path) -> None:
    with pytest.raises(unpack.Undecodable, match="streams or blocks by now, which hold 0 bytes"):
        into(tmp_path / "x", "zstd", b"\x28\xb5\x2f\xfd\x00\x00" + bytes(3 * 510_000), 1 << 20)


@pytest.mark.parametrize(
    ("kind", "piece_bytes", "pieces"),
    [("gzip", 1 << 16, 400), ("xz", 1 << 16, 100), ("bzip2", 1 << 16, 100), ("zstd", 1 << 22, 400), ("gzip", 0, 9999), ("zstd", 0, 9999)],
)
def test_archives_of_many_streams_are_unpacked(monkeypatch: pytest.MonkeyPatch, kind: str, piece_bytes: int, pieces: int) -> None:
    """As bgzip and others make them; zeros have the smallest streams, and the program zstd reads far ahead of what it gives out."""
    target = Counted()
    sink = UnpackingSink(kind, "disk", target)
    monkeypatch.setattr(unpack, "_FREE_STREAMS", max(10, pieces if not piece_bytes else 0))
    sink.write(PACK[kind](bytes(piece_bytes)) * pieces)
    sink.finish()
    sink.close()
    assert target.size_bytes == piece_bytes * pieces


class Counted:
    size_bytes = 0

    def expect(self, length: int) -> None: ...

    def write(self, block: bytes) -> None:
        self.size_bytes += len(block)

    def finish(self) -> None: ...

    def restart(self) -> None: ...

    def close(self) -> None: ...


def test_memory_that_an_archive_wants_has_a_limit(tmp_path: pathlib.Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 29}]
    hungry = lzma.compress(b"x", format=lzma.FORMAT_XZ, filters=filters)
    with pytest.raises(unpack.Undecodable, match=r"[Mm]emory"):
        into(tmp_path / "x", "xz", hungry)
    with pytest.raises(unpack.Undecodable, match="zstd"):
        # A frame that says that it needs a window of 1 GiB.
        into(tmp_path / "x", "zstd", b"\x28\xb5\x2f\xfd\x00\xa0" + b"\x01\x00\x00")


def test_a_host_without_zstd_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    unpack.check_unpacker("zstd", "a.zst")
    monkeypatch.setattr(unpack, "find_program", lambda _name: None)
    if unpack._zstd_module() is None:
        with pytest.raises(unpack.UnpackerMissing, match=r"a.zst is compressed with zstd, .*install the package zstd.*Nothing was fetched"):
            unpack.check_unpacker("zstd", "a.zst")
    for kind in ("none", "gzip", "xz", "bzip2"):
        unpack.check_unpacker(kind, "a")


def test_digests_of_what_comes(tmp_path: pathlib.Path) -> None:
    descriptor = os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT)
    packed = lzma.compress(IMAGE)
    sink = HashingSink(
        UnpackingSink("xz", "disk", FileSink(descriptor, promise_in(tmp_path / "x"), lambda _end: None)), {"sha512", "sha256"}
    )
    try:
        sink.write(packed[:100])
        sink.restart()
        sink.write(packed)
        sink.finish()
        assert (sink.digest("sha512"), sink.size_bytes) == (hashlib.sha512(packed).hexdigest(), len(packed))
    finally:
        sink.close()
        os.close(descriptor)


def test_a_program_that_ends_before_its_input_does(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "zstd"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setattr(unpack, "find_program", lambda _name: str(program))
    monkeypatch.setattr(unpack, "_zstd_module", lambda: None)
    with pytest.raises(unpack.Undecodable, match="disk cannot be unpacked as zstd: something follows its end"):
        into(tmp_path / "x", "zstd", zstd(os.urandom(1 << 20)))
