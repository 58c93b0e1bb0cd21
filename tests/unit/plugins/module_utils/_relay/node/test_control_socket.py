# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests and answers of the control socket: read through the one door, whoever wrote them."""

from __future__ import annotations

import json
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import ControlFailed, RelayError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node import control_socket
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.process import _Agent
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.settings import Settings
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Malformed, Value
from hypothesis import given
from hypothesis import strategies as st

START: dict[str, t.Any] = {
    "command": "start",
    "bases": [],
    "peers": {"A": {"address": "127.0.0.1", "port": 47700}},
    "mode": "staged",
    "limits": {"rate_mbps": 1.0, "links": {"A": 2.0}, "streams": 3},
}
BASE: dict[str, t.Any] = {
    "metadata": {"sha256": "5" * 64, "chunks_sha256": "6" * 64, "size_bytes": 1, "chunk_bytes": 262144, "parent": None},
    "pool": "default",
    "pool_path": "/p",
    "parents": ["A"],
    "weights": None,
    "expected_mbps": None,
    "children": [],
}
PROBE: dict[str, t.Any] = {
    "command": "probe_start",
    "disk_bytes": 0,
    "pools": {"default": "/p"},
    "peers": {},
    "turns": [[0, "A", True]],
    "payload_bytes": 1,
    "max_s": 0.1,
    "deadline_s": 1.0,
}


@pytest.fixture
def path(tmp_path: Path) -> t.Iterator[str]:
    where = str(tmp_path / "socket")
    server, stop = control_socket.listen(where), threading.Event()

    def handle(message: Value) -> dict[str, t.Any]:
        if message["command"].text() == "fail":
            raise RelayError("\x1b[2Jit failed", place="here")
        return {"said": message.raw}

    thread = threading.Thread(target=control_socket.serve, args=(server, handle, stop))
    thread.start()
    yield where
    stop.set()
    thread.join()
    server.close()


def send(path: str, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
        connection.sendall(line)
        return connection.recv(65536)


def test_an_answer_and_a_failure(path: str) -> None:
    assert control_socket.ask(path, {"command": "x"}) == {"said": {"command": "x"}}
    with pytest.raises(RelayError, match="it failed") as caught:
        control_socket.ask(path, {"command": "fail"})
    assert caught.value.fields["place"] == "here"
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("line", [b"\n", b"[" * 200000 + b"\n", b"[]\n", b'{"command":NaN}\n', b"\xff\n", b'{"a":1,"a":2}\n'])
def test_what_is_no_request_ends_the_connection_only(path: str, line: bytes) -> None:
    assert send(path, line) == b""
    assert control_socket.ask(path, {"command": "x"})


@pytest.mark.parametrize("answer", [b"[[[\n", b"7\n", b"[" * 100000 + b"\n", b'{"error":NaN}\n', b"\xff\n", b'{"said"', b""])
def test_what_is_no_answer_is_no_node(tmp_path: Path, answer: bytes) -> None:
    where = str(tmp_path / "socket")
    server = control_socket.listen(where)

    def reply() -> None:
        connection, _address = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    thread = threading.Thread(target=reply)
    thread.start()
    told = "A message cannot be read" if answer.endswith(b"\n") else "The connection ended within a message"
    with pytest.raises(ControlFailed, match=told):
        control_socket.ask(where, {"command": "progress"})
    thread.join()
    server.close()


@pytest.mark.parametrize(
    ("whole", "change", "place"),
    [
        (START, {"command": 7}, "command"),
        (START, {"peers": {"A": {"address": "x", "port": True}}}, "peers: A: port"),
        (START, {"peers": {"A": {"address": "x", "port": 65536}}}, "peers: A: port"),
        (START, {"peers": []}, "peers"),
        (START, {"mode": "both"}, "mode"),
        (START, {"limits": {"rate_mbps": -1}}, "limits: rate_mbps"),
        (START, {"limits": {"streams": 1.5}}, "limits: streams"),
        (START, {"limits": {"links": {"A": "fast"}}}, "limits: links: A"),
        (START, {"bases": {}}, "bases"),
        (START, {"bases": [{**BASE, "metadata": {**BASE["metadata"], "sha256": "../x"}}]}, "bases[0]: metadata: sha256"),
        (START, {"bases": [{**BASE, "metadata": {**BASE["metadata"], "chunk_bytes": 0}}]}, "bases[0]: metadata: chunk_bytes"),
        (START, {"bases": [{**BASE, "parents": "A"}]}, "bases[0]: parents"),
        (START, {"bases": [{**BASE, "parents": [["A"], "B"]}]}, "bases[0]: parents[1]"),
        (START, {"bases": [{**BASE, "weights": [-1]}]}, "bases[0]: weights[0]"),
        (START, {"bases": [{**BASE, "children": [None]}]}, "bases[0]: children[0]"),
        (PROBE, {"turns": [[0, "A"]]}, "turns[0]"),
        (PROBE, {"turns": [[0, "A", 1]]}, "turns[0][2]"),
        (PROBE, {"disk_bytes": -1}, "disk_bytes"),
        (PROBE, {"max_s": None}, "max_s"),
        ({"command": "wait"}, {"timeout_s": "long"}, "timeout_s"),
        ({"command": "wait"}, {}, "timeout_s"),
        ({"command": "progress"}, {"fleet": "yes"}, "fleet"),
    ],
)
def test_a_field_that_cannot_be_is_named(fleet: t.Any, whole: dict[str, t.Any], change: dict[str, t.Any], place: str) -> None:
    agent = _Agent(fleet.add("S"), {})
    with pytest.raises(Malformed) as caught:
        agent.handle(Value({**whole, **change}, "message"))
    assert caught.value.message.startswith(f"message: {place}")
    assert fleet.nodes["S"].progress()["bases"] == {}


@pytest.mark.parametrize(("command", "stays"), [("progress", True), ("guard", False)])
def test_a_guard_alone_keeps_no_node_alive(fleet: t.Any, content: t.Any, command: str, stays: bool) -> None:
    """A guard outlives a controller that was killed."""
    content.put(fleet.pool("S"))
    node = fleet.add("S", settings=Settings(linger_s=1.0))
    fleet.start(content, {"S": []})
    ended: list[str] = []
    life = threading.Thread(target=lambda: ended.append(node.live()))
    life.start()
    until = time.monotonic() + 3.0
    while life.is_alive() and time.monotonic() < until:
        _Agent(node, {}).handle(Value({"command": command}, "message"))
        time.sleep(0.1)
    assert life.is_alive() is stays
    node.stop()
    life.join(5)


@given(line=st.binary(max_size=200).map(lambda data: data.replace(b"\n", b"")))
def test_any_line(line: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(line + b"\n")
        try:
            assert isinstance(control_socket._read_line(ours).raw, dict)
        except ControlFailed:
            pass


@given(
    whole=st.sampled_from([START, PROBE]),
    data=st.data(),
)
def test_any_value_in_any_field(whole: dict[str, t.Any], data: st.DataObject) -> None:
    from ansible_collections.basecast.fleet.plugins.module_utils._relay.node import process

    value = data.draw(
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda one: st.lists(one, max_size=3))
    )
    for read in (process.limits_of, process.addresses_of, process.request_of, process.turn_of, process.metadata_of):
        for raw in (value, {**BASE, data.draw(st.sampled_from(list(BASE))): value}):
            try:
                t.cast("t.Any", read)(Value(json.loads(json.dumps(raw)), "message"))
            except Malformed:
                continue
