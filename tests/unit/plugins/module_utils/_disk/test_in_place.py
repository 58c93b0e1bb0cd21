# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import hash_file
from ansible_collections.basecast.fleet.plugins.module_utils._disk import in_use, sparse_copy, transfer
from ansible_collections.basecast.fleet.plugins.module_utils._disk.base import Base
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import DiskBusy
from ansible_collections.basecast.fleet.plugins.module_utils._disk.in_place import put_right
from ansible_collections.basecast.fleet.plugins.module_utils._disk.repair import repair
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

from .conftest import put_base
from .test_repair import flip

Pools = dict[str, Store]
READ, WRITTEN = in_use.Use(False, ("domain web-1",)), in_use.Use(True, ("domain web-1",))


def mend(store: Store, base: Base, sound: Base) -> bool:
    return put_right(base.directory, base.sha256, sound.directory, store.record_path(base.sha256), store.file_digest)


def used(monkeypatch: pytest.MonkeyPatch, use: in_use.Use | None) -> None:
    """As if a machine had every disk open: a QEMU is in the integration tests."""
    monkeypatch.setattr(in_use, "look", lambda _descriptor: use)


def test_wrong_bytes_are_written_again_under_a_reader(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    base, sound = put_base(pools["one"]), put_base(pools["two"])
    flip(base)
    inode = os.stat(base.path).st_ino
    used(monkeypatch, READ)
    with open(base.path, "rb") as reader:
        assert mend(pools["one"], base, sound)
        assert reader.read() == open(sound.path, "rb").read()
    assert os.stat(base.path).st_ino == inode
    mended = pools["one"].find(base.sha256)
    assert mended is not None and transfer.verify(mended) == ""


def test_what_nobody_reads_is_left_to_be_exchanged(pools: Pools) -> None:
    base, sound = put_base(pools["one"]), put_base(pools["two"])
    flip(base)
    wrong = hash_file(base.path)[0]
    assert not mend(pools["one"], base, sound)
    assert hash_file(base.path)[0] == wrong


@pytest.mark.parametrize("change", ["written", "cut"])
def test_what_is_written_or_has_another_size_is_refused(pools: Pools, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    base, sound = put_base(pools["one"]), put_base(pools["two"])
    flip(base)
    if change == "cut":
        os.truncate(base.path, 1000)
    wrong = hash_file(base.path)[0]
    used(monkeypatch, WRITTEN if change == "written" else READ)
    with pytest.raises(DiskBusy, match="in use by domain web-1; it cannot be replaced"):
        mend(pools["one"], base, sound)
    assert hash_file(base.path)[0] == wrong


def test_repair_and_publishing_go_through_it(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(pools["one"])
    put_base(pools["two"])
    flip(base)
    inode = os.stat(base.path).st_ino
    used(monkeypatch, READ)
    assert repair(pools, "one", base.sha256, False).action == "replaced"
    assert os.stat(base.path).st_ino == inode
    assert pools["one"].find(base.sha256) is not None
    assert not os.path.lexists(pools["one"].partial_directory(base.sha256))


def test_interrupted_it_counts_for_nobody(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    base, sound = put_base(pools["one"]), put_base(pools["two"])
    flip(base)
    used(monkeypatch, READ)

    def full(*_arguments: t.Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="No space left"):
        broken.setattr(sparse_copy, "write_at", full)
        mend(pools["one"], base, sound)
    assert pools["one"].find(base.sha256) is None
    assert mend(pools["one"], base, sound)
    assert pools["one"].find(base.sha256) is not None


def test_another_name_of_the_file_keeps_its_bytes(pools: Pools, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> None:
    """A base that was adopted as a hard link is a file of somebody, who may have written to it on purpose."""
    base, sound = put_base(pools["one"]), put_base(pools["two"])
    flip(base)
    os.link(base.path, tmp_path / "mine.raw")
    wrong = hash_file(base.path)[0]
    used(monkeypatch, READ)
    with pytest.raises(DiskBusy, match=r"2 names .*Stop the machines"):
        mend(pools["one"], base, sound)
    used(monkeypatch, None)
    assert repair(pools, "one", base.sha256, False).action == "replaced"
    assert hash_file(str(tmp_path / "mine.raw"))[0] == wrong and hash_file(base.path)[0] == base.sha256
