# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every tool has in common."""

from __future__ import annotations

import abc
import typing as t

from .. import machine
from ..field import Cast, Field, Incident
from ..results import Run

# The quickest of OpenSSH's ciphers on processors with AES instructions; the default is several times slower.
SSH = "ssh -c aes128-gcm@openssh.com -o Compression=no"


class Tool(abc.ABC):
    """A way to bring a file from one host to others.

    ``packages``: of Debian, by the program that they bring. ``note``: the options, and what is in the time.
    """

    name: str
    title: str
    note: str
    packages: t.ClassVar[dict[str, str]] = {}

    def copies(self, receivers: int) -> float:
        """The time it has to take, in copies of the file over one link."""
        return 1.0

    def missing(self) -> str:
        """Why it cannot run on this machine; empty if it can."""
        lacking = machine.missing(self.packages)
        if not lacking:
            return ""
        return f"{', '.join(lacking)} not installed (package {', '.join(sorted({self.packages[one] for one in lacking}))})"

    def versions(self) -> dict[str, str]:
        return {package: machine.version(package) for package in self.packages.values()}

    @abc.abstractmethod
    def run(self, field: Field, size: int, incident_s: float | None = None) -> Run:
        """Once. :param incident_s: so many seconds after the start a relaying host dies."""


class Peer(Tool):
    """A program of others, driven by shell scripts on the hosts."""

    @abc.abstractmethod
    def cast(self, field: Field, size: int) -> Cast:
        """What to run where."""

    def victim(self, field: Field) -> str:
        """A host in the middle of the relay, where there is one."""
        return field.receivers[(len(field.receivers) - 1) // 2]

    def run(self, field: Field, size: int, incident_s: float | None = None) -> Run:
        field.clear()
        field.put_file(size)
        limit = field.scenario.limit_s(size) or 20.0
        incident = None if incident_s is None else Incident(incident_s, self.victim(field))
        most = 3 * self.copies(len(field.receivers)) * limit + 20
        try:
            return field.race(self.cast(field, size), size, most, incident)
        finally:
            field.clear()
