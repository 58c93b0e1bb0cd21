# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Where the parts of a figure are: the relay's tree, the timeline, the map of links. The templates draw them."""

from __future__ import annotations

import math
import statistics
import typing as t
from collections.abc import Mapping, Sequence

from . import texts

Data = Mapping[str, t.Any]

CHARACTER = 7.4  # width of a character of the figures, about
ROW = 24
# --- the relay's tree ----------------------------------------------------------------------------

INDENT, INDENT_IN_ALL = 26, 360


def tree(parents: Mapping[str, str], roots: Sequence[str], labels: Mapping[str, tuple[str, str]]) -> dict[str, t.Any]:
    """A tree of hosts, one a row, children below their parent.

    :param parents: the main sender of each host.
    :param labels: by host the class for its colour, and what is said of it.
    """
    children: dict[str, list[str]] = {}
    for host, parent in parents.items():
        children.setdefault(parent, []).append(host)
    rows: list[dict[str, t.Any]] = []
    seen: set[str] = set()
    tops = [*roots, *(parent for parent in children if parent not in parents and parent not in roots)]
    for top in tops:
        _grow(top, children, rows, seen)
    for host in parents:  # whose senders form a circle: each of them sent the other some
        if host not in seen:
            _grow(host, children, rows, seen)
    deepest = max((row["depth"] for row in rows), default=0)
    step = min(INDENT, INDENT_IN_ALL / deepest) if deepest else INDENT
    at = {row["host"]: number for number, row in enumerate(rows)}
    for number, row in enumerate(rows):
        kind, told = labels.get(row["host"], ("plain", ""))
        parent = row.pop("parent")
        above = at[parent] if parent is not None else None
        row.update(
            x=round(12 + row["depth"] * step, 1),
            y=number * ROW + 14,
            name=texts.short(row["host"]),
            kind=kind,
            told=told,
            line=None if above is None else [round(12 + (row["depth"] - 1) * step, 1), above * ROW + 14],
        )
    width = max((row["x"] + 18 + CHARACTER * (len(row["name"]) + 2 + len(row["told"])) for row in rows), default=100)
    return {"rows": rows, "width": math.ceil(max(width, 320)), "height": max(1, len(rows)) * ROW + 4}


def _grow(top: str, children: Mapping[str, Sequence[str]], rows: list[dict[str, t.Any]], seen: set[str]) -> None:
    stack: list[tuple[str, str | None, int]] = [(top, None, 0)]
    while stack:
        host, parent, depth = stack.pop()
        if host in seen:
            continue
        seen.add(host)
        rows.append({"host": host, "parent": parent, "depth": depth})
        stack += [(child, host, depth + 1) for child in reversed(children.get(host, ()))]


# --- the timeline --------------------------------------------------------------------------------

PLOT = 640
MILESTONES = (("base_there_s", "base there"), ("disks_s", "disks made"), ("started_s", "started"), ("reported_s", "reported"))
# Of more machines only the first and the last of each host are drawn.
MOST_MACHINES = 150


def timeline(
    transfers: Sequence[Data], machines: Sequence[Data], events: Sequence[Data], names: Mapping[str, str]
) -> dict[str, t.Any] | None:
    """Bars of transfers (foreseen and measured) and marks of machines, by host.

    :param transfers: with ``planned`` (from and to, in seconds) beside what run_details tells.
    :param names: of bases by digest, where there are several.
    """
    hosts = list(dict.fromkeys([row["to"] for row in transfers] + [machine["host"] for machine in machines if machine["host"]]))
    of_host: dict[str, list[Data]] = {}
    for machine in machines:
        if any(at is not None for at in _times(machine).values()):
            of_host.setdefault(machine["host"], []).append(machine)
    bars = [row for row in transfers if row["planned"] or row["ended_s"] is not None]
    if not bars and not of_host:
        return None
    single = sum(map(len, of_host.values())) <= MOST_MACHINES
    rows: list[dict[str, t.Any]] = []
    for host in hosts:
        mine = [row for row in bars if row["to"] == host]
        for row in mine:
            base = f" · {texts.short(names[row['sha256']], 16)}" if row["sha256"] in names else ""
            rows.append({"name": texts.short(host, 18) + base, "bar": row, "marks": []})
        for machine in of_host.get(host, ()) if single else ():
            rows.append(
                {"name": texts.short(machine["machine"], 18), "bar": None, "marks": [(machine["machine"], _times(machine))], "inner": True}
            )
        if not single and of_host.get(host):
            rows.append(
                {"name": f"{texts.plural(len(of_host[host]), 'machine')}", "bar": None, "marks": _span(of_host[host]), "inner": True}
            )
        if not mine and single and of_host.get(host):
            rows.insert(len(rows) - len(of_host[host]), {"name": texts.short(host, 18), "bar": None, "marks": [], "head": True})
        elif not mine and of_host.get(host):
            rows[-1]["name"] = f"{texts.short(host, 18)}: {rows[-1]['name']}"
    return _drawn(rows, events, _last(bars, machines, events))


def _times(machine: Data) -> dict[str, float | None]:
    times = machine.get("times") or {}
    return {key: times.get(key) for key, _word in MILESTONES}


def _span(machines: Sequence[Data]) -> list[tuple[str, dict[str, float | None]]]:
    """The first and the last of many machines, at each mark."""
    found = []
    for word, choose in (("first", min), ("last", max)):
        known = {key: [at for machine in machines if (at := _times(machine)[key]) is not None] for key, _word in MILESTONES}
        found.append((f"{word} of {len(machines)}", {key: choose(values) if values else None for key, values in known.items()}))
    return found


def _last(bars: Sequence[Data], machines: Sequence[Data], events: Sequence[Data]) -> float:
    ends = [at for row in bars for at in (row["ended_s"], row["planned"][1] if row["planned"] else None) if at is not None]
    ends += [at for machine in machines for at in _times(machine).values() if at is not None]
    return max([1.0, *ends, *(event["at_s"] for event in events)])


def _drawn(rows: Sequence[dict[str, t.Any]], events: Sequence[Data], last: float) -> dict[str, t.Any]:
    gutter = min(260, 24 + CHARACTER * max(len(row["name"]) + (2 if row.get("inner") else 0) for row in rows))
    tick = _tick(last)
    end = math.ceil(last / tick) * tick

    def x(at: float) -> float:
        return round(gutter + max(0.0, at) / end * PLOT, 1)

    drawn, y = [], 30.0
    for row in rows:
        transfer = row["bar"]
        entry: dict[str, t.Any] = {"name": row["name"], "inner": bool(row.get("inner")), "y": y, "marks": []}
        entry |= dict.fromkeys(("planned", "measured", "retries", "line"))
        if transfer:
            if transfer["planned"]:
                begin, finish = transfer["planned"]
                entry["planned"] = {
                    "x": x(begin),
                    "w": max(2.0, round(x(finish) - x(begin), 1)),
                    "told": f"predicted {texts.seconds(begin)} to {texts.seconds(finish)}",
                }
            if transfer["ended_s"] is not None:
                begin = transfer["started_s"] if transfer["started_s"] is not None else transfer["ended_s"]
                entry["measured"] = {
                    "x": x(begin), "w": max(2.0, round(x(transfer["ended_s"]) - x(begin), 1)),
                    "told": f"measured {texts.seconds(begin)} to {texts.seconds(transfer['ended_s'])}",
                }  # fmt: skip
            if transfer["attempts"]:
                told = texts.retries(transfer["attempts"])
                bar_end = entry["measured"] or entry["planned"]
                entry["retries"] = {
                    "x": bar_end["x"] + bar_end["w"] + 8 if bar_end else gutter + 4,
                    "count": len(transfer["attempts"]),
                    "told": told,
                }
        for name, times in row["marks"]:
            marks = [
                {"kind": key, "x": x(at), "told": f"{name}: {word} at {texts.seconds(at)}"}
                for key, word in MILESTONES
                if (at := times[key]) is not None
            ]
            entry["marks"] += marks
        if entry["marks"]:
            places = [mark["x"] for mark in entry["marks"]]
            entry["line"] = [min(places), max(places)]
        drawn.append(entry)
        y += ROW - 6 if row.get("inner") else ROW
    lines = _marked([(x(event["at_s"]), number, event["text"]) for number, event in enumerate(events, 1)])
    return {
        "rows": drawn,
        "gutter": round(gutter, 1),
        "width": round(gutter + PLOT + 40),
        "height": round(y + 8),
        "ticks": [{"x": x(k * tick), "told": texts.seconds(k * tick).replace(".0 ", " ")} for k in range(round(end / tick) + 1)],
        "events": lines,
    }


# From a mark to its number, and from that to the next one's at the least.
BESIDE = 3


def _marked(events: Sequence[tuple[float, int, str]]) -> list[dict[str, t.Any]]:
    """Lines for what happened; the numbers of those that would cover each other stand together."""
    lines: list[dict[str, t.Any]] = []
    first = 0
    for x, number, told in events:
        if lines and x < lines[-1]["x"] + 2 * BESIDE + CHARACTER * len(lines[-1]["number"]):
            lines[-1] |= {"number": f"{first}–{number}", "told": f"{lines[-1]['told']} {told}"}
        else:
            first = number
            lines.append({"x": x, "number": f"{number}", "told": told})
    return lines


def _tick(last: float) -> float:
    """A step that people count in, so that there are four to ten of them."""
    rough = last / 6
    for step in (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400):
        if step >= rough:
            return step
    return 86400.0


# --- the map of links ----------------------------------------------------------------------------

MOST_CELLS_A_SIDE = 64
SHADES = 5


def heat_map(links: Sequence[Sequence[t.Any]], order: Sequence[str], used: Mapping[tuple[str, str], float]) -> dict[str, t.Any] | None:
    """A square of links, one a cell, darker the faster. Of many hosts one cell for each pair of names in ``order``.

    :param links: [from, to, 10^6 bit/s].
    :param used: links that bases crossed.
    """
    rates = {(a, b): float(mbps) for a, b, mbps in links}
    names = [name for name in order if any(name in pair for pair in rates)]
    if len(names) < 2 or len(names) > MOST_CELLS_A_SIDE:
        return None
    bounds = _bounds(list(rates.values()))
    cell = 22 if len(names) <= 16 else 14 if len(names) <= 32 else 10
    gutter = 12 + CHARACTER * max(len(texts.short(name, 18)) for name in names)
    index = {name: number for number, name in enumerate(names)}
    cells = [
        {
            "x": round(gutter + index[b] * cell, 1), "y": round(gutter + index[a] * cell, 1), "shade": _shade(mbps, bounds),
            "used": (a, b) in used, "told": f"{a} to {b}: {texts.rate(mbps)}",
        }
        for (a, b), mbps in rates.items() if a in index and b in index
    ]  # fmt: skip
    side = gutter + cell * len(names)
    return {
        "cells": cells,
        "cell": cell,
        "names": [{"name": texts.short(name, 18), "at": round(gutter + number * cell + cell / 2, 1)} for number, name in enumerate(names)],
        "gutter": round(gutter, 1),
        "side": math.ceil(side + 4),
        "legend": _legend(bounds),
    }


def by_site(links: Sequence[Sequence[t.Any]], site_of: Mapping[str, str]) -> list[list[t.Any]]:
    """The median of the links between each two sites."""
    groups: dict[tuple[str, str], list[float]] = {}
    for a, b, mbps in links:
        if a in site_of and b in site_of:
            groups.setdefault((site_of[a], site_of[b]), []).append(float(mbps))
    return [[a, b, round(statistics.median(values), 1)] for (a, b), values in groups.items()]


def _bounds(rates: Sequence[float]) -> list[float]:
    """Shades in equal ratios between the slowest and the fastest link."""
    low, high = max(min(rates), 0.01), max(rates)
    if high / low < 1.05:
        return [low, high]
    return [low * (high / low) ** (step / SHADES) for step in range(SHADES + 1)]


def _shade(mbps: float, bounds: Sequence[float]) -> int:
    if len(bounds) == 2:
        return SHADES
    return next((step for step in range(1, SHADES) if mbps < bounds[step]), SHADES)


def _legend(bounds: Sequence[float]) -> list[dict[str, t.Any]]:
    if len(bounds) == 2:
        return [{"shade": SHADES, "told": f"all about {texts.rate(bounds[1])}"}]
    return [{"shade": step, "told": f"{texts.rate(bounds[step - 1])} to {texts.rate(bounds[step])}"} for step in range(1, SHADES + 1)]
