# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The one kind of failure that is meant for the user's eyes."""

from __future__ import annotations

import typing as t

from ._text import clean, clean_data

LONGEST = 8000
LONGEST_VALUE = 400


class FleetError(Exception):
    """What was attempted, on what, what was found, and what to do.

    Both are fit for a terminal, whatever others wrote into them.

    :param message: one sentence or two, complete without the traceback.
    :param fields: JSON-serialisable facts that a playbook may branch on (``kind`` names the failure).
    """

    kind = "failed"

    def __init__(self, message: str, **fields: t.Any) -> None:
        self.message = clean(message, LONGEST)
        super().__init__(self.message)
        self.fields: dict[str, t.Any] = {"kind": self.kind, **clean_data(fields)}


class InvalidOption(FleetError):
    """An option's value cannot be accepted: names the option, the value, and what would be."""

    kind = "invalid_option"

    def __init__(self, option: str, value: t.Any, accepted: str) -> None:
        missing = f"{option}: none given; {accepted}"
        super().__init__(missing if value is None else f"{option}: {_repr(value)} is not accepted; {accepted}", option=option, value=value)


def _repr(value: t.Any) -> str:
    """As Python writes it; of a long one, the begin."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
