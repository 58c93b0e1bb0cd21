# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""From the data of a report to what the page's template shows: words, tables, and places of what figures are made of."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from . import figures, texts

Data = Mapping[str, t.Any]
THERE = ("deployed", "started", "present")
# From so many hosts on, a host is one small square, and long figures are closed at first.
MANY_HOSTS = 80
# Links that are listed, where a map of all would be too large.
MOST_LINKS = 400


class Cell(t.NamedTuple):
    """One cell of a table: what it shows, by what it is sorted, and its kind (good, bad, warn, number, code)."""

    text: str
    sort: t.Any = None
    kind: str = ""


def table(name: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[t.Any]]) -> dict[str, t.Any]:
    """A table; cells that are plain texts become cells."""
    cells = [[cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row] for row in rows]
    return {"name": name, "caption": caption, "columns": list(columns), "rows": cells}


def _long(text: str) -> Cell:
    """A sentence, which needs room."""
    return Cell(text or texts.NONE, None, "long" if text else "")


def _size(amount: float | None) -> Cell:
    return Cell(texts.size(amount), -1 if amount is None else amount, "number")


def _seconds(value: float | None) -> Cell:
    return Cell(texts.seconds(value), -1 if value is None else value, "number")


def _rate(value: float | None) -> Cell:
    return Cell(texts.rate(value), -1 if value is None else value, "number")


def _number(value: float | None) -> Cell:
    return Cell(texts.NONE if value is None else f"{value:g}", -1 if value is None else value, "number")


def _code(value: t.Any) -> Cell:
    return Cell(str(value), None, "code")


def view_of(report: Data) -> dict[str, t.Any]:
    """Everything that the template needs."""
    titles = {base["sha256"]: base["title"] for base in report["bases"] if base["sha256"]}
    titles |= {relay["sha256"]: relay["base"] for relay in report["relays"] if relay["sha256"]}
    transfers = _with_plans(report)
    hosts = _hosts(report, transfers)
    return {
        "title": f"{report['service']}: {'plan' if report['kind'] == 'plan' else 'deployment'}",
        "service": report["service"],
        "tenant": report["tenant"],
        "kind": report["kind"],
        "predicted": report["predicted"],
        "ok": report["ok"],
        "run": report["run"],
        "began": texts.moment(report["began_at"]),
        "verdict": _verdict(report),
        "figures": _key_figures(report, hosts),
        "problems": report["problems"],
        "drift": _drift(report),
        "notes": report["notes"],
        "events": [{**event, "at": texts.seconds(event["at_s"])} for event in report["events"]],
        "sites": _sites(hosts),
        "many": len(hosts) > MANY_HOSTS,
        "legend": _legend(report),
        "hosts": _host_table(hosts),
        "relays": [_relay(relay, [row for row in transfers if row["sha256"] == relay["sha256"]], report) for relay in report["relays"]],
        "timeline": figures.timeline(transfers, report["machines"], report["events"], titles if len(report["relays"]) > 1 else {}),
        "zero": texts.seconds(report["zero_s"]),
        "matrix": _matrix(report),
        "placement": _placement(report),
        "traffic": _traffic(report, transfers),
        "digests": _digests(report, titles),
        "bases": _bases(report),
        "machines": _machine_table(report),
        "settings": _settings(report),
        "text": "\n".join(report["ticket"]),
    }


# --- the top -------------------------------------------------------------------------------------


def _verdict(report: Data) -> dict[str, str]:
    there = sum(machine["state"] in THERE for machine in report["machines"])
    whole = len(report["machines"])
    if report["kind"] == "plan":
        word = "can be deployed" if report["ok"] else "cannot be deployed as a whole"
    elif report["predicted"]:
        word = "would be complete" if report["ok"] else "would not be complete"
    else:
        word = "complete" if report["ok"] else "not complete"
    told = f"{there} of {whole} machines {'would be' if report['predicted'] else 'are'} there"
    return {"word": word, "told": told, "kind": "good" if report["ok"] else "bad", "sign": "✓" if report["ok"] else "✗"}


def _key_figures(report: Data, hosts: Sequence[Data]) -> list[dict[str, str]]:
    traffic = report["traffic"]
    there = sum(machine["state"] in THERE for machine in report["machines"])
    found = [
        {
            "name": "Machines",
            "value": f"{there:,} of {len(report['machines']):,}",
            "told": "would be there" if report["predicted"] else "are there",
        },
        {"name": "Hosts", "value": f"{len(hosts):,}", "told": _host_words(hosts)},
    ]
    if report["kind"] != "plan":
        found.append(
            {
                "name": "Time",
                "value": texts.seconds(report["took_s"]),
                "told": f"the relay began after {texts.seconds(report['zero_s'])}" if report["relays"] else "in all",
            }
        )
    if traffic["received_bytes"] is not None:
        least = texts.size(traffic["minimum_bytes"])
        told = f"{texts.share(traffic['received_bytes'], traffic['minimum_bytes'])} than the least possible, {least}"
        if traffic["received_bytes"] < traffic["minimum_bytes"]:
            told = f"of {least} that were needed at least"
        found.append(
            {
                "name": "Over the network",
                "value": texts.size(traffic["received_bytes"]),
                "told": told if traffic["minimum_bytes"] else "nothing had to cross it",
            }
        )
    elif traffic["minimum_bytes"]:
        found.append({"name": "Over the network", "value": texts.size(traffic["minimum_bytes"]), "told": "the least possible"})
    foreseen = [relay["first"] for relay in report["relays"] if relay["first"] and not relay["first"]["assumed"]]
    if foreseen:
        predicted, bound = (max(plan[key] or 0.0 for plan in foreseen) for key in ("predicted_s", "lower_bound_s"))
        ends = [row["ended_s"] for row in report["transfers"] if row["ended_s"] is not None]
        told = f"predicted {texts.seconds(predicted)}, no plan can take less than {texts.seconds(bound)}"
        found.append({"name": "Relay", "value": texts.seconds(max(ends)) if ends else texts.seconds(predicted), "told": told})
    return found


def _host_words(hosts: Sequence[Data]) -> str:
    counts = {kind: sum(host["kind"] == kind for host in hosts) for kind in ("good", "bad", "idle")}
    told = [f"{counts['bad']} with failures"] if counts["bad"] else []
    return ", ".join([*told, f"{counts['idle']} without machines of this service"] if counts["idle"] else told) or "all as asked for"


def _drift(report: Data) -> list[dict[str, t.Any]]:
    return [
        {"machine": machine["machine"], "host": machine["host"], "count": len(machine["drift"])}
        for machine in report["machines"]
        if machine["drift"]
    ]


# --- hosts ---------------------------------------------------------------------------------------


def _with_plans(report: Data) -> list[dict[str, t.Any]]:
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


def _hosts(report: Data, transfers: Sequence[Data]) -> list[dict[str, t.Any]]:
    letters = _letters(report)
    got = {(row["to"], row["sha256"]): row for row in transfers}
    wanted = {(host, relay["sha256"]) for relay in report["relays"] for host in relay["targets"]}
    machines: dict[str, list[Data]] = {}
    for machine in report["machines"]:
        machines.setdefault(machine["host"], []).append(machine)
    found = []
    for host in dict.fromkeys([*report["fleet"], *(host for host in machines if host)]):
        facts = report["fleet"].get(host) or {}
        mine = machines.get(host, [])
        there = sum(machine["state"] in THERE for machine in mine)
        bad = there < len(mine) or (bool(facts) and not facts["reachable"])
        bases = []
        held = {sha256 for pool in (facts.get("pools") or {}).values() for sha256 in pool["bases"]}
        for base in report["bases"]:
            sha256 = base["sha256"]
            if host in base["holders"] or (sha256 and sha256 in held):
                bases.append({"letter": letters[base["name"]], "sign": "●", "told": f"{base['title']}: it had it", "kind": "good"})
            elif (host, sha256) in wanted:
                row = got.get((host, sha256)) or {}
                if report["predicted"]:
                    bases.append({"letter": letters[base["name"]], "sign": "↓", "told": f"{base['title']}: to be fetched", "kind": "plan"})
                elif row.get("state") == "holding":
                    bases.append({"letter": letters[base["name"]], "sign": "↓", "told": f"{base['title']}: fetched", "kind": "good"})
                else:
                    bases.append({"letter": letters[base["name"]], "sign": "✗", "told": f"{base['title']}: did not come", "kind": "bad"})
        pools = []
        for name, pool in (facts.get("pools") or {}).items():
            size, free = pool["size_bytes"], pool["free_bytes"]
            used = None if not size or free is None else max(0.0, min(1.0, 1 - free / size))
            pools.append(
                {
                    "name": name,
                    "path": pool["path"],
                    "used": used,
                    "told": f"{texts.size(free)} free" + (f" of {texts.size(size)}" if size else ""),
                }
            )
        found.append(
            {
                "host": host,
                "site": facts.get("site") or "",
                "kind": "bad" if bad else "good" if mine else "idle",
                "sign": "✗" if bad else "✓" if mine else "·",
                "machines": len(mine),
                "there": there,
                "told": _host_told(facts, mine, there, report["predicted"]),
                "bases": bases,
                "pools": pools,
                "facts": facts,
            }
        )
    return found


def _host_told(facts: Data, mine: Sequence[Data], there: int, predicted: bool) -> str:
    if facts and not facts["reachable"]:
        return "cannot be reached"
    if not mine:
        return "in maintenance" if facts.get("maintenance") else "no machine"
    if predicted:
        return texts.plural(len(mine), "machine") if there == len(mine) else f"{there} of {texts.plural(len(mine), 'machine')}"
    return f"{there} of {texts.plural(len(mine), 'machine')}"


def _letters(report: Data) -> dict[str, str]:
    """A short mark for each base: its name where that is short."""
    return {base["name"]: texts.short(base["title"], 18) for base in report["bases"]}


def _sites(hosts: Sequence[Data]) -> list[dict[str, t.Any]]:
    sites: dict[str, list[Data]] = {}
    for host in hosts:
        sites.setdefault(host["site"], []).append(host)
    return [
        {"name": name or ("hosts without a site" if len(sites) > 1 else ""), "hosts": members, "told": _site_told(members)}
        for name, members in sites.items()
    ]


def _site_told(members: Sequence[Data]) -> str:
    there, wanted = (sum(host[key] for host in members) for key in ("there", "machines"))
    return f"{texts.plural(len(members), 'host')}, {there:,} of {texts.plural(wanted, 'machine')}"


def _legend(report: Data) -> str:
    if report["predicted"]:
        return "● has the base   ↓ will fetch it   ✗ host with a problem"
    return "● had the base   ↓ fetched it   ✗ it did not come"


def _host_table(hosts: Sequence[Data]) -> dict[str, t.Any]:
    return table(
        "hosts",
        "Hosts",
        ["host", "site", "state", "machines there", "of", "bases", "pools", "processors", "labels"],
        (
            [
                host["host"],
                host["site"] or texts.NONE,
                Cell(f"{host['sign']} {host['told']}", None, host["kind"]),
                _number(host["there"]),
                _number(host["machines"]),
                "; ".join(base["told"] for base in host["bases"]) or texts.NONE,
                "; ".join(f"{pool['name']} {pool['told']}" for pool in host["pools"]) or texts.NONE,
                _number(host["facts"].get("cpus")),
                ", ".join(host["facts"].get("labels") or []) or texts.NONE,
            ]
            for host in hosts
        ),
    )


# --- the relay -----------------------------------------------------------------------------------


def _relay(relay: Data, transfers: Sequence[Data], report: Data) -> dict[str, t.Any]:
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
        state = {"holding": Cell("✓ there", None, "good"), None: Cell(texts.NONE)}.get(row["state"], Cell(f"✗ {row['state']}", None, "bad"))
        rows.append(
            [
                row["to"],
                state,
                texts.several(senders.get(row["to"], []), 3) or texts.NONE,
                texts.several(sorted(row["received_from"], key=lambda sender: -row["received_from"][sender]), 3) or texts.NONE,
                _size(row["received_bytes"]),
                _rate(row["mbps"]),
                _seconds(begin),
                _seconds(end),
                _seconds(row["started_s"]),
                _seconds(row["ended_s"]),
                _long("; ".join(f"{one['parent']}: {one['error']}" for one in row["attempts"]) or row["msg"]),
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
                _seconds(row["seconds"]),
                ("yes (tie)" if row["tie"] else "yes") if row["preferred"] else "no",
                f"after {row['precondition']}" if row["precondition"] else texts.NONE,
                Cell(f"{row.get('used') or 0:.0%}", row.get("used") or 0, "number"),
            ]
            for row in rows
        ),
    )


# --- links ---------------------------------------------------------------------------------------


def _matrix(report: Data) -> dict[str, t.Any] | None:
    links = report["links"]
    if not links:
        return None
    used = {(link["from"], link["to"]): link["bytes"] for link in report["traffic"]["links"]}
    for relay in report["relays"] if not used else []:
        used.update({(a, b): share for a, b, share in (relay["last"] or {}).get("shares", [])})
    order = list(report["fleet"])
    site_of = {host: facts["site"] for host, facts in report["fleet"].items() if facts["site"]}
    whole = figures.heat_map(links, order, used)
    told = "Each row is a sender, each column a receiver; below stands what the colours mean. A frame marks links that bases take."
    if whole is None and site_of:
        whole = figures.heat_map(figures.by_site(links, site_of), list(dict.fromkeys(site_of.values())), {})
        told = "Sites instead of hosts, since there are many: the median of the links between them. Each row sends, each column receives."
    slowest = sorted(links, key=lambda link: link[2])[:MOST_LINKS]
    more = len(links) - len(slowest)
    caption = f"Links, the slowest first{f'; {more:,} faster ones are left out' if more else ''}"
    rows = ([a, b, _rate(mbps), Cell("yes" if (a, b) in used else "no")] for a, b, mbps in slowest)
    return {"map": whole, "told": told, "table": table("links", caption, ["from", "to", "measured", "used"], rows)}


# --- placement -----------------------------------------------------------------------------------


def _placement(report: Data) -> dict[str, t.Any]:
    place = report["placement"]
    host_of = {machine["machine"]: machine["host"] for machine in report["machines"]}
    machines = []
    for machine, rated in place["ratings"].items():
        rows = (
            [
                entry["host"],
                Cell(f"{number}", number, "number"),
                Cell(f"{entry['rating']:.2f}", entry["rating"], "number"),
                entry["pool"] or texts.NONE,
                _long("; ".join(entry["reasons"])),
                f"lost by: {entry['lost_by']}" if entry["lost_by"] else "chosen" if entry["host"] == host_of.get(machine) else texts.NONE,
            ]
            for number, entry in enumerate(rated["hosts"], 1)
        )
        machines.append(
            {
                "machine": machine,
                "host": host_of.get(machine, ""),
                "why": "; ".join(rated["hosts"][0]["reasons"]) if rated["hosts"] else "",
                "more": rated["more"],
                "not": [{"reason": entry["reason"], "hosts": texts.several(entry["hosts"])} for entry in rated["not"]],
                "table": table(
                    f"hosts-for-{machine}",
                    f"Hosts for {machine}, best first",
                    ["host", "place", "rating", "pool", "reasons", "against it"],
                    rows,
                ),
            }
        )
    groups = table(
        "groups",
        "Sites and shared storages, those with the most room first",
        ["kind", "name", "rating", "hosts", "reasons"],
        (
            [
                group["kind"],
                group["name"],
                Cell(f"{group['rating']:.2f}", group["rating"], "number"),
                texts.several(group["hosts"]),
                "; ".join(group["reasons"]),
            ]
            for group in place["groups"]
        ),
    )
    return {"machines": machines, "groups": groups, "unplaced": place["unplaced"], "binds": place["binds"]}


# --- bytes, digests, bases, machines, settings ---------------------------------------------------


def _traffic(report: Data, transfers: Sequence[Data]) -> dict[str, t.Any]:
    sent: dict[str, int] = {}
    for link in report["traffic"]["links"]:
        sent[link["from"]] = sent.get(link["from"], 0) + link["bytes"]
    least = _least(report)
    received: dict[str, int] = {}
    for row in transfers:
        if row["received_bytes"] is not None:
            received[row["to"]] = received.get(row["to"], 0) + row["received_bytes"]
    measured = {(a, b): mbps for a, b, mbps in report["links"]}
    planned: dict[tuple[str, str], float] = {}
    for relay in report["relays"]:
        for a, b, share in (relay["first"] or {}).get("shares", []):
            planned[a, b] = planned.get((a, b), 0.0) + share * (relay["size_bytes"] or 0)
    carried = {(link["from"], link["to"]): link["bytes"] for link in report["traffic"]["links"]}
    hosts = [host for host in report["fleet"] if host in least or host in received or host in sent]
    by_host = table(
        "bytes-by-host",
        "Bytes by host",
        ["host", "received", "least possible", "more than that", "sent"],
        (
            [
                host,
                _size(received.get(host)),
                _size(least.get(host, 0)),
                _beyond(received.get(host), least.get(host, 0)),
                _size(sent.get(host, 0)) if carried else Cell(texts.NONE, -1, "number"),
            ]
            for host in hosts
        ),
    )
    by_link = table(
        "bytes-by-link",
        "Bytes by link",
        ["from", "to", "planned", "carried", "link as measured"],
        (
            [
                a,
                b,
                _size(planned.get((a, b), 0)),
                _size(carried.get((a, b), 0)) if carried else Cell(texts.NONE, -1, "number"),
                _rate(measured.get((a, b))),
            ]
            for a, b in dict.fromkeys([*planned, *carried])
        ),
    )
    return {
        "hosts": by_host,
        "links": by_link,
        "minimum": texts.size(report["traffic"]["minimum_bytes"]),
        "received": texts.size(report["traffic"]["received_bytes"]),
    }


def _beyond(received: int | None, least: int) -> Cell:
    if received is None:
        return Cell(texts.NONE, -1, "number")
    if received < least:
        return Cell(f"{texts.size(least - received)} did not come", received - least, "bad")
    return _size(received - least)


def _least(report: Data) -> dict[str, int]:
    """What each host has to receive: a base once, and of hosts that share a storage only the first."""
    least: dict[str, int] = {}
    for relay in report["relays"]:
        others = {host for hosts in relay["shared_pools"] for host in hosts[1:]}
        for host in relay["targets"]:
            least[host] = least.get(host, 0) + (0 if host in others else int(relay["size_bytes"] or 0))
    return least


_PROOF = {
    "hashed": "✓ every chunk was checked as it came, and the whole file was hashed before it was published",
    "held": "✓ it was in the host's store, under its digest",
    "": "✗ it is not there",
}


def _digests(report: Data, titles: Mapping[str, str]) -> dict[str, t.Any]:
    return table(
        "digests",
        "Digests by host",
        ["host", "base", "SHA-256", "pool", "how it is known"],
        (
            [
                row["host"],
                titles.get(row["sha256"], texts.NONE),
                _code(row["sha256"]),
                row["pool"] or texts.NONE,
                Cell(_PROOF[row["how"]] + (f": {row['msg']}" if row["msg"] else ""), None, "good" if row["here"] else "bad"),
            ]
            for row in report["digests"]
        ),
    )


def _bases(report: Data) -> dict[str, t.Any]:
    return table(
        "bases",
        "Bases",
        ["base", "SHA-256", "size", "source", "held before by"],
        (
            [
                base["title"],
                _code(base["sha256"] or "known after the import"),
                _size(base["size_bytes"]),
                " ".join(str(part) for part in (base["source"]["kind"], base["source"]["host"], base["source"]["place"]) if part)
                or texts.NONE,
                texts.several(list(base["holders"])) or (f"to be imported on {base['import_on']}" if base["import_on"] else "nobody"),
            ]
            for base in report["bases"]
        ),
    )


def _machine_table(report: Data) -> dict[str, t.Any]:
    rows = []
    milestones = () if report["predicted"] else figures.MILESTONES
    for machine in report["machines"]:
        kind, sign, word = texts.machine_state(machine["state"], report["predicted"])
        times, seen = machine.get("times") or {}, machine.get("report") or {}
        rows.append(
            [
                machine["machine"],
                machine["host"] or texts.NONE,
                Cell(f"{sign} {word}", None, kind),
                _long(machine["reason"] or ", ".join(str(address) for address in seen.get("addresses") or [])),
                _number(machine.get("cpus")),
                Cell(f"{machine['memory_mib']} MiB", machine["memory_mib"], "number")
                if machine.get("memory_mib")
                else Cell(texts.NONE, -1, "number"),
                *(_seconds(times.get(key)) for key, _word in milestones),
            ]
        )
    columns = ["machine", "host", "state", "reason or addresses", "processors", "memory", *(word for _key, word in milestones)]
    return table("machines", "Machines", columns, rows)


def _settings(report: Data) -> dict[str, t.Any]:
    rows = []
    for row in report["settings"]:
        others = [f"{_value(other['value'])} on {texts.several(other['hosts'])}" for other in row["others"]]
        others += [f"and {row['more']} other values"] if row["more"] else []
        rows.append([row["name"], _code(_value(row["value"])), _long("; ".join(others))])
    return table("settings", "Settings", ["variable", "value", "other hosts"], rows)


def _value(value: t.Any) -> str:
    told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return texts.short(told, 300) or "''"
