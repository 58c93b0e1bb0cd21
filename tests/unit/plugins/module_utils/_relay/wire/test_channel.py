# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PeerLost
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.channel import Channel
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.socket_stream import SocketStream

STEPS: dict[str, t.Callable[[Channel], t.Any]] = {
    "send": lambda channel: channel.send(protocol.PING),
    "receive": lambda channel: channel.receive((protocol.PING,)),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_connection_that_breaks_names_the_peer(step: str) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(SocketStream(ours), "kvm2", time.monotonic)
    channel.send(protocol.PING)
    theirs.close()  # with bytes that it has not read: that is a reset
    with pytest.raises(PeerLost, match=r"The connection to kvm2 broke: .+\.") as caught:
        STEPS[step](channel)
    assert caught.value.fields["peer"] == "kvm2"
    channel.close()
