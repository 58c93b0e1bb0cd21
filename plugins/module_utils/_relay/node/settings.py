# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""How long a node waits and lives, and how it serves."""

from __future__ import annotations

import typing as t

from ..download.parent_selection import Patience
from ..wire.channel import SILENCE_S

# A run that is guarded (see Node.guard) ends when no guard was heard for so long. A guard speaks every GUARD_S, and counts as
# gone after GUARD_SILENT_S. Together with what it takes until every node has heard of it this stays under 30 seconds.
GUARD_S = 2.0
GUARD_SILENT_S = 6.0
LEASE_S = 15.0

STAGED, CUT_THROUGH = "staged", "cut_through"


class Settings(t.NamedTuple):
    """Times in seconds."""

    ttl_s: float = 14400.0
    linger_s: float = 300.0
    silence_s: float = SILENCE_S
    patience: Patience = Patience()
    compression: bool = False
    lease_s: float = LEASE_S
    # How long a node waits for its part after the controller was heard; None: as long as it may live.
    part_s: float | None = None
