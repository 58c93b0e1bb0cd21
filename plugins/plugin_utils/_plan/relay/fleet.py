# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""From a deployment's needs to relay plans, and from relay plans to the part of each host."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from ....module_utils._errors import FleetError
from ..network.estimate import deployment_matrix
from ..network.preferred_paths import preferred_paths
from ..placement import Observed
from .plan_format import moves_of
from .planner import relay_plan

_METADATA = (
    "format", "sha256", "source_sha256", "size_bytes", "virtual_size_bytes", "image_format", "parent", "chunk_bytes",
    "chunks_sha256", "imported_at", "imported_from", "signatures",
)  # fmt: skip


def base_metadata(base: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """base.json's own part of what base_disk_info tells: this travels with the base, unchanged."""
    return {key: base[key] for key in _METADATA if key in base}


def relays_of(
    bases: Mapping[str, Mapping[str, t.Any]], work: Mapping[str, Mapping[str, t.Any]], hosts: Observed
) -> list[dict[str, t.Any]]:
    """What has to cross the network: per base disk its sources and targets, ``{host: pool}`` each; parents come first.

    A base that is still to be imported has no ``sha256``, is ``estimated``, and its ``size_bytes`` are those of the source or
    None: a conversion changes them. ``shared_pools``: lists of targets whose pool is the same storage; a host that shares
    it with a source is one too.
    """
    relays: dict[str, dict[str, t.Any]] = {}
    for name, base in bases.items():
        targets = {
            host: fetch["pool"]
            for host, todo in work.items()
            for fetch in todo["fetch"]
            if fetch["base"] == name and host != base["import_on"]
        }
        if not targets:
            continue
        holders = dict(base["holders"]) or ({base["import_on"]: base["import_pool"]} if base["import_on"] else {})
        for digest in _chain(base, hosts):
            own = digest == base["sha256"]
            held = {host: pool for host in hosts if (pool := _pool_holding(hosts[host], digest)) is not None}
            sources = {**held, **(holders if own else {})}
            metadata = base["metadata"] if own else _metadata_of(digest, hosts)
            storage = {_storage(hosts, host, pool) for host, pool in sources.items()} - {None}
            sources |= {host: pool for host, pool in targets.items() if _storage(hosts, host, pool) in storage and host not in sources}
            lacking = {host: pool for host, pool in targets.items() if host not in sources}
            if not lacking:
                continue
            relay = relays.setdefault(
                digest or name,
                {
                    "base": base["title"] if own else f"{base['title']} (parent {digest[:12]})",
                    "sha256": digest,
                    "size_bytes": metadata["size_bytes"] if metadata else base["source_bytes"] if own else None,
                    "estimated": metadata is None,
                    "metadata": metadata,
                    "sources": {},
                    "targets": {},
                    "shared_pools": [],
                },
            )
            relay["targets"].update(lacking)
            relay["shared_pools"] = _shared_pools(relay["targets"], hosts)
            # More sources than targets cannot help; with many holders only some are bothered.
            relay["sources"] = dict(list(sources.items())[: len(relay["targets"]) + 2])
    return list(relays.values())


def _chain(base: Mapping[str, t.Any], hosts: Observed) -> list[t.Any]:
    """Digests of a base chain, root first; the base itself last."""
    for facts in hosts.values():
        for content in (facts.get("pools") or {}).values():
            for held in content.get("bases") or []:
                if held["sha256"] == base["sha256"] and held.get("chain"):
                    return list(held["chain"])
    return [base["sha256"]]


def _storage(hosts: Observed, host: str, pool: str) -> str | None:
    """What the pools of two hosts have in common if they are the same storage."""
    content = ((hosts.get(host) or {}).get("pools") or {}).get(pool) or {}
    return (content.get("filesystem") or {}).get("identity")


def _shared_pools(targets: Mapping[str, str], hosts: Observed) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for host, pool in targets.items():
        storage = _storage(hosts, host, pool)
        if storage is not None:
            groups.setdefault(storage, []).append(host)
    return [group for group in groups.values() if len(group) > 1]


def _pool_holding(facts: Mapping[str, t.Any], digest: str | None) -> str | None:
    for pool, content in (facts.get("pools") or {}).items():
        if facts.get("reachable") and digest and any(held["sha256"] == digest for held in content.get("bases") or []):
            return pool
    return None


def _metadata_of(digest: str, hosts: Observed) -> dict[str, t.Any] | None:
    for facts in hosts.values():
        for content in (facts.get("pools") or {}).values():
            for held in content.get("bases") or []:
                if held["sha256"] == digest:
                    return base_metadata(held)
    return None


def chunk_list_conflicts(bases: Iterable[Mapping[str, t.Any]], hosts: Observed) -> list[str]:
    """Sentences on holders that have different chunk lists for the same bytes, as at most one of them can be right."""
    found = []
    for base in bases:
        for digest in _chain(base, hosts):
            lists: dict[str, list[str]] = {}
            for host, facts in hosts.items():
                for pool, content in (facts.get("pools") or {}).items():
                    for held in content.get("bases") or []:
                        if digest and held["sha256"] == digest and held.get("chunks_sha256"):
                            lists.setdefault(held["chunks_sha256"], []).append(f"{host} (pool {pool})")
            if len(lists) > 1:
                places = " and ".join(f"{chunks} on {', '.join(where)}" for chunks, where in sorted(lists.items()))
                found.append(
                    f"{base['place']}: the holders of {digest} have different chunk lists: {places}; compare their base disks "
                    "with their digests (playbook basecast.fleet.verify), and remove the wrong ones"
                )
    return found


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


def relay_parts(
    relays: Sequence[Mapping[str, t.Any]], plans: Sequence[Mapping[str, t.Any]]
) -> dict[str, list[dict[str, t.Any]]]:
    """Each node's part: ``{host: [{"metadata", "pool", "parents", "weights", "expected_mbps", "children"}]}``.

    ``parents`` holds for each tree of the plan whom to fetch its chunks from, best first, and ``weights`` the trees'
    shares; none at all: the host has the base. ``expected_mbps`` is the rate that measured links promise, or None.
    ``children`` are in the order in which a staged plan serves them: one after another where they would share the
    sender's port. A host that the plan could not reach still tries every source: a poor measurement must not cost it
    its machines.
    """
    parts: dict[str, list[dict[str, t.Any]]] = {}
    for relay, plan in zip(relays, plans, strict=True):
        uplinks = [{edge["to"]: edge["from"] for edge in tree["edges"]} for tree in plan.get("trees") or []]
        children, expected = _children(plan), _expected_mbps(plan)
        weights = [tree["weight"] for tree in plan.get("trees") or []]
        for host, pool in {**relay["sources"], **relay["targets"]}.items():
            parents: list[list[str]] = []
            if host in relay["targets"]:
                planned = (plan.get("parents") or {}).get(host) or [[] for _tree in plan.get("trees") or [None]]
                parents = [
                    _choices(choices, above, relay["sources"]) for choices, above in zip_longest(planned, uplinks[: len(planned)])
                ]
            part = {
                "metadata": relay["metadata"],
                "pool": pool,
                "parents": parents,
                "weights": weights if parents else [],
                "expected_mbps": expected.get(host) if parents else None,
                "children": children.get(host, []),
            }
            parts.setdefault(host, []).append(part)
    return parts


def _choices(choices: Sequence[str], above: Mapping[str, str] | None, sources: t.Iterable[str]) -> list[str]:
    """Whom a host asks in one tree: its parent, the one above that, the plan's other choices, every source.

    When the parent dies, the one above it has just what is lacking, and a place that has become free.
    """
    beyond = [above[choices[0]]] if choices and above and choices[0] in above else []
    return list(dict.fromkeys([*choices[:1], *beyond, *choices[1:], *sources]))


def _expected_mbps(plan: Mapping[str, t.Any]) -> dict[str, float]:
    """At which rate each target gets the base according to a plan that was made from measured links.

    A stage holds a host's transfer from its first chunk to its last.
    """
    size = plan.get("size_bytes")
    if not size or plan.get("assumed"):
        return {}
    moves = [move for stage in plan.get("stages") or [] for move in stage]
    return {move["to"]: size * 8 / 1e6 / (move["end_s"] - move["start_s"]) for move in moves if move["end_s"] > move["start_s"]}


def _children(plan: Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Whom each sender serves, in order; empty where all may be served at once."""
    if plan.get("mode") != "staged" or plan.get("contention") != "port":
        return {}
    transfers = sorted((move for stage in plan.get("stages") or [] for move in stage), key=lambda move: move["start_s"])
    children: dict[str, list[str]] = {}
    for move in transfers:
        children.setdefault(move["from"], []).append(move["to"])
    return children


def relay_stages(plans: Sequence[Mapping[str, t.Any]], deepest: int = 16) -> dict[str, int]:
    """The stage play in which each target is waited for: the latest of its bases, at most the deepest there is."""
    stages: dict[str, int] = {}
    for plan in plans:
        for depth, stage in enumerate(plan.get("stages") or [], start=1):
            for transfer in stage:
                stages[transfer["to"]] = min(deepest, max(depth, stages.get(transfer["to"], 1)))
        for host, first in (plan.get("shares") or {}).items():
            stages[host] = max(stages.get(first, 1), stages.get(host, 1))
        for host in plan.get("targets") or []:
            stages.setdefault(host, 1)
    return stages
