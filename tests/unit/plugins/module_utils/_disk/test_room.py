# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import threading
import types
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import fetching, file_io, transfer, uploads
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import NoSpace
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._disk.room import DIRECTORY, Room, checked_percent
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store, stores_of
from ansible_collections.basecast.fleet.plugins.module_utils._disk.unpack import FileSink
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import StorageFailed
from ansible_collections.basecast.fleet.plugins.module_utils._relay_store import StoreShelf

SHA = "a" * 64
MIB = 1 << 20


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """Make every file system have so many MiB, of which some are free."""

    def set_space(free: int = 100, total: int = 1000) -> None:
        found = types.SimpleNamespace(f_bavail=free, f_blocks=total, f_frsize=MIB, f_flag=0)
        monkeypatch.setattr(os, "statvfs", lambda _path: found)

    set_space()
    return set_space


def a_pool(place: pathlib.Path, name: str = "one") -> str:
    path = place / name
    path.mkdir()
    Store(str(path)).prepare()
    return str(path)


def left_in(pool: str) -> list[str]:
    return sorted(name for name in os.listdir(os.path.join(pool, "bases", DIRECTORY)) if name != "lock")


@pytest.mark.parametrize(("percent", "most"), [(0, 100), (5, 50), (9.5, 5), (10, 0), (99, 0)])
def test_a_reserve_stays_free(tmp_path: pathlib.Path, space: object, percent: float, most: int) -> None:
    room = Room(a_pool(tmp_path), reserve_percent=percent)
    assert room.free_bytes() == most * MIB
    with room.promise(most * MIB, "It", ["/x"]):
        pass
    with pytest.raises(NoSpace, match=r"It needs .* may be written there.*reserve") as caught, room.promise(most * MIB + 1, "It", ["/x"]):
        pass
    assert caught.value.fields["free_bytes"] == most * MIB
    assert left_in(room.pool_path) == []


def test_two_do_not_get_the_same_space(tmp_path: pathlib.Path, space: object) -> None:
    pool = a_pool(tmp_path)
    one, other = Room(pool), Room(pool)
    with one.promise(30 * MIB, "One", [f"{pool}/one"]):
        assert other.free_bytes() == 20 * MIB
        with pytest.raises(NoSpace, match=f"the {30 * MIB} that other writers were promised"), other.promise(21 * MIB, "Other", []):
            pass
        with other.promise(20 * MIB, "Other", []):
            assert one.promised_bytes() == 50 * MIB
    assert other.free_bytes() == 50 * MIB


def test_what_is_written_counts_once(tmp_path: pathlib.Path, space: object) -> None:
    pool = a_pool(tmp_path)
    with Room(pool).promise(30 * MIB, "One", [f"{pool}/one"]):
        pathlib.Path(pool, "one").write_bytes(os.urandom(10 * MIB))
        assert Room(pool).promised_bytes() == 20 * MIB


def test_many_at_once_get_no_more_than_there_is(tmp_path: pathlib.Path, space: object) -> None:
    pool, given = a_pool(tmp_path), []
    hold, all_tried = threading.Barrier(8), threading.Barrier(8)

    def one() -> None:
        hold.wait()
        promise = Room(pool).begin("It", [])
        try:
            promise.cover(20 * MIB)
            given.append(1)
        except NoSpace:
            pass
        all_tried.wait()
        promise.close()

    threads = [threading.Thread(target=one) for _thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 2
    assert left_in(pool) == []


def test_pools_of_one_file_system_share_its_room(tmp_path: pathlib.Path, space: object) -> None:
    pools = {"a": a_pool(tmp_path, "a"), "b": a_pool(tmp_path, "b")}
    stores = stores_of(pools)
    with stores["a"].room.promise(40 * MIB, "One", []):
        assert stores["b"].room.free_bytes() == 10 * MIB


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
def test_another_file_system_has_its_own_room(tmp_path: pathlib.Path, space: object) -> None:
    there = pathlib.Path(f"/dev/shm/basecast-room-{os.getpid()}")
    there.mkdir()
    try:
        stores = stores_of({"a": a_pool(tmp_path, "a"), "b": a_pool(there, "b")})
        with stores["a"].room.promise(40 * MIB, "One", []):
            assert stores["b"].room.free_bytes() == 50 * MIB
    finally:
        shutil.rmtree(there)


def test_a_killed_writer_promises_nothing(tmp_path: pathlib.Path, space: object) -> None:
    pool = a_pool(tmp_path)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            Room(pool).begin("It", []).cover(40 * MIB)
            os.write(write, b"x")
            signal.pause()
        finally:
            os._exit(1)  # whatever happens, no second run of the tests
    os.close(write)
    try:
        assert os.read(read, 1) == b"x"
        assert Room(pool).free_bytes() == 10 * MIB
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
    assert Room(pool).free_bytes() == 50 * MIB
    assert left_in(pool) == []


def test_a_pool_that_cannot_be_looked_at_holds_no_other_up(tmp_path: pathlib.Path, space: object) -> None:
    (tmp_path / "file").touch()
    stores = stores_of({"a": a_pool(tmp_path, "a"), "b": str(tmp_path / "file" / "b")})
    assert stores["a"].room.free_bytes() == 50 * MIB


def test_a_writer_that_cannot_remove_its_note_promises_nothing(
    tmp_path: pathlib.Path, space: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = a_pool(tmp_path)
    partial = Store(pool).partial(SHA)
    partial.promise(40 * MIB)
    with monkeypatch.context() as broken:
        broken.setattr(file_io, "remove_file", lambda path: os.rmdir("/dev/null"))
        with pytest.raises(NotADirectoryError):
            partial.close()
    assert Room(pool).free_bytes() == 50 * MIB
    Store(pool).partial(SHA).close()


def test_a_fetch_that_has_no_room_leaves_nothing_open(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(a_pool(tmp_path))
    monkeypatch.setattr(Room, "begin", lambda *_more: os.rmdir("/dev/null"))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(NotADirectoryError):
        fetching._Intake(store, str(tmp_path / "new"), "it", "none", None)
    assert os.listdir("/proc/self/fd") == before
    assert not (tmp_path / "new").exists()


def test_a_note_that_cannot_be_read_is_an_error(tmp_path: pathlib.Path, space: object) -> None:
    pool = a_pool(tmp_path)
    with Room(pool).promise(MIB, "It", []):
        note = next(name for name in left_in(pool) if name.endswith(".json"))
        pathlib.Path(pool, "bases", DIRECTORY, note).write_text("[[[")
        with pytest.raises(FleetError, match="cannot be used"):
            Room(pool).free_bytes()


def test_files_that_another_process_writes_stay_covered(tmp_path: pathlib.Path, space: object) -> None:
    pool = a_pool(tmp_path)
    copy = pathlib.Path(pool, "copy")
    with Room(pool).promise(10 * MIB, "A copy", [str(copy)]) as promise:
        copy.write_bytes(b"x" * (9 * MIB))
        promise.keep_ahead()
        assert promise.size == 10 * MIB
        copy.write_bytes(b"x" * (20 * MIB))
        promise.keep_ahead()
        assert Room(pool).free_bytes() == 0, "what is free is promised to the one who needs it"
        t.cast(t.Callable[..., None], space)(free=40)
        copy.write_bytes(b"x" * (90 * MIB))
        with pytest.raises(NoSpace, match="A copy needs"):
            promise.keep_ahead()


@pytest.mark.parametrize("percent", [-1, 100, 1e9, float("nan")])
def test_a_percentage_that_is_none(percent: float) -> None:
    with pytest.raises(InvalidOption, match="reserve_percent"):
        checked_percent(percent)


# --- every writer ---------------------------------------------------------------------------------


def _copy(pool: str, source: pathlib.Path) -> None:
    with source.open("rb") as file:
        transfer.copy_file(file.fileno(), f"{pool}/copy", source.stat().st_size, Room(pool), try_clone=False)


def _copy_digested(pool: str, source: pathlib.Path) -> None:
    with source.open("rb") as file:
        transfer.copy_digested(Store(pool), file.fileno(), f"{pool}/copy", source.stat().st_size, try_clone=False)


def _sink(pool: str, source: pathlib.Path) -> FileSink:
    descriptor = os.open(f"{pool}/copy", os.O_RDWR | os.O_CREAT)
    return FileSink(descriptor, Room(pool).begin("It", [f"{pool}/copy"]), lambda _end: None)


def _announced(pool: str, source: pathlib.Path) -> None:
    _sink(pool, source).expect(source.stat().st_size)


def _unannounced(pool: str, source: pathlib.Path) -> None:
    sink = _sink(pool, source)
    for _block in range(source.stat().st_size // MIB):
        sink.write(bytes(MIB))  # zeros, which take no space: it would never end


def _runner(arguments: list[str]) -> tuple[int, str, str]:
    assert "measure" in arguments, "nothing is written before it is known to fit"
    return 0, f'{{"required": {60 * MIB}, "fully-allocated": {600 * MIB}}}', ""


def _convert(pool: str, source: pathlib.Path) -> None:
    QemuImg(_runner).convert(str(source), "vmdk", f"{pool}/copy", "qcow2", Room(pool))


def _flatten(pool: str, source: pathlib.Path) -> None:
    QemuImg(_runner).flatten(str(source), "qcow2", f"{pool}/copy", "qcow2", Room(pool))


def _relay(pool: str, source: pathlib.Path) -> None:
    claim = StoreShelf().claim(pool, SHA)
    try:
        claim.promise(source.stat().st_size)
    finally:
        claim.close()


def _upload(pool: str, source: pathlib.Path) -> None:
    uploads.make(Store(pool), "disk.qcow2", source.stat().st_size)


WRITERS = [_copy, _copy_digested, _announced, _unannounced, _convert, _flatten, _relay, _upload]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.strip("_"))
def test_no_writer_takes_the_reserve(tmp_path: pathlib.Path, space: object, write: t.Callable[[str, pathlib.Path], None]) -> None:
    pool, source = a_pool(tmp_path), tmp_path / "source"
    source.write_bytes(b"x" * (60 * MIB))
    with pytest.raises((NoSpace, StorageFailed), match=r"may be written there"):
        write(pool, source)
    written = pathlib.Path(pool, "copy")
    assert not written.exists() or written.stat().st_blocks == 0
    incoming = pathlib.Path(pool, "bases", uploads.UPLOADS)
    assert not incoming.exists() or not list(incoming.iterdir())


def test_holes_need_no_room(tmp_path: pathlib.Path, space: object) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(10**12)
        file.write(b"data")
    with source.open("rb") as file:
        assert transfer.data_bytes(file.fileno(), 10**12) < MIB


def test_an_upload_keeps_its_room_until_its_end(tmp_path: pathlib.Path, space: object) -> None:
    store = Store(a_pool(tmp_path))
    path = uploads.make(store, "disk.qcow2", 30 * MIB)
    assert store.room.free_bytes() == 20 * MIB
    uploads.remove(store, path)
    assert store.room.free_bytes() == 50 * MIB
    assert left_in(store.pool_path) == []


@pytest.mark.parametrize("note", [b"", b"[]", b'{"bytes": -1, "files": []}'])
def test_a_note_that_cannot_be_read_is_named(tmp_path: pathlib.Path, note: bytes) -> None:
    room = Room(a_pool(tmp_path))
    room.free_bytes()
    path = os.path.join(room.pool_path, "bases", DIRECTORY, "x.json")
    pathlib.Path(path).write_bytes(note)
    with pytest.raises(FleetError, match=f"{path}, which says what a writer will need, cannot be used: .*. Remove it"):
        room.free_bytes()
