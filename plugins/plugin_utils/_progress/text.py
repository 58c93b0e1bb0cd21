# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The progress of a relay as text: lines for a terminal of any width, and single lines for a log. Pure."""

from __future__ import annotations

import typing as t
import unicodedata

from .fleet import DONE, FAILED, FETCHING, SILENT, UNKNOWN, Fleet, Machines, Row, Total

MiB = 1024 * 1024
UNITS = ((1024 * 1024 * MiB, "TiB"), (1024 * MiB, "GiB"), (MiB, "MiB"), (1024, "KiB"))

# Columns. A host's name, a gauge and a percentage are always there; the others as far as there is room.
HOST_MOST, TIME = 28, 9
GAUGE_LEAST, GAUGE_USUAL, GAUGE_MOST = 10, 16, 36
PARENTS_LEAST, PARENTS_MOST = 14, 30
WIDTH_LEAST = 24


class Style(t.NamedTuple):
    """How a terminal shows things: what a gauge is made of, and the codes before texts of a kind.

    :param strokes: of a gauge: full, half full, empty.
    """

    strokes: tuple[str, str, str]
    arrow: str
    dots: str
    codes: t.Mapping[str, str]

    def paint(self, kind: str, text: str) -> str:
        code = self.codes.get(kind)
        return f"\x1b[{code}m{text}\x1b[0m" if code and text.strip() else text


COLOURS = {
    FETCHING: "36",
    DONE: "32",
    FAILED: "31",
    SILENT: "33",
    "total": "1",
    "dim": "2",
}
UNICODE = Style(("━", "╸", "─"), "←", "…", COLOURS)
ASCII = Style(("=", ">", "-"), "<-", "...", COLOURS)


# -- amounts -----------------------------------------------------------------------------------------------------------


def amount(size: float) -> str:
    for unit, name in UNITS:
        if size >= unit:
            return f"{_three_digits(size / unit)} {name}"
    return f"{size:.0f} B"


def amounts(done: int, size: int, word: str = "/") -> str:
    """Both in the unit of the second."""
    for unit, name in UNITS:
        if size >= unit:
            digits = 1 if size / unit < 99.95 else 0
            return f"{done / unit:.{digits}f}{word}{size / unit:.{digits}f} {name}"
    return f"{done}{word}{size} B"


def rate(mbps: float) -> str:
    if mbps >= 1000:
        return f"{_three_digits(mbps / 1000)} Gbit/s"
    if mbps >= 0.95:
        return f"{_three_digits(mbps)} Mbit/s"
    return f"{mbps * 1000:.0f} kbit/s"


def _three_digits(value: float) -> str:
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def duration(seconds: float) -> str:
    """0:07, 12:41, 1:02:33; rounded up, since nobody minds if it takes less."""
    whole = int(-(-seconds // 1))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def percent(done: int, size: int) -> int:
    """100 only when it is all there."""
    return 100 if done >= size else int(100 * done / size)


# -- cells of a terminal -----------------------------------------------------------------------------------------------


def clean(text: str) -> str:
    """Nothing that a terminal would obey."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def cells(text: str) -> int:
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def fit(text: str, width: int, style: Style) -> str:
    """At most so many cells; what is cut off is shown."""
    text = clean(text)
    if cells(text) <= width:
        return text
    room = width - len(style.dots)
    if room < 0:
        return style.dots[: max(0, width)]
    kept = ""
    for char in text:
        if cells(kept + char) > room:
            break
        kept += char
    return kept + style.dots


def pad(text: str, width: int, right: bool = False) -> str:
    space = " " * (width - cells(text))
    return space + text if right else text + space


def gauge(done: int, size: int, width: int, style: Style, kind: str) -> str:
    halves = 2 * width if done >= size else min(2 * width - 1, int(2 * width * done / size))
    full, half = divmod(halves, 2)
    there = style.strokes[0] * full + style.strokes[1] * half
    return style.paint(kind, there) + style.paint("dim", style.strokes[2] * (width - full - half))


# -- the view of a terminal --------------------------------------------------------------------------------------------


class Columns(t.NamedTuple):
    """Widths; 0 leaves a column out."""

    host: int
    gauge: int
    amount: int
    rate: int
    parents: int
    time: int

    @property
    def behind(self) -> int:
        """What is behind the percentage, with the space before it."""
        return sum(one + 2 for one in (self.amount, self.rate, self.parents, self.time) if one)

    @classmethod
    def of(cls, width: int, host: int, amount: int, rate: int, parents: int) -> Columns:
        """What there is room for, the most telling first; what is left makes the gauge and the names of parents longer."""
        host = min(host, HOST_MOST, max(4, width // 3))
        free = width - len("  ") - host - GAUGE_LEAST - len(" 100%")
        given = {}
        for name, wanted in (("time", TIME), ("rate", rate), ("parents", min(parents, PARENTS_LEAST)), ("amount", amount)):
            given[name] = wanted if wanted + 2 <= free else 0
            free -= given[name] + 2 if given[name] else 0
        longer = max(0, min(GAUGE_USUAL - GAUGE_LEAST, free))
        if given["parents"]:
            wider = max(0, min(parents, PARENTS_MOST) - given["parents"])
            given["parents"] += max(0, min(wider, free - longer))
            free -= max(0, min(wider, free - longer))
        return cls(host, max(0, min(GAUGE_LEAST + free, GAUGE_MOST)), **given)


def told(row: Row) -> str:
    """What the columns of a host do not tell."""
    if row.state == FAILED:
        return f"failed: {row.msg}" if row.msg else "failed"
    if row.state == UNKNOWN:
        return "not heard of yet"
    if row.state == FETCHING and not row.rate_mbps:
        if row.bytes:
            return f"stands still, from {_and(row.parents)}" if row.parents else "looks for another parent"
        return f"waits for {_and(row.parents)}" if row.parents else row.msg or "waits for a parent"
    return row.msg or "waits" if row.state not in (DONE, FETCHING) else ""


def _and(names: t.Sequence[str]) -> str:
    return ", ".join(names)


def lines(fleet: Fleet, now: float, width: int, height: int, style: Style = UNICODE) -> list[str]:
    """At most ``height`` lines of at most ``width`` cells: a line for each host, the total last.

    Where there are more hosts than lines: those to look at first, and a line about the others.
    """
    rows = fleet.rows
    if not rows or height < 1:
        return []
    width = max(width, WIDTH_LEAST)
    more: list[Row] = []
    if len(rows) > height - 1:
        chosen = fleet.by_interest(now)
        rows, more = chosen[: max(0, height - 2)], chosen[max(0, height - 2) :]
    total = fleet.total(now)
    everything: list[Row | Total] = [*rows, total]
    columns = Columns.of(
        width,
        max([cells("total"), *(cells(clean(row.host)) for row in rows)]),
        max(len(amounts(one.bytes, one.size_bytes)) for one in everything),
        max(len(rate(one.rate_mbps)) for one in everything),
        max([len(counts(total)), *(len(sources(row, style)) for row in rows)]),
    )
    shown = [_host_line(row, fleet.remaining_s(row, now), columns, style, now) for row in rows]
    if more and height > 1:
        shown.append(" " + style.paint("dim", fit(others(more, fleet, now), width - 1, style)))
    shown.append(_total_line(total, columns, style))
    return shown


def sources(row: Row, style: Style) -> str:
    """From whom it comes; once all is there, how far the machines are."""
    if row.state == DONE:
        return how_far(row.machines)
    return f"{style.arrow} {_and(row.parents)}" if row.parents else ""


def how_far(machines: Machines) -> str:
    """The furthest that any of the machines has come, and how many of them; in few words."""
    if machines.failed:
        return f"{machines.failed}/{machines.wanted} machines failed"
    for word in ("reported", "started", "disks"):
        if getattr(machines, word):
            return f"{getattr(machines, word)}/{machines.wanted} {word}"
    return f"0/{machines.wanted} machines" if machines.wanted else ""


def counts(total: Total) -> str:
    """In few words."""
    parts = [f"{total.done}/{total.hosts} done"]
    parts += [f"{number} {word}" for number, word in ((total.failed, "failed"), (total.silent, "silent")) if number]
    return ", ".join([*parts, *filter(None, [how_far(total.machines)])])


def others(rows: t.Sequence[Row], fleet: Fleet, now: float) -> str:
    done = sum(row.state == DONE for row in rows)
    lost = sum(row.state in (FAILED, SILENT) for row in rows)
    moving = len(rows) - done - lost
    parts = [f"{number} {word}" for number, word in ((done, "done"), (moving, "on their way"), (lost, "in trouble")) if number]
    times = [one for one in (fleet.remaining_s(row, now) for row in rows) if one is not None]
    slowest = f", {duration(max(times))} left" if times and moving else ""
    return f"and {len(rows)} more: {', '.join(parts)}{slowest}"


def _head(name: str, done: int, size: int, columns: Columns, style: Style, kind: str, bold: bool = False) -> str:
    label = pad(fit(name, columns.host, style), columns.host)
    share = f"{percent(done, size) if size else 0:>4}%"
    if bold:
        label, share = style.paint("total", label), style.paint("total", share)
    return f" {label} {gauge(done, size or 1, columns.gauge, style, kind)}{share}"


def _tail(cells_of: t.Sequence[tuple[int, str, bool, str]], style: Style) -> str:
    return "".join(f"  {style.paint(kind, pad(fit(text, width, style), width, right))}" for width, text, right, kind in cells_of if width)


def _words(words: str, width: int, style: Style, kind: str) -> str:
    """In place of columns; with the space before it."""
    return f"  {style.paint(kind, fit(words, width - 2, style))}" if width > 2 else ""


def _host_line(row: Row, remaining: float | None, columns: Columns, style: Style, now: float) -> str:
    kind = row.state
    head = _head(row.host, row.bytes, row.size_bytes, columns, style, kind)
    words = told(row)
    if row.state == SILENT and row.said_at is not None:
        words = f"silent for {duration(now - row.said_at)}"
    if row.state in (FAILED, SILENT, UNKNOWN):
        return head + _words(words, columns.behind, style, kind)
    size = amount(row.size_bytes) if row.state == DONE else amounts(row.bytes, row.size_bytes)
    if words:
        rest = columns.behind - (columns.amount + 2 if columns.amount else 0)
        return head + _tail([(columns.amount, size, True, "dim")], style) + _words(words, rest, style, "dim")
    if row.state == DONE:
        end, speed, whence = "done", "", sources(row, style)
    else:
        end = "" if remaining is None else duration(remaining)
        speed, whence = rate(row.rate_mbps), sources(row, style)
    return head + _tail(
        [
            (columns.amount, size, True, "dim" if row.state == DONE else ""),
            (columns.rate, speed, True, ""),
            (columns.parents, whence, False, "dim"),
            (columns.time, end, True, kind),
        ],
        style,
    )


def _total_line(total: Total, columns: Columns, style: Style) -> str:
    end = "" if total.remaining_s is None else duration(total.remaining_s)
    end += " left" if 0 < len(end) <= columns.time - len(" left") else ""
    kind = FAILED if total.failed else SILENT if total.silent else DONE if total.done == total.hosts else FETCHING
    head = _head("total", total.bytes, total.size_bytes, columns, style, kind, bold=True)
    return head + _tail(
        [
            (columns.amount, amounts(total.bytes, total.size_bytes), True, "total"),
            (columns.rate, rate(total.rate_mbps) if total.rate_mbps else "", True, "total"),
            (columns.parents, counts(total), False, "total"),
            (columns.time, end, True, "total"),
        ],
        style,
    )


# -- lines of a log ----------------------------------------------------------------------------------------------------


def log_line(fleet: Fleet, now: float, slowest: int = 3) -> str:
    """Where the relay is, in one line."""
    total = fleet.total(now)
    parts = [f"{total.done} of {_hosts(total.hosts)} done"]
    if total.size_bytes:
        parts.append(f"{amounts(total.bytes, total.size_bytes, ' of ')} ({percent(total.bytes, total.size_bytes)}%)")
    if total.rate_mbps:
        parts.append(rate(total.rate_mbps))
    if total.remaining_s is not None:
        parts.append(f"{duration(total.remaining_s)} left")
    parts += _machines(total.machines)
    moving = [row for row in fleet.by_interest(now) if row.state == FETCHING and row.rate_mbps]
    slow = [f"{clean(row.host)} {percent(row.bytes, row.size_bytes)}%" for row in moving[:slowest]] if len(moving) > 1 else []
    return f"relay: {', '.join(parts)}" + (f"; slowest: {', '.join(slow)}" if slow else "") + troubles(fleet)


def _machines(machines: Machines) -> list[str]:
    if not machines.wanted:
        return []
    found = [f"{machines.started} of {machines.wanted} machine{'s' * (machines.wanted != 1)} started"]
    found += [f"{number} {word}" for number, word in ((machines.reported, "reported"), (machines.failed, "failed")) if number]
    return [", ".join(found)]


def last_line(fleet: Fleet, now: float) -> str:
    """What came of it; empty if nobody was to receive anything."""
    total = fleet.total(now)
    if not total.hosts:
        return ""
    seconds = (now if fleet.settled_at is None else fleet.settled_at) - fleet.begun_at
    took = f" in {duration(seconds)}" if seconds >= 1 else ""
    served = sum(row.size_bytes for row in fleet.rows if row.state == DONE)
    return f"relay: {total.done} of {_hosts(total.hosts)} served, {amount(served)}{took}{troubles(fleet)}"


def _hosts(number: int) -> str:
    return f"{number} host{'s' * (number != 1)}"


def troubles(fleet: Fleet, most: int = 5) -> str:
    rows = [row for row in fleet.rows if row.state in (FAILED, SILENT)]
    named = [f"{clean(row.host)} {'is silent' if row.state == SILENT else told(row)}" for row in rows[:most]]
    if len(rows) > most:
        named.append(f"{len(rows) - most} more hosts in trouble")
    return "".join(f"; {clean(one).rstrip('.')}" for one in named)
