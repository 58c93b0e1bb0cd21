# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""A plan as text for people."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import InvalidOption
from ..network import matrix as mx
from ..network.preferred_paths import preferred_paths
from ..network.whole_paths import whole_paths
from ..types import Move, Plan
from .plan_format import guessed_links, moves_of

ROWS = 400


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def size(amount: float | None) -> str:
    """Bytes as people read them."""
    if amount is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return ""


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns; long tables are cut, and say so."""
    kept = rows[:ROWS]
    widths = [max(len(row[k]) for row in [header, *kept]) for k in range(len(header))]
    lines = ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [header, *kept]]
    if len(rows) > len(kept):
        lines.append(f"  ... and {len(rows) - len(kept)} more")
    return lines


def _finish(plan: Plan) -> str:
    """When the plan ends and how good that is. Links that nobody measured promise no time."""
    if plan.get("assumed"):
        return "links were never measured and are assumed to be alike: the order is likely, the times are unknown"
    if unsure := guessed_links(plan):
        are = "is" if len(unsure) == 1 else "are"
        return f"predicted finish ~{duration(plan['predicted_s'])}: {plural(len(unsure), 'link')} of the plan {are} estimated, not measured"
    gap = plan["predicted_s"] - plan["lower_bound_s"]
    relative = f" ({gap / plan['lower_bound_s']:.1%})" if plan["lower_bound_s"] else ""
    proven = ", proven optimal" if plan.get("proven_optimal") else ""
    bound = f"lower bound {duration(plan['lower_bound_s'])}, gap {duration(gap)}{relative}{proven}"
    return f"predicted finish {duration(plan['predicted_s'])}, {bound}"


def _time(plan: Plan, seconds: float | None, guessed: object = False) -> str:
    if seconds is None or plan.get("assumed"):
        return "-"
    return ("~" if guessed else "") + duration(seconds)


def _staged(plan: Plan, lines: list[str]) -> None:
    moves = [(number, move) for number, stage in enumerate(plan["stages"], 1) for move in stage]
    share = {m["to"]: m.get("bytes", plan.get("size_bytes")) for _unused, m in moves}
    guessed = guessed_links(plan)
    lines += ["", "Links:"]
    lines += table(
        ["link", "bytes", "time"],
        [
            [f"{m['from']} > {m['to']}", size(share[m["to"]]), _time(plan, m["end_s"] - m["start_s"], (m["from"], m["to"]) in guessed)]
            for _unused, m in moves
        ],
    )
    lines += ["", "Hosts:"]
    ordered = sorted(moves, key=lambda item: (item[1]["end_s"], item[1]["to"]))
    lines += table(
        ["host", "stage", "from", "starts", "has the base"],
        [[m["to"], str(k), m["from"], _time(plan, m["start_s"], guessed), _time(plan, m["end_s"], guessed)] for k, m in ordered],
    )


def _striped(plan: Plan, lines: list[str]) -> None:
    total = sum(tree["weight"] for tree in plan["trees"]) or 1.0
    weight: dict[tuple[str, str], float] = {}
    for tree in plan["trees"]:
        for edge in tree["edges"]:
            pair = (edge["from"], edge["to"])
            weight[pair] = weight.get(pair, 0.0) + tree["weight"] / total
    times = moves_of(plan)
    whole = plan.get("size_bytes")
    guessed = guessed_links(plan)
    lines += ["", "Links:"]
    lines += table(
        ["link", "share", "bytes", "time"],
        [
            [f"{a} > {b}", f"{w:.1%}", size(None if whole is None else w * whole), _span(plan, times.get(b), guessed)]
            for (a, b), w in sorted(weight.items())
        ],
    )
    senders: dict[str, list[tuple[float, str]]] = {}
    for (a, b), w in weight.items():
        senders.setdefault(b, []).append((-w, a))
    lines += ["", "Hosts:"]
    lines += table(
        ["host", "from", "has the base"],
        [
            [host, ", ".join(a for _unused, a in sorted(senders[host])[:4]), _time(plan, m["end_s"], guessed)]
            for host, m in sorted(times.items(), key=lambda item: (item[1]["end_s"], item[0]))
            if host in senders
        ],
    )


def _span(plan: Plan, move: Move | None, guessed: object) -> str:
    return "-" if move is None else _time(plan, move["end_s"] - move["start_s"], guessed)


def relay_plan_text(plan: t.Any, matrix: object = None) -> str:
    """The plan as text; with ``matrix`` also the preferred-path table."""
    read = mx.read_input("plan", plan)
    if not isinstance(read, Mapping) or "stages" not in read or "trees" not in read:
        raise InvalidOption("plan", mx.shown(read), "a plan as relay_plan returns it is wanted")
    plan = t.cast("Plan", read)
    of = f" of {plan['base']}" if plan.get("base") else ""
    about = " (its source's size: it is still to be imported)" if plan.get("estimated") else ""
    serving = [host for host in plan["sources"] if host not in (plan.get("standby") or [])]
    lines = [
        f"Relay plan{of}: {plan['mode']}, strategy {plan.get('strategy', '-')}, contention {plan.get('contention', '-')}",
        f"  from {', '.join(serving)} to {plural(len(plan['targets']), 'host')}, base of {size(plan.get('size_bytes'))}{about}",
        f"  {_finish(plan)}",
    ]
    if plan.get("standby"):
        lines.append(f"  standing by, should a sender be lost: {', '.join(plan['standby'])}")
    if plan.get("helpers"):
        lines.append(f"  passing it on without needing it: {', '.join(plan['helpers'])}")
    if plan["unreachable"]:
        lines.append(f"  no path leads to: {', '.join(plan['unreachable'])}")
    if plan["mode"] == "staged":
        _staged(plan, lines)
    else:
        _striped(plan, lines)
    for host, first in (plan.get("shares") or {}).items():
        lines.append(f"  {host} has the same pool as {first}, and the base when that has it")
    guessed = guessed_links(plan)
    for entry in plan.get("local") or []:
        pool = f" in {entry['pool']} from {entry['from_pool']}" if "pool" in entry else ""
        start = (
            "after the copy between the pools"
            if entry["start_s"] is None
            else f"from {_time(plan, entry['start_s'], guessed and entry['start_s'])}"
        )
        end = f" to {_time(plan, entry['end_s'], guessed and entry['start_s'])}" if entry.get("end_s") else ""
        noun = "copy" if entry["count"] == 1 else "copies"
        lines.append(f"  {entry['host']}: {entry['count']} local {noun}{pool}, stage {entry['stage']}, {start}{end}")
    if matrix is not None:
        inside = [*plan["sources"], *plan["targets"]]
        rows = preferred_paths(matrix, plan["sources"], plan["targets"])
        plan = {**plan, "paths": rows, "whole_paths": whole_paths(matrix, inside, plan["sources"], plan["targets"])}
    if plan.get("paths"):
        lines += ["", *paths_text(plan)]
    else:
        lines += _what_is_estimated(plan)
    return "\n".join(lines) + "\n"


def _what_is_estimated(plan: Plan) -> list[str]:
    rows = [*(plan.get("links") or []), *(plan.get("paths") or []), *(plan.get("whole_paths") or [])]
    if plan.get("assumed") or not any(row.get("estimated") for row in rows):
        return []
    return ["", "~ is estimated from other links: this one was not measured, or not lately."]


def paths_text(plan: Plan) -> list[str]:
    """The tables of preferred paths: links with their preconditions, then whole paths with their totals."""
    cells = []
    for row in plan["paths"]:
        word = ("yes (tie)" if row["tie"] else "yes") if row["preferred"] else "no"
        after = f"after {row['precondition']}" if row["precondition"] else "-"
        used = f"{row['used']:.0%}" if row.get("used") else "-"
        cells.append([" > ".join(row["link"]), _path_time(plan, row), word, after, used])
    lines = ["Preferred paths:"]
    lines += table(["link", "time", "preferred", "precondition", "used by this plan"], cells)
    whole = [
        [f"{' > '.join(row['path'])}:", _path_time(plan, row) + (" (tie)" if row["tie"] else "")] for row in plan.get("whole_paths") or []
    ]
    if whole:
        lines += ["", "Whole paths:", *table(["path", "total"], whole)]
    return lines + _what_is_estimated(plan)


def _path_time(plan: Plan, row: Mapping[str, t.Any]) -> str:
    return _time(plan, row["seconds"], row.get("estimated"))
