# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What one run has made of a service on this host, by what its job has written down. Nothing else may be taken back."""

from __future__ import annotations

import typing as t

from .._errors import FleetError
from .journal import Journal


class CannotUndo(FleetError):
    """What a run has made here cannot be told from what others have."""

    kind = "cannot_undo"


class Made(t.NamedTuple):
    """
    :param machines: by machine of which the run has made something, name and pool of the disks that it has made for it.
    :param started: machines that were there before, and off.
    :param defined: those of ``machines`` whose domain the run has made as well.
    """

    run: str
    machines: dict[str, list[tuple[str, str]]]
    started: list[str]
    defined: list[str]


def made_by(journal: Journal, run: str, names: t.Collection[str] | None = None) -> Made:
    """
    :param names: of machines; None for all of the run's job.
    :raises CannotUndo: the run has no job here, or another run has been at work meanwhile, which may rely on what this one has made.
    """
    told = journal.read(run)
    if told is None:
        raise CannotUndo(f"undo: the run {run} has left no record of what it made on this host, so nothing was removed.", run=run)
    refuse_others(journal, run, told)
    machines: dict[str, list[tuple[str, str]]] = {}
    started, defined = [], []
    for machine in told["machines"]:
        name, actions = machine["machine"], machine.get("actions") or ()
        new_disks = [(str(disk["name"]), str(disk["pool"])) for disk in machine.get("new_disks") or ()]
        if names is not None and name not in names:
            continue
        if "defined" in actions or new_disks:
            machines[name] = new_disks
            if "defined" in actions:
                defined.append(name)
        elif "started" in actions:
            started.append(name)
    return Made(run, machines, started, defined)


def refuse_others(journal: Journal, run: str, told: t.Mapping[str, t.Any] | None = None) -> None:
    """:raises CannotUndo: another run has written something since this one began, even if it ended first."""
    told = journal.read(run) if told is None else told
    other = next((other for other in journal.runs() if other != run and told and not _is_before(journal, other, told)), None)
    if other is not None:
        raise CannotUndo(
            f"undo: the run {other} has been at work here since the run {run} began, so nothing was removed.", run=run, latest=other
        )


def _is_before(journal: Journal, other: str, told: t.Mapping[str, t.Any]) -> bool:
    """Whether the other run wrote for the last time before this one began: for sure, whatever was done to the host's clock."""
    try:
        last = journal.read(other)
    except FleetError:
        return False
    if last is None:
        return True  # swept just now
    began_s, written_s = told.get("began_s"), last.get("written_s")
    if not isinstance(began_s, float) or not isinstance(written_s, float) or told.get("boot") != last.get("boot"):
        return False
    return written_s < began_s
