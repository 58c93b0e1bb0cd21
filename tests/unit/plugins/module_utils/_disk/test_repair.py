# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import CHUNK_BYTES
from ansible_collections.basecast.fleet.plugins.module_utils._disk import attributes, file_io, file_trees, layout, references, transfer
from ansible_collections.basecast.fleet.plugins.module_utils._disk.base import Base
from ansible_collections.basecast.fleet.plugins.module_utils._disk.repair import repair, resumable
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.files import PartialFile

from .conftest import put_base, qcow2
from .test_survey import DAMAGES

Pools = dict[str, Store]
FROM_THE_DISK = [name for name in DAMAGES if name not in ("disk missing", "disk a link", "disk cut", "all missing", "a file", "a link")]
LOST = ["disk missing", "disk a link", "disk cut", "all missing", "a file", "a link"]


def flip(base: Base) -> None:
    """A bit that the storage lost; size, record and chunk list are as they were."""
    attributes.set_immutable(base.path, False)
    with open(base.path, "r+b") as file:
        file.seek(100)
        file.write(b"!")


@pytest.mark.parametrize("name", FROM_THE_DISK)
def test_files_beside_a_sound_disk_are_made_again(pools: Pools, name: str) -> None:
    base = put_base(pools["one"], refer=[references.tenant_of("blue")])
    good = base.metadata
    DAMAGES[name][0](base)
    before = sorted(os.listdir(base.directory))
    predicted = repair(pools, "one", base.sha256, True)
    assert sorted(os.listdir(base.directory)) == before
    done = repair(pools, "one", base.sha256, False)
    assert predicted == done
    assert done.action == "completed"
    mended = pools["one"].find(base.sha256)
    assert mended is not None
    assert transfer.verify(mended) == ""
    assert {key: mended.metadata[key] for key in ("size_bytes", "chunks_sha256", "parent")} == {
        key: good[key] for key in ("size_bytes", "chunks_sha256", "parent")
    }
    assert mended.tenants() == ["blue"]
    assert repair(pools, "one", base.sha256, False).action == "none"


@pytest.mark.parametrize("name", [*LOST, "bit"])
def test_another_pools_copy_replaces_a_lost_disk(pools: Pools, name: str) -> None:
    base = put_base(pools["one"], refer=[references.tenant_of("blue")])
    put_base(pools["two"])
    (DAMAGES[name][0] if name != "bit" else flip)(base)
    assert repair(pools, "one", base.sha256, True).action == "replaced"
    assert repair(pools, "one", base.sha256, False).action == "replaced"
    mended = pools["one"].find(base.sha256)
    assert mended is not None
    assert (transfer.verify(mended), mended.tenants()) == ("", ["blue"])


@pytest.mark.parametrize("name", [*LOST, "bit"])
def test_what_is_lost_and_not_needed_goes(pools: Pools, name: str) -> None:
    base = put_base(pools["one"])
    (DAMAGES[name][0] if name != "bit" else flip)(base)
    for check_mode in (True, False):
        assert repair(pools, "one", base.sha256, check_mode).action == "removed"
    assert pools["one"].ids() == []
    assert os.path.isdir("/etc")


@pytest.mark.parametrize("name", [*LOST, "bit"])
def test_what_is_lost_and_needed_counts_no_more(pools: Pools, name: str) -> None:
    base = put_base(pools["one"], refer=[references.tenant_of("blue")])
    flip(put_base(pools["two"]))
    (DAMAGES[name][0] if name != "bit" else flip)(base)
    assert repair(pools, "one", base.sha256, False).action == "set_aside"
    assert pools["one"].find(base.sha256) is None
    assert pools["one"].problem(base.sha256)
    again = put_base(pools["one"])
    assert (transfer.verify(again), again.tenants()) == ("", ["blue"])


def test_a_record_comes_from_another_pool(pools: Pools) -> None:
    base = put_base(pools["one"])
    put_base(pools["two"], imported_at="2025-12-31T00:00:00Z")
    DAMAGES["base.json missing"][0](base)
    repair(pools, "one", base.sha256, False)
    mended = pools["one"].find(base.sha256)
    assert mended is not None
    assert mended.metadata["imported_at"] == "2025-12-31T00:00:00Z"


def test_no_base_is_no_damage(pools: Pools) -> None:
    assert repair(pools, "one", "a" * 64, False).action == "none"


def test_a_relay_resumes_from_a_damaged_disk(pools: Pools) -> None:
    """Its copy stands where a partial would, every chunk marked, and none believed."""
    base = put_base(pools["one"], refer=[references.tenant_of("blue")])
    flip(base)
    repair(pools, "one", base.sha256, False)
    store = pools["one"]
    assert resumable(store, base.sha256, True) and not os.path.lexists(store.partial_directory(base.sha256))
    assert resumable(store, base.sha256, False)
    partial = store.partial_directory(base.sha256)
    with open(os.path.join(partial, "disk"), "rb") as copy, open(base.path, "rb") as damaged:
        assert copy.read() == damaged.read()
    size = os.path.getsize(base.path)
    endpoint = PartialFile(os.path.join(partial, "disk"), os.path.join(partial, "map"), size, CHUNK_BYTES)
    try:
        assert not endpoint.trusted and set(endpoint.marks()) == {1}
    finally:
        endpoint.close()
    assert not resumable(store, base.sha256, False)


def test_a_sound_base_is_no_partial(pools: Pools) -> None:
    base = put_base(pools["one"])
    assert not resumable(pools["one"], base.sha256, False)
    assert not os.path.lexists(pools["one"].partial_directory(base.sha256))


def test_without_room_for_the_copy_nothing_is_left(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(pools["one"], refer=[references.tenant_of("blue")])
    flip(base)
    repair(pools, "one", base.sha256, False)

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transfer, "copy_file", full)
    with pytest.raises(FleetError, match="cannot be copied: No space left"):
        resumable(pools["one"], base.sha256, False)
    assert not os.path.lexists(pools["one"].partial_directory(base.sha256))
    assert os.path.exists(base.path)


def family(store: Store) -> tuple[Base, Base, Base]:
    """A parent, its child and a grandchild; the digests stand in no order."""
    parent = put_base(store, refer=[references.tenant_of("blue")])
    child = put_base(store, b"child".ljust(4096, b"\0"), parent=parent.sha256, refer=[references.tenant_of("blue")])
    return parent, child, put_base(store, b"grand".ljust(4096, b"\0"), parent=child.sha256, refer=[references.tenant_of("blue")])


@pytest.mark.parametrize("name", [*LOST, "bit"])
def test_children_wait_for_their_parent_and_are_kept(pools: Pools, name: str) -> None:
    parent, *children = family(pools["one"])
    (DAMAGES[name][0] if name != "bit" else flip)(parent)
    for check_mode in (True, False):
        assert repair(pools, "one", parent.sha256, check_mode).action == "set_aside"
        if not check_mode or name != "bit":
            assert [repair(pools, "one", child.sha256, check_mode).action for child in children] == ["waits", "waits"]
    assert all(os.path.exists(child.path) for child in children)
    put_base(pools["two"])
    assert repair(pools, "one", parent.sha256, False).action == "replaced"
    assert [repair(pools, "one", child.sha256, False).action for child in children] == ["none", "none"]
    assert all(pools["one"].find(base.sha256) for base in (parent, *children))


def test_a_parent_that_is_gone_comes_from_another_pool(pools: Pools) -> None:
    parent, child, _grand = family(pools["one"])
    file_trees.remove_tree(parent.directory)
    assert repair(pools, "one", child.sha256, False).action == "waits"
    put_base(pools["two"])
    predicted = repair(pools, "one", child.sha256, True)
    assert not os.path.lexists(parent.directory)
    done = repair(pools, "one", child.sha256, False)
    assert done == predicted and (done.action, done.sha256) == ("restored", parent.sha256)
    assert pools["one"].find(child.sha256) is not None


@pytest.mark.parametrize("name", FROM_THE_DISK)
def test_a_child_of_a_lost_parent_gets_its_own_files_back(pools: Pools, name: str) -> None:
    parent, child, _grand = family(pools["one"])
    file_trees.remove_tree(parent.directory)
    DAMAGES[name][0](child)
    assert repair(pools, "one", child.sha256, False).action == "completed"
    assert repair(pools, "one", child.sha256, False).action == "waits"
    assert pools["one"].find(child.sha256, alone=True) is not None


def test_a_child_of_a_lost_parent_is_read_itself(pools: Pools) -> None:
    parent, child, grand = family(pools["one"])
    file_trees.remove_tree(parent.directory)
    flip(child)
    assert repair(pools, "one", child.sha256, False).action == "set_aside"
    assert repair(pools, "one", grand.sha256, False).action == "waits"


def test_a_disk_that_is_exchanged_meanwhile_is_not_taken(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(pools["one"])
    DAMAGES["chunks missing"][0](base)
    protect = attributes.protect

    def exchange(path: str) -> None:
        attributes.set_immutable(path, False)
        os.rename(path, f"{path}.old")
        file_io.write_file(path, b"other", 0o644)
        protect(path)

    monkeypatch.setattr(attributes, "protect", exchange)
    with pytest.raises(FleetError, match="was changed while it was mended; end what writes to it"):
        repair(pools, "one", base.sha256, False)


def test_parents_in_a_loop_cannot_be_mended(pools: Pools) -> None:
    parent, child, _grand = family(pools["one"])
    record = file_io.json_bytes({**parent.metadata, "parent": child.sha256})
    file_io.replace_file(os.path.join(parent.directory, "base.json"), record, 0o644)
    DAMAGES["chunks missing"][0](child)
    with pytest.raises(FleetError, match="is still not usable: its chain of parents is a loop; remove it, or import it again"):
        repair(pools, "one", child.sha256, False)


@pytest.mark.parametrize("beside", ["a disk is made", "it is brought back"])
def test_what_happens_while_it_is_read_is_seen(beside: str, pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a base takes minutes, in which other runs work."""
    store = pools["one"]
    base = put_base(store)
    sound = Path(base.path).read_bytes()
    flip(base)
    changing = Store.changing

    def meanwhile(store: Store, *args: t.Any, **named: t.Any) -> t.Any:
        if beside == "a disk is made":
            directory = layout.machine_directory(store.pool_path, "shop", "web-1")
            os.makedirs(directory, exist_ok=True)
            backing = f"../../../bases/{base.sha256}/disk"
            Path(directory, "root.qcow2").write_bytes(qcow2(backing=backing, backing_format="raw"))
        else:
            new = Path(base.path + ".new")
            new.write_bytes(sound)
            new.rename(base.path)
        return changing(store, *args, **named)

    monkeypatch.setattr(Store, "changing", meanwhile)
    done = repair(pools, "one", base.sha256, False)
    assert done.action == ("set_aside" if beside == "a disk is made" else "none")
    assert store.ids() == [base.sha256] and os.path.exists(base.chunks_path) == (done.action == "none")
