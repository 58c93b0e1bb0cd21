# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tools that race, by name."""

from __future__ import annotations

from .base import Tool
from .chains import MbufferChain, TaktukChain, TaktukTree
from .multicast import Udpcast, Uftp
from .relay import LargeRelay, Relay
from .stars import Clush, ClushTree, Nbdcopy, NbdcopyTls, Rsync, Scp
from .swarm import Aria2

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Relay("relay", "cut_through"),
        Relay("relay-staged", "staged"),
        Relay("relay-plain", "cut_through", encryption=False),
        LargeRelay("relay-large", "cut_through"),
        Rsync(),
        Scp(),
        Nbdcopy(),
        NbdcopyTls(),
        Clush(),
        ClushTree(),
        Aria2(),
        Uftp(),
        Udpcast(),
        TaktukChain(),
        TaktukTree(),
        MbufferChain(),
    )
}

__all__ = ["TOOLS", "Tool"]
