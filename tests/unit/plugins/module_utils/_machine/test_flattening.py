# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has real disks and machines is in _job/test_flatten.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import layout
from ansible_collections.basecast.fleet.plugins.module_utils._machine import flattening
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

OWNER = Owner("default", "shop", "web-1")


@pytest.fixture
def directory(pool: str) -> str:
    path = OWNER.directory(pool)
    os.makedirs(path)
    return path


def test_nothing_is_noted_of_a_machine_that_has_nothing(pool: str) -> None:
    assert flattening.noted_disks({"one": pool}, OWNER) == [] and flattening.progress(None, {"one": pool}, OWNER) is None


@pytest.mark.parametrize("mbps", [0.0, 12.5])
def test_a_note_says_how_fast(pool: str, directory: str, mbps: float) -> None:
    root, data = (os.path.join(directory, name) for name in ("root.qcow2", "data.qcow2"))
    flattening.write_note(root, mbps)
    assert (flattening.noted(root), flattening.noted(data)) == (mbps, None)
    assert flattening.noted_disks({"one": pool, "two": "/nowhere"}, OWNER) == [root]
    assert layout.is_unfinished(os.path.basename(layout.flatten_path(directory, "root")))


@pytest.mark.parametrize("mbps", ['"fast"', "1e18", "-1"])
def test_a_note_that_cannot_be_read_sets_no_limit(directory: str, mbps: str) -> None:
    Path(layout.flatten_path(directory, "root")).write_text(f'{{"format": 1, "mbps": {mbps}}}', encoding="utf-8")
    assert flattening.noted(os.path.join(directory, "root.qcow2")) == 0.0


def test_a_note_without_a_base_holds_nobody_back(pool: str, directory: str) -> None:
    """QEMU has ended it, or the disk has gone, and no run has come by since."""
    flattening.write_note(os.path.join(directory, "root.qcow2"), 0.0)
    assert flattening.unended({"one": pool}, OWNER) is None and flattening.progress(None, {"one": pool}, OWNER) is None
