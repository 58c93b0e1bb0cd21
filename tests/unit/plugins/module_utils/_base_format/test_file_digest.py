# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format import file_digest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import ChunkHasher
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.file_digest import FileChanging, FileDigest

DATA = os.urandom(3 * 1024 * 1024 + 17)
WRONG = bytes(byte ^ 1 for byte in DATA[:4]) + DATA[4:]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "disk"
    place.write_bytes(DATA)
    return place


def test_the_growing_beginning_is_read_once(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    writer = os.open(place, os.O_RDWR | os.O_CREAT)
    digest = FileDigest(str(place), chunk_list=True)
    for start in range(0, len(DATA), 100_000):
        os.pwrite(writer, DATA[start : start + 100_000], start)
        digest.advance(min(start + 100_000, len(DATA)))
    with digest.own_close():
        os.close(writer)
    assert digest.finish() == digest.finish() == sha256(DATA)
    assert digest.read_bytes == len(DATA)
    hasher = ChunkHasher()
    hasher.update(DATA)
    assert digest.chunks == hasher.finish()[1]


def by_name(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(WRONG[:4])


def by_mapping(path: Path) -> None:
    import mmap

    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:4] = WRONG[:4]


def by_a_second_name(path: Path) -> None:
    os.link(path, path.parent / "other")
    by_name(path.parent / "other")


def in_a_child(path: Path) -> None:
    child = os.fork()
    if not child:
        by_name(path)
        os._exit(0)
    os.waitpid(child, 0)


def with_the_old_time(path: Path) -> None:
    before = os.stat(path)
    by_name(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [by_name, by_mapping, by_a_second_name, in_a_child, with_the_old_time])
@pytest.mark.parametrize("read", [0, 4, len(DATA)])
def test_what_is_changed_behind_the_reader_is_found(path: Path, change: t.Callable[[Path], None], read: int) -> None:
    digest = FileDigest(str(path))
    digest.advance(read)
    change(path)
    assert digest.finish() == sha256(WRONG)


def test_what_is_changed_after_the_end_is_found(path: Path) -> None:
    digest = FileDigest(str(path))
    assert digest.finish() == sha256(DATA)
    by_name(path)
    assert digest.finish() == sha256(WRONG)


def test_another_write_access_is_no_own_one(path: Path) -> None:
    digest = FileDigest(str(path))
    digest.advance(len(DATA))
    by_name(path)
    with digest.own_close():
        pass
    assert digest.finish() == sha256(WRONG)


def test_where_nothing_can_be_watched_all_is_read_at_the_end(path: Path) -> None:
    digest = FileDigest(str(path), local=False)
    digest.advance(len(DATA))
    with_the_old_time(path)
    assert digest.finish() == sha256(WRONG)
    assert digest.read_bytes == 2 * len(DATA)
    assert digest.finish() == sha256(WRONG)
    assert digest.read_bytes == 2 * len(DATA)


def test_who_keeps_it_open_for_writing_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digest, "WRITER_S", 0.2)
    digest = FileDigest(str(path))
    with open(path, "r+b"), pytest.raises(FileChanging, match="open for writing"):
        digest.finish()
    assert digest.finish() == sha256(DATA)


def test_a_file_that_becomes_shorter_is_an_error(path: Path) -> None:
    digest = FileDigest(str(path))
    os.truncate(path, 100)
    with pytest.raises(OSError, match="shorter"):
        digest.advance(len(DATA))
    assert digest.finish() == sha256(DATA[:100])


def cut_and_grown(path: Path) -> None:
    os.truncate(path, 0)
    os.truncate(path, len(DATA))


def cut(path: Path) -> None:
    os.truncate(path, 1000)


def punched(path: Path) -> None:
    subprocess.run(["fallocate", "--punch-hole", "--offset", "0", "--length", "65536", str(path)], check=True)


def written_through_an_old_descriptor(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(WRONG[:4])


@pytest.mark.parametrize("change", [cut_and_grown, cut, punched, written_through_an_old_descriptor])
def test_a_change_of_another_process_while_it_grows_is_found(tmp_path: Path, change: t.Callable[[Path], None]) -> None:
    """The writer goes on as if nothing had happened."""
    place, half = tmp_path / "disk", 2 * 1024 * 1024
    writer = os.open(place, os.O_RDWR | os.O_CREAT)
    digest = FileDigest(str(place))
    os.pwrite(writer, DATA[:half], 0)
    digest.advance(half)
    child = os.fork()
    if not child:
        change(place)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    os.pwrite(writer, DATA[half:], half)
    digest.advance(len(DATA))
    with digest.own_close():
        os.close(writer)
    found = place.read_bytes()
    assert found != DATA
    assert digest.finish() == sha256(found)


def test_where_changes_are_not_reported_all_is_read_at_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digest, "_FAN_FLAGS", -1)
    digest = FileDigest(str(path))
    digest.advance(len(DATA))
    assert digest.finish() == sha256(DATA)
    assert digest.read_bytes == 2 * len(DATA)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "disk"
    {"link": lambda: place.symlink_to("elsewhere"), "fifo": lambda: os.mkfifo(place), "directory": place.mkdir}[kind]()
    with pytest.raises(OSError):
        FileDigest(str(place))


def test_it_knows_which_file_it_is_of(path: Path) -> None:
    digest = FileDigest(str(path))
    moved = path.rename(path.parent / "moved")
    path.write_bytes(DATA)
    assert digest.is_of(str(moved))
    assert not digest.is_of(str(path))
    assert not digest.is_of(str(path.parent / "gone"))
    digest.close()


class Disturbed(FileDigest):
    """Somebody writes to it each time that it is read."""

    def advance(self, end: int, reading: t.Callable[[int, int], None] = lambda _offset, _count: None) -> None:
        super().advance(end, reading)
        by_name(Path(self.path))


def test_who_does_not_stop_writing_is_an_error(path: Path) -> None:
    with pytest.raises(FileChanging, match=f"Another process writes to {path}; end it, and try again"):
        Disturbed(str(path)).finish()
