# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""One machine of a service on its way to what is asked for, and what is told of it."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from .._errors import FleetError
from .domain import Description, MachineWish
from .libvirt_host import Domain, DomainGone
from .owner import Owner
from .reports import console_tail


class MachinesFailed(FleetError):
    """Some machines are not what was asked for; the others are. ``machines`` holds the results of all."""

    kind = "machines_failed"


@dataclass
class Machine:
    """A machine on its way to the state that is wanted."""

    owner: Owner
    wish: MachineWish | None = None
    domain: Domain | None = None
    found: Description | None = None
    running: bool = False
    report: dict[str, t.Any] | None = None
    report_expected: bool = False
    report_error: FleetError | None = None  # why what the guest said cannot be read
    drift: list[dict[str, t.Any]] = field(default_factory=list)
    dns: dict[str, bool] = field(default_factory=dict)  # addresses that networks' DNS is to know, and whether it does
    actions: list[str] = field(default_factory=list)
    reason: str | None = None  # why it failed, for programs
    problem: str | None = None  # and for people

    def fail(self, reason: str, problem: str) -> None:
        """The first failure counts: others follow from it."""
        if self.problem is None:
            self.reason, self.problem = reason, problem

    @property
    def directory(self) -> str | None:
        if self.wish:
            return self.wish.directory
        path = self.found and (self.found.report or self.found.seed or self.found.console)
        return os.path.dirname(path) if path else None

    @property
    def memory_saved(self) -> bool:
        """It has what its guest has not written to its disks yet, and needs its disks as they are."""
        return self.domain is not None and not self.running and self.domain.has_saved_state()

    @property
    def console(self) -> str | None:
        return self.found.console if self.found else None

    @property
    def spec(self) -> t.Mapping[str, t.Any]:
        """What it is meant to be: as it was defined, or as it is to be."""
        return self.found.spec if self.found else (self.wish.spec if self.wish else {})

    def still_runs(self) -> bool:
        try:
            return self.domain is not None and self.domain.running()
        except DomainGone:
            return False

    def result(self) -> dict[str, t.Any]:
        found = self.found
        tail = self.last_lines() if self.report is None else []
        return {
            "machine": self.owner.machine,
            "domain": found.domain if found else self.owner.domain,
            "uuid": found.uuid if found else None,
            "running": self.running,
            "number": found.number if found else self.wish and self.wish.number,
            "group": found.group if found else self.wish and self.wish.group,
            "spec": self.spec,
            "memory_mib": found.memory_mib if found else self.wish and self.wish.memory_mib,
            "cpus": found.cpus if found else self.wish and self.wish.cpus,
            "accelerator": found.hardware["domain_type"] if found else None,
            "macs": list(found.macs) if found else [],
            "report": self.report,
            "report_expected": self.report_expected,
            "console_tail": tail,
            "drift": self.drift,
            "dns_missing": [address for address, there in self.dns.items() if not there],
            "actions": self.actions,
            "problem": self.problem or (self.report_error.message if self.report_error else None),
        }

    def last_lines(self, lines: int = 20) -> list[str]:
        """The end of the console; where it cannot be read, why."""
        try:
            return console_tail(self.console, lines) if self.console else []
        except FleetError as error:
            return [f"(not read: {error.message})"]

    def with_console(self, what: str) -> str:
        """A sentence on the machine, with the last that its console says."""
        tail = self.last_lines(10)
        accelerator = self.found.hardware["domain_type"] if self.found else "unknown"
        end = f"its console ends with: {' | '.join(tail)}" if tail else "its console is empty"
        return f"{self.owner.machine} (accelerator {accelerator}) {what}; {end}"

    def shown(self) -> dict[str, t.Any]:
        """For a diff: no spec, which may be long."""
        if self.found is None:
            return {"state": "absent"}
        dns = {"dns": [address for address, there in self.dns.items() if there]} if self.dns else {}
        return {"state": "running" if self.running else "stopped", **self.found.hardware, **dns}
