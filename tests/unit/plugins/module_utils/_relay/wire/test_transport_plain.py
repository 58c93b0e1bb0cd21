# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Without encryption: everything else is as with it."""

from __future__ import annotations

import datetime
import os
import socket
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.faulty import FaultyEndpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.transport import Address
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates

CHUNK = 16 * 1024


class Listener:
    """Somebody on the way, who hears what both sides say."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._port = port
        self.port = self._server.getsockname()[1]
        self.heard = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                ours, _address = self._server.accept()
                theirs = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                return
            for source, sink in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self.heard += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self._server.close()


@pytest.mark.parametrize("encryption", [True, False])
def test_what_can_be_heard_on_the_way(fleet: t.Any, content: t.Any, encryption: bool) -> None:
    content.put(fleet.pool("S"))
    for host in "SA":
        fleet.add(host, encryption=encryption)
    fleet.start(content, {"S": []})
    listener = Listener(fleet.nodes["S"].port)
    peers = {"S": Address("127.0.0.1", listener.port)}
    fleet.nodes["A"].start([fleet.request(content, "A", ["S"])], peers)
    fleet.wait("A")
    listener.close()
    assert fleet.holds("A", content)
    assert fleet.base("A", content)["attempts"] == []
    assert len(listener.heard) > content.wire_bytes
    assert (content.data[:1000] in listener.heard) is not encryption
    assert (content.sha256.encode() in listener.heard) is not encryption


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_wrong_byte_is_found_without_encryption_too(fleet: t.Any, content: t.Any, mode: str) -> None:
    content.put(fleet.pool("S"))
    fleet.add("S", encryption=False, wrap_endpoint=lambda inner: FaultyEndpoint(inner, wrong_reads={8 * CHUNK: 1}))
    for host in "AB":
        fleet.add(host, encryption=False)
    fleet.start(content, {"S": [], "A": ["S"], "B": ["A"]}, mode)
    fleet.wait("A", "B")
    assert "S sent wrong bytes for chunk 8" in fleet.base("A", content)["attempts"][0]["error"]
    assert fleet.holds("A", content)
    assert fleet.holds("B", content)


@pytest.mark.parametrize("stranger", ["plain bytes", "another run"])
def test_strangers_get_nothing_without_encryption_either(fleet: t.Any, content: t.Any, stranger: str) -> None:
    content.put(fleet.pool("S"))
    node = fleet.add("S", encryption=False)
    fleet.start(content, {"S": []})
    asked = protocol.preface() + protocol.encode_message(protocol.OPEN, {"base": content.sha256})
    asked += protocol.encode(protocol.WANT, 0, bytes(8))
    if stranger == "plain bytes":
        connection = socket.create_connection(("127.0.0.1", node.port), timeout=5)
        connection.sendall(asked)
        heard = b""
        try:
            while part := connection.recv(65536):
                heard += part
        except OSError:
            pass
        connection.close()
        assert len(heard) < 100
    else:
        now = datetime.datetime.now(datetime.UTC)
        pem = {**make_certificates("other", ["A"], 60, now)["A"], "ca": fleet.credentials("A")["ca"]}
        fleet.add("A", certificates=pem, encryption=False)
        fleet.start(content, {"A": ["S"]})
        fleet.wait("A")
        assert fleet.base("A", content)["state"] == "failed"
        assert fleet.base("A", content)["received_bytes"] == 0
    assert fleet.base("S", content)["sent_bytes"] == 0
    fleet.until(lambda: not node.door.peers and not node.door.strangers)


@pytest.mark.parametrize("encryption", [True, False])
def test_nodes_that_were_started_differently_say_so(fleet: t.Any, content: t.Any, encryption: bool) -> None:
    content.put(fleet.pool("S"))
    fleet.add("S", encryption=not encryption)
    fleet.add("A", encryption=encryption)
    fleet.start(content, {"S": [], "A": ["S"]})
    fleet.wait("A")
    says = "encrypts, and S" if encryption else "does not encrypt, and S"
    assert f"This host {says}" in fleet.base("A", content)["msg"]
    assert "need the same setting of encryption" in fleet.base("A", content)["msg"]
    assert not os.path.exists(fleet.pool("A") / content.sha256)
