# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two ends of a tunnel on the loopback, with certificates of one run."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._move import tunnel
from ansible_collections.basecast.fleet.plugins.module_utils._move.door import LOCAL, PORTS, Door, Guests, Slot
from ansible_collections.basecast.fleet.plugins.module_utils._move.tunnel import LocalDoor, Peer, TunnelError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import tls
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates

PEM = make_certificates("run", ["a", "b", "c"], 600, datetime.datetime.now(datetime.UTC))
OTHER_RUN = make_certificates("other", ["a"], 600, datetime.datetime.now(datetime.UTC))


def load(pem: dict[str, str]) -> tls.Contexts:
    return tls.contexts(pem["ca"], pem["certificate"], pem["key"])


A, B, C, FOREIGN = load(PEM["a"]), load(PEM["b"]), load(PEM["c"]), load(OTHER_RUN["a"])


class Open(t.NamedTuple):
    peer: Peer
    disk: Path
    seed: Path


@pytest.fixture
def door(tmp_path: Path) -> t.Iterator[Open]:
    """The door of b, at which a's machine web-1 is expected; its libvirt answers in capitals."""
    libvirt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    libvirt.bind(str(tmp_path / "libvirt"))
    libvirt.listen(4)
    threading.Thread(target=shout, args=(libvirt,), daemon=True).start()
    listener = socket.create_server((LOCAL, 0))
    disk, seed = tmp_path / "root.qcow2", tmp_path / "seed.iso"
    slots = {"web-1": {"root.qcow2": Slot(str(disk), True, 2**31), "seed.iso": Slot(str(seed), False, 2**22)}}
    slots["web-1"]["machine.xml"] = Slot(str(tmp_path / "machines" / "shop" / "web-1" / "machine.xml"), False, 2**22)
    made = Door(listener, B, Guests({"a": ["web-1"]}, slots), str(tmp_path / "libvirt"))
    thread = threading.Thread(target=made.serve, args=(time.monotonic() + 60,), daemon=True)
    thread.start()
    yield Open(Peer("b", LOCAL, listener.getsockname()[1]), disk, seed)
    made.close()
    thread.join(10)
    libvirt.close()


def shout(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _address = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data.upper())


def through(door: Open) -> socket.socket:
    local = socket.create_server((LOCAL, 0))
    LocalDoor(local, door.peer, A, {"to": tunnel.LIBVIRT})
    return socket.create_connection(local.getsockname(), timeout=20)


def test_bytes_pass_in_both_directions(door: Open) -> None:
    data = os.urandom(64).hex().encode() * 40_000
    with through(door) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        received = tunnel.receive_exactly(connection, len(data))
        sender.join()
    assert received == data.upper()


def test_the_end_of_one_side_is_the_end_of_both(door: Open) -> None:
    with through(door) as connection:
        connection.sendall(b"last")
        assert connection.recv(100) == b"LAST"
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""


def test_a_door_that_closes_ends_its_connections(door: Open) -> None:
    local = socket.create_server((LOCAL, 0))
    mine = LocalDoor(local, door.peer, A, {"to": tunnel.LIBVIRT})
    with socket.create_connection(local.getsockname(), timeout=20) as connection:
        connection.sendall(b"x")
        assert connection.recv(10) == b"X"
        mine.close()
        assert connection.recv(10) == b""


@pytest.mark.parametrize(
    ("contexts", "peer", "header", "words"),
    [
        (C, "b", {"to": "libvirt"}, "no machine of c is expected here"),
        (FOREIGN, "b", {"to": "libvirt"}, "cannot be reached"),
        (A, "c", {"to": "libvirt"}, r"The connection to c was refused: 127\.0\.0\.1 port \d+ is not c\."),
        (A, "b", {"to": "shell"}, "to: "),
        (A, "b", {"to": "port", "port": 22}, "port"),
        (A, "b", {"to": "file", "machine": "web-2", "name": "root.qcow2", "size": 1}, "no file root.qcow2 of web-2 is expected from a"),
        (A, "b", {"to": "file", "machine": "web-1", "name": "../x", "size": 1}, "no file ../x of web-1 is expected from a"),
        (A, "b", {"to": "file", "machine": "web-1", "name": "root.qcow2", "size": -1}, "size"),
    ],
)
def test_nobody_and_nothing_else_gets_in(door: Open, contexts: tls.Contexts, peer: str, header: dict[str, t.Any], words: str) -> None:
    with pytest.raises(TunnelError, match=words):
        tunnel.connect(door.peer._replace(host=peer), contexts, header)
    assert not door.disk.exists() and not list(door.disk.parent.glob("*.tmp"))


def test_a_port_that_somebody_has_is_not_free(door: Open) -> None:
    port = PORTS[1]
    with socket.create_server((LOCAL, port)):
        assert not tunnel.ask(door.peer, A, {"to": tunnel.PROBE, "port": port})["free"].flag()
    assert tunnel.ask(door.peer, A, {"to": tunnel.PROBE, "port": port})["free"].flag()


def send(door: Open, path: Path, name: str) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return tunnel.send_file(door.peer, A, "web-1", name, descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", [0, 1, 4096, 3_000_001])
def test_a_file_arrives_as_it_was(door: Open, tmp_path: Path, size: int) -> None:
    path = tmp_path / "sent"
    path.write_bytes(os.urandom(size))
    send(door, path, "seed.iso")
    assert door.seed.read_bytes() == path.read_bytes() and not list(tmp_path.glob(".*"))


def test_no_file_arrives_behind_a_link(door: Open, tmp_path: Path) -> None:
    service, others = tmp_path / "machines" / "shop", tmp_path / "others"
    (others / "web-1").mkdir(parents=True)
    (tmp_path / "sent").write_bytes(b"x")
    service.parent.mkdir()
    service.symlink_to(others)
    with pytest.raises(TunnelError, match="shop is a symbolic link"):
        send(door, tmp_path / "sent", "machine.xml")
    assert not list((others / "web-1").iterdir())
    service.unlink()
    (service / "web-1").mkdir(parents=True)
    send(door, tmp_path / "sent", "machine.xml")
    assert (service / "web-1" / "machine.xml").read_bytes() == b"x"


def test_holes_are_not_sent_and_a_disk_waits_to_be_looked_at(door: Open, tmp_path: Path) -> None:
    path = tmp_path / "sent"
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(2**30)
        file.write(b"end")
    assert send(door, path, "root.qcow2") < 2**20
    come = Path(Slot(str(door.disk), True, 2**31).temporary)
    assert not door.disk.exists() and come.stat().st_size == path.stat().st_size and come.stat().st_blocks < 4096
    with come.open("rb") as file:
        assert file.read(5) == b"begin"
        file.seek(2**30)
        assert file.read() == b"end"


def test_a_file_that_becomes_shorter_is_told(door: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sent").write_bytes(b"x" * 100)
    monkeypatch.setattr(os, "pread", lambda *_arguments: b"")
    with pytest.raises(TunnelError, match=r"The file seed\.iso of web-1 became shorter while it was read; see what writes to it"):
        send(door, tmp_path / "sent", "seed.iso")


def test_a_file_that_arrives_damaged_is_told(door: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sent").write_bytes(b"x" * 100)
    receive = tunnel.receive_file
    monkeypatch.setattr(tunnel, "receive_file", lambda *given: receive(*given).translate({ord("0"): "1", ord("1"): "0"}))
    with pytest.raises(TunnelError, match=r"seed\.iso of web-1 has arrived damaged on b; migrate it again"):
        send(door, tmp_path / "sent", "seed.iso")


def test_half_a_file_is_not_left(door: Open) -> None:
    stream = tunnel.connect(door.peer, A, {"to": "file", "machine": "web-1", "name": "seed.iso", "size": 100})
    stream.sendall(tunnel._PIECE.pack(0, 50) + b"x" * 20)
    stream.close()
    deadline = time.monotonic() + 10
    while list(door.seed.parent.glob(".*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not door.seed.exists() and not list(door.seed.parent.glob(".*.tmp"))


@pytest.mark.parametrize(("name", "size"), [("seed.iso", 2**22 + 1), ("root.qcow2", 2**63 - 1), ("root.qcow2", -1), ("root.qcow2", 1e3)])
def test_a_file_that_is_too_large_is_refused_before_it_comes(door: Open, name: str, size: float) -> None:
    with pytest.raises(
        TunnelError, match=r"of web-1 has \d+ bytes on a; at most \d+ are taken\. Shorten it, or copy the disk without|a whole number"
    ):
        tunnel.connect(door.peer, A, {"to": "file", "machine": "web-1", "name": name, "size": size})
    assert not list(door.seed.parent.glob(".*.tmp"))


@pytest.mark.parametrize("piece", [(90, 20), (2**40, 1), (0, 2**30)])
def test_a_piece_outside_of_the_file_is_refused(door: Open, piece: tuple[int, int]) -> None:
    stream = tunnel.connect(door.peer, A, {"to": "file", "machine": "web-1", "name": "seed.iso", "size": 100})
    stream.sendall(tunnel._PIECE.pack(*piece) + b"x" * min(piece[1], 20))
    assert "do not belong to a file of 100" in tunnel.receive_message(stream, "the answer")["error"].cleaned()
    stream.close()
    assert not door.seed.exists()
