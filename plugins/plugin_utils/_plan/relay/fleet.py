# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""One relay plan for each base: the matrix, the holders that serve or stand by, the limits."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence

from ....module_utils._errors import FleetError
from ..network import matrix as mx
from ..network.estimate import deployment_matrix
from ..network.preferred_paths import preferred_paths
from ..network.whole_paths import whole_paths
from ..types import Plan, Relay
from . import fixed_paths
from .plan_format import guessed_links, moves_of
from .planner import relay_plan

# What an unmeasured link is taken for: only the order of hosts follows from it, never a promise of time.
ASSUMED_MBPS = 1000.0


class Network(t.NamedTuple):
    """What is known and decided of the network between the hosts.

    ``links``: measured or known links, as deployment_matrix takes them; none at all: all are taken as alike. ``sites``:
    {host: site}; links that nobody measured are estimated by those of the same sites. ``settings``: {host: {"rate_mbps",
    "link_mbps": {host: 10^6 bit/s}, "streams"}}, 0 for no limit: what the nodes keep to. ``site_limits``: {"sites": {site:
    {"up_mbps", "down_mbps"}}, "between": [[site, site, mbps]]}.
    """

    links: t.Any = None
    sites: Mapping[str, str] | None = None
    settings: Mapping[str, Mapping[str, t.Any]] = {}
    site_limits: Mapping[str, t.Any] | None = None


NOTHING_KNOWN = Network()


def relay_plans(
    relays: Sequence[Relay],
    network: Network = NOTHING_KNOWN,
    alive: Sequence[str] | None = None,
    mode: str = "cut_through",
    paths: bool = False,
    **options: object,
) -> list[Plan]:
    """One relay plan for each relay.

    :param alive: hosts that can take part; others are left out.
    :param mode: as in the playbooks, chunk by chunk unless asked otherwise.
    :param paths: also with tables of preferred paths.
    :param options: strategy, contention: as relay_plan takes them.
    """
    plans = []
    for relay in relays:
        hosts = [host for host in [*relay["sources"], *relay["targets"]] if alive is None or host in alive]
        sources = [host for host in relay["sources"] if host in hosts]
        if not sources:
            raise FleetError(f"{relay['base']}: no host that holds it is left ({', '.join(relay['sources'])})", kind="source_lost")
        helpers = [host for host in relay.get("helpers") or {} if alive is None or host in alive]
        targets = [host for host in hosts if host not in sources]
        matrix = matrix_of(network.links, relay, [*hosts, *helpers], network.sites)
        # With its limits, so that tables of paths tell the times that a plan can reach.
        matrix = {**matrix, "limits": limits_of(network, [*hosts, *helpers])}
        options = {**options, "size_bytes": relay["size_bytes"], "base": relay["base"], "mode": mode}
        plan = with_helpers(relay_plan(matrix, sources, targets, copies=copies_of(relay, hosts), **options), matrix, helpers, options)
        plan = with_copy_times(with_standbys(plan, matrix), network.links)
        known = {"assumed": not _has_links(network.links), "estimated": relay.get("estimated", False)}
        tables = paths_of(plan, matrix) if paths else {}
        plans.append(t.cast("Plan", {**plan, **known, **overview(plan), **tables}))
    return plans


def copies_of(relay: Relay, hosts: Sequence[str]) -> dict[str, t.Any] | None:
    """Whole copies that stay on these hosts, as relay_plan takes them."""
    return {host: pools for host, pools in (relay.get("copies") or {}).items() if host in hosts} or None


def with_copy_times(plan: Plan, links: object) -> Plan:
    """The plan with ``end_s`` of its local copies, and ``copied_s``, when the last one ends, where disks were measured.

    Copies of a pool run side by side and share its disk, so that together they take as long as one after another.
    """
    if not plan.get("local") or not isinstance(links, Mapping):
        return plan
    ends: dict[tuple[str, t.Any], float] = {}
    local = []
    for entry in plan["local"]:
        seconds = _copy_seconds(links.get(entry["host"]), plan.get("size_bytes"))
        start = entry["start_s"] if entry["start_s"] is not None else ends.get((entry["host"], entry.get("from_pool")))
        if seconds is None or start is None:
            local.append(entry)
            continue
        end = start + entry["count"] * seconds
        ends[entry["host"], entry.get("pool")] = end
        local.append({**entry, "start_s": start, "end_s": end})
    return {**plan, "local": local, "copied_s": max(ends.values(), default=None)}


def _copy_seconds(facts: object, size_bytes: float | None) -> float | None:
    """Seconds of one copy on a host's disk, which reads and writes at the same time; None where nobody knows."""
    if not size_bytes or not isinstance(facts, Mapping):
        return None
    rates = [float(facts.get(key) or 0) for key in ("disk_read_mbps", "disk_write_mbps")]
    return sum(size_bytes * 8e-6 / rate for rate in rates) if all(rates) else None


# How much sooner the targets must be served for others to receive a base that they do not need.
WORTH_HELP = 1.02


def with_helpers(plan: Plan, matrix: object, helpers: Sequence[str], options: Mapping[str, t.Any]) -> Plan:
    """The plan, or one in which hosts that neither hold nor need the base pass it on, where the targets gain by that.

    ``helpers`` of the result are those hosts; they stand among its targets.
    """
    if not helpers or not plan["targets"]:
        return plan
    ways = whole_paths(matrix, [*plan["sources"], *plan["targets"], *helpers], plan["sources"], plan["targets"])
    best: dict[str, Mapping[str, t.Any]] = {}
    for way in ways:
        if way["to"] not in best or way["seconds"] < best[way["to"]]["seconds"]:
            best[way["to"]] = way
    used = [host for host in helpers if any(host in way["path"] for way in best.values())]
    if not used:
        return plan
    other = relay_plan(matrix, plan["sources"], [*plan["targets"], *used], **options)
    lost = len(set(plan["targets"]) & set(other["unreachable"])) - len(plan["unreachable"])
    sooner = _served(other, plan["targets"]) * WORTH_HELP <= _served(plan, plan["targets"])
    return {**other, "helpers": used} if lost < 0 or (lost == 0 and sooner) else plan


def _served(plan: Plan, targets: Sequence[str]) -> float:
    """When the last of these targets has the base, of those that the plan reaches."""
    moves = moves_of(plan)
    return max((moves[host]["end_s"] for host in targets if host in moves), default=0.0)


# Holders that stand by for those that serve, beside as many as there are targets.
SPARE_HOLDERS = 2


def with_standbys(plan: Plan, matrix: object) -> Plan:
    """The plan with only those holders that serve, and ``standby``: those that take over, the quickest first.

    The others are in no part of the plan. They were candidates until the links were known.
    """
    serving = {edge["from"] for tree in plan["trees"] for edge in tree["edges"]}
    idle = [host for host in plan["sources"] if host not in serving]
    room = max(0, len(plan["targets"]) + SPARE_HOLDERS - (len(plan["sources"]) - len(idle)))
    if len(idle) > room:
        parsed = mx.parse(matrix)
        targets = [parsed.index[host] for host in plan["targets"]]
        nearest = {host: min((parsed.seconds(parsed.index[host], k) for k in targets), default=mx.INF) for host in idle}
        idle = sorted(idle, key=lambda host: (nearest[host], parsed.index[host]))[:room]
    kept = {*serving, *idle, *plan["targets"]}
    parents = {host: [[other for other in choices if other in kept] for choices in stripes] for host, stripes in plan["parents"].items()}
    return {**plan, "sources": [h for h in plan["sources"] if h in kept], "standby": idle, "parents": parents}


# Up to so many hosts a table of preferred paths has every link, up to so many those that are preferred.
ALL_LINKS, MOST_LINKS = 12, 300


def paths_of(plan: Plan, matrix: Mapping[str, t.Any]) -> dict[str, list[dict[str, t.Any]]]:
    """``paths``: rows of preferred_paths of links to the plan's targets, and ``whole_paths``, as many as people read.

    ``used`` of a row is the share of the base that the plan in force sends over the link: another strategy than
    preferred_paths need not follow them.
    """
    hosts = len({*plan["sources"], *plan["targets"]})
    if hosts > MOST_LINKS or not plan["targets"]:
        return {"paths": [], "whole_paths": []}
    rows = preferred_paths(matrix, plan["sources"], plan["targets"])
    wanted, used = set(plan["targets"]), shares_of(plan)
    links = [
        {**row, "used": used.get(tuple(row["link"]), 0.0)}
        for row in rows
        if row["link"][1] in wanted and (hosts <= ALL_LINKS or row["preferred"] or tuple(row["link"]) in used)
    ]
    inside = list(dict.fromkeys([*plan["sources"], *plan["targets"]]))
    pairs = (inside, inside) if hosts <= ALL_LINKS else (plan["sources"], plan["targets"])
    return {"paths": links, "whole_paths": whole_paths(matrix, inside, *pairs)}


def shares_of(plan: Plan) -> dict[tuple[str, str], float]:
    """The share of the base that the plan sends over each link, {(from, to): 0 to 1}."""
    total = sum(tree["weight"] for tree in plan["trees"]) or 1.0
    moves = moves_of(plan)
    carried: dict[tuple[str, str], float] = {}
    for tree in plan["trees"]:
        for edge in tree["edges"]:
            pair = (edge["from"], edge["to"])
            carried[pair] = carried.get(pair, 0.0) + tree["weight"] / total * moves.get(edge["to"], {}).get("share", 1.0)
    return carried


def overview(plan: Plan) -> dict[str, t.Any]:
    """What the plan's text says: ``links`` [{"from", "to", "bytes", "seconds"}] and ``arrivals`` {host: {"at_s", "from"}}.

    ``seconds`` are from the receiver's first chunk to its last. ``estimated`` stands at links that nobody measured, or not lately.
    """
    unsure = guessed_links(plan)
    moves, size = moves_of(plan), plan.get("size_bytes") or 0
    carried = {pair: share * size for pair, share in shares_of(plan).items()}
    senders: dict[str, list[str]] = {}
    for sender, host in sorted(carried, key=lambda pair: -carried[pair]):
        senders.setdefault(host, []).append(sender)
    links = [
        {
            "from": a, "to": b, "bytes": round(count), "seconds": moves[b]["end_s"] - moves[b]["start_s"] if b in moves else None,
            **({"estimated": True} if (a, b) in unsure else {}),
        }
        for (a, b), count in carried.items()
    ]  # fmt: skip
    arrivals: dict[str, dict[str, t.Any]] = {h: {"at_s": move["end_s"], "from": senders.get(h, [])} for h, move in moves.items()}
    for host, first in (plan.get("shares") or {}).items():
        if first in arrivals:
            arrivals[host] = {"at_s": arrivals[first]["at_s"], "from": [], "shares": first}
    return {"links": links, "arrivals": arrivals}


def limits_of(network: Network, hosts: Sequence[str]) -> dict[str, t.Any] | None:
    """Limits of these hosts as relay_plan takes them; None without any. A link may be limited by both of its ends."""
    ports: dict[str, dict[str, float]] = {}
    links: dict[tuple[str, str], float] = {}
    for host in hosts:
        own = network.settings.get(host, {})
        if float(own.get("rate_mbps") or 0) > 0:
            ports[host] = {"up_mbps": float(own["rate_mbps"]), "down_mbps": float(own["rate_mbps"])}
        if int(own.get("streams") or 0) > 0:
            ports.setdefault(host, {})["streams"] = int(own["streams"])
        for peer, value in (own.get("link_mbps") or {}).items():
            if peer in hosts and peer != host and float(value) > 0:
                for pair in ((host, peer), (peer, host)):
                    links[pair] = min(links.get(pair, float(value)), float(value))
    of_sites = {key: value for key in ("sites", "between") if (value := (network.site_limits or {}).get(key))}
    if not ports and not links and not of_sites:
        return None
    return {"hosts": ports, "links": [[a, b, mbps] for (a, b), mbps in links.items()], **of_sites}


def matrix_of(
    links: object,
    relay: Relay,
    hosts: Sequence[str],
    sites: Mapping[str, str] | None,
    lost_links: Collection[tuple[str, str]] = (),
    rates: Sequence[Sequence[t.Any]] = (),
) -> dict[str, t.Any]:
    """The matrix of a relay: of what is known, with estimates for the rest, so that no host is left out for want of a probe.

    ``rates``: [from, to, 10^6 bit/s] that were observed since. Fixed paths are in it as links that are missing.
    """
    if not _has_links(links):
        links = [{"from": a, "to": b, "mbps": ASSUMED_MBPS} for a in hosts for b in hosts if a != b]
    shared = [mates for group in relay.get("shared_pools") or [] if len(mates := [h for h in group if h in hosts]) > 1]
    matrix = deployment_matrix(links, relay["size_bytes"], hosts=list(hosts), sites=sites or None, estimate=True, shared_pools=shared)
    known = set(hosts)
    seen = {(a, b): mx.mbps_seconds(relay["size_bytes"], mbps) for a, b, mbps in rates if a in known and b in known}
    observed = [[a, b, seconds] for (a, b), seconds in seen.items()]
    refused = fixed_paths.refused(relay.get("fixed") or [], hosts, lost_links)
    return {
        **matrix,
        "exceptions": [*matrix.get("exceptions", []), *observed, *refused],
        "uncertain": [pair for pair in matrix["uncertain"] if tuple(pair) not in seen],
    }


def _has_links(links: object) -> bool:
    rows = links.values() if isinstance(links, Mapping) else [links]
    return any(row.get("links") if isinstance(row, Mapping) else row for row in rows)
