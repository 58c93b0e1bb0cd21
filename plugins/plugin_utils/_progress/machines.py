# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""How far the machines of a run are, once the bases are there: what hosts' jobs tell, and that as text.

Pure: the time is passed in, in seconds of any one clock.
"""

from __future__ import annotations

import functools
import statistics
import typing as t

from .fleet import DONE, FAILED, FETCHING, NO_MACHINES, Machines, natural
from .text import GAUGE_LEAST, GAUGE_MOST, HOST_MOST, WIDTH_LEAST, Style, cells, clean, duration, fit, gauge, pad, percent

THERE = ("deployed", "started", "present")
LOST = ("failed", "unknown")
STEPS = ("disks_at", "started_at", "reported_at")
# "~1:23:45 left", with the space before it.
TIME = 15


class Row(t.NamedTuple):
    """One host. ``steps`` of ``3 * counts.wanted`` are done; ``boots`` are seconds from a start to its report, ``booting`` those since."""

    host: str
    ended: bool
    counts: Machines
    there: int
    steps: int
    boots: tuple[float, ...]
    booting: tuple[float, ...]
    updated_at: float | None
    said_at: float

    @property
    def state(self) -> str:
        return FAILED if self.counts.failed else DONE if self.ended else FETCHING


def row_of(host: str, job: t.Mapping[str, t.Any], now: float) -> Row:
    """:param job: as M(basecast.fleet.host_job_info) returns it."""
    machines = [machine for machine in job.get("machines") or [] if isinstance(machine, dict)]
    states = [machine.get("state") for machine in machines]
    made = [sum(bool(machine.get(step)) for machine in machines) for step in STEPS]
    counts = Machines(*[len(machines), *made, sum(state in LOST for state in states)])
    steps = [
        3 if state in THERE + LOST else sum(bool(machine.get(step)) for step in STEPS)
        for machine, state in zip(machines, states, strict=True)
    ]
    times = [(machine.get("started_at"), machine.get("reported_at"), machine.get("state")) for machine in machines]
    at = job.get("updated_at")
    return Row(
        host,
        job.get("state") != "running",
        counts,
        sum(state in THERE for state in states),
        sum(steps),
        tuple(float(reported - started) for started, reported, _state in times if started and reported),
        tuple(float(at - started) for started, reported, state in times if at and started and not reported and state == "booting"),
        at,
        now,
    )


class Jobs:
    """The jobs of one run, as far as hosts were asked."""

    def __init__(self, run: str, now: float) -> None:
        self.run = run
        self.begun_at = now
        self._rows: dict[str, Row] = {}

    def update(self, host: str, job: t.Mapping[str, t.Any], now: float) -> bool:
        """Whether anything is new."""
        row, old = row_of(host, job, now), self._rows.get(host)
        if old is not None and old.updated_at == row.updated_at:
            # A job writes when something has happened: what it says of the seconds since a start is that old.
            row = row._replace(said_at=old.said_at)
        self._rows[host] = row
        return old is None or row[:5] != old[:5]

    @property
    def rows(self) -> list[Row]:
        return sorted((row for row in self._rows.values() if row.counts.wanted), key=lambda row: natural(row.host))

    def remaining_s(self, row: Row, now: float) -> float | None:
        """By how long other machines of the run took from their start to their report; None until one has reported."""
        boots = [seconds for one in self._rows.values() for seconds in one.boots]
        if row.ended or not row.booting or not boots:
            return None
        return max(0.0, statistics.median(boots) - min(row.booting) - (now - row.said_at)) or None

    def total(self, now: float) -> tuple[Row, float | None]:
        rows = self.rows
        times = [one for one in (self.remaining_s(row, now) for row in rows) if one is not None]
        counts = functools.reduce(Machines.plus, (row.counts for row in rows), NO_MACHINES)
        whole = Row(
            "total",
            all(row.ended for row in rows),
            counts,
            sum(row.there for row in rows),
            sum(row.steps for row in rows),
            (),
            (),
            None,
            now,
        )
        return whole, max(times, default=None)


def told(row: Row) -> str:
    """How far the machines of a row are, in words."""
    counts = row.counts
    if row.ended:
        return f"{row.there} of {counts.wanted} there" + (f", {counts.failed} failed" if counts.failed else "")
    parts = [
        f"{number}/{counts.wanted} {word}"
        for number, word in ((counts.disks, "disks"), (counts.started, "started"), (counts.reported, "reported"))
    ]
    return ", ".join([*parts, *([f"{counts.failed} failed"] if counts.failed else [])])


def lines(jobs: Jobs, now: float, width: int, height: int, style: Style) -> list[str]:
    """At most ``height`` lines of at most ``width`` cells: a line for each host, the total last; who has ended is left out first."""
    rows = jobs.rows
    if not rows or height < 1:
        return []
    left_out = 0
    if len(rows) > height - 1:
        shown = max(0, height - 2)
        chosen = sorted(rows, key=lambda row: (row.state == DONE, row.state != FAILED, row.steps / row.counts.wanted))
        rows, left_out = chosen[:shown], len(chosen) - shown
    total, remaining_s = jobs.total(now)
    width = max(width, WIDTH_LEAST)
    name = min(HOST_MOST, max(4, width // 3), max(cells("total"), *(cells(clean(row.host)) for row in rows), 0))
    words = max(len(told(row)) for row in [*rows, total])
    free = width - 2 - name - GAUGE_LEAST - len(" 100%")
    words = min(words, max(0, free - 2 - TIME)) or min(words, max(0, free - 2))
    time = TIME if words and free - words - 2 >= TIME else 0
    long = max(0, min(GAUGE_MOST, GAUGE_LEAST + free - time - (words + 2 if words else 0)))

    def line(row: Row, remaining: float | None, ending: str) -> str:
        whole = 3 * row.counts.wanted
        end = "" if remaining is None else f"~{duration(remaining)}{ending}"
        bold = "total" if row.host == "total" and ending else ""
        text = f" {style.paint(bold, pad(fit(row.host, name, style), name))} {gauge(row.steps, whole, long, style, row.state)}"
        text += style.paint(bold, f"{percent(row.steps, whole):>4}%")
        text += f"  {style.paint(row.state if row.ended else bold, pad(fit(told(row), words, style), words))}" if words else ""
        return text + (style.paint(bold, pad(end, time, right=True)) if time else "")

    shown_lines = [line(row, jobs.remaining_s(row, now), "") for row in rows]
    if left_out and height > 1:
        shown_lines.append(" " + style.paint("dim", fit(f"and {left_out} more hosts", width - 1, style)))
    return [*shown_lines, line(total, remaining_s, " left")]


def log_line(jobs: Jobs, now: float) -> str:
    """How far all machines are, in one line."""
    total, remaining_s = jobs.total(now)
    counts = total.counts
    parts = [f"{counts.disks} of {counts.wanted} have their disks", f"{counts.started} started", f"{counts.reported} reported"]
    parts += [f"{counts.failed} failed"] if counts.failed else []
    parts += [f"about {duration(remaining_s)} left"] if remaining_s is not None else []
    return f"machines: {', '.join(parts)}"


def last_line(jobs: Jobs, now: float) -> str:
    """What came of it; empty if nothing was to be made."""
    total, _remaining = jobs.total(now)
    if not total.counts.wanted:
        return ""
    failed = [row for row in jobs.rows if row.counts.failed]
    names = ", ".join(clean(row.host) for row in failed[:5]) + (f" and {len(failed) - 5} more hosts" if len(failed) > 5 else "")
    took = f" in {duration(now - jobs.begun_at)}" if now - jobs.begun_at >= 1 else ""
    return f"machines: {total.there} of {total.counts.wanted} there{took}" + (
        f"; {total.counts.failed} failed on {names}" if failed else ""
    )
