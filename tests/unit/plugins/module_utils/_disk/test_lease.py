# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks on storage that several hosts mount, where the kernel's own locks end at each host."""

from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_io, filesystem, in_use, lease, lock, removal
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import LockLost, StoreBusy, UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

from .conftest import chunks_of, metadata_of, put_base


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pools are on storage of several hosts, whose kernels do not see each other's flocks."""
    monkeypatch.setattr(lock, "_other_hosts_may_come", lambda path: True)
    monkeypatch.setattr(lock, "_wait", lambda *_arguments: None)


def foreign(path: pathlib.Path, host: str = "kvm2", pid: int = 1, boot: str = "b", age_s: float = 0.0) -> None:
    path.write_bytes(file_io.json_bytes({"host": host, "boot": boot, "pid": pid, "token": "t", "beat": 3}))
    os.utime(path, (time.time() - age_s,) * 2)


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_who_excludes_whom(tmp_path: pathlib.Path, first: bool, second: bool) -> None:
    path = str(tmp_path / "lock")
    with lock.take(path, "it", shared=first):
        if first and second:
            lock.take(path, "it", shared=True).close()
        else:
            with pytest.raises(StoreBusy):
                lock.take(path, "it", shared=second)
    lock.take(path, "it", shared=second).close()
    assert os.listdir(tmp_path) == ["lock"]


CASES: dict[str, tuple[dict[str, t.Any], bool]] = {
    "another host's": ({}, False),
    "this host's, running": ({"host": "HERE", "boot": "BOOT", "pid": 1}, False),
    "this host's, ended": ({"host": "HERE", "boot": "BOOT", "pid": 0}, True),
    "this host's of an earlier boot": ({"host": "HERE", "boot": "earlier"}, False),
    "a container's with this host's name": ({"host": "HERE", "boot": f"{filesystem.boot_id()}.pid:[1]", "pid": 0}, False),
    "standing still": ({"age_s": 1000.0}, True),
    "of a clock ahead": ({"age_s": -5000.0}, False),
    "a little old": ({"age_s": 30.0}, False),
}


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("suffix", [".lease", ".shared.x.lease"])
@pytest.mark.parametrize("name", CASES)
def test_leases_that_are_found(tmp_path: pathlib.Path, name: str, suffix: str) -> None:
    fields, free = CASES[name]
    fields = {key: {"HERE": socket.gethostname(), "BOOT": lease._boot()}.get(value, value) for key, value in fields.items()}
    if fields.get("pid") == 0:
        fields["pid"] = ended_process()
    foreign(tmp_path / f"lock{suffix}", **fields)
    assert lock.is_held(str(tmp_path / "lock")) is (not free and suffix == ".lease")
    if free:
        lock.take(str(tmp_path / "lock"), "it").close()
        assert os.listdir(tmp_path) == ["lock"]
    else:
        with pytest.raises(StoreBusy) as raised:
            lock.take(str(tmp_path / "lock"), "it")
        assert raised.value.fields["host"] == ("" if suffix != ".lease" else fields.get("host", "kvm2"))


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("content", [b"", b"\0", b"[" * 5000, b"{}", b"x" * 10_000])
def test_a_lease_that_cannot_be_read_is_somebodys(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "lock.lease").write_bytes(content)
    with pytest.raises(StoreBusy):
        lock.take(str(tmp_path / "lock"), "it")
    os.utime(tmp_path / "lock.lease", (1, 1))
    lock.take(str(tmp_path / "lock"), "it").close()


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_what_is_no_lease_is_out_of_the_way_in_the_end(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path, kept = tmp_path / "lock.lease", tmp_path / "kept"
    kept.write_text("x")
    if kind == "directory":
        path.mkdir()
        (path / "x").symlink_to(kept)
    elif kind == "link":
        path.symlink_to(kept)
    else:
        os.mkfifo(path)
    monkeypatch.setattr(lease, "STALE_S", -10.0)
    assert lease.Watch().is_free(str(path))
    assert os.listdir(tmp_path) == ["kept"] and kept.read_text() == "x"


def test_a_beat_keeps_it_alive_and_its_standstill_does_not(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "STALE_S", 1.0)
    path = str(tmp_path / "x.lease")
    held = lease.take(path)
    assert held is not None
    watch = lease.Watch()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert not watch.is_free(path)
        time.sleep(0.05)
    held._ended.set()
    held._thread.join()
    until = time.monotonic() + 10
    while not watch.is_free(path):
        assert time.monotonic() < until
        time.sleep(0.05)
    held.release()


def test_a_lease_that_was_broken_is_known_to_its_holder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    held = lease.take(str(tmp_path / "x.lease"))
    assert held is not None
    os.unlink(held.path)
    other = lease.take(held.path)
    assert other is not None
    held._thread.join(5)
    assert held.lost
    held.release()
    assert os.path.exists(other.path)
    other.release()
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("shared")
def test_one_at_a_time_whoever_waits(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_PAUSE_S", 0.005)
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _round in range(5):
            with lock.take(str(tmp_path / "lock"), "it", wait_s=50):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.002)
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most)) == (1, 20)


@pytest.mark.usefixtures("shared")
def test_a_base_is_written_by_one_host(store: Store) -> None:
    data = b"base".ljust(4096, b"\0")
    metadata = metadata_of(data)
    with store.partial(metadata["sha256"]) as partial:
        with pytest.raises(StoreBusy, match=f"of {socket.gethostname()}"):
            store.partial(metadata["sha256"])
        assert store.partials()[0]["in_use"]
        pathlib.Path(partial.disk).write_bytes(data)
        base = partial.publish(metadata, chunks_of(data))
    assert sorted(os.listdir(base.directory)) == ["base.json", "chunks", "disk"]
    assert put_base(store, data).sha256 == base.sha256
    with store.changing():
        store.remove(base.sha256)
    assert not [name for name in os.listdir(store.directory) if "lease" in name or "shared" in name]


@pytest.mark.usefixtures("shared")
def test_a_host_that_stood_still_publishes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"base".ljust(4096, b"\0")
    metadata = metadata_of(data)
    slow = store.partial(metadata["sha256"])
    pathlib.Path(slow.disk).write_bytes(b"half")
    os.utime(f"{slow.directory}/lock.lease", (1, 1))
    monkeypatch.setattr(socket, "gethostname", lambda: "kvm2")
    quick = store.partial(metadata["sha256"])
    pathlib.Path(quick.disk).write_bytes(data)
    with pytest.raises(LockLost, match="so kvm2 has taken over its lock"):
        slow.publish(metadata, chunks_of(data))
    slow.discard()
    slow.close()
    assert pathlib.Path(quick.disk).read_bytes() == data
    assert quick.publish(metadata, chunks_of(data)).sha256 == metadata["sha256"]


@pytest.mark.usefixtures("shared")
def test_a_host_that_stood_still_removes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(store)

    def stand_still(*_arguments: t.Any) -> None:
        os.unlink(os.path.join(store.directory, ".lock.lease"))

    monkeypatch.setattr(in_use, "refuse_entry", stand_still)
    with pytest.raises(LockLost):
        removal.remove_bases({"one": store}, "one", [base.sha256], False)
    assert store.find(base.sha256) is not None


@pytest.mark.parametrize("name", ["kvm1", "a/../../b", "\x1b[2J", "x" * 64, "ü"])
def test_names_of_files_are_names_whatever_the_host_is_called(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,70}", file_io.unique())


@pytest.mark.parametrize("place", ["bases/.lock", "bases/.partial/x/lock", "machines/shop/.lock"])
def test_the_server_of_a_storage_takes_leases_as_its_clients_do(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """It has the storage on a local file system, and sees no flock of theirs."""
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    with lock.take(str(path), "it"):
        assert not path.with_name(f"{path.name}.lease").exists()
    monkeypatch.setattr(filesystem, "is_network", lambda _path: True)  # a client
    Store(str(tmp_path)).prepare()
    monkeypatch.undo()
    with lock.take(str(path), "it"):
        assert path.with_name(f"{path.name}.lease").exists()
    assert not path.with_name(f"{path.name}.lease").exists()


def test_a_link_where_a_lock_is_expected_is_not_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    os.symlink(tmp_path / "victim", tmp_path / "lock")
    with pytest.raises(UnsafePath, match="/lock is a symbolic link where a file of the store is expected; remove it"):
        lock.take(str(tmp_path / "lock"), "it")
    assert (tmp_path / "victim").read_bytes() == b"precious"
