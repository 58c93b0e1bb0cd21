# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_io, layout, new_disks, sparse_copy, transfer
from ansible_collections.basecast.fleet.plugins.module_utils._disk.disk_decisions import Wish
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import BaseMissing, DiskBusy, DiskConflict, NoSpace, UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._disk.overlay import Disks
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._disk.room import Room
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import FakeQemu, put_base, qcow2

GIB = 1 << 30
Results = list[dict[str, t.Any]]
Present = t.Callable[..., Results]


@pytest.fixture
def disks(pools: dict[str, Store], qemu_runner: FakeQemu) -> t.Callable[..., Disks]:
    return lambda check_mode=False, tenant="default": Disks(pools, QemuImg(qemu_runner), tenant, "shop", check_mode)


@pytest.fixture
def present(disks: t.Callable[..., Disks]) -> Present:
    return lambda *wishes, **how: disks(**how).present(list(wishes))


@pytest.fixture
def absent(disks: t.Callable[..., Disks]) -> Present:
    return lambda *wishes, **how: disks(**how).absent(list(wishes))


def wish(base: str | None, machine: str = "web-1", name: str | None = "root", pool: str | None = "one", **more: t.Any) -> Wish:
    return Wish(machine, name, pool, base, **more)


def tree(store: Store) -> list[str]:
    found = []
    for place, _directories, files in os.walk(layout.machines_directory(store.pool_path)):
        found += [os.path.relpath(os.path.join(place, name), store.pool_path) for name in files]
    return sorted(found)


def test_one_is_made_by_qemu_img_and_the_rest_are_the_same_file(present: Present, store: Store, qemu_runner: FakeQemu) -> None:
    base = put_base(store)
    results = present(*(wish(base.sha256, f"web-{n}", size_bytes=GIB) for n in range(20)), wish(base.sha256, "big", size_bytes=2 * GIB))
    assert qemu_runner.commands() == ["create", "create"]
    assert {result["action"] for result in results} == {"created"}
    contents = {file_io.read_file(result["path"]) for result in results[:20]}
    assert contents == {qcow2(GIB, backing=f"../../../bases/{base.sha256}/disk", backing_format="raw")}
    assert all(os.stat(result["path"]).st_mode & 0o777 == 0o600 for result in results)
    assert os.stat(os.path.dirname(results[0]["path"])).st_mode & 0o777 == 0o711
    assert not [path for path in tree(store) if path.endswith(".tmp")]


def test_again_changes_nothing(present: Present, store: Store, qemu_runner: FakeQemu) -> None:
    base = put_base(store)
    first = present(wish(base.sha256, size_bytes=GIB))
    for check_mode in (True, False):
        again = present(wish(base.sha256, size_bytes=GIB), check_mode=check_mode)
        assert [result["action"] for result in again] == ["none"]
        assert again[0]["base_pool"] == "one"
        assert again[0]["path"] == first[0]["path"]
    assert qemu_runner.commands() == ["create"]


def test_check_mode_predicts_and_touches_nothing(present: Present, store: Store) -> None:
    base = put_base(store)
    predicted = present(wish(base.sha256), check_mode=True)
    assert tree(store) == []
    assert not os.path.exists(layout.machines_directory(store.pool_path))
    real = present(wish(base.sha256))
    assert [{**item, "allocated_bytes": 0} for item in real] == predicted


def test_a_base_that_is_on_its_way_is_a_warning_in_check_mode_only(disks: t.Callable[..., Disks], present: Present) -> None:
    looking = disks(check_mode=True)
    assert looking.present([wish("a" * 64), wish("a" * 64, "web-2")])[0]["action"] == "created"
    assert len(looking.warnings) == 1
    with pytest.raises(BaseMissing):
        present(wish("a" * 64))


def test_a_base_in_another_pool_is_named_absolutely(present: Present, pools: dict[str, Store]) -> None:
    base = put_base(pools["two"])
    (result,) = present(wish(base.sha256))
    assert result["backing"] == base.path
    assert result["base_pool"] == "two"
    near = put_base(pools["one"])
    (result,) = present(wish(near.sha256, "web-2"))
    assert result["backing"] == f"../../../bases/{near.sha256}/disk"
    (result,) = present(wish(near.sha256, "web-3", base_pool="two"))
    assert result["backing"] == base.path
    assert present(wish(base.sha256))[0]["base_pool"] == "two"


def test_sizes(present: Present, store: Store, qemu_runner: FakeQemu) -> None:
    base = put_base(store, bytes(8192))
    with pytest.raises(InvalidOption, match="8192"):
        present(wish(base.sha256, size_bytes=4096))
    with pytest.raises(InvalidOption, match="needs a size"):
        present(wish(None))
    assert present(wish(base.sha256))[0]["virtual_size_bytes"] == 8192
    assert present(wish(base.sha256, size_bytes=9000), check_mode=True)[0]["action"] == "resized"
    assert present(wish(base.sha256, size_bytes=9000))[0]["virtual_size_bytes"] == 9216
    assert qemu_runner.commands() == ["create", "info", "info", "resize"]
    smaller = present(wish(base.sha256, size_bytes=8192))
    assert (smaller[0]["action"], smaller[0]["virtual_size_bytes"]) == ("none", 9216)


def test_another_base_is_a_conflict_that_touches_nothing(present: Present, store: Store) -> None:
    first, second = put_base(store), put_base(store, b"second".ljust(4096))
    present(wish(first.sha256))
    before = tree(store)
    for check_mode in (True, False):
        with pytest.raises(DiskConflict) as error:
            present(wish(second.sha256, "web-0"), wish(second.sha256), check_mode=check_mode)
        assert first.sha256 in error.value.message
        assert second.sha256 in error.value.message
    assert tree(store) == before


@pytest.mark.parametrize(("backing", "word"), [("/etc/shadow", "/etc/shadow"), ("nbd:h:1", "nbd"), (None, "unknown origin")])
def test_a_disk_of_unknown_make_is_a_conflict(present: Present, store: Store, backing: str | None, word: str) -> None:
    base = put_base(store)
    (result,) = present(wish(base.sha256))
    with open(result["path"], "wb") as file:
        file.write(qcow2(backing=backing))
    with pytest.raises(DiskConflict, match=word):
        present(wish(base.sha256))


def test_a_file_that_is_no_disk_is_a_conflict(present: Present, store: Store) -> None:
    base = put_base(store)
    (result,) = present(wish(base.sha256))
    with open(result["path"], "wb") as file:
        file.write(b"text")
    with pytest.raises(DiskConflict, match="is no qcow2 disk"):
        present(wish(base.sha256))


def test_a_disk_with_a_child_is_not_written(present: Present, absent: Present, store: Store, qemu_runner: FakeQemu) -> None:
    base = put_base(store, bytes(8192))
    (parent,) = present(wish(base.sha256))
    with open(os.path.join(os.path.dirname(parent["path"]), "root.snapshot1"), "wb") as file:
        file.write(qcow2(backing="root.qcow2"))
    for check_mode in (True, False):
        with pytest.raises(DiskConflict, match="has a child"):
            present(wish(base.sha256, size_bytes=GIB), check_mode=check_mode)
        with pytest.raises(DiskConflict, match="has a child"):
            absent(wish(None), check_mode=check_mode)
    assert os.path.exists(parent["path"])


def test_copies(present: Present, store: Store, qemu_runner: FakeQemu) -> None:
    base = put_base(store, b"raw".ljust(8192, b"\0"))
    (result,) = present(wish(base.sha256, differencing=False))
    assert result["path"].endswith("root.raw")
    assert (result["image_format"], result["backing"]) == ("raw", None)
    assert file_io.read_file(result["path"]) == file_io.read_file(base.path)
    assert present(wish(base.sha256, differencing=False))[0]["action"] == "none"
    with pytest.raises(DiskConflict, match="a copy of the base disk"):
        present(wish(base.sha256))
    other = put_base(store, b"other".ljust(8192, b"\0"))
    with pytest.raises(DiskConflict, match=base.sha256):
        present(wish(other.sha256, differencing=False))


def test_copies_are_made_side_by_side(present: Present, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(store)
    both, copy = threading.Barrier(2), transfer.copy_file

    def together(*args: t.Any) -> str:
        both.wait(timeout=20)  # one after another would wait for ever
        return copy(*args)

    monkeypatch.setattr(transfer, "copy_file", together)
    results = present(wish(base.sha256, "a", differencing=False), wish(base.sha256, "b", differencing=False))
    assert {file_io.read_file(result["path"]) for result in results} == {file_io.read_file(base.path)}


def test_a_copy_that_fails_leaves_none_of_the_others(present: Present, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(store)
    copy, calls = transfer.copy_file, []

    def fail_once(*args: t.Any) -> str:
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return copy(*args)

    monkeypatch.setattr(transfer, "copy_file", fail_once)
    with pytest.raises(OSError, match="Input/output"):
        present(*(wish(base.sha256, f"m{number}", differencing=False) for number in range(12)))
    assert len(calls) < 12 and [path for path in tree(store) if ".owner" not in path and not path.endswith(".lock")] == []


def test_a_copy_of_a_child_is_flattened(present: Present, store: Store, qemu_runner: FakeQemu) -> None:
    root = put_base(store, qcow2(), "qcow2")
    child = put_base(store, qcow2(backing=f"../{root.sha256}/disk"), "qcow2", root.sha256)
    (result,) = present(wish(child.sha256, differencing=False, size_bytes=2 << 20))
    assert qemu_runner.commands() == ["measure", "convert", "resize"]
    assert (result["image_format"], result["backing"]) == ("qcow2", None)


def test_reflink_where_the_file_system_cannot(present: Present, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(store)
    monkeypatch.setattr(sparse_copy, "clone", lambda *_arguments: False)
    with pytest.raises(FleetError, match="file system") as error:
        present(wish(base.sha256, backend="reflink"))
    assert error.value.fields["kind"] == "no_reflink"
    assert tree(store) == ["machines/shop/.lock", "machines/shop/.owner.json"]


def test_a_reflink_of_a_child_names_the_grandparent(
    present: Present, store: Store, monkeypatch: pytest.MonkeyPatch, qemu_runner: FakeQemu
) -> None:
    root = put_base(store, qcow2(), "qcow2")
    child = put_base(store, qcow2(backing=f"../{root.sha256}/disk"), "qcow2", root.sha256)
    copy = transfer.copy_file

    def clone(source: int, path: str, size: int, room: Room) -> str:
        copy(source, path, size, room)
        return "reflink"

    monkeypatch.setattr(transfer, "copy_file", clone)
    (result,) = present(wish(child.sha256, backend="reflink"))
    assert result["backing"] == f"../../../bases/{root.sha256}/disk"
    assert qemu_runner.commands() == ["rebase"]
    assert present(wish(child.sha256, backend="reflink"))[0]["action"] == "none"


def test_empty_disks(present: Present, store: Store) -> None:
    (result,) = present(wish(None, size_bytes=GIB))
    assert (result["base"], result["backing"], result["virtual_size_bytes"]) == (None, None, GIB)
    assert present(wish(None, size_bytes=GIB))[0]["action"] == "none"


def test_failure_in_the_middle_leaves_nothing(present: Present, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(store)
    calls = []

    def full(*_arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(new_disks, "_write_pieces", full)
    with pytest.raises(NoSpace):
        present(*(wish(base.sha256, f"web-{n}") for n in range(5)))
    assert tree(store) == ["machines/shop/.lock", "machines/shop/.owner.json"]


def test_remains_of_a_crash_are_replaced(present: Present, store: Store) -> None:
    base = put_base(store)
    layout.make_directories(store.pool_path, "machines", "shop", "web-1")
    directory = layout.machine_directory(store.pool_path, "shop", "web-1")
    with open(layout.temporary_path(directory, "root"), "wb") as file:
        file.write(b"half")
    present(wish(base.sha256))
    assert sorted(os.listdir(directory)) == ["root.qcow2"]


@pytest.mark.parametrize("complete", [True, False])
def test_disks_in_a_half_made_clone_are_a_machine_s(present: Present, store: Store, complete: bool) -> None:
    """Others would undo it, disks and all."""
    directory = layout.machine_directory(store.pool_path, "shop", "web-1")
    os.makedirs(directory)
    note = {"format": 1, "source": "web-7", "complete": complete}
    file_io.replace_file(layout.clone_path(directory), file_io.json_bytes(note), 0o644)
    present(wish(put_base(store).sha256), check_mode=True)
    assert os.path.exists(layout.clone_path(directory))
    present(wish(put_base(store).sha256))
    assert os.path.exists(layout.clone_path(directory)) == complete


def test_absent(present: Present, absent: Present, store: Store, qemu_runner: FakeQemu) -> None:
    base = put_base(store)
    present(wish(base.sha256), wish(None, name="data", size_bytes=GIB), wish(base.sha256, "web-2", differencing=False))
    seed = os.path.join(layout.machine_directory(store.pool_path, "shop", "web-2"), "seed.iso")
    with open(seed, "wb") as file:
        file.write(b"seed")
    predicted = absent(wish(None, name=None, pool=None), check_mode=True)
    removed = absent(wish(None, name=None, pool=None))
    assert [item["path"] for item in predicted] == [item["path"] for item in removed]
    assert [item["name"] for item in removed] == ["data", "root"]
    assert not os.path.exists(layout.machine_directory(store.pool_path, "shop", "web-1"))
    absent(wish(None, "web-2"))
    assert os.listdir(os.path.dirname(seed)) == ["seed.iso"]
    os.unlink(seed)
    assert absent(wish(None, "web-2")) == []
    assert not os.path.exists(layout.service_directory(store.pool_path, "shop"))
    assert store.find(base.sha256) is not None


def test_a_disk_in_use_stays(present: Present, absent: Present, store: Store, qemu_runner: FakeQemu) -> None:
    base = put_base(store)
    results = present(wish(base.sha256), wish(base.sha256, "web-2"))
    qemu_runner.fail = ("info", 1, 'Failed to get shared "write" lock')
    for check_mode in (True, False):
        with pytest.raises(DiskBusy):
            absent(wish(None), wish(None, "web-2"), check_mode=check_mode)
        with pytest.raises(DiskBusy):
            present(wish(base.sha256, size_bytes=GIB), check_mode=check_mode)
    assert all(os.path.exists(result["path"]) for result in results)


def test_a_service_belongs_to_its_tenant(present: Present, absent: Present, store: Store) -> None:
    base = put_base(store)
    present(wish(base.sha256), tenant="blue")
    for check_mode in (True, False):
        for work in (present, absent):
            with pytest.raises(FleetError, match="belongs to another tenant"):
                work(wish(base.sha256), tenant="red", check_mode=check_mode)


@pytest.mark.parametrize("place", ["machines", "machines/shop", "machines/shop/web-1"])
def test_links_are_not_followed(present: Present, absent: Present, store: Store, tmp_path: t.Any, place: str) -> None:
    base = put_base(store)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = os.path.join(store.pool_path, place)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(elsewhere, path)
    for check_mode in (True, False):
        with pytest.raises(UnsafePath):
            present(wish(base.sha256), check_mode=check_mode)
        with pytest.raises(UnsafePath):
            absent(wish(None), check_mode=check_mode)
    assert os.listdir(elsewhere) == []


def test_a_disk_is_listed_once(present: Present, store: Store) -> None:
    base = put_base(store)
    with pytest.raises(InvalidOption, match="listed once"):
        present(wish(base.sha256), wish(base.sha256))


def test_a_base_cannot_be_removed_while_disks_are_made(present: Present, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(store)
    sync = new_disks._sync
    held = []

    def watched(paths: t.Sequence[str]) -> None:
        from ansible_collections.basecast.fleet.plugins.module_utils._disk import lock

        with pytest.raises(FleetError):
            lock.take(os.path.join(store.directory, ".lock"), "x")
        held.append(True)
        sync(paths)

    monkeypatch.setattr(new_disks, "_sync", watched)
    present(wish(base.sha256))
    assert held
