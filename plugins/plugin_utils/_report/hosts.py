# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The hosts of a report: what each has, got and made, by site and as a table."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from . import texts
from .cells import Cell, Data, number_cell, table

THERE = ("deployed", "started", "present")


def host_views(report: Data, transfers: Sequence[Data]) -> list[dict[str, t.Any]]:
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
        bases, had = [], "has it" if report["predicted"] else "had it"
        held = {sha256 for pool in (facts.get("pools") or {}).values() for sha256 in pool["bases"]}
        for base in report["bases"]:
            sha256 = base["sha256"]
            if host in base["holders"] or (sha256 and sha256 in held):
                bases.append({"letter": letters[base["name"]], "sign": "●", "told": f"{base['title']}: {had}", "kind": "good"})
            elif (host, sha256) in wanted:
                row = got.get((host, sha256)) or {}
                if report["predicted"]:
                    bases.append({"letter": letters[base["name"]], "sign": "↓", "told": f"{base['title']}: to be fetched", "kind": "plan"})
                elif row.get("state") == "holding":
                    bases.append({"letter": letters[base["name"]], "sign": "↓", "told": f"{base['title']}: fetched", "kind": "good"})
                else:
                    bases.append({"letter": letters[base["name"]], "sign": "✗", "told": f"{base['title']}: did not arrive", "kind": "bad"})
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


def site_views(hosts: Sequence[Data]) -> list[dict[str, t.Any]]:
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


def legend(report: Data) -> str:
    if report["predicted"]:
        return "● has the base   ↓ will fetch it   ✗ host with a problem"
    return "● had the base   ↓ fetched it   ✗ it did not arrive"


def host_table(hosts: Sequence[Data]) -> dict[str, t.Any]:
    return table(
        "hosts",
        "Hosts",
        ["host", "site", "state", "machines there", "of", "bases", "pools", "processors", "labels"],
        (
            [
                host["host"],
                host["site"] or texts.NONE,
                Cell(f"{host['sign']} {host['told']}", None, host["kind"]),
                number_cell(host["there"]),
                number_cell(host["machines"]),
                "; ".join(base["told"] for base in host["bases"]) or texts.NONE,
                "; ".join(f"{pool['name']} {pool['told']}" for pool in host["pools"]) or texts.NONE,
                number_cell(host["facts"].get("cpus")),
                ", ".join(host["facts"].get("labels") or []) or texts.NONE,
            ]
            for host in hosts
        ),
    )
