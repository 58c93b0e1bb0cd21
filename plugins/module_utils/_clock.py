# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The host's clock beside the controller's."""

from __future__ import annotations

import time
import typing as t

from ._errors import InvalidOption

# The year 9999.
MAX_CLOCK = 253_402_300_800.0


def clock(controller: float | None, now: float) -> dict[str, t.Any]:
    """This host's clock beside the controller's."""
    if controller is not None and not 0 <= controller < MAX_CLOCK:
        raise InvalidOption("controller_clock", controller, "it has to be in seconds since 1970")
    return {
        "utc": utc(now),
        "controller_utc": None if controller is None else utc(controller),
        "ahead_s": None if controller is None else round(now - controller, 1),
    }


def utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
