# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has a disk open beside QEMU, whose locks the integration tests of the store try."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import in_use
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import DiskBusy
from ansible_collections.basecast.fleet.tests.lab import _linux

OPEN = "import os, sys\nfile = os.open(sys.argv[1], getattr(os, sys.argv[2]))\nprint('open', flush=True)\nsys.stdin.read()"
MAP = (
    "import mmap, os, sys\nfile = os.open(sys.argv[1], os.O_RDWR)\nview = mmap.mmap(file, 4096)\nos.close(file)\n"
    "print('open', flush=True)\nsys.stdin.read()"
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="asks for leases, and makes loop devices")


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1 << 20))
    return path


@contextlib.contextmanager
def process(code: str, *arguments: str) -> t.Iterator[None]:
    one = subprocess.Popen([sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert one.stdout is not None
        assert one.stdout.readline() == "open\n"
        yield
    finally:
        one.communicate()


def use(path: pathlib.Path) -> in_use.Use | None:
    with open(path, "rb") as file:
        return in_use.look(file.fileno())


@pytest.mark.parametrize("how", ["O_RDWR", "O_WRONLY"])
@pytest.mark.parametrize("name", ["itself", "hard link", "symbolic link"])
def test_any_program_that_may_write_is_named(disk: pathlib.Path, how: str, name: str) -> None:
    by = disk if name == "itself" else disk.with_name("other")
    if name == "hard link":
        os.link(disk, by)
    elif name == "symbolic link":
        by.symlink_to(disk)
    with process(OPEN, str(by), how):
        found = use(disk)
        assert found is not None
        assert found.writing
        assert "process" in found.text()
        with pytest.raises(DiskBusy, match=r"is in use by process \d+ \(.*python.*\); it cannot be removed"):
            in_use.refuse(str(disk), "removed")
        with open(disk, "rb") as file, pytest.raises(DiskBusy), in_use.reading(file.fileno(), str(disk), "imported"):
            pass
    assert use(disk) is None


def test_one_that_maps_it_and_closed_it_is_noticed(disk: pathlib.Path) -> None:
    with process(MAP, str(disk)):
        found = use(disk)
        assert found is not None
        assert found.writing


def test_who_only_reads_keeps_nobody_from_it(disk: pathlib.Path) -> None:
    with process(OPEN, str(disk), "O_RDONLY"):
        assert use(disk) is None


def test_this_process_is_left_out(disk: pathlib.Path) -> None:
    with open(disk, "r+b") as file:
        assert use(disk) is None
        assert in_use.look(file.fileno()) is None


def test_a_loop_device_is_named(disk: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "nodes").mkdir()
    try:
        node, device = _linux.attach_loop(disk, tmp_path / "nodes")
    except OSError as error:
        pytest.skip(f"no loop devices here: {error}")
    try:
        found = use(disk)
        assert found is not None
        assert found.writing
        assert "the loop device /dev/loop" in found.text(), node
    finally:
        os.close(device)
