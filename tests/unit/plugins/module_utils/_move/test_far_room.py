# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A live migration's room: two hosts on the loopback, a pool with 100 MiB free of 1,000."""

from __future__ import annotations

import datetime
import os
import socket
import threading
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.room import Room
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtError
from ansible_collections.basecast.fleet.plugins.module_utils._move import far_room, tunnel
from ansible_collections.basecast.fleet.plugins.module_utils._move import source as source_module
from ansible_collections.basecast.fleet.plugins.module_utils._move.door import LOCAL, Door, Guests, Slot
from ansible_collections.basecast.fleet.plugins.module_utils._move.far_room import FarRoom
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import MoveFailed
from ansible_collections.basecast.fleet.plugins.module_utils._move.source import Limits
from ansible_collections.basecast.fleet.plugins.module_utils._move.tunnel import Peer, TunnelError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import tls
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Value
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates

MIB = 1 << 20
PEM = make_certificates("run", ["a", "b"], 600, datetime.datetime.now(datetime.UTC))
A, B = (tls.contexts(PEM[name]["ca"], PEM[name]["certificate"], PEM[name]["key"]) for name in ("a", "b"))


class There(t.NamedTuple):
    peer: Peer
    pool: str

    @property
    def promised(self) -> int:
        """MiB; the file system may need some blocks of its own."""
        return round(Room(self.pool).promised_bytes() / MIB)

    def awaits(self, mib: int) -> None:
        deadline = time.monotonic() + 10
        while self.promised != mib:
            assert time.monotonic() < deadline, self.promised
            time.sleep(0.01)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[There]:
    monkeypatch.setattr(far_room, "_LOOK_S", 0.02)
    pool = str(tmp_path / "there")
    os.mkdir(pool)
    Store(pool).prepare()
    space = types.SimpleNamespace(f_bavail=100, f_blocks=1000, f_frsize=MIB, f_flag=0)
    monkeypatch.setattr(os, "statvfs", lambda _path: space)
    listener = socket.create_server((LOCAL, 0))
    slots = {f"{name}.qcow2": Slot(f"{pool}/{name}.qcow2", True, 80 * MIB, Room(pool)) for name in ("root", "data")}
    slots["seed.iso"] = Slot(f"{pool}/seed.iso", False, MIB)
    made = Door(listener, B, Guests({"a": ["web-1"]}, {"web-1": slots, "other": slots}), "/nowhere")
    thread = threading.Thread(target=made.serve, args=(time.monotonic() + 60,), daemon=True)
    thread.start()
    yield There(Peer("b", LOCAL, listener.getsockname()[1]), pool)
    made.close()
    thread.join(10)


def a_disk(path: Path, mib: int) -> str:
    path.write_bytes(b"x" * (mib * MIB))
    return str(path)


def test_room_is_promised_while_disks_are_copied_and_grows_with_them(there: There, tmp_path: Path) -> None:
    root, data = tmp_path / "root", tmp_path / "data"
    with FarRoom(there.peer, A, "web-1", {"root.qcow2": a_disk(root, 10), "data.qcow2": a_disk(data, 20)}) as room:
        assert there.promised == 30
        Path(there.pool, "root.qcow2").write_bytes(b"x" * (10 * MIB))
        assert there.promised == 20  # what QEMU has written counts once
        for mib in (21, 35, 38):
            a_disk(data, mib)
            there.awaits(mib)
        assert room.refusal is None
        a_disk(data, 51)
        deadline = time.monotonic() + 10
        while room.refusal is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert "b: data.qcow2 of web-1 needs 5" in room.refusal.message
    there.awaits(0)


@pytest.mark.parametrize(
    ("machine", "name", "mib", "words"),
    [
        ("web-1", "root.qcow2", 60, r"needs \d+ bytes in the pool .* may be written there"),
        ("web-1", "root.qcow2", 81, r"has \d+ bytes on a; at most \d+ are taken"),
        ("web-1", "seed.iso", 0, "no room is promised for seed.iso of web-1"),
        ("web-1", "../x", 1, r"no file \.\./x of web-1 is expected from a"),
        ("other", "root.qcow2", 1, "no file root.qcow2 of other is expected from a"),
    ],
)
def test_what_gets_no_room(there: There, tmp_path: Path, machine: str, name: str, mib: int, words: str) -> None:
    with pytest.raises(TunnelError, match=words):
        FarRoom(there.peer, A, machine, {name: a_disk(tmp_path / "disk", mib)})
    there.awaits(0)


def test_a_member_does_not_get_the_room_of_one_disk_twice(there: There, tmp_path: Path) -> None:
    disks = {"root.qcow2": a_disk(tmp_path / "root", 10)}
    with FarRoom(there.peer, A, "web-1", disks):
        with pytest.raises(TunnelError, match="is promised already"):
            FarRoom(there.peer, A, "web-1", disks)
        there.awaits(10)
    there.awaits(0)


@pytest.mark.parametrize("told", [{"size": -1}, {"size": True}, {"size": 10**30}, {}, {"size": "1"}])
def test_nonsense_ends_the_promise(there: There, told: dict[str, t.Any]) -> None:
    stream, _answer = tunnel.open_line(there.peer, A, {"to": tunnel.ROOM, "machine": "web-1", "name": "root.qcow2", "size": 1})
    tunnel.send_message(stream, told)
    assert "error" in tunnel.receive_message(stream, "the answer").mapping()
    there.awaits(0)
    stream.close()


NONSENSE: list[dict[str, t.Any]] = [{}, {"bytes": -1}, {"bytes": 1}, {"bytes": "1"}, {"bytes": True}, {"bytes": 10**30}, {"bytes": [[]]}]


def a_line(monkeypatch: pytest.MonkeyPatch, first: dict[str, t.Any]) -> socket.socket:
    """What the target says is said by the test; its end of the line."""
    mine, its = socket.socketpair()
    monkeypatch.setattr(tunnel, "open_line", lambda *_more: (mine, Value(first, "the answer")))
    return its


@pytest.mark.parametrize("answer", NONSENSE)
def test_a_target_that_answers_nonsense_gets_no_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: dict[str, t.Any]) -> None:
    with a_line(monkeypatch, answer) as its:
        with pytest.raises(TunnelError, match="What b says of its room cannot be read: the answer"):
            FarRoom(Peer("b", LOCAL, 1), A, "web-1", {"root.qcow2": a_disk(tmp_path / "root", 10)})
        assert its.recv(1) == b""


def awaits_refusal(room: FarRoom) -> str:
    deadline = time.monotonic() + 10
    while room.refusal is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return room.refusal.message


@pytest.mark.parametrize("answer", NONSENSE)
def test_a_target_that_answers_nonsense_later_does_not_go_on_unguarded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: dict[str, t.Any]
) -> None:
    monkeypatch.setattr(far_room, "_LOOK_S", 0.02)
    monkeypatch.setattr(far_room, "_PATIENCE_S", 0.3)
    with (
        a_line(monkeypatch, {"bytes": 11 * MIB}) as its,
        FarRoom(Peer("b", LOCAL, 1), A, "web-1", {"root.qcow2": a_disk(tmp_path / "root", 10)}) as room,
    ):
        a_disk(tmp_path / "root", 12)
        assert tunnel.receive_message(its, "the question")["size"].integer() >= 12 * MIB
        tunnel.send_message(its, answer)
        assert its.recv(1) == b"", "it is closed"
        assert awaits_refusal(room).startswith("b has not promised room for root.qcow2 of web-1 for 0.3 s: ")


def test_a_target_that_does_not_answer_later_does_not_go_on_unguarded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(far_room, "_LOOK_S", 0.02)
    monkeypatch.setattr(far_room, "_PATIENCE_S", 0.3)
    with (
        a_line(monkeypatch, {"bytes": 11 * MIB}),
        FarRoom(Peer("b", LOCAL, 1), A, "web-1", {"root.qcow2": a_disk(tmp_path / "root", 10)}) as room,
    ):
        assert room.refusal is None
        a_disk(tmp_path / "root", 12)
        assert "has not promised room for root.qcow2" in awaits_refusal(room)


@pytest.mark.parametrize("grows", [False, True])
def test_a_line_that_breaks_is_opened_again(there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool) -> None:
    monkeypatch.setattr(far_room, "_PATIENCE_S", 10.0)
    lines: list[t.Any] = []
    real = tunnel.open_line

    def opened(*given: t.Any) -> t.Any:
        lines.append(real(*given))
        return lines[-1]

    monkeypatch.setattr(tunnel, "open_line", opened)
    root = tmp_path / "root"
    with FarRoom(there.peer, A, "web-1", {"root.qcow2": a_disk(root, 10)}) as room:
        there.awaits(10)
        socket.socket.shutdown(lines[0][0], socket.SHUT_RDWR)
        if grows:
            a_disk(root, 20)
        deadline = time.monotonic() + 10
        while len(lines) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        there.awaits(20 if grows else 10)
        assert room.refusal is None
    there.awaits(0)


class Migrating:
    """A domain whose migration ends when it is told to."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def migrate(self, _move: object) -> None:
        assert self.ended.wait(20)
        raise LibvirtError("operation aborted")

    def abort_job(self) -> None:
        self.ended.set()


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (far_room.NoRoomThere("b: root.qcow2 of web-1 needs 51 bytes."), "as its disks grow"),
        (far_room.RoomLost("b: root.qcow2 of web-1 needs 51 bytes."), "as the target could fill up unnoticed"),
    ],
)
def test_a_migration_whose_disks_outgrow_the_target_is_ended(refusal: tunnel.TunnelError, words: str) -> None:
    domain = Migrating()
    seen = types.SimpleNamespace(domain=domain)
    live = source_module._Live(t.cast(t.Any, seen), t.cast(t.Any, None), A, Limits(timeout_s=30), t.cast(t.Any, None), 0)
    room = types.SimpleNamespace(refusal=None)
    timer = threading.Timer(0.1, lambda: setattr(room, "refusal", refusal))
    timer.start()
    began = time.monotonic()
    with pytest.raises(MoveFailed, match=rf"It was ended, {words}\. b: root\.qcow2 of web-1 needs 51 bytes\."):
        live._migrate(t.cast(t.Any, None), [], t.cast(t.Any, room))
    assert domain.ended.is_set() and time.monotonic() - began < 10
