# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets a place at a host's door. What passes through it is in test_tunnel."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._move import door as door_module
from ansible_collections.basecast.fleet.plugins.module_utils._move import tunnel
from ansible_collections.basecast.fleet.plugins.module_utils._move.door import LOCAL, Door, Guests
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.daemon import start_time
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import tls
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates

PEM = make_certificates("run", ["a", "b"], 600, datetime.datetime.now(datetime.UTC))


def load(host: str) -> tls.Contexts:
    return tls.contexts(PEM[host]["ca"], PEM[host]["certificate"], PEM[host]["key"])


@pytest.fixture
def port() -> t.Iterator[int]:
    listener = socket.create_server((LOCAL, 0), backlog=200)
    made = Door(listener, load("b"), Guests({"a": ["web-1"]}, {}), "/nowhere")
    thread = threading.Thread(target=made.serve, args=(time.monotonic() + 60,), daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    made.close()
    thread.join(10)


def ended(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_strangers_of_one_address_have_few_places(port: int) -> None:
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(socket.create_connection((LOCAL, port), 10)) for _nth in range(100)]
        assert all(ended(one) for one in strangers[door_module._STRANGERS :])
        # Of each one that waits a thread and a timer.
        assert threading.active_count() <= before + 2 * door_module._STRANGERS
        with socket.create_connection((LOCAL, port), 10, ("127.0.0.2", 0)) as plain, load("a").client.wrap_socket(plain) as secure:
            tls.agree(secure, True, "b")
            tunnel.send_message(secure, {"to": tunnel.PROBE, "port": door_module.PORTS[0]})
            assert tunnel.receive_message(secure, "the answer")["free"].flag() in (True, False)


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x02\x00"])
def test_a_handshake_by_drops_has_an_end(port: int, begin: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "_HANDSHAKE_S", 1.0)
    with socket.create_connection((LOCAL, port), 10) as plain:
        plain.sendall(begin)
        plain.settimeout(0.2)
        until = time.monotonic() + 8
        while time.monotonic() < until:
            try:
                if begin:
                    plain.sendall(b"\x00")
                if not plain.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() < until


def test_a_new_door_sweeps_what_ended_ones_left(tmp_path: Path) -> None:
    doors = tmp_path / ".migrations"
    doors.mkdir(mode=0o700)
    alive = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "port": 1}
    for run, process in {"over": {**alive, "start_time": 1}, "open": alive}.items():
        (doors / f"{run}.json").write_text(json.dumps(process))
        (doors / f"{run}.json.log").write_text("")
    (doors / "torn.json").write_text("{")
    started = door_module.start(str(tmp_path), "mine", LOCAL, (20000, 60000), load("b"), Guests({}, {}), 60)
    try:
        assert {path.name.split(".")[0] for path in doors.iterdir()} == {"open", "torn", "mine"}
    finally:
        assert door_module.stop(str(tmp_path), "mine")
    assert started and {path.name.split(".")[0] for path in doors.iterdir()} == {"open", "torn"}
