# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.backing import Layer, backing_chain


def _create(path: str, *args: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *args], check=True, cwd=os.path.dirname(path))


def test_a_chain_is_followed_through_relative_names(pool: str) -> None:
    root, patch, disk = f"{pool}/bases/a/disk", f"{pool}/bases/b/disk", f"{pool}/machines/s/m/root.qcow2"
    os.makedirs(os.path.dirname(root))
    with open(root, "wb") as file:
        file.truncate(1 << 20)
    _create(patch, "-b", "../a/disk", "-F", "raw", "disk")
    _create(disk, "-b", "../../../bases/b/disk", "-F", "qcow2", disk)
    assert backing_chain(disk, "qcow2") == [Layer(patch, "qcow2"), Layer(root, "raw")]
    assert backing_chain(root, "raw") == []


def test_a_disk_that_stands_alone(pool: str) -> None:
    _create(f"{pool}/disk", "disk", "1M")
    assert backing_chain(f"{pool}/disk", "qcow2") == []


def test_what_is_no_local_file_is_left_to_libvirt(pool: str) -> None:
    _create(f"{pool}/disk", "-u", "-b", "nbd://192.0.2.1/base", "-F", "raw", "disk", "1M")
    assert backing_chain(f"{pool}/disk", "qcow2") is None


def test_a_missing_layer_is_named(pool: str) -> None:
    _create(f"{pool}/disk", "-u", "-b", "gone", "-F", "qcow2", "disk", "1M")
    with pytest.raises(FleetError, match=f"Cannot read the disk {pool}/gone: No such file"):
        backing_chain(f"{pool}/disk", "qcow2")


def test_a_disk_of_another_format_is_refused(pool: str) -> None:
    with open(f"{pool}/disk", "wb") as file:
        file.truncate(1 << 20)
    with pytest.raises(FleetError, match=f"The disk {pool}/disk cannot be used as qcow2"):
        backing_chain(f"{pool}/disk", "qcow2")
