# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a job knows of its machines and bases, as it goes on; and the same as data for the report."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._relay.states import MACHINES

# On the way.
WAITING, MAKING, BOOTING, CHECKING = "waiting", "making", "booting", "checking"
# At the end: made by this job, only started by it, not touched by it; or not what was asked for.
DEPLOYED, STARTED, PRESENT, FAILED, UNKNOWN = "deployed", "started", "present", "failed", "unknown"
SETTLED = (DEPLOYED, STARTED, PRESENT, FAILED, UNKNOWN)
THERE = (DEPLOYED, STARTED, PRESENT)

# Reasons after which nobody knows what there is.
_UNKNOWABLE = ("libvirt_missing", "libvirt", "unknown")


class Failure(t.NamedTuple):
    """
    :param step: what was tried, such as "make disks".
    :param reason: one word, for programs.
    """

    step: str
    reason: str
    msg: str


@dataclass
class MachineState:
    """One machine on its way. Times are seconds since the epoch."""

    name: str
    role: str = ""
    state: str = WAITING
    failure: Failure | None = None
    result: t.Mapping[str, t.Any] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    health: t.Sequence[t.Mapping[str, t.Any]] = ()
    new_disks: t.Sequence[t.Mapping[str, str]] = ()

    @property
    def settled(self) -> bool:
        return self.state in SETTLED

    def fail(self, failure: Failure) -> None:
        self.failure = failure
        self.state = UNKNOWN if failure.reason in _UNKNOWABLE else FAILED

    def settle(self) -> None:
        """From what was done to it."""
        actions = self.result.get("actions") or []
        self.state = DEPLOYED if "defined" in actions else STARTED if "started" in actions else PRESENT

    def told(self) -> dict[str, t.Any]:
        failure = self.failure
        return {
            "machine": self.name,
            "group": self.role,
            **self.result,
            "state": self.state,
            "reason": failure.reason if failure else None,
            "step": failure.step if failure else None,
            "problem": failure.msg if failure else None,
            "health": list(self.health),
            "new_disks": list(self.new_disks),
            **{key: self.times.get(key) for key in TIMES},
        }


TIMES = ("base_there_at", "disks_at", "started_at", "reported_at")


class BaseState(t.NamedTuple):
    """A base that machines of this host need.

    :param state: here, coming or failed.
    :param there_at: seconds since the epoch.
    """

    sha256: str
    state: str = "coming"
    pool: str | None = None
    bytes: int = 0
    size_bytes: int | None = None
    msg: str = ""
    there_at: float | None = None

    def told(self) -> dict[str, t.Any]:
        return dict(self._asdict())


def summary(machines: t.Iterable[MachineState]) -> dict[str, int]:
    """How many machines have come how far."""
    counts = dict.fromkeys(MACHINES, 0)
    for machine in machines:
        counts["wanted"] += 1
        counts["disks"] += "disks_at" in machine.times
        counts["started"] += "started_at" in machine.times
        counts["reported"] += "reported_at" in machine.times
        counts["failed"] += machine.state in (FAILED, UNKNOWN)
    return counts
