# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""What hosts say of a base, and of where its bytes come from."""

from __future__ import annotations

import json
import typing as t

# States of a base on a host.
WAITING, FETCHING, HOLDING, FAILED = "waiting", "fetching", "holding", "failed"

# What a peer is told of a base that the plan does not give to this host.
FOREIGN = "foreign"

# Where a host's bytes come from in the end: a holder; a host that has not been told its part yet; nobody alive.
ROOTED, PENDING, LOST = "rooted", "pending", "lost"

# Paths that are told at most: of a plan with several trees each may lead over the one who asks.
MAX_PATHS = 4

# A path that is longer leads nowhere: hosts that wait for each other in a circle would make it grow without end.
MAX_PATH = 128

# So many characters of JSON, so that all paths fit into a message when they are told on. Those of hosts' usual names do.
MAX_PATH_BYTES = 12 * 1024

# What a host's job tells of its machines: how many there are to be, have come so far, have failed.
MACHINES = ("wanted", "disks", "started", "reported", "failed")


def is_tellable(path: t.Sequence[str]) -> bool:
    """Whether a path that a peer has told may be told on, with this host before it: the next peer would not accept any length."""
    return len(path) < MAX_PATH and len(json.dumps(path)) <= MAX_PATH_BYTES
