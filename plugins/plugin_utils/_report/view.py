# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""From the data of a report to what the page's template shows: words, tables, and places of what figures are made of."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence

from . import figures, texts
from .cells import Data
from .hosts import THERE, host_table, host_views, legend, site_views
from .relays import link_views, relay_view, with_plans
from .tables import base_table, digest_table, machine_table, placement_tables, setting_table, traffic_tables

# From so many hosts on, a host is one small square, and long figures are closed at first.
MANY_HOSTS = 80


def view_of(report: Data) -> dict[str, t.Any]:
    """Everything that the template needs."""
    titles = {base["sha256"]: base["title"] for base in report["bases"] if base["sha256"]}
    titles |= {relay["sha256"]: relay["base"] for relay in report["relays"] if relay["sha256"]}
    transfers = with_plans(report)
    hosts = host_views(report, transfers)
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
        "sites": site_views(hosts),
        "many": len(hosts) > MANY_HOSTS,
        "legend": legend(report),
        "hosts": host_table(hosts),
        "relays": [relay_view(relay, [row for row in transfers if row["sha256"] == relay["sha256"]], report) for relay in report["relays"]],
        "timeline": figures.timeline(transfers, report["machines"], report["events"], titles if len(report["relays"]) > 1 else {}),
        "zero": texts.seconds(report["zero_s"]),
        "matrix": link_views(report),
        "placement": placement_tables(report),
        "traffic": traffic_tables(report, transfers),
        "digests": digest_table(report, titles),
        "bases": base_table(report),
        "machines": machine_table(report),
        "settings": setting_table(report),
        "text": "\n".join(report["ticket"]),
    }


def _verdict(report: Data) -> dict[str, str]:
    there = sum(machine["state"] in THERE for machine in report["machines"])
    whole = len(report["machines"])
    if report["kind"] == "plan":
        word = "can be deployed" if report["ok"] else "cannot be deployed as a whole"
    elif report["predicted"]:
        word = "would be complete" if report["ok"] else "would not be complete"
    else:
        word = "complete" if report["ok"] else "not complete"
    told = f"{there:,} of {whole:,} machines {'would be' if report['predicted'] else 'are'} there"
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
        ends = [relay["ended_s"] for relay in report["relays"] if relay["ended_s"] is not None]
        told = f"predicted {texts.seconds(predicted)}, no plan can take less than {texts.seconds(bound)}"
        if any(plan.get("estimated_links") for plan in foreseen):
            told = f"predicted about {texts.seconds(predicted)} from links that are estimated, not measured"
        moving = [relay["moving_s"] for relay in report["relays"] if relay["moving_s"] is not None]
        if moving:
            told = f"{texts.seconds(max(moving))} after the first transfer began; {told}"
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
