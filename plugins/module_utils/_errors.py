# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The one kind of failure that is meant for the user's eyes."""

from __future__ import annotations

import typing as t


class FleetError(Exception):
    """What was attempted, on what, what was found, and what to do.

    :param message: one sentence or two, complete without the traceback.
    :param fields: JSON-serialisable facts that a playbook may branch on (``kind`` names the failure).
    """

    kind = "failed"

    def __init__(self, message: str, **fields: t.Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields: dict[str, t.Any] = {"kind": self.kind, **fields}


class InvalidOption(FleetError):
    """An option's value cannot be accepted: names the option, the value, and what would be."""

    kind = "invalid_option"

    def __init__(self, option: str, value: t.Any, accepted: str) -> None:
        super().__init__(f"{option}: {value!r} is not accepted; {accepted}", option=option, value=value)
