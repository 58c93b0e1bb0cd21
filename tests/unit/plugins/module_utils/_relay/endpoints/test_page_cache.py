# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stays in the page cache, as the kernel tells it (fincore)."""

from __future__ import annotations

import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints import page_cache
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.files import PartialFile, WholeFile

MIB = 1024 * 1024
REGION = 1 * MIB
CHUNK = 64 * 1024
SIZE = 32 * MIB


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An eighth of the real sizes; skipped only where files have no page cache of their own."""
    monkeypatch.setattr(page_cache, "REGION_BYTES", REGION)
    monkeypatch.setattr(page_cache, "ALONE_BYTES", 4 * REGION)
    monkeypatch.setattr(page_cache, "SHARED_BYTES", 12 * REGION)
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind.strip() in ("tmpfs", "ramfs"):
        pytest.skip(f"{tmp_path} is on {kind.strip()}, which is all cache")


def cached(path: Path) -> int:
    told = subprocess.run(["fincore", "-b", "-n", "-o", "RES", path], capture_output=True, text=True, check=True).stdout
    return int(told or "0")


def source(path: Path) -> Path:
    """A file that is on the disk and not in the cache."""
    with open(path, "wb") as file:
        file.write(os.urandom(SIZE))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert cached(path) < MIB
    return path


def read(file: WholeFile | PartialFile, begin: int = 0, end: int = SIZE) -> None:
    buffer = memoryview(bytearray(CHUNK))
    for offset in range(begin, end, CHUNK):
        file.read_into(offset, buffer)


def write(file: PartialFile, begin: int = 0, end: int = SIZE) -> None:
    block = memoryview(os.urandom(CHUNK))
    for offset in range(begin, end, CHUNK):
        file.write(offset, block)


def test_what_a_source_reads_for_a_child_does_not_stay(tmp_path: Path) -> None:
    path = source(tmp_path / "disk")
    children = [1]
    file = WholeFile(str(path), readers=lambda: children[0])
    read(file)
    assert cached(path) < 8 * MIB
    children[0] = 0
    file.settle()
    assert cached(path) < 3 * MIB, "read-ahead and the region under way, at most"
    file.close()


def test_a_source_reads_regions_ahead(tmp_path: Path) -> None:
    path = source(tmp_path / "disk")
    file = WholeFile(str(path), readers=lambda: 1)
    read(file, 0, CHUNK)
    deadline = time.monotonic() + 5
    while cached(path) < 2 * REGION:
        assert time.monotonic() < deadline, "only what was asked for was read"
        time.sleep(0.01)
    assert cached(path) < 4 * REGION
    file.close()


def test_what_a_machine_reads_stays(tmp_path: Path) -> None:
    path = source(tmp_path / "disk")
    with open(path, "rb", buffering=0) as machine:
        os.posix_fadvise(machine.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # else read-ahead would take in all of it
        machine.read(16 * MIB)
    file = WholeFile(str(path), readers=lambda: 1)
    read(file)
    file.close()
    assert cached(path) >= 15 * MIB
    assert cached(path) < 28 * MIB


def partial(directory: Path, readers: t.Callable[[], int]) -> PartialFile:
    return PartialFile(str(directory / "disk"), str(directory / "map"), SIZE, CHUNK, readers=readers)


def test_what_is_received_for_no_child_leaves_on_its_way_to_the_disk(tmp_path: Path) -> None:
    file = partial(tmp_path, lambda: 0)
    write(file)
    os.sync()
    file.close()
    assert cached(tmp_path / "disk") < MIB


def test_what_was_being_written_when_it_was_to_leave_is_told_again(tmp_path: Path) -> None:
    file = partial(tmp_path, lambda: 0)
    write(file, 0, 9 * REGION)
    os.sync()
    write(file, 9 * REGION, 14 * REGION)
    os.fdatasync(file._disk)
    assert cached(tmp_path / "disk") < 8 * REGION
    file.close()


def test_children_find_what_was_received_in_the_cache(tmp_path: Path) -> None:
    """One waits for the whole file (the memory of this machine is more than four times as large)."""
    file = partial(tmp_path, lambda: 1)
    write(file)
    os.sync()
    assert cached(tmp_path / "disk") >= SIZE
    before = int(Path("/proc/self/io").read_text().split("\nread_bytes: ")[1].split()[0])
    read(file)
    after = int(Path("/proc/self/io").read_text().split("\nread_bytes: ")[1].split()[0])
    assert after - before < MIB, "the child had to wait for the disk"
    file.close()


def test_what_every_child_has_had_leaves(tmp_path: Path) -> None:
    children = [2]
    file = partial(tmp_path, lambda: children[0])
    for begin in range(0, SIZE, 2 * MIB):
        write(file, begin, begin + 2 * MIB)
        os.fdatasync(file._disk)
        read(file, begin, begin + 2 * MIB)
        if begin == SIZE // 2:
            assert cached(tmp_path / "disk") > begin, "the second child has not had it"
            children[0] = 1
    assert cached(tmp_path / "disk") < 8 * MIB
    children[0] = 0
    file.close()
    assert cached(tmp_path / "disk") < MIB


def test_a_base_that_its_children_have_left_is_dropped(fleet: t.Any, content_of: t.Any) -> None:
    content = content_of(os.urandom(12 * MIB), CHUNK)
    content.put(fleet.pool("S"))
    for host in "SABC":
        fleet.add(host)
    fleet.start(content, {"S": [], "A": ["S"], "B": ["A"]}, "cut_through")
    fleet.wait("A", "B")
    # Publishing a base in a real store does that; this one leaves it to the system.
    os.sync()
    fleet.start(content, {"C": ["A"]})
    fleet.wait("C")
    disk = fleet.pool("A") / content.sha256 / "disk"
    fleet.until(lambda: cached(disk) < 2 * MIB)
    assert disk.stat().st_size == 12 * MIB
