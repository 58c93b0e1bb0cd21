# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What is known of the hosts of a relay: news of several answers put together, and what follows from them.

Pure: the time is passed in, in seconds of any one clock.
"""

from __future__ import annotations

import functools
import re
import typing as t

# States of a host. A host that had all its bases before is HELD: it receives nothing, and is not shown.
HELD, UNKNOWN, WAITING, FETCHING, DONE, FAILED, SILENT = "held", "unknown", "waiting", "fetching", "done", "failed", "silent"
ENDED = (DONE, FAILED, SILENT)

# How far apart two answers may put the moment of one and the same report.
AGE_ERROR_S = 1.0


class Machines(t.NamedTuple):
    """How many machines there are to be, and how far they have come."""

    wanted: int = 0
    disks: int = 0
    started: int = 0
    reported: int = 0
    failed: int = 0

    def plus(self, other: Machines) -> Machines:
        return Machines(*(a + b for a, b in zip(self, other, strict=True)))


NO_MACHINES = Machines()


class Row(t.NamedTuple):
    """One host, all its bases together. ``said_at`` is when the host said so."""

    host: str
    state: str
    bytes: int = 0
    size_bytes: int = 0
    rate_mbps: float = 0.0
    remaining_s: float | None = None
    parents: tuple[str, ...] = ()
    msg: str = ""
    said_at: float | None = None
    machines: Machines = NO_MACHINES


class Total(t.NamedTuple):
    """All hosts that receive something."""

    hosts: int
    done: int
    failed: int
    silent: int
    bytes: int
    size_bytes: int
    rate_mbps: float
    remaining_s: float | None
    machines: Machines = NO_MACHINES


def row_of(host: str, entry: t.Mapping[str, t.Any], now: float) -> Row:
    """:param entry: of a host in the ``fleet`` that M(basecast.fleet.relay_info) returns."""
    age_s = entry.get("age_s")
    said_at = None if age_s is None else now - age_s
    machines = Machines(*(int((entry.get("machines") or {}).get(name) or 0) for name in Machines._fields))
    bases = [base for base in entry.get("bases", {}).values() if not (base["state"] == "holding" and not base["received_bytes"])]
    if not bases:
        return Row(host, HELD if entry.get("started") else UNKNOWN, said_at=said_at, machines=machines)
    states = {base["state"] for base in bases}
    reasons = [base["msg"] for base in bases if base["state"] == "failed"] or [base["msg"] for base in bases if base["msg"]]
    if states == {"holding"}:
        state = DONE
    elif states <= {"holding", "failed"}:
        state = FAILED
    elif entry.get("stale"):
        state = SILENT
    else:
        state = FETCHING if any(base["state"] == "fetching" for base in bases) else WAITING
    remaining = [base["remaining_s"] for base in bases if base["remaining_s"] is not None]
    return Row(
        host,
        state,
        sum(base["bytes"] for base in bases),
        sum(base["size_bytes"] for base in bases),
        sum(base["rate_mbps"] for base in bases),
        max(remaining, default=None),
        tuple(dict.fromkeys(parent for base in bases for parent in base["parents"])),
        reasons[0] if reasons else "",
        said_at,
        machines,
    )


class Fleet:
    """The hosts of one run of the relay."""

    def __init__(self, run: str, now: float) -> None:
        self.run = run
        self.begun_at = now
        self.settled_at: float | None = None
        self._rows: dict[str, Row] = {}

    def update(self, fleet: t.Mapping[str, t.Any], settled: bool, now: float) -> bool:
        """An answer of any node. What was known from a later moment stays. Whether anything else is new."""
        changed = False
        for host, entry in fleet.items():
            row, old = row_of(host, entry, now), self._rows.get(host)
            if old is not None and old.said_at is not None and (row.said_at is None or row.said_at < old.said_at - AGE_ERROR_S):
                continue
            changed = changed or old is None or row._replace(said_at=None) != old._replace(said_at=None)
            self._rows[host] = row
        if settled and self.settled_at is None:
            self.settled_at = now
            changed = True
        elif not settled:
            self.settled_at = None
        return changed

    @property
    def rows(self) -> list[Row]:
        """Who receives something, in the order of their names, numbers by their value."""
        return sorted((row for row in self._rows.values() if row.state != HELD), key=lambda row: natural(row.host))

    def remaining_s(self, row: Row, now: float) -> float | None:
        if row.remaining_s is None or row.said_at is None:
            return None
        return max(0.0, row.remaining_s - (now - row.said_at))

    def total(self, now: float) -> Total:
        """``remaining_s`` is that of the slowest host, or the time that all bytes need at the rate of all, where hosts wait."""
        rows = [row for row in self.rows if row.state != UNKNOWN]
        moving = [row for row in rows if row.state not in ENDED]
        rate = sum(row.rate_mbps for row in moving)
        times = [one for one in (self.remaining_s(row, now) for row in moving) if one is not None]
        if times and any(not row.rate_mbps for row in moving):
            times.append(sum(row.size_bytes - row.bytes for row in moving) * 8 / 1e6 / rate if rate else 0.0)
        return Total(
            len(self.rows),
            sum(row.state == DONE for row in rows),
            sum(row.state == FAILED for row in rows),
            sum(row.state == SILENT for row in rows),
            sum(row.bytes for row in rows),
            sum(row.size_bytes for row in rows),
            rate,
            max(times, default=None),
            functools.reduce(Machines.plus, (row.machines for row in self._rows.values()), NO_MACHINES),
        )

    def by_interest(self, now: float) -> list[Row]:
        """The hosts to look at first: those in trouble, then those that will take longest; who has ended comes last."""

        def key(row: Row) -> tuple[t.Any, ...]:
            order = (FAILED, SILENT, FETCHING, WAITING, UNKNOWN, DONE).index(row.state)
            remaining = self.remaining_s(row, now)
            return (order, remaining is not None, -(remaining or 0.0), row.bytes, natural(row.host))

        return sorted(self.rows, key=key)


def natural(name: str) -> list[t.Any]:
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in re.split(r"([0-9]+)", name) if part]
