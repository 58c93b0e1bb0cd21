# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.base import record_problem
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import chunks_of, metadata_of, put_base, qcow2

DATA = b"content".ljust(300 * 1024, b"\0")


def test_metadata_that_lies_is_no_base(store: Store) -> None:
    base = put_base(store, DATA)
    path = os.path.join(base.directory, "base.json")
    os.chmod(path, 0o600)
    for content in ("", "[]", "{}", json.dumps({**base.metadata, "sha256": "0" * 64}), json.dumps({**base.metadata, "format": 2})):
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        assert store.find(base.sha256) is None
        assert store.problem(base.sha256)


def as_qcow2(**header: t.Any) -> bytes:
    return qcow2(**header).ljust(2 << 16, b"\1")


PARENT = "ab" * 32


@pytest.mark.parametrize(
    ("data", "lie", "said"),
    [
        (b"raw".ljust(4096), {"image_format": "qcow2"}, "image_format qcow2, but the file is none"),
        (b"raw".ljust(4096), {"virtual_size_bytes": 8192}, "virtual_size_bytes 8192, but the disk has 4096"),
        (b"raw".ljust(4096), {"virtual_size_bytes": 0}, "virtual_size_bytes 0, but the disk has 4096"),
        (b"raw".ljust(4096), {"parent": "PARENT"}, "parent .*, but the file names none"),
        (as_qcow2(), {}, "virtual_size_bytes 131072, but the disk has 1048576"),
        (as_qcow2(), {"image_format": "qcow2"}, "virtual_size_bytes 131072, but the disk has 1048576"),
        (as_qcow2(), {"image_format": "raw", "virtual_size_bytes": 1 << 20}, "virtual_size_bytes 1048576, but the disk has 131072"),
        (as_qcow2(backing="/etc/shadow"), {"image_format": "qcow2", "virtual_size_bytes": 1 << 20}, "parent none, but the file names /etc/shadow"),
        (as_qcow2(backing=f"../{PARENT}/disk"), {"image_format": "qcow2", "virtual_size_bytes": 1 << 20, "parent": "PARENT"}, "but the file names"),
        (as_qcow2(data_file="/etc/shadow"), {"image_format": "qcow2", "virtual_size_bytes": 1 << 20}, "nothing of the other file"),
        (as_qcow2(backing="\x1b[2J"), {"image_format": "qcow2", "virtual_size_bytes": 1 << 20}, r"but the file names \\x1b"),
        (b"QFI\xfb" + b"\xff" * 4092, {"image_format": "qcow2"}, "image_format qcow2, but the file is none"),
    ],
)  # fmt: skip
def test_a_record_that_contradicts_its_bytes_is_not_published(store: Store, data: bytes, lie: dict[str, t.Any], said: str) -> None:
    parent = put_base(store, b"parent".ljust(4096))
    lie = {key: parent.sha256 if value == "PARENT" else value for key, value in lie.items()}
    metadata = {**metadata_of(data), **lie}
    if not lie:
        assert record_problem_of(store, data, metadata) == ""  # a raw disk may look like anything
        metadata["image_format"] = "qcow2"
    partial = store.partial(metadata["sha256"])
    pathlib.Path(partial.disk).write_bytes(data)
    with pytest.raises(FleetError, match=said) as raised:
        partial.publish(metadata, chunks_of(data))
    assert "\x1b" not in raised.value.message
    assert store.find(metadata["sha256"]) is None
    pathlib.Path(partial.disk).write_bytes(data)  # to be mended or discarded
    partial.discard()


@pytest.mark.parametrize("named", ["qcow2", "vmdk", None])
def test_a_parent_is_read_in_its_own_format(store: Store, named: str | None) -> None:
    """A raw parent whose bytes look like an image could name any file of the host, if its child had it read as one."""
    parent = put_base(store, as_qcow2(backing="/etc/shadow", backing_format="raw"))
    assert parent.image_format == "raw"
    data = as_qcow2(backing=f"../{parent.sha256}/disk", backing_format=named)
    metadata = metadata_of(data, "qcow2", parent.sha256)
    partial = store.partial(metadata["sha256"])
    pathlib.Path(partial.disk).write_bytes(data)
    with pytest.raises(FleetError, match=f"which is raw, but the file names the format {named or 'none'}"):
        partial.publish(metadata, chunks_of(data))
    assert store.find(metadata["sha256"]) is None
    partial.discard()


def record_problem_of(store: Store, data: bytes, metadata: dict[str, t.Any]) -> str:
    path = pathlib.Path(store.pool_path) / "looked-at"
    path.write_bytes(data)
    return record_problem(str(path), metadata)
