# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import ssl
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints import StreamTimeout
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.socket_stream import SocketStream

TIMEOUT_S = 0.3


class Torn:
    """Half a TLS record at a time: the socket has news again and again, and nothing can be used."""

    def __init__(self, ours: socket.socket, theirs: socket.socket, error: type[OSError]) -> None:
        self._ours, self._theirs, self._error = ours, theirs, error

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._ours, name)

    def _nothing(self, _view: memoryview) -> int:
        for one in (self._ours, self._theirs):
            try:
                one.recv(1)
            except BlockingIOError:
                pass
        raise self._error

    recv_into = send = _nothing


@pytest.mark.parametrize("does", ["receive_into", "send"])
@pytest.mark.parametrize("error", [ssl.SSLWantReadError, ssl.SSLWantWriteError])
def test_parts_of_a_record_do_not_make_a_call_longer(does: str, error: type[OSError]) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    stopped = threading.Event()

    def drip() -> None:
        while not stopped.wait(TIMEOUT_S / 6):
            theirs.send(b"x")

    stream = SocketStream(t.cast(socket.socket, Torn(ours, theirs, error)))
    stream.set_timeout(TIMEOUT_S)
    sender = threading.Thread(target=drip)
    sender.start()
    begin = time.monotonic()
    try:
        with pytest.raises(StreamTimeout):
            getattr(stream, does)(memoryview(bytearray(8)))
    finally:
        stopped.set()
        sender.join()
        theirs.close()
        stream.close()
    assert TIMEOUT_S / 2 < time.monotonic() - begin < 3 * TIMEOUT_S
