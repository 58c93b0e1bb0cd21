# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import ChunkList, FileBytes
from ansible_collections.basecast.fleet.plugins.module_utils._disk import (
    attributes,
    file_io,
    file_trees,
    filesystem,
    in_use,
    lock,
    references,
    staging,
    transfer,
    uploads,
    verification,
)
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import NameTaken, StoreBusy, UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import MAP_HEADER_BYTES, Store, map_bytes
from ansible_collections.basecast.fleet.plugins.module_utils._disk.survey import survey
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import chunks_of, metadata_of, put_base

DATA = b"content".ljust(300 * 1024, b"\0")


def test_a_published_base_is_found_and_read_only(store: Store) -> None:
    base = put_base(store, DATA)
    assert store.find(base.sha256) == base
    assert [item.sha256 for item in store.bases()] == [base.sha256]
    assert os.stat(base.path).st_mode & 0o777 == 0o444
    assert os.stat(base.directory).st_mode & 0o777 == 0o711
    assert sorted(os.listdir(base.directory)) == ["base.json", "chunks", "disk"]
    assert file_io.read_file(base.chunks_path) == chunks_of(DATA)
    assert store.partials() == []


def test_a_base_is_immutable_where_the_file_system_can(store: Store) -> None:
    base = put_base(store, DATA)
    if not filesystem.describe(store.pool_path).immutable:
        pytest.skip("the file system of the test directory has no immutable attribute")
    assert attributes.is_immutable(base.path)
    with pytest.raises(PermissionError), open(base.path, "r+b"):
        pass
    store.remove(base.sha256)
    assert store.ids() == []


def test_publishing_what_is_there_gives_what_is_there(store: Store) -> None:
    first = put_base(store, DATA)
    again = put_base(store, DATA, imported_at="2027-01-01T00:00:00Z")
    assert again == first
    assert os.listdir(os.path.join(store.directory, ".partial")) == []


def test_a_base_that_came_over_the_network_is_published_with_its_list_from_a_file(store: Store) -> None:
    raw = chunks_of(DATA)
    metadata = metadata_of(DATA)
    partial = store.partial(metadata["sha256"])
    with open(partial.disk, "wb") as file:
        file.write(DATA)
    place = FileBytes.temporary(os.path.dirname(partial.disk), len(raw))
    for offset in range(0, len(raw), 10):
        place.write(offset, raw[offset : offset + 10])
    base = partial.publish(metadata, ChunkList(place).serialised)
    assert sorted(os.listdir(base.directory)) == ["base.json", "chunks", "disk"]
    assert file_io.read_file(base.chunks_path) == raw


@pytest.mark.parametrize(
    "change", [{"size_bytes": 5}, {"chunks_sha256": "0" * 64}, {"format": 2}, {"parent": "0" * 64}, {"image_format": "vmdk"}]
)
def test_what_does_not_fit_is_not_published(store: Store, change: dict[str, t.Any]) -> None:
    metadata = {**metadata_of(DATA), **change}
    partial = store.partial(metadata["sha256"])
    with open(partial.disk, "wb") as file:
        file.write(DATA)
    with pytest.raises(FleetError, match="cannot be published"):
        partial.publish(metadata, chunks_of(DATA))
    assert store.ids() == []


def test_a_damaged_base_makes_way_for_a_whole_one(store: Store) -> None:
    base = put_base(store, DATA)
    attributes.set_immutable(base.path, False)
    os.chmod(base.path, 0o600)
    os.truncate(base.path, 10)
    assert store.find(base.sha256) is None
    assert "10 bytes" in store.problem(base.sha256)
    assert put_base(store, DATA).sha256 == base.sha256
    assert store.problem(base.sha256) == ""


def test_one_writer_at_a_time(store: Store) -> None:
    sha256 = "a" * 64
    first = store.partial(sha256)
    with pytest.raises(StoreBusy) as error:
        store.partial(sha256)
    assert error.value.fields["pid"] == os.getpid()
    assert store.partials() == [{"sha256": sha256, "bytes_verified": 0, "size_bytes": 0, "allocated_bytes": 0, "in_use": True}]
    first.close()
    store.partial(sha256).discard()
    assert store.partials() == []


def test_the_hold_ends_with_its_process(store: Store) -> None:
    script = (
        "import fcntl, os, sys, time\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    )
    store.partial("a" * 64).close()
    path = os.path.join(store.partial_directory("a" * 64), "lock")
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StoreBusy):
            store.partial("a" * 64)
        holder.kill()
        holder.wait()
    store.partial("a" * 64, wait_s=5.0).close()


def test_who_waited_for_a_discarded_partial_gets_a_new_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the lock of a file that is gone, which the next one would not see."""
    first = store.partial("a" * 64)
    wait = lock._wait

    def wait_long(*arguments: t.Any) -> None:
        first.discard()
        wait(*arguments)

    monkeypatch.setattr(lock, "_wait", wait_long)
    second = store.partial("a" * 64)
    assert os.path.samestat(os.stat(os.path.join(second.directory, "lock")), os.fstat(second._lock.descriptor))
    with pytest.raises(StoreBusy):
        store.partial("a" * 64)
    second.discard()


def test_verified_chunks_of_a_partial(store: Store) -> None:
    partial = store.partial("a" * 64)
    with open(partial.disk, "wb") as file:
        file.truncate(300 * 1024)
    with open(partial.map, "wb") as file:
        file.write(map_bytes(2))
        file.seek(MAP_HEADER_BYTES)
        file.write(b"\1")
    assert store.partials()[0]["bytes_verified"] == 256 * 1024
    partial.close()
    assert store.partials()[0]["in_use"] is False


def test_a_disk_that_a_crash_left_immutable_can_be_continued(store: Store) -> None:
    partial = store.partial("a" * 64)
    with open(partial.disk, "wb") as file:
        file.write(b"x")
    if not attributes.set_immutable(partial.disk, True):
        pytest.skip("the file system of the test directory has no immutable attribute")
    partial.close()
    with store.partial("a" * 64) as again, open(again.disk, "wb") as file:
        file.write(b"y")


def test_sources_and_names_find_their_base(store: Store) -> None:
    name = references.name_of("blue", "debian", "12")
    base = put_base(store, DATA, refer=[name], source_sha256="b" * 64)
    for sha256 in (base.sha256, "b" * 64):
        found = store.find_by_source(sha256)
        assert found is not None
        assert found.names() == [{"tenant": "blue", "name": "debian", "version": "12"}]
    assert store.find_by_name("blue", "debian", "12") is not None
    assert store.find_by_name("red", "debian", "12") is None
    store.check_name_free("red", "debian", "12", "c" * 64)
    with pytest.raises(NameTaken) as error:
        store.check_name_free("blue", "debian", "12", "c" * 64)
    assert base.sha256 in error.value.message
    assert "c" * 64 in error.value.message


def test_a_name_left_over_by_a_crash_takes_nothing(store: Store) -> None:
    store.refer("c" * 64, [references.name_of("blue", "debian", "12")])
    store.check_name_free("blue", "debian", "12", "d" * 64)


def test_chains(store: Store) -> None:
    root = put_base(store, b"root".ljust(512))
    middle = put_base(store, b"middle".ljust(512), "qcow2", root.sha256)
    leaf = put_base(store, b"leaf".ljust(512), "qcow2", middle.sha256)
    assert leaf.chain == (root.sha256, middle.sha256, leaf.sha256)
    assert store.children(root.sha256) == [middle.sha256]
    store.remove(root.sha256)
    assert store.find(leaf.sha256) is None
    assert root.sha256 in store.problem(leaf.sha256)


def test_references_survive_being_unreadable(store: Store) -> None:
    base = put_base(store, DATA, refer=[references.tenant_of("blue")])
    with open(os.path.join(store.references_directory(base.sha256), "tenant-odd.json"), "w", encoding="utf-8") as file:
        file.write("{")
    found = store.find(base.sha256)
    assert found is not None
    assert found.pins() == ["unreadable:tenant-odd.json"]
    assert found.tenants() == ["blue"]


def test_removal_finishes_what_a_crash_cut_off(store: Store) -> None:
    base = put_base(store, DATA)
    os.rename(base.directory, os.path.join(store.directory, ".removed-x"))
    with store.changing():
        store.sweep()
    assert [name for name in os.listdir(store.directory) if name.startswith(".removed")] == []


@pytest.mark.parametrize("sha256", ["..", "a" * 63, "A" * 64, "../" + "a" * 61, ""])
def test_no_digest_leaves_the_store(store: Store, sha256: str) -> None:
    for place in (store.find, store.partial, store.references_directory):
        with pytest.raises(InvalidOption):
            place(sha256)


def test_links_in_the_store_are_refused(store: Store, tmp_path: t.Any) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.symlink(elsewhere, store.directory)
    with pytest.raises(UnsafePath):
        store.prepare()
    os.unlink(store.directory)
    base = put_base(store, DATA)
    attributes.set_immutable(base.path, False)
    os.unlink(base.path)
    os.symlink("/etc/shadow", base.path)
    assert store.find(base.sha256) is None


def test_a_missing_pool_is_not_made(tmp_path: t.Any) -> None:
    store = Store(str(tmp_path / "unmounted"), pool="one")
    assert store.bases() == []
    with pytest.raises(FleetError, match="create or mount it"):
        store.partial("a" * 64)


def test_a_shared_lock_keeps_removal_out(store: Store) -> None:
    with store.changing(shared=True), store.changing(shared=True), pytest.raises(StoreBusy):
        store.changing(wait_s=0.0)
    with store.changing(wait_s=0.0):
        assert lock.is_held(os.path.join(store.directory, ".lock"))


def test_a_base_that_is_spoilt_as_it_appears_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def spoil(source: str, target: str) -> None:
        rename(source, target)
        if os.path.dirname(target) == store.directory:
            os.unlink(os.path.join(target, "chunks"))

    monkeypatch.setattr(os, "rename", spoil)
    with pytest.raises(FleetError, match="was published but cannot be used: chunks is missing; something else changes files of the store"):
        put_base(store, DATA)


SECRET = b"of somebody else" * 1000
PLANTED: dict[str, t.Callable[[str, pathlib.Path], object]] = {
    "hard link": lambda place, victim: os.link(victim, place),
    "link": lambda place, victim: os.symlink(victim, place),
    "link in a circle": lambda place, _victim: os.symlink(place, place),
    "pipe": lambda place, _victim: os.mkfifo(place),
    "directory": lambda place, _victim: os.mkdir(place),
}


@pytest.fixture
def victim(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "victim"
    path.write_bytes(SECRET)
    return path


@pytest.mark.parametrize("name", ["disk", "map"])
@pytest.mark.parametrize("kind", PLANTED)
def test_what_was_planted_in_a_partial_makes_way(store: Store, victim: pathlib.Path, name: str, kind: str) -> None:
    with store.partial("a" * 64) as partial:
        place = getattr(partial, name)
    PLANTED[kind](place, victim)
    with store.partial("a" * 64) as again:
        assert not os.path.lexists(place)
        for path in (again.disk, again.map):
            with open(path, "wb") as file:
                file.write(b"ours")
        again.discard()
    assert victim.read_bytes() == SECRET


@pytest.mark.parametrize("kind", PLANTED)
def test_what_was_planted_as_a_lock_is_not_written_to(store: Store, victim: pathlib.Path, kind: str) -> None:
    """Nor does it keep anybody waiting, or what is held from being given back."""
    partial = store.partial("a" * 64)
    partial.close()
    place = os.path.join(partial.directory, "lock")
    os.unlink(place)
    PLANTED[kind](place, victim)
    assert store.partials()[0]["in_use"] is False
    if kind in ("link", "link in a circle", "pipe"):
        with pytest.raises(UnsafePath, match="lock"):
            store.partial("a" * 64)
    else:
        store.partial("a" * 64).close()
    assert victim.read_bytes() == SECRET


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("place", [f".partial/{'a' * 64}", ".partial", ".incoming", ".room", f".refs/{'b' * 64}", ".used", "../circle"])
def test_what_was_planted_in_a_store_hides_nothing(store: Store, victim: pathlib.Path, place: str, kind: str) -> None:
    base = put_base(store, DATA)
    path = os.path.join(store.directory, place)
    file_trees.remove_tree_or_file(path)
    PLANTED[kind](path, victim)
    assert [one["sha256"] for one in survey({store.pool: store})["pools"][store.pool]["bases"]] == [base.sha256]
    assert (staging.places(store), uploads.places(store)) == ([], [])
    assert store.unrefer("b" * 64, [references.tenant_of("blue")]) == []
    assert victim.read_bytes() == SECRET


@pytest.mark.parametrize("record", [".verified", ".used"])
def test_a_directory_in_place_of_a_record_goes(store: Store, record: str) -> None:
    base = put_base(store, DATA)
    path = os.path.join(store.directory, record, base.sha256)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    file_io.remove_file(path)
    os.makedirs(os.path.join(path, "more"))
    verification.remember(store.record_path(base.sha256), base.path)
    assert store.find(base.sha256, changed=False) is not None
    store.remove(base.sha256)
    assert not os.path.lexists(path)


def test_a_base_behind_a_link_is_not_put_right(store: Store, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to a directory whose disk is open looks like a damaged base that machines read."""
    data = DATA[:4096]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "disk").write_bytes(bytes(4096))
    (foreign / "chunks").write_bytes(b"mine")
    store.prepare()
    monkeypatch.setattr(in_use, "look", lambda _descriptor: in_use.Use(False, ("domain web-1",)))
    os.symlink(foreign, store.base_directory(metadata_of(data)["sha256"]))
    assert transfer.verify(put_base(store, data)) == ""
    assert ((foreign / "disk").read_bytes(), (foreign / "chunks").read_bytes()) == (bytes(4096), b"mine")
