# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Since when a parent has brought nothing, and for how long it has owed something."""

from __future__ import annotations

from ..clock import Clock


class Account:
    """Of one connection; written by its thread alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.begun = clock()
        # Since when it has sent nothing that brings the base nearer.
        self.idle_since = self.begun
        # Since when it owes chunks of which none has come, and a part of the chunk list that has not.
        self.owed_since: float | None = None
        self.list_since: float | None = None
        # How often its word has changed since then.
        self.changes = 0
        self._busy_s = 0.0
        self.busy_since: float | None = None

    def note_useful(self) -> None:
        """It sent something that brings the base nearer."""
        self.idle_since = self._clock()
        self.changes = 0

    def note_chunk(self) -> None:
        self.note_useful()
        if self.owed_since is not None:
            self.owed_since = self._clock()

    def note_change(self) -> None:
        """It says something else of itself."""
        self.idle_since = self._clock()
        self.changes += 1

    def note_owes(self, owes: bool) -> None:
        """Start or end the time in which it owes chunks."""
        now = self._clock()
        if not owes:
            self.owed_since = None
        elif self.owed_since is None:
            self.owed_since = now
        if owes and self.busy_since is None:
            self.busy_since = now
        elif not owes and self.busy_since is not None:
            self._busy_s += now - self.busy_since
            self.busy_since = None

    def expect_list(self, owed: bool) -> None:
        """Whether the next part of the chunk list is to come from it."""
        if not owed:
            self.list_since = None
        elif self.list_since is None:
            self.list_since = self._clock()

    def busy_s(self, now: float) -> float:
        """Seconds in which it owed chunks, since the start."""
        since = self.busy_since
        return self._busy_s + (0.0 if since is None else now - since)
