# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whoever does not belong to the run changes nothing for it."""

from __future__ import annotations

import contextlib
import datetime
import os
import pty
import socket
import ssl
import struct
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints import StreamTimeout
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PeerLost, PeerRefused, RelayError, WrongIdentity
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol, transport
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.channel import STUCK_SEND_S, Channel
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.tls import contexts
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.transport import Address
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates
from cryptography.hazmat.primitives import serialization

NOW = datetime.datetime.now(datetime.UTC)


def knock(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def answer(connection: socket.socket) -> bytes:
    """What comes back until the other side ends the connection."""
    data = b""
    with contextlib.suppress(OSError):
        while part := connection.recv(4096):
            data += part
    return data


def test_garbage_and_idle_strangers_do_not_disturb_a_transfer(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_S", 4.0)
    content.put(fleet.pool("S"))
    node = fleet.add("S")
    fleet.add("A")
    idle = [knock(node.port) for _number in range(3 * transport.MAX_HANDSHAKES)]
    garbage = knock(node.port)
    garbage.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
    assert b"HTTP" not in answer(garbage)
    begin = time.monotonic()
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("A")
    assert fleet.holds("A", content)
    assert time.monotonic() - begin < 3.5, "the newcomer had to wait for a stranger's end"
    for connection in [*idle, garbage]:
        answer(connection)  # all of them are thrown out, the slow ones by the deadline
        connection.close()
    fleet.until(lambda: not node.door.strangers)


def test_one_who_sends_his_handshake_by_drops_is_thrown_out(fleet: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_S", 0.5)
    node = fleet.add("S")
    connection = knock(node.port)
    stop = threading.Event()
    lost: list[bool] = []

    def drip() -> None:
        for byte in struct.pack(">BHH", 22, 0x0301, 500) + bytes(400):
            if stop.wait(0.1):
                return
            try:
                connection.send(bytes((byte,)))
            except OSError:
                lost.append(True)
                return

    thread = threading.Thread(target=drip)
    thread.start()
    thread.join(6)
    stop.set()
    connection.close()
    assert lost


@pytest.mark.parametrize("begin", ["handshake only", "preface by drops"])
def test_one_with_a_certificate_who_never_asks_for_anything_is_thrown_out(
    fleet: t.Any, monkeypatch: pytest.MonkeyPatch, begin: str
) -> None:
    """Its heartbeats would keep the connection alive for ever."""
    monkeypatch.setattr(transport, "HANDSHAKE_S", 1.0)
    node = fleet.add("S")
    pem = fleet.credentials("A")
    connection = contexts(pem["ca"], pem["certificate"], pem["key"]).client.wrap_socket(knock(node.port))
    ping = protocol.encode(protocol.PING)
    frames = protocol.preface() + (ping * 100 if begin == "handshake only" else ping)
    step = len(ping) if begin == "handshake only" else 1
    since = time.monotonic()
    with contextlib.suppress(OSError):
        connection.settimeout(0.15)
        for at in range(0, len(frames), step):
            connection.sendall(frames[at : at + step])
            with contextlib.suppress(socket.timeout):
                while connection.recv(4096):
                    pass
                break
    lost = time.monotonic() - since < 3.5
    connection.close()
    assert lost, "it was still there after three times the time that is allowed"
    fleet.until(lambda: not node.door.strangers)


def test_a_thousand_idle_connections_change_nothing_for_a_transfer(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    node = fleet.add("S")
    fleet.add("A")
    fleet.start(content, {"S": []}, rate_mbps=0.5)
    fleet.start(content, {"A": ["S"]})
    fleet.until(lambda: fleet.base("A", content)["bytes"] > 0)
    threads = threading.active_count()
    idle = []
    for _number in range(1000):
        idle.append(knock(node.port))
    fleet.until(lambda: node.door.strangers >= transport.MAX_HANDSHAKES)
    assert fleet.base("A", content)["state"] == "fetching", "the transfer was over before they came"
    assert node.door.strangers <= 2 * transport.MAX_HANDSHAKES + 1
    assert threading.active_count() - threads <= 2 * transport.MAX_HANDSHAKES + 2
    # A newcomer of the run is let in among them, and at once.
    fleet.add("B")
    fleet.start(content, {"B": ["S"]})
    fleet.until(lambda: fleet.base("B", content)["received_bytes"] > 0, 4.0)
    node.limits.set(rate_mbps=0)
    fleet.wait("A", "B")
    assert fleet.base("A", content)["attempts"] == []
    assert fleet.holds("A", content)
    assert fleet.holds("B", content)
    for connection in idle:
        connection.close()
    fleet.until(lambda: not node.door.strangers)


def test_strangers_who_do_not_leave_when_told_have_few_places_too(fleet: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And little time."""
    monkeypatch.setattr(transport, "HANDSHAKE_S", 3.0)
    monkeypatch.setattr(transport, "MAX_HANDSHAKES", 4)
    monkeypatch.setattr(transport, "_abort", lambda _connection: None)
    node = fleet.add("S")
    idle = [knock(node.port) for _number in range(12)]
    for connection in idle[8:]:
        assert answer(connection) == b""
    assert node.door.strangers == 8
    fleet.until(lambda: not node.door.strangers)
    for connection in idle:
        connection.close()


def test_one_address_does_not_take_the_places_of_others(fleet: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the address with most handshakes under way the oldest one makes room, however old others are."""
    monkeypatch.setattr(transport, "MAX_HANDSHAKES", 8)
    node = fleet.add("S")
    first = socket.create_connection(("127.0.0.1", node.port), timeout=5, source_address=("127.0.0.2", 0))
    fleet.until(lambda: node.door.strangers == 1)
    many = [knock(node.port) for _number in range(30)]
    assert answer(many[0]) == b""
    first.settimeout(0.3)
    with pytest.raises(socket.timeout):
        first.recv(1)
    for connection in [first, *many]:
        connection.close()


def test_the_peer_with_most_connections_makes_room(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_PEERS", 4)
    for host in "SAB":
        fleet.add(host).set_peers({})
    for host in "AB":
        fleet.nodes[host].set_peers(fleet.peers())

    def opened(host: str) -> Channel:
        channel = fleet.nodes[host].connect("S")
        channel.send_message(protocol.OPEN, {"base": content.sha256})
        return channel

    greedy = [opened("A") for _number in range(4)]
    for channel in greedy:
        channel.receive_frame(protocol.STATE)
    modest = opened("B")
    modest.receive_frame(protocol.STATE)
    fleet.until(lambda: fleet.nodes["S"].peer_limits.connections("A") == 3)
    assert fleet.nodes["S"].peer_limits.connections("B") == 1
    for channel in [*greedy, modest]:
        channel.close()


def test_a_node_has_so_many_peers_and_not_more(fleet: t.Any, content: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_PEERS", 1)
    for host in "SAB":
        fleet.add(host)
    for host in "AB":
        fleet.nodes[host].set_peers(fleet.peers())
    channel = fleet.nodes["A"].connect("S")
    channel.send_message(protocol.OPEN, {"base": content.sha256})
    fleet.until(lambda: fleet.nodes["S"].door.peers == 1)
    second = fleet.nodes["B"].connect("S")
    second.send_message(protocol.OPEN, {"base": content.sha256})
    with pytest.raises(PeerRefused, match="This host has 1 connections already"):
        second.receive_frame(protocol.STATE)
    second.close()
    channel.close()
    fleet.until(lambda: fleet.nodes["S"].door.peers == 0)
    fleet.nodes["B"].connect("S").close()


def test_a_node_without_a_plan_remembers_so_many_bases_and_not_more(fleet: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_ITEMS", 2)
    node = fleet.add("S")
    fleet.add("A").set_peers(fleet.peers())
    channels = [fleet.nodes["A"].connect("S") for _number in range(3)]
    for number, channel in enumerate(channels):
        channel.send_message(protocol.OPEN, {"base": f"{number:064}"})
        kind = protocol.STATE if number < 2 else protocol.BYE
        assert channel.receive((kind,))
    assert len(node._offers) == 2
    for channel in channels:
        channel.close()


@pytest.mark.parametrize("kind", ["none", "another run", "expired", "not yet valid"])
def test_certificates_that_do_not_count(fleet: t.Any, kind: str) -> None:
    node = fleet.add("S")
    pem = fleet.credentials("A")
    day = datetime.timedelta(days=1)
    if kind == "another run":
        pem = {**make_certificates("other", ["A"], 60, NOW)["A"], "ca": pem["ca"]}
    elif kind == "expired":
        pem = {**make_certificates("test", ["A"], 60, NOW - 3 * day)["A"], "ca": pem["ca"]}
    elif kind == "not yet valid":
        pem = {**make_certificates("test", ["A"], 60, NOW + 3 * day)["A"], "ca": pem["ca"]}
    if kind == "none":
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.load_verify_locations(cadata=pem["ca"])
        client.set_alpn_protocols([transport.tls.ENCRYPTED])
    else:
        client = contexts(pem["ca"], pem["certificate"], pem["key"]).client
    with pytest.raises((ssl.SSLError, ConnectionError)), client.wrap_socket(knock(node.port)) as connection:
        connection.sendall(protocol.preface() + protocol.encode_message(protocol.OPEN, {"base": "0" * 64}))
        assert connection.recv(100) == b""
        raise ConnectionError
    fleet.until(lambda: not node.door.peers)


def test_an_older_tls_is_refused(fleet: t.Any) -> None:
    node = fleet.add("S")
    pem = fleet.credentials("A")
    client = contexts(pem["ca"], pem["certificate"], pem["key"]).client
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.wrap_socket(knock(node.port))


def test_a_parent_that_is_somebody_else_is_not_used(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("B"))
    fleet.add("A")
    fleet.add("B")
    fleet.start(content, {"B": []})
    at = Address("127.0.0.1", fleet.nodes["B"].port)
    fleet.nodes["A"].start([fleet.request(content, "A", ["S"])], {"S": at})
    fleet.wait("A")
    assert "shows the certificate of B" in fleet.base("A", content)["msg"]
    assert fleet.base("A", content)["received_bytes"] == 0


def test_a_parent_of_another_run_is_not_used(fleet: t.Any, content: t.Any) -> None:
    content.put(fleet.pool("S"))
    fleet.add("S", certificates=make_certificates("other", ["S"], 60, NOW)["S"])
    fleet.add("A")
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("A")
    assert "certificate that is not accepted" in fleet.base("A", content)["msg"]


def test_another_version_is_refused_with_both_numbers(fleet: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = fleet.add("S")
    fleet.add("A")
    fleet.nodes["A"].set_peers({"S": Address("127.0.0.1", node.port)})
    ours = protocol.preface
    monkeypatch.setattr(protocol, "preface", lambda: ours(7))
    with pytest.raises(protocol.VersionMismatch, match=rf"S speaks version 7 .* this host version {protocol.VERSION}:"):
        fleet.nodes["A"].connect("S")
    fleet.until(lambda: any("A speaks version 7" in line for line in fleet.logs["S"]))


@pytest.mark.parametrize(
    "frames",
    [
        protocol.encode(protocol.WANT, 0, bytes(8)),
        protocol.encode(protocol.LIST),
        protocol.encode_message(protocol.OPEN, {"base": 7}) + protocol.encode(protocol.DATA, 3, b"x"),
        b"\xff" * 64,
        protocol.encode(protocol.OPEN, 0, b"[" * 60000),
        protocol.encode_message(protocol.PROBE, {"round": "x"}),
    ],
    ids=["want", "list", "data", "kind", "nested", "probe"],
)
def test_a_peer_that_breaks_the_protocol_loses_its_connection_only(fleet: t.Any, content: t.Any, frames: bytes) -> None:
    content.put(fleet.pool("S"))
    node = fleet.add("S")
    fleet.add("A")
    fleet.start(content, {"S": []})
    fleet.nodes["B"] = fleet.add("B")
    fleet.nodes["B"].set_peers({"S": Address("127.0.0.1", node.port)})
    channel = fleet.nodes["B"].connect("S")
    with pytest.raises((PeerLost, RelayError)):
        channel.send_frame(frames)
        while True:
            header, _payload = channel.receive(range(256))
            if header.kind == protocol.BYE:
                raise RelayError("refused")
    channel.close()
    fleet.start(content, {"A": ["S"]})
    fleet.wait("A")
    assert fleet.holds("A", content)


def encrypted(key: str) -> str:
    loaded = serialization.load_pem_private_key(key.encode(), None)
    by = serialization.BestAvailableEncryption(b"x")
    return loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, by).decode()


def test_credentials_that_cannot_be_used(fleet: t.Any) -> None:
    pem = fleet.credentials("A")
    for credentials in ((pem["ca"], pem["certificate"], encrypted(pem["key"])), ("none", pem["certificate"], pem["key"])):
        with pytest.raises(RelayError, match="credentials cannot be used"):
            contexts(*credentials)


USE = """
import sys
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.tls import contexts
contexts(*(open(path).read() for path in sys.argv[1:]))
"""


def test_an_encrypted_key_asks_nobody_who_sits_at_the_terminal(fleet: t.Any, tmp_path: Path) -> None:
    pem = {**fleet.credentials("A"), "key": encrypted(fleet.credentials("A")["key"])}
    paths = [tmp_path / name for name in ("ca", "certificate", "key")]
    for path in paths:
        path.write_text(pem[path.name])
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", USE, *map(str, paths)])
    said = b""
    with contextlib.suppress(OSError):
        while b"phrase" not in said and (part := os.read(terminal, 4096)):
            said += part
    os.close(terminal)
    os.waitpid(pid, 0)
    assert b"phrase" not in said
    assert b"credentials cannot be used" in said


def test_a_peer_that_takes_nothing_is_lost_in_the_end() -> None:
    now = [0.0]

    class Full:
        def set_timeout(self, _seconds: float) -> None:
            pass

        def send(self, _view: memoryview) -> int:
            now[0] += 10.0
            raise StreamTimeout

    channel = Channel(t.cast("t.Any", Full()), "kvm1", lambda: now[0])
    with pytest.raises(PeerLost, match="kvm1 takes nothing any more"):
        channel.send(protocol.PING)
    assert now[0] == STUCK_SEND_S + 10.0


def test_identity_needs_one_name() -> None:
    class Peer:
        def getpeercert(self) -> dict[str, t.Any]:
            return {"subjectAltName": (("URI", "basecast:a"), ("URI", "basecast:b"), ("DNS", "c"))}

    with pytest.raises(WrongIdentity):
        transport.tls.identity(Peer())  # type: ignore[arg-type]


def test_a_child_gets_its_chunks_no_faster_than_it_wants(fleet: t.Any, content: t.Any) -> None:
    """At a byte per second the second chunk would come after hours: everything else is answered before it."""
    content.put(fleet.pool("S"))
    node = fleet.add("S")
    fleet.start(content, {"S": []})
    fleet.nodes["B"] = fleet.add("B")
    fleet.nodes["B"].set_peers({"S": Address("127.0.0.1", node.port)})
    channel = fleet.nodes["B"].connect("S")

    def comes(kind: int) -> protocol.Header:
        while True:
            header, _payload = channel.receive(range(256))
            if header.kind == kind:
                return header
            assert header.kind not in (protocol.DATA, protocol.LIST_PART)

    request = {"base": content.metadata["sha256"], "chunks_sha256": content.metadata["chunks_sha256"]}
    channel.send_message(protocol.OPEN, request)
    channel.send(protocol.PACE, 1)
    channel.send(protocol.WANT, 0, protocol.encode_indexes([0, 1]))
    assert comes(protocol.DATA).number == 0
    comes(protocol.PING)
    channel.send(protocol.LIST)
    comes(protocol.LIST_PART)
    channel.send(protocol.PACE, 0)
    assert comes(protocol.DATA).number == 1
    channel.close()


def test_who_does_not_speak_tls_is_named(fleet: t.Any) -> None:
    node = fleet.add("A")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            connection, _address = server.accept()
            with connection:
                connection.sendall(b"220 mail.example.org ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(PeerLost, match=rf"S \(127\.0\.0\.1:{port}\): the TLS handshake failed: "):
            node.transport.connect("S", Address("127.0.0.1", port))
        thread.join()
