# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Guests are asked to power off, and awaited."""

from __future__ import annotations

import typing as t

from .._errors import FleetError
from .libvirt_host import LibvirtError
from .machine import Machine

_POLL_S = 0.2
_ASK_AGAIN_S = 5.0  # a guest that is still booting does not hear its power button


def refuse_saved(machines: t.Sequence[Machine]) -> bool:
    """Whether a machine has failed because the memory of its guest was saved, so that it would be cut off in its work."""
    for machine in machines:
        if machine.memory_saved and not machine.problem:
            machine.fail(
                "saved",
                f"{machine.owner.machine} is not off: its memory was saved (virsh managedsave), and would be lost. Start it, so that"
                " it can power off, or drop what was saved (virsh managedsave-remove).",
            )
    return any(machine.reason == "saved" for machine in machines)


def stop(
    machines: t.Sequence[Machine],
    timeout_s: float,
    force: bool,
    check: bool,
    clock: t.Callable[[], float],
    sleep: t.Callable[[float], None],
) -> None:
    """Those that do not power off in time are stopped if ``force``, else they have failed."""
    pending = [machine for machine in machines if machine.running and machine.problem is None]
    for machine in pending:
        machine.actions.append("stopped")
        if check:
            machine.running = False
        else:
            _ask(machine)
    if not check:
        pending = _still_running(pending, timeout_s, clock, sleep)
    for machine in machines:
        if machine.problem:
            continue
        if check or machine not in pending:
            machine.running = False
        elif force and machine.domain:
            try:
                machine.domain.destroy()
            except FleetError as error:
                machine.fail("still_running", error.message)
                continue
            machine.running = False
            machine.actions.append("forced")
        else:
            machine.fail(
                "still_running",
                f"{machine.owner.machine} has not powered off within {timeout_s:.0f} s; force=true would cut its power.",
            )
            machine.actions.remove("stopped")


def _still_running(
    pending: list[Machine], timeout_s: float, clock: t.Callable[[], float], sleep: t.Callable[[float], None]
) -> list[Machine]:
    """Those that have been asked and run when the time is over."""
    asked = begin = clock()
    while True:
        pending = [machine for machine in pending if machine.still_runs()]
        now = clock()
        if not pending or now - begin >= timeout_s:
            return pending
        if now - asked >= _ASK_AGAIN_S:
            asked = now
            for machine in pending:
                _ask(machine)
        sleep(_POLL_S)


def _ask(machine: Machine) -> None:
    try:
        if machine.domain:
            machine.domain.shutdown()
    except LibvirtError:  # it may have ended by itself; whether it has is what counts
        pass
