# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A command in the guests of machines that are about to go, so that they hand over their work first."""

from __future__ import annotations

import typing as t

from .health import Check, Unhealthy, attempt
from .machine import Machine

DRAINED, OFF, ABSENT, FAILED = "drained", "off", "absent", "failed"


class Drained(t.NamedTuple):
    """
    :param state: drained, off (it does not run), absent, or failed.
    :param reason: why it failed.
    """

    machine: str
    state: str
    reason: str = ""


def drain(
    found: t.Sequence[Machine], names: t.Sequence[str], command: t.Sequence[str], timeout_s: float, check: bool = False
) -> list[Drained]:
    """One after the other, in the order of the names.

    :param found: the machines of the service on this host.
    :param check: only tell which ones would be drained.
    """
    by_name = {machine.owner.machine: machine for machine in found}
    return [_drain(name, by_name.get(name), command, timeout_s, check) for name in names]


def _drain(name: str, machine: Machine | None, command: t.Sequence[str], timeout_s: float, check: bool) -> Drained:
    if machine is None or machine.domain is None:
        return Drained(name, ABSENT)
    if not machine.running:
        return Drained(name, OFF)
    if not check:
        try:
            attempt(Check("command", command=tuple(command)), (), machine.domain, timeout_s)
        except Unhealthy as error:
            return Drained(name, FAILED, error.message)
    return Drained(name, DRAINED)
