# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The other tables of a report: placement, bytes, digests, bases, machines, settings."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping, Sequence

from . import figures, texts
from .cells import Cell, Data, code_cell, long_cell, number_cell, rate_cell, seconds_cell, size_cell, table


def placement_tables(report: Data) -> dict[str, t.Any]:
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
                long_cell("; ".join(entry["reasons"])),
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


def traffic_tables(report: Data, transfers: Sequence[Data]) -> dict[str, t.Any]:
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
                size_cell(received.get(host)),
                size_cell(least.get(host, 0)),
                _beyond(received.get(host), least.get(host, 0)),
                size_cell(sent.get(host, 0)) if carried else Cell(texts.NONE, -1, "number"),
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
                size_cell(planned.get((a, b), 0)),
                size_cell(carried.get((a, b), 0)) if carried else Cell(texts.NONE, -1, "number"),
                rate_cell(measured.get((a, b))),
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
        return Cell(f"{texts.size(least - received)} did not arrive", received - least, "bad")
    return size_cell(received - least)


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


def digest_table(report: Data, titles: Mapping[str, str]) -> dict[str, t.Any]:
    return table(
        "digests",
        "Digests by host",
        ["host", "base", "SHA-256", "pool", "how it is known"],
        (
            [
                row["host"],
                titles.get(row["sha256"], texts.NONE),
                code_cell(row["sha256"]),
                row["pool"] or texts.NONE,
                Cell(_PROOF[row["how"]] + (f": {row['msg']}" if row["msg"] else ""), None, "good" if row["here"] else "bad"),
            ]
            for row in report["digests"]
        ),
    )


def base_table(report: Data) -> dict[str, t.Any]:
    return table(
        "bases",
        "Bases",
        ["base", "SHA-256", "size", "source", "held before by"],
        (
            [
                base["title"],
                code_cell(base["sha256"] or "known after the import"),
                size_cell(base["size_bytes"]),
                " ".join(str(part) for part in (base["source"]["kind"], base["source"]["host"], base["source"]["place"]) if part)
                or texts.NONE,
                texts.several(list(base["holders"])) or (f"to be imported on {base['import_on']}" if base["import_on"] else "nobody"),
            ]
            for base in report["bases"]
        ),
    )


def machine_table(report: Data) -> dict[str, t.Any]:
    rows = []
    milestones = () if report["predicted"] else figures.MILESTONES
    for machine in report["machines"]:
        kind, sign, word = texts.machine_state(machine["state"], report["predicted"])
        times, seen = machine.get("times") or {}, machine.get("report") or {}
        rows.append(
            [
                machine["machine"],
                machine["host"] or texts.NONE,
                Cell(f"{sign}\u00a0{word}", None, kind),
                long_cell(machine["reason"] or ", ".join(str(address) for address in seen.get("addresses") or [])),
                number_cell(machine.get("cpus")),
                Cell(f"{machine['memory_mib']} MiB", machine["memory_mib"], "number")
                if machine.get("memory_mib")
                else Cell(texts.NONE, -1, "number"),
                *(seconds_cell(times.get(key)) for key, _word in milestones),
            ]
        )
    columns = ["machine", "host", "state", "reason or addresses", "processors", "memory", *(word for _key, word in milestones)]
    return table("machines", "Machines", columns, rows)


def setting_table(report: Data) -> dict[str, t.Any]:
    rows = []
    for row in report["settings"]:
        others = [f"{_value(other['value'])} on {texts.several(other['hosts'])}" for other in row["others"]]
        others += [f"and {row['more']} other values"] if row["more"] else []
        rows.append([row["name"], code_cell(_value(row["value"])), long_cell("; ".join(others))])
    return table("settings", "Settings", ["variable", "value", "other hosts"], rows)


def _value(value: t.Any) -> str:
    told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return texts.short(told, 300) or "''"
