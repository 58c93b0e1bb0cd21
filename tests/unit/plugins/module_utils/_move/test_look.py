# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of a machine's disks, and what keeps them on their host."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._move import look as looking
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._move.conftest import OWNER

QCOW2 = ["qemu-img", "create", "-q", "-f", "qcow2"]


def look(pool: Path, path: Path, kind: str = "qcow2") -> tuple[dict[str, t.Any] | None, list[str]]:
    problems: list[str] = []
    stores = {"default": Store(str(pool), lambda _command: (0, "", ""), "default")}
    return looking._disk(str(path), kind, OWNER, stores, [], problems), problems


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = Path(OWNER.directory(str(tmp_path)))
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize("snapshots", [0, 2])
def test_snapshots_inside_a_disk_are_counted(tmp_path: Path, home: Path, snapshots: int) -> None:
    path = home / "root.qcow2"
    subprocess.run([*QCOW2, str(path), "1M"], check=True)
    for number in range(snapshots):
        subprocess.run(["qemu-img", "snapshot", "-c", f"s{number}", str(path)], check=True)
    disk, problems = look(tmp_path, path)
    assert problems == [] and disk is not None and (disk["name"], disk["snapshots"]) == ("root", snapshots)


def test_a_disk_whose_data_are_elsewhere_stays(tmp_path: Path, home: Path) -> None:
    path = home / "root.qcow2"
    subprocess.run([*QCOW2, "-o", f"data_file={home}/root.data", str(path), "1M"], check=True)
    assert f"keeps its data in another file, {home}/root.data; copy it into one" in look(tmp_path, path)[1][0]


def test_a_disk_of_another_place_stays(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "installer.iso"
    path.write_bytes(b"")
    told, problems = look(tmp_path, path, "raw")
    assert told is None and "is not in the machine's own directory of a pool; detach it (virsh detach-disk" in problems[0]
