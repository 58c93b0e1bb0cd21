# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a fetch remembers of each host that it asked: when to try it again, and whether at all."""

from __future__ import annotations

import typing as t

from ..errors import BadChunkList, ProtocolError, RelayError, VersionMismatch, WrongIdentity

# Wrong chunks, or frames that make no sense, from one host before it is not asked again.
MAX_STRIKES = 3

BACKOFF_FIRST_S = 0.25
BACKOFF_LAST_S = 4.0

# A host that has no part in this base is asked again, but not soon: a new plan may give it one.
BACKOFF_FOREIGN_S = 30.0


class PeerRecord:
    """Of one host."""

    def __init__(self) -> None:
        self.banned = ""
        self.retry_at = 0.0
        self.strikes = 0
        # Its reason is final as long as nobody changes the plan.
        self.foreign = ""
        # It was once waited for at length.
        self.waited = False
        # It said that more would come, and nothing came.
        self.stalled = False
        self.slow_until = 0.0
        self.last_tried = 0.0
        self._pause = BACKOFF_FIRST_S

    def usable(self, now: float) -> bool:
        return not self.banned and self.retry_at <= now

    def failed(self, error: RelayError, message: str, now: float) -> None:
        if isinstance(error, (WrongIdentity, VersionMismatch, BadChunkList)):
            self.banned = message
        elif isinstance(error, ProtocolError):
            self.strike(message)
        if error.fields.get("foreign"):
            self.foreign = message
            self.retry_at = now + BACKOFF_FOREIGN_S
            return
        self.retry_at = now + self._pause
        self._pause = min(2 * self._pause, BACKOFF_LAST_S)

    def strike(self, message: str) -> bool:
        """Whether it was once too often."""
        self.strikes += 1
        if self.strikes >= MAX_STRIKES:
            self.banned = message
        return bool(self.banned)

    def progressed(self) -> None:
        self._pause = BACKOFF_FIRST_S
        self.stalled = False

    def forgive(self) -> None:
        """There is a new plan: whoever is in it is tried at once."""
        self.banned = self.foreign = ""
        self.retry_at = self.slow_until = 0.0


class PeerRecords:
    """Of every host that was ever thought of."""

    def __init__(self) -> None:
        self._of: dict[str, PeerRecord] = {}

    def __getitem__(self, host: str) -> PeerRecord:
        return self._of.setdefault(host, PeerRecord())

    def usable(self, hosts: t.Iterable[str], now: float) -> list[str]:
        return [host for host in hosts if self[host].usable(now)]

    def forgive(self) -> None:
        for standing in list(self._of.values()):
            standing.forgive()
