# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""One process at a time changes the machines of a service on a host, and none while a deployment's job is at work on them."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from .._errors import FleetError
from .journal import RUNNING, Journal

_LOCK_PAUSE_S = 0.2


class ServiceBusy(FleetError):
    """Somebody else is at work on the service's machines."""

    kind = "busy"


def running_jobs(journal: Journal) -> list[str]:
    """Runs whose jobs are at work on machines of the service."""
    told = {run: journal.read(run) for run in journal.runs()}
    return [run for run, one in told.items() if one is not None and one["state"] == RUNNING]


def refuse_jobs(journal: Journal, service: str) -> None:
    """:raises ServiceBusy: names the runs."""
    jobs = running_jobs(journal)
    if jobs:
        raise ServiceBusy(
            f"service: {service} is being deployed on this host by the run {', '.join(jobs)}; wait until that has ended, "
            f"or end it (basecast.fleet.stop -e run={jobs[0]}).",
            runs=jobs,
        )


def at_work(journal: Journal) -> int | None:
    """The process that changes machines of the service at this moment; 0 if it cannot be told, None where there is none."""
    if not os.path.isdir(journal.directory):
        return None
    held = journal.lock()
    if held.take():
        held.release()
        return None
    return held.holder()


@contextlib.contextmanager
def alone(journal: Journal, service: str, timeout_s: float) -> t.Iterator[None]:
    """Held while machines of the service are changed.

    :param timeout_s: how long to wait for another process that holds it.
    :raises ServiceBusy: names that process.
    """
    journal.open()
    held = journal.lock()
    deadline = time.monotonic() + timeout_s
    while not held.take():
        if time.monotonic() >= deadline:
            raise ServiceBusy(
                f"service: process {held.holder()} has been at work on the machines of {service} for {timeout_s:g} s on this host; "
                "try again when it has ended."
            )
        time.sleep(_LOCK_PAUSE_S)
    try:
        yield
    finally:
        held.release()
