# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""One relay plan for each base: the matrix, the holders that serve or stand by, the limits."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import FleetError
from ..network.estimate import deployment_matrix
from ..network.preferred_paths import preferred_paths
from .plan_format import moves_of
from .planner import relay_plan

# What an unmeasured link is taken for: only the order of hosts follows from it, never a promise of time.
ASSUMED_MBPS = 1000.0


def relay_plans(
    relays: Sequence[Mapping[str, t.Any]],
    links: t.Any,
    alive: Sequence[str] | None = None,
    mode: str = "cut_through",
    sites: Mapping[str, str] | None = None,
    settings: Mapping[str, Mapping[str, t.Any]] | None = None,
    paths: bool = False,
    **options: t.Any,
) -> list[dict[str, t.Any]]:
    """One relay plan for each relay.

    :param links: measured or known links, as deployment_matrix takes them; none at all: all are taken as alike.
    :param alive: hosts that can take part; others are left out.
    :param mode: as in the playbooks, chunk by chunk unless asked otherwise.
    :param sites: {host: site}; links that nobody measured are estimated by those of the same sites.
    :param settings: {host: {"rate_mbps", "link_mbps": {host: 10^6 bit/s}}}, 0 for no limit: what the nodes keep to.
    :param paths: also with the table of preferred paths.
    :param options: strategy, contention: as relay_plan takes them.
    """
    plans = []
    for relay in relays:
        hosts = [host for host in [*relay["sources"], *relay["targets"]] if alive is None or host in alive]
        sources = [host for host in relay["sources"] if host in hosts]
        if not sources:
            raise FleetError(f"{relay['base']}: no host that holds it is left ({', '.join(relay['sources'])})", kind="source_lost")
        matrix = matrix_of(links, relay, hosts, sites)
        targets = [host for host in hosts if host not in sources]
        limits = limits_of(settings or {}, hosts)
        plan = relay_plan(
            matrix, sources, targets, size_bytes=relay["size_bytes"], base=relay["base"], mode=mode, limits=limits, **options
        )
        plan |= {"assumed": not _has_links(links), "estimated": relay.get("estimated", False), **overview(plan)}
        plans.append({**plan, "paths": paths_of(plan, matrix)} if paths else plan)
    return plans


# Up to so many hosts a table of preferred paths has every link, up to so many those that are preferred.
ALL_LINKS, MOST_LINKS = 12, 300


def paths_of(plan: Mapping[str, t.Any], matrix: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Rows of preferred_paths of links to the plan's targets, as many of them as people read."""
    hosts = len({*plan["sources"], *plan["targets"]})
    if hosts > MOST_LINKS or not plan["targets"]:
        return []
    rows = preferred_paths(matrix, plan["sources"], plan["targets"])
    wanted = set(plan["targets"])
    return [row for row in rows if row["link"][1] in wanted and (hosts <= ALL_LINKS or row["preferred"])]


def overview(plan: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the plan's text says: ``links`` [{"from", "to", "bytes", "seconds"}] and ``arrivals`` {host: {"at_s", "from"}}.

    ``seconds`` are from the receiver's first chunk to its last.
    """
    total = sum(tree["weight"] for tree in plan["trees"]) or 1.0
    moves = moves_of(plan)
    carried: dict[tuple[str, str], float] = {}
    for tree in plan["trees"]:
        for edge in tree["edges"]:
            pair = (edge["from"], edge["to"])
            share = moves.get(edge["to"], {}).get("share", 1.0)
            carried[pair] = carried.get(pair, 0.0) + tree["weight"] / total * share * (plan.get("size_bytes") or 0)
    senders: dict[str, list[str]] = {}
    for sender, host in sorted(carried, key=lambda pair: -carried[pair]):
        senders.setdefault(host, []).append(sender)
    links = [
        {"from": a, "to": b, "bytes": round(count), "seconds": moves[b]["end_s"] - moves[b]["start_s"] if b in moves else None}
        for (a, b), count in carried.items()
    ]
    arrivals: dict[str, dict[str, t.Any]] = {h: {"at_s": move["end_s"], "from": senders.get(h, [])} for h, move in moves.items()}
    for host, first in (plan.get("shares") or {}).items():
        if first in arrivals:
            arrivals[host] = {"at_s": arrivals[first]["at_s"], "from": [], "shares": first}
    return {"links": links, "arrivals": arrivals}


def limits_of(settings: Mapping[str, Mapping[str, t.Any]], hosts: Sequence[str]) -> dict[str, t.Any] | None:
    """Limits of these hosts as relay_plan takes them; None without any. A link may be limited by both of its ends."""
    rates = {host: float(settings.get(host, {}).get("rate_mbps") or 0) for host in hosts}
    ports = {host: {"up_mbps": mbps, "down_mbps": mbps} for host, mbps in rates.items() if mbps > 0}
    links: dict[tuple[str, str], float] = {}
    for host in hosts:
        for peer, value in (settings.get(host, {}).get("link_mbps") or {}).items():
            if peer in hosts and peer != host and float(value) > 0:
                for pair in ((host, peer), (peer, host)):
                    links[pair] = min(links.get(pair, float(value)), float(value))
    if not ports and not links:
        return None
    return {"hosts": ports, "links": [[a, b, mbps] for (a, b), mbps in links.items()]}


def matrix_of(
    links: t.Any, relay: Mapping[str, t.Any], hosts: Sequence[str], sites: Mapping[str, str] | None
) -> dict[str, t.Any]:
    """The matrix of a relay: of what is known, with estimates for the rest, so that nobody is left out for want of a probe."""
    if not _has_links(links):
        links = [{"from": a, "to": b, "mbps": ASSUMED_MBPS} for a in hosts for b in hosts if a != b]
    shared = [mates for group in relay.get("shared_pools") or [] if len(mates := [h for h in group if h in hosts]) > 1]
    return deployment_matrix(links, relay["size_bytes"], hosts=list(hosts), sites=sites or None, estimate=True, shared_pools=shared)


def _has_links(links: t.Any) -> bool:
    rows = links.values() if isinstance(links, Mapping) else [links]
    return any(row.get("links") if isinstance(row, Mapping) else row for row in rows)
