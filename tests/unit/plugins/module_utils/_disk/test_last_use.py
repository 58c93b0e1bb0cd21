# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import time

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import last_use, references
from ansible_collections.basecast.fleet.plugins.module_utils._disk.disk_decisions import Wish
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._disk.overlay import Disks
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

from .conftest import FakeQemu, put_base

OLD = 1_000_000_000.0


def age(*paths: str) -> None:
    for path in paths:
        os.utime(path, (OLD, OLD))


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of change of the content alone: nobody can set the other."""
    monkeypatch.setattr(last_use, "_changed_at", lambda path: os.lstat(path).st_mtime)


@pytest.mark.usefixtures("times")
def test_the_latest_sign_counts(store: Store) -> None:
    base = put_base(store, refer=[references.tenant_of("default")])
    directory = store.references_directory(base.sha256)
    places = [store.base_directory(base.sha256), directory, os.path.join(directory, os.listdir(directory)[0])]
    age(*places)
    assert last_use.at(store.directory, base.sha256) == OLD
    for place in places:
        os.utime(place)
        assert time.time() - last_use.at(store.directory, base.sha256) < 60
        age(place)
    last_use.note(store.directory, [base.sha256])
    assert time.time() - last_use.at(store.directory, base.sha256) < 60
    store.remove(base.sha256)
    assert last_use.at(store.directory, base.sha256) == 0.0


@pytest.mark.parametrize("link", ["bases", "bases/.used"])
def test_no_stamp_is_put_behind_a_link(tmp_path: pathlib.Path, link: str) -> None:
    (tmp_path / "outside").mkdir()
    place = tmp_path / "pool" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafePath, match="is a symbolic link"):
        last_use.note(str(tmp_path / "pool" / "bases"), ["a" * 64])
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.usefixtures("times")
def test_making_and_removing_disks_is_use(store: Store, qemu_runner: FakeQemu) -> None:
    base = put_base(store)
    disks = Disks({"one": store}, QemuImg(qemu_runner), "default", "shop")
    stamp = last_use.stamp_path(store.directory, base.sha256)
    wish = Wish("web-1", "root", "one", base.sha256)
    disks.present([wish])
    assert os.path.exists(stamp)
    age(stamp, store.base_directory(base.sha256))
    disks.present([wish])  # it is there: nothing is made
    assert last_use.at(store.directory, base.sha256) == OLD
    disks.absent([Wish("web-1", None, None)])
    assert time.time() - last_use.at(store.directory, base.sha256) < 60
