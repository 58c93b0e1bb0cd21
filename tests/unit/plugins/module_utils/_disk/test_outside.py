# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import in_use, outside, sources
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

from .conftest import qcow2


@pytest.fixture
def tree(pools: dict[str, Store], tmp_path: Path) -> Path:
    for place in ("one/machines/shop/web-1", "one/bases", "one/data", "other"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "x.raw").write_bytes(bytes(512))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("/dev/sdb", "/dev/sd?", True),
        ("/dev/disk/by-id/data-1", "/dev/disk/by-id/data-*", True),
        ("/dev/disk/by-id/data-1", "/dev/disk/*", False),
        ("/dev/sdb", "/dev/*/sdb", False),
        ("/dev/sdb", "*", False),
        ("/a/b", "/a/../a/b", True),
        ("/a/B", "/a/b", False),
    ],
)
def test_a_star_stands_for_a_part_of_one_name(path: str, pattern: str, expected: bool) -> None:
    assert outside.is_permitted(path, [pattern]) is expected


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("one/data/x.raw", ""),
        ("one/x.raw", ""),
        ("one/machines/shop/web-1/x.raw", "belongs to a machine or to the base store"),
        ("one/bases/x.raw", "belongs to a machine or to the base store"),
        ("other/x.raw", "lies outside of the host's pools"),
        ("one/data", "is not a regular file"),
        ("one/data/link.raw", "belongs to a machine"),
        ("one/data/empty.raw", "is empty"),
        ("one/data/twice.raw", "has further names (hard links)"),
    ],
)
def test_only_files_that_are_nobodys_are_used(tree: Path, pools: dict[str, Store], place: str, words: str) -> None:
    (tree / "one/x.raw").write_bytes(bytes(512))
    (tree / "one/data/link.raw").symlink_to(tree / "one/machines/shop/web-1/x.raw")
    (tree / "one/data/empty.raw").write_bytes(b"")
    (tree / "one/data/twice.raw").write_bytes(b"x")
    os.link(tree / "one/data/twice.raw", tree / "one/data/again.raw")
    found = outside.look("volume", str(tree / place), "raw", pools)
    assert found is not None and (words in found.problem if words else (found.problem, found.size_bytes) == ("", 512)), found


def test_a_file_seen_through_another_mount_is_still_a_machines(
    tree: Path, pools: dict[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "is_of_machine", lambda *_: "/x")
    found = outside.look("volume", str(tree / "one/data/x.raw"), "raw", pools)
    assert found is not None and "seen through another mount" in found.problem


def test_no_guest_can_exchange_a_volume(tree: Path, pools: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    for shared, told in (("one/data", True), ("one", True), ("other", False), ("one/dat", False)):
        monkeypatch.setattr(sources, "libvirt_shares", lambda path=str(tree / shared): iter([("crm", path)]))
        found = outside.look("volume", str(tree / "one/data/x.raw"), "raw", pools)
        assert found is not None and found.problem.startswith("lies in a directory that machines share") is told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (qcow2(1 << 20), ""),
        (b"raw", "is not a qcow2 image"),
        (qcow2(backing="/etc/shadow", backing_format="raw"), "has a backing file or keeps its data in another file"),
        (qcow2(data_file="/dev/sda", features=4), "has a backing file or keeps its data in another file"),
        (qcow2(crypt=2), "is encrypted; a machine has no key for it"),
    ],
)
def test_a_qcow2_file_stands_alone(tree: Path, pools: dict[str, Store], content: bytes, words: str) -> None:
    (tree / "one/data/x.qcow2").write_bytes(content)
    found = outside.look("volume", str(tree / "one/data/x.qcow2"), "qcow2", pools)
    assert found is not None and words in found.problem and bool(words) == bool(found.problem)
    assert words or found.size_bytes == 1 << 20


def test_who_has_a_file_is_told(tree: Path, pools: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tree / "one/data/x.raw")
    assert outside.look("volume", path + ".not", "raw", pools) is None
    monkeypatch.setattr(sources, "libvirt_disks", lambda: iter([("crm", path), ("web", "/elsewhere")]))
    monkeypatch.setattr(in_use, "look", lambda _file: in_use.Use(True, ("domain crm", "process 7 (dd)")))
    found = outside.look("volume", path, "raw", pools)
    assert found is not None and found.used_by == ("domain crm", "process 7 (dd)")
    monkeypatch.setattr(in_use, "look", lambda _file: in_use.Use(True, ()))
    found = outside.look("volume", path, "raw", pools)
    assert found is not None and any("on another host" in user for user in found.used_by)


# -- block devices; a loop device is one, where the kernel lets us make it


@pytest.fixture
def loop(tmp_path: Path) -> t.Iterator[str]:
    (tmp_path / "image").write_bytes(bytes(1 << 20))
    made = subprocess.run(["losetup", "-f", "--show", str(tmp_path / "image")], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no loop device: {made.stderr}")
    path = made.stdout.strip()
    yield path
    subprocess.run(["losetup", "-d", path], check=True)


def test_a_device_that_nobody_uses_may_be_used(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outside.look_at_block(loop) == outside.Outside(loop, 1 << 20)
    (tmp_path / "link").symlink_to(loop)
    monkeypatch.setattr(
        sources, "libvirt_disks", lambda: iter([("crm", str(tmp_path / "link")), ("web", "/nowhere"), ("b", "/etc/passwd")])
    )
    assert outside.look_at_block(loop) == outside.Outside(loop, 1 << 20, "", ("domain crm",))


def test_what_domains_have_is_known_or_no_device_is_given(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crm.xml").mkdir()
    monkeypatch.setattr(sources, "_DEFINITIONS", (str(tmp_path),))
    found = outside.look_at_block(loop)
    assert found is not None and found.problem.startswith("cannot be used: A domain's definition cannot be read, so nobody knows")


def test_a_device_that_the_host_or_a_program_has_is_told(loop: str) -> None:
    with subprocess.Popen(["sleep", "60"], stdin=open(loop, "r+b", buffering=0)) as program:
        try:
            found = outside.look_at_block(loop)
        finally:
            program.kill()
    assert found is not None and len(found.used_by) == 1 and "(sleep)" in found.used_by[0]
    descriptor = os.open(loop, os.O_RDONLY | os.O_EXCL)
    try:
        found = outside.look_at_block(loop)
    finally:
        os.close(descriptor)
    assert found is not None and "is in use by the host itself (mounted" in found.problem


@pytest.mark.parametrize(
    ("path", "words"),
    [("/dev/null", "is not a block device"), ("/etc/passwd", "is not a block device"), ("/dev/none", None)],
)
def test_what_is_no_block_device_is_told(path: str, words: str | None) -> None:
    found = outside.look("block", path, "raw", {})
    assert (found is None) if words is None else (found is not None and words in found.problem)


@pytest.mark.parametrize("path", ["/dev/shm/x", "/dev/fd/3", "/dev/mqueue/x"])
def test_links_that_any_user_can_make_lead_to_no_device(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "realpath", lambda _path: "/dev/sda")
    monkeypatch.setattr(os, "stat", lambda _path: os.stat_result((stat.S_IFBLK, *[0] * 9)))
    found = outside.look_at_block(path)
    assert found is not None and "is not a device that the host's administrator has put below /dev" in found.problem


def test_a_device_that_does_not_open_is_told(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: t.Any) -> int:
        raise OSError(123, "No medium found")

    monkeypatch.setattr(os, "open", fail)
    found = outside.look_at_block(loop)
    assert found is not None and found.problem == "cannot be opened: No medium found"


@pytest.mark.parametrize(("one", "other", "expected"), [(8, 8, True), (8, 9, True), (9, 8, True), (9, 10, False), (8, 16, False)])
def test_a_partition_and_its_disk_are_one(one: int, other: int, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 is a disk, 9 and 10 are its partitions, 16 is another disk."""
    monkeypatch.setattr(outside, "_whole", lambda device: 8 if device in (9, 10) else None)
    status = os.stat_result((stat.S_IFBLK, *[0] * 9))
    monkeypatch.setattr(os, "stat", lambda _path: type("Status", (), {"st_mode": status.st_mode, "st_rdev": one}))
    assert outside._overlaps("/dev/x", other) is expected
