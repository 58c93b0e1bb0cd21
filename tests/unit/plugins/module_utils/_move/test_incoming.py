# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import Host, MoveFailed
from ansible_collections.basecast.fleet.plugins.module_utils._move.incoming import Disk, Incoming
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.conftest import run_command
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._move.conftest import OWNER

MIB = 1 << 20


def incoming(tmp_path: Path, *disks: Disk) -> Incoming:
    (tmp_path / "pool").mkdir(exist_ok=True)
    host = Host({"default": str(tmp_path / "pool")}, run_command, "x", str(tmp_path), str(tmp_path))
    return Incoming(host, OWNER, "default", disks)


def disk(**changes: t.Any) -> Disk:
    return Disk("root", "default", "qcow2", MIB, None)._replace(**changes)


@pytest.mark.parametrize("image_format", ["qcow2", "raw"])
def test_a_fresh_disk_is_made_and_what_comes_takes_its_place(tmp_path: Path, image_format: str) -> None:
    one = disk(image_format=image_format)
    found = incoming(tmp_path, one)
    found.make()
    found.make()
    slot = found.slot(one)
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, slot.temporary, "1M"], check=True)
    subprocess.run(["qemu-io", "-f", image_format, "-c", "write -P 7 0 64k", slot.temporary], check=True, capture_output=True)
    found.take()
    found.take()
    assert not Path(slot.temporary).exists()
    subprocess.run(["qemu-io", "-f", image_format, "-c", "read -P 7 0 64k", slot.path], check=True, capture_output=True)
    assert found.chains() == {slot.path: []}


def test_what_came_and_is_not_the_disk_is_refused(tmp_path: Path) -> None:
    one = disk()
    found = incoming(tmp_path, one)
    found.make()
    temporary = found.slot(one).temporary
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", temporary, "2M"], check=True)
    with pytest.raises(MoveFailed, match="is not a qcow2 disk of 1048576 bytes"):
        found.take()
    Path(temporary).write_bytes(b"junk")
    with pytest.raises(MoveFailed, match="is not a qcow2 disk: "):
        found.take()


def test_a_disk_that_both_hosts_have_is_not_touched(tmp_path: Path) -> None:
    one = disk(shared=True)
    found = incoming(tmp_path, one)
    path = Path(found.path(one))
    path.parent.mkdir(parents=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    before = path.read_bytes()
    found.make()
    found.take()
    assert path.read_bytes() == before and found.chains() == {str(path): []}


def test_what_came_with_a_parent_instead_of_none_is_refused(tmp_path: Path) -> None:
    one = disk()
    found = incoming(tmp_path, one)
    found.make()
    temporary = found.slot(one).temporary
    subprocess.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "/etc/shadow", "-F", "raw", temporary, "1M"], check=True)
    with pytest.raises(MoveFailed, match=r"root\.qcow2 has a parent; expected the opposite\. Migrate it again"):
        found.take()
