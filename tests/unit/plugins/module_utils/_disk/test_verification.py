# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import attributes, survey, transfer, verification
from ansible_collections.basecast.fleet.plugins.module_utils._disk.base import Base
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import WrongDigest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import chunks_of, metadata_of, put_base

DATA = b"content".ljust(300 * 1024, b"\0")


def write_to(base: Base, data: bytes, keep_time: bool = False) -> None:
    before = os.stat(base.path)
    attributes.set_immutable(base.path, False)
    os.chmod(base.path, 0o600)
    with open(base.path, "r+b") as file:
        file.write(data)
    later = before.st_mtime_ns + (0 if keep_time else 1)
    os.utime(base.path, ns=(before.st_atime_ns, later))


def test_a_written_base_is_damaged_until_it_is_verified(store: Store) -> None:
    base = put_base(store, DATA)
    assert base.verified_at is not None
    write_to(base, DATA[:4])
    assert store.find(base.sha256) is None
    assert "was changed at" in store.problem(base.sha256)
    # A look with check mode changes nothing.
    assert survey.survey({"default": store}, verify=True)["pools"]["default"]["damaged"] == []
    assert store.find(base.sha256) is None
    survey.survey({"default": store}, verify=True, remember=True)
    assert store.find(base.sha256) is not None


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_verified_base_with_other_bytes_stays_damaged(store: Store, keep_time: bool) -> None:
    base = put_base(store, DATA)
    write_to(base, b"other", keep_time)
    found = survey.survey({"default": store}, verify=True, remember=True)["pools"]["default"]
    assert found["damaged"][0]["sha256"] == base.sha256
    assert "its file has the digest" in found["damaged"][0]["damage"]


@pytest.mark.parametrize("record", [b"", b"{", b"[" * 100_000, b"{}", b'{"format": 2}', b'{"format": 1, "mtime_ns": "x"}'])
def test_a_record_that_says_nothing_is_no_damage(store: Store, record: bytes) -> None:
    base = put_base(store, DATA)
    with open(store.record_path(base.sha256), "r+b") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(0)
        file.write(record)
    found = store.find(base.sha256)
    assert found is not None
    assert found.verified_at is None


def test_a_removed_base_leaves_no_record(store: Store) -> None:
    base = put_base(store, DATA)
    store.remove(base.sha256)
    assert verification.recorded(store.record_path(base.sha256)) is None
    assert put_base(store, DATA).verified_at is not None


@pytest.mark.parametrize("position", [0, 7, 262144, len(DATA) - 4])
def test_no_other_bytes_are_published(store: Store, position: int) -> None:
    metadata = metadata_of(DATA)
    partial = store.partial(metadata["sha256"])
    with open(partial.disk, "wb") as file:
        file.write(DATA)
    digest = partial.digest()
    digest.advance(len(DATA))
    with open(partial.disk, "r+b") as file:
        file.seek(position)
        file.write(b"flip")
    with pytest.raises(WrongDigest) as caught:
        partial.publish(metadata, chunks_of(DATA))
    assert caught.value.fields["wanted"] == metadata["sha256"]
    assert store.ids() == []
    # It can be mended.
    with open(partial.disk, "r+b") as file:
        file.write(DATA)
    assert partial.publish(metadata, chunks_of(DATA)).sha256 == metadata["sha256"]


def test_the_digest_of_another_file_does_not_count(store: Store, tmp_path: t.Any) -> None:
    metadata = metadata_of(DATA)
    right, partial = tmp_path / "right", store.partial(metadata["sha256"])
    right.write_bytes(DATA)
    digest = store.file_digest(str(right))
    assert digest.finish() == metadata["sha256"]
    with open(partial.disk, "wb") as file:
        file.write(b"other".ljust(len(DATA), b"\0"))
    with pytest.raises(WrongDigest):
        partial.publish(metadata, chunks_of(DATA), digest)
    partial.close()
    assert transfer.verify(put_base(store, DATA)) == ""
