# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whether machines have come up: their guests' reports are awaited and judged."""

from __future__ import annotations

import os
import typing as t

from .._disk.errors import UnsafePath
from .._errors import FleetError
from .files import is_machine_directory
from .machine import Machine
from .reports import read_report
from .seed_records import SeedRecord, read_record

_POLL_S = 0.2
_LOOK_AT_DOMAIN_S = 1.0


def await_reports(
    machines: t.Sequence[Machine], timeout_s: float, check: bool, clock: t.Callable[[], float], sleep: t.Callable[[float], None]
) -> None:
    """Wait until the guest of each machine has said that it is up; those whose seed asks for no report are not waited for."""
    begin = clock()
    looked = begin
    pending = []
    for machine in machines:
        note_report(machine)
        if machine.problem is None and machine.running and _may_still_report(machine):
            pending.append(machine)
    while pending and not check:
        now = clock()
        look_at_domains = now - looked >= _LOOK_AT_DOMAIN_S
        if look_at_domains:
            looked = now
        for machine in list(pending):
            # Asked before the report is read: a guest may report and power off.
            machine.running = not look_at_domains or machine.still_runs()
            note_report(machine)
            if not _may_still_report(machine):
                pending.remove(machine)
            elif not machine.running:
                machine.fail("stopped", machine.with_console(f"stopped after {now - begin:.0f} s without a report"))
                pending.remove(machine)
        if now - begin >= timeout_s:
            for machine in pending:
                machine.fail("silent", machine.with_console(f"has not reported within {timeout_s:.0f} s"))
            break
        if pending:
            sleep(_POLL_S)
    for machine in machines:
        _judge(machine)


def note_report(machine: Machine) -> None:
    """What the guest has said so far, and whether it was asked to say anything."""
    found = machine.found
    if found is None or found.report is None:
        return
    try:
        record = _seed_record(machine)
        machine.report_expected = record is not None and record.token is not None
        machine.report = read_report(found.report, record.token) if record and record.token else None
        machine.report_error = None
    except FleetError as error:
        machine.report_error = error


def _may_still_report(machine: Machine) -> bool:
    """A guest that printed half a report may print a whole one yet; a pipe in the file's place stays what it is."""
    if isinstance(machine.report_error, UnsafePath):
        return False
    return machine.report is None and machine.report_expected


def _judge(machine: Machine) -> None:
    """A report can also say that something is wrong, or make no sense."""
    report = machine.report
    if machine.report_error is not None and machine.reason in (None, "silent", "stopped"):
        machine.problem = None  # silence, explained
        machine.fail("unreadable", f"{machine.owner.machine}: what its guest reported cannot be read: {machine.report_error.message}")
    if report is None or machine.problem:
        return
    record = _seed_record(machine)
    expected = record.hostname if record else machine.owner.machine
    errors = f": {'; '.join(report['errors'])}" if report["errors"] else ""
    allowed = machine.wish is not None and machine.wish.allow_degraded
    if report["status"] == "degraded" and not allowed:
        machine.fail(
            "cloud_init_degraded",
            f"{machine.owner.machine} has come up, but cloud-init is degraded{errors or ' (see cloud-init status --long)'};"
            " mend its user data, or allow it (allow_degraded)",
        )
    elif report["status"] not in ("done", "degraded"):
        machine.fail("cloud_init_failed", f"{machine.owner.machine} reports that cloud-init failed{errors}")
    elif report["hostname"].split(".")[0] != expected.split(".")[0]:
        machine.fail(
            "wrong_hostname",
            f"{machine.owner.machine} reports the host name {report['hostname']!r}, its seed says {expected!r}",
        )


def _seed_record(machine: Machine) -> SeedRecord | None:
    seed = machine.found.seed if machine.found else None
    return read_record(os.path.dirname(seed)) if seed and is_machine_directory(os.path.dirname(seed)) else None
