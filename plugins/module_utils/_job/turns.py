# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Machines that wait for those of other roles, which may be on other hosts.

Of its own machines a job knows by itself. Of another host's it is told by the controller, once that host has said so; and where
the manifest gives those machines addresses, the host asks their ports itself, so that it goes on when the controller has died.
"""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import dataclass, field

from .._errors import InvalidOption
from .._machine import health
from .._machine.hardware.key import given
from .journal import Journal
from .outcome import THERE, Failure, MachineState

READY, FAILED = "ready", "failed"
STEP = "wait for its turn"


class Other(t.NamedTuple):
    """A machine of another host.

    :param health: what this host can ask of it, as ``health_argument`` has it; None if nothing.
    """

    machine: str
    host: str
    health: t.Mapping[str, t.Any] | None = None


@dataclass(frozen=True)
class Wishes:
    """
    :param after: roles that each machine waits for, by its name.
    :param elsewhere: machines of those roles that are not this host's, by role.
    """

    after: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)
    elsewhere: t.Mapping[str, t.Sequence[Other]] = field(default_factory=dict)


def checked_turns(turns: t.Mapping[str, t.Any] | None, machines: t.Sequence[t.Mapping[str, t.Any]]) -> Wishes:
    """From the option of a module. :raises InvalidOption: what cannot be meant."""
    if turns is None:
        return Wishes()
    known = {machine["machine"]: machine.get("group") for machine in machines}
    after = {str(name): [str(role) for role in roles] for name, roles in (turns.get("after") or {}).items()}
    elsewhere = {
        str(role): [Other(one["machine"], one["host"], given(one.get("health")) or None) for one in others]
        for role, others in (turns.get("elsewhere") or {}).items()
    }
    for name, roles in after.items():
        if name not in known:
            raise InvalidOption("turns.after", name, "it has to be one of the option machines")
        for role in roles:
            if role == known[name] or (role not in known.values() and role not in elsewhere):
                raise InvalidOption(f"turns.after.{name}", role, "it has to be another role, of the option machines or of turns.elsewhere")
    return Wishes(after, elsewhere)


class Turns:
    """
    :param roles: the role of each machine of this host, by its name.
    :param limit_s: how long to wait.
    """

    def __init__(
        self,
        wishes: Wishes,
        roles: t.Mapping[str, str],
        journal: Journal,
        run: str,
        limit_s: float,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._wishes = wishes
        self._roles = roles
        self._journal = journal
        self._run = run
        self._limit_s = limit_s
        self._clock = clock
        self._began = clock()
        self._told: t.Mapping[str, t.Mapping[str, str]] = {}
        self._seen: set[str] = set()
        self._ended = threading.Event()

    def __enter__(self) -> Turns:
        for role, others in self._wishes.elsewhere.items():
            if all(other.health for other in others):
                threading.Thread(target=self._watch, args=(role, others), daemon=True).start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._ended.set()

    def look(self) -> None:
        """Read what the controller has said."""
        if self._wishes.elsewhere:
            self._told = self._journal.turns(self._run)

    def awaited(self, name: str, machines: t.Mapping[str, MachineState]) -> list[str]:
        """Roles for which a machine still waits."""
        return [role for role in self._wishes.after.get(name, ()) if self._of(role, machines) is None]

    def failure(self, name: str, machines: t.Mapping[str, MachineState]) -> Failure | None:
        """Why a machine does not get its turn any more."""
        for role in self._wishes.after.get(name, ()):
            state = self._of(role, machines)
            if state:
                return Failure(STEP, "role_failed", f"{name} was not started, as it starts after {role}: {state}")
        waits = self.awaited(name, machines)
        if waits and self._clock() - self._began >= self._limit_s:
            return Failure(
                STEP,
                "no_turn",
                f"{name} was not started: nothing was heard of {', '.join(waits)} within {self._limit_s:g} s. Run the deployment again.",
            )
        return None

    def _of(self, role: str, machines: t.Mapping[str, MachineState]) -> str | None:
        """Empty for a role that is there, why not for one that has failed, None for one that is on its way."""
        mine = [machine for name, machine in machines.items() if self._roles.get(name) == role]
        for machine in mine:
            if machine.failure is not None:
                return f"{machine.name}: {machine.failure.msg}"
        told = self._told.get(role) or {}
        if told.get("state") == FAILED:
            return told.get("msg") or "it is not there"
        if any(machine.state not in THERE for machine in mine):
            return None
        others = self._wishes.elsewhere.get(role)
        if others and told.get("state") != READY and role not in self._seen:
            return None
        return ""

    def _watch(self, role: str, others: t.Sequence[Other]) -> None:
        """Until all machines of a role have answered once."""
        left = [(other, check) for other in others for check in health.network_checks(other.health)]
        while left and not self._ended.is_set():
            left = [(other, check) for other, check in left if not _answers(check, (other.health or {}).get("addresses") or ())]
            self._ended.wait(health.PAUSE_S if left else 0)
        if not left:
            self._seen.add(role)


def _answers(check: health.Check, addresses: t.Iterable[str]) -> bool:
    try:
        health.attempt(check, health.usable(addresses))
    except health.Unhealthy:
        return False
    return True
