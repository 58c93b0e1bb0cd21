# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The relays of a report: trees, transfers, preferred paths and links."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from . import figures, texts
from .cells import Cell, Data, long_cell, rate_cell, seconds_cell, size_cell, table

# Links that are listed, where a map of all would be too large.
MOST_LINKS = 400


def with_plans(report: Data) -> list[dict[str, t.Any]]:
    """Transfers with what was foreseen of them at first; also those of which nothing was heard."""
    planned = {}
    for relay in report["relays"]:
        for a, b, begin, end in (relay["first"] or {}).get("moves", []) if not (relay["first"] or {}).get("assumed") else []:
            planned[relay["sha256"], b] = (begin, end, a)
    rows = [
        {**row, "planned": planned[row["sha256"], row["to"]][:2] if (row["sha256"], row["to"]) in planned else None}
        for row in report["transfers"]
    ]
    return sorted(
        rows, key=lambda row: (row["planned"][1] if row["planned"] else 1e12, row["ended_s"] if row["ended_s"] is not None else 1e12)
    )


def relay_view(relay: Data, transfers: Sequence[Data], report: Data) -> dict[str, t.Any]:
    plan = relay["last"] or relay["first"] or {}
    first = relay["first"] or {}
    shares = {(a, b): share for a, b, share in plan.get("shares", [])}
    planned_parents: dict[str, str] = {}
    for a, b, _share in sorted(first.get("shares", []), key=lambda row: row[2]) + sorted(plan.get("shares", []), key=lambda row: row[2]):
        planned_parents[b] = a  # the last plan knows nothing of hosts that were lost before it was made
    parents, labels = dict(planned_parents) if report["predicted"] else {}, {}
    moves = {b: (begin, end) for _a, b, begin, end in first.get("moves", [])}
    for row in transfers:
        sources = sorted(row["received_from"].items(), key=lambda item: -item[1])
        if sources:
            parents[row["to"]] = sources[0][0]
        elif row["to"] in planned_parents:
            parents[row["to"]] = planned_parents[row["to"]]
        labels[row["to"]] = _arrival(row, sources, report, shares, moves, bool(first.get("assumed")), relay)
    for source in relay["sources"]:
        labels[source] = ("good", "● had the base")
        parents.pop(source, None)
    roots = [source for source in relay["sources"] if source in parents.values()] or list(relay["sources"])[:1]
    return {
        "base": relay["base"],
        "sha256": relay["sha256"],
        "told": _relay_told(relay, plan, first),
        "tree": figures.tree(parents, roots, labels),
        "paths": _paths(plan, relay),
        "table": _transfer_table(relay, transfers, shares, moves, report["predicted"]),
    }


def _arrival(
    row: Data,
    sources: Sequence[tuple[str, int]],
    report: Data,
    shares: Mapping[tuple[str, str], float],
    moves: Mapping[str, tuple[float, float]],
    assumed: bool,
    relay: Data,
) -> tuple[str, str]:
    if report["predicted"]:
        mine = sorted(((a, share) for (a, b), share in shares.items() if b == row["to"]), key=lambda item: -item[1])
        told = ", ".join(f"{a} {share:.0%}" for a, share in mine[:3])
        at = f", there after {texts.seconds(moves[row['to']][1])}" if row["to"] in moves and not assumed else ""
        return "plan", f"↓ {texts.size(relay['size_bytes'])} from {told}{at}" if mine else "no path leads here"
    whole = sum(count for _sender, count in sources) or 1
    told = ", ".join(f"{sender} {count / whole:.0%}" for sender, count in sources[:3]) + (
        f" and {len(sources) - 3} more" if len(sources) > 3 else ""
    )
    said = f"{texts.size(row['received_bytes'])} from {told}" if sources else "nothing received"
    rate = f" at {texts.rate(row['mbps'])}" if row["mbps"] else ""
    retries = (
        f" · {texts.plural(len(row['attempts']), 'retry') if len(row['attempts']) == 1 else str(len(row['attempts'])) + ' retries'}"
        if row["attempts"]
        else ""
    )
    if row["state"] == "holding":
        return "good", f"↓ {said}{rate}{retries}"
    return "bad", f"✗ {said}{retries}" + (f" · {texts.short(row['msg'], 60)}" if row["msg"] else "")


def _relay_told(relay: Data, plan: Data, first: Data) -> list[str]:
    told = [f"{texts.size(relay['size_bytes'])} to {texts.plural(len(relay['targets']), 'host')}, from {texts.several(relay['sources'])}."]
    if not plan:
        return [*told, "It was not planned."]
    told.append(f"Mode {plan['mode']}, strategy {plan['strategy'] or texts.NONE}.")
    if first.get("assumed"):
        told.append("Links were never measured and are taken as alike: the order is likely, times are unknown.")
    elif first.get("estimated_links"):
        told.append(f"Predicted about {texts.seconds(first['predicted_s'])}: links of the plan are estimated, not measured.")
    elif first.get("predicted_s") is not None:
        told.append(f"Predicted {texts.seconds(first['predicted_s'])}; no plan can take less than {texts.seconds(first['lower_bound_s'])}.")
    if relay["replanned"]:
        told.append("It was planned again on the way.")
    if relay["helpers"]:
        told.append(f"Passing it on without needing it: {texts.several(relay['helpers'])}.")
    if plan["standby"]:
        told.append(f"Standing by: {texts.several(plan['standby'])}.")
    if plan["unreachable"]:
        told.append(f"No path leads to {texts.several(plan['unreachable'])}.")
    return told


_FORESEEN = ("to", "planned from", "begin, predicted", "end, predicted")
_TRANSFER_COLUMNS = (
    "to",
    "state",
    "planned from",
    "came from",
    "received",
    "rate",
    "begin, predicted",
    "end, predicted",
    "begin",
    "end",
    "retries and failures",
)


def _transfer_table(
    relay: Data,
    transfers: Sequence[Data],
    shares: Mapping[tuple[str, str], float],
    moves: Mapping[str, tuple[float, float]],
    predicted: bool,
) -> dict[str, t.Any]:
    rows = []
    senders: dict[str, list[str]] = {}
    for (a, b), _share in sorted(shares.items(), key=lambda item: -item[1]):
        senders.setdefault(b, []).append(a)
    for row in transfers:
        begin, end = moves.get(row["to"], (None, None))
        failed = Cell(f"✗\u00a0{row['state']}", None, "bad")
        state = {"holding": Cell("✓\u00a0there", None, "good"), None: Cell(texts.NONE)}.get(row["state"], failed)
        rows.append(
            [
                row["to"],
                state,
                texts.several(senders.get(row["to"], []), 3) or texts.NONE,
                texts.several(sorted(row["received_from"], key=lambda sender: -row["received_from"][sender]), 3) or texts.NONE,
                size_cell(row["received_bytes"]),
                rate_cell(row["mbps"]),
                seconds_cell(begin),
                seconds_cell(end),
                seconds_cell(row["started_s"]),
                seconds_cell(row["ended_s"]),
                long_cell(texts.retries(row["attempts"]) or row["msg"]),
            ]
        )
    columns = list(_TRANSFER_COLUMNS)
    if predicted:
        rows = [[cell for cell, column in zip(row, columns, strict=True) if column in _FORESEEN] for row in rows]
        columns = [column for column in columns if column in _FORESEEN]
    return table(
        f"transfers-{(relay['sha256'] or relay['base'])[:12]}",
        f"Transfers of {relay['base']}",
        columns,
        rows,
    )


def _paths(plan: Data, relay: Data) -> dict[str, t.Any] | None:
    rows = plan.get("paths") or []
    if not rows:
        return None
    return table(
        f"paths-{(relay['sha256'] or relay['base'])[:12]}",
        f"Preferred paths of {relay['base']}",
        ["link", "time", "preferred", "precondition", "used by the plan"],
        (
            [
                " > ".join(row["link"]),
                seconds_cell(row["seconds"]),
                ("yes (tie)" if row["tie"] else "yes") if row["preferred"] else "no",
                f"after {row['precondition']}" if row["precondition"] else texts.NONE,
                Cell(f"{row.get('used') or 0:.0%}", row.get("used") or 0, "number"),
            ]
            for row in rows
        ),
    )


def link_views(report: Data) -> dict[str, t.Any] | None:
    links = report["links"]
    if not links:
        return None
    used = {(link["from"], link["to"]): link["bytes"] for link in report["traffic"]["links"]}
    for relay in report["relays"] if not used else []:
        used.update({(a, b): share for a, b, share in (relay["last"] or {}).get("shares", [])})
    order = list(report["fleet"])
    site_of = {host: facts["site"] for host, facts in report["fleet"].items() if facts["site"]}
    whole = figures.heat_map(links, order, used)
    told = "Each row is a sender, each column a receiver; the colours are explained below. A frame marks links that bases take."
    if whole is None and site_of:
        whole = figures.heat_map(figures.by_site(links, site_of), list(dict.fromkeys(site_of.values())), {})
        told = "Sites instead of hosts, since there are many: the median of the links between them. Each row sends, each column receives."
    slowest = sorted(links, key=lambda link: link[2])[:MOST_LINKS]
    more = len(links) - len(slowest)
    caption = f"Links, the slowest first{f'; {more:,} faster ones are left out' if more else ''}"
    rows = ([a, b, rate_cell(mbps), Cell("yes" if (a, b) in used else "no")] for a, b, mbps in slowest)
    return {"map": whole, "told": told, "table": table("links", caption, ["from", "to", "measured", "used"], rows)}
