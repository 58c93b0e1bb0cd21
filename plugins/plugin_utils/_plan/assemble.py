# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""From a schedule or trees to the documented plan: stages, parents, local copies."""

from __future__ import annotations

import heapq
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import matrix as mx
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.staged import Transfer, children_of, top_down

FORMAT = 1
FALLBACKS = 4
EVERYBODY, EARLY = 300, 100


def depths(parent: Sequence[int], roots: Sequence[int]) -> list[int]:
    """Links from a holder to each host, in one tree."""
    depth = [0] * len(parent)
    for v in top_down(children_of(parent), roots):
        if parent[v] >= 0:
            depth[v] = depth[parent[v]] + 1
    return depth


def ranked_senders(has: Sequence[float], rows: Sequence[Sequence[float]], roots: Sequence[int]) -> list[list[int]]:
    """For every host the others that could give it the base soonest, best first; holders are not among them."""
    n = len(has)
    holders = set(roots)
    others = [u for u in range(n) if u not in holders and has[u] < mx.INF]
    if n > EVERYBODY:
        # Of a large fleet only those that have it early.
        others = heapq.nsmallest(EARLY, others, key=lambda u: (has[u], u))
    out: list[list[int]] = []
    for column, v in zip(zip(*rows, strict=True), range(n), strict=True):
        if v in holders:
            out.append([])
            continue
        cost = {u: has[u] + column[u] for u in others if column[u] < mx.INF}
        out.append(heapq.nsmallest(4 * FALLBACKS, cost, key=lambda u, cost=cost: (cost[u], u)))  # type: ignore[misc]
    return out


def fallbacks(
    parent: Sequence[int], ranked: Sequence[Sequence[int]], rows: Sequence[Sequence[float]], roots: Sequence[int]
) -> list[list[int]]:
    """For every host whom to try, in order: its parent, who else could give it the base soonest, every holder that
    has a link to it.

    Nobody below a host in the tree is among its choices, as those wait for it. One choice outside the parent's
    own branch is kept if there is any, so that a dead host near the root does not starve a whole branch.
    """
    n = len(parent)
    children = children_of(parent)
    enter, leave, branch = [0] * n, [0] * n, list(range(n))
    clock = 0
    stack = [(r, False) for r in reversed(roots)]
    while stack:
        v, done = stack.pop()
        if done:
            leave[v] = clock
            continue
        clock += 1
        enter[v] = clock
        stack.append((v, True))
        for c in children[v]:
            branch[c] = c if parent[v] < 0 else branch[v]
            stack.append((c, False))
    out: list[list[int]] = []
    for v in range(n):
        if parent[v] < 0:
            out.append([])
            continue
        usable = [u for u in ranked[v] if u != parent[v] and enter[u] and not enter[v] <= enter[u] <= leave[v]]
        chosen = usable[:FALLBACKS]
        if chosen and all(branch[u] == branch[v] for u in chosen):
            away = [u for u in usable if branch[u] != branch[v]]
            chosen[-1:] = away[:1] or chosen[-1:]
        ends = sorted((r for r in roots if r != parent[v] and rows[r][v] < mx.INF), key=lambda r: (rows[r][v], r))
        out.append([parent[v], *chosen, *ends])
    return out


def local_copies(
    copies: t.Any, hosts: Mapping[str, int], has: Mapping[str, float], depth: Mapping[str, int]
) -> list[dict[str, t.Any]]:
    """Copies that stay on a host: ``{host: count}``, or ``{host: {pool: count}}`` with the receiving pool first.

    A further pool gets the base once from the first, beside the first one's own copies; then its own follow.
    """
    if not isinstance(copies, Mapping):
        raise InvalidOption("copies", mx.shown(copies), "{host: count} or {host: {pool: count}} is")
    out: list[dict[str, t.Any]] = []
    for host, wanted in copies.items():
        mx.names("copies", [host], hosts)
        if host not in has:
            continue
        stage, at = depth[host] + 1, has[host]
        if not isinstance(wanted, Mapping):
            count = int(mx.number(f"copies.{host}", wanted, integer=True))
            if count:
                out.append({"host": host, "stage": stage, "count": count, "start_s": at})
            continue
        first = next(iter(wanted), None)
        later = []
        for pool, value in wanted.items():
            count = int(mx.number(f"copies.{host}.{pool}", value, integer=True))
            own = {"host": host, "stage": stage, "pool": pool, "from_pool": first, "count": count, "start_s": at}
            if pool == first:
                out.extend([own] if count else [])
            else:
                out.append({**own, "count": 1})
                # When the copy between the pools ends is not known here: the disks are not in the matrix.
                later.extend([{**own, "stage": stage + 1, "from_pool": pool, "start_s": None}] if count else [])
        out.extend(later)
    return sorted(out, key=lambda entry: entry["stage"])


def staged_plan(
    hosts: Sequence[str],
    rows: Sequence[Sequence[float]],
    transfers: Sequence[Transfer],
    roots: Sequence[int],
    ready: Mapping[int, float],
    senders: Callable[[Sequence[float]], list[list[int]]] | None = None,
) -> dict[str, t.Any]:
    """``stages``, ``trees``, ``parents`` and ``predicted_s`` of a staged solution.

    ``senders``: ranks each host's possible senders, given when each has the base.
    """
    parent, has = [-1] * len(hosts), [mx.INF] * len(hosts)
    for r in roots:
        has[r] = ready.get(r, 0.0)
    for move in transfers:
        parent[move.receiver], has[move.receiver] = move.sender, move.end
    depth = depths(parent, roots)
    stages: list[list[dict[str, t.Any]]] = [[] for _unused in range(max(depth, default=0))]
    for move in sorted(transfers, key=lambda m: (m.start, m.sender, m.end, m.receiver)):
        stages[depth[move.receiver] - 1].append(
            {"from": hosts[move.sender], "to": hosts[move.receiver], "start_s": move.start, "end_s": move.end}
        )
    edges = [{"from": m["from"], "to": m["to"]} for stage in stages for m in stage]
    choices = fallbacks(parent, senders(has) if senders else ranked_senders(has, rows, roots), rows, roots)
    return {
        "stages": stages,
        "trees": [{"weight": 1.0, "edges": edges}] if edges else [],
        "parents": {hosts[v]: [[hosts[u] for u in list_]] for v, list_ in enumerate(choices) if list_},
        "predicted_s": max((m.end for m in transfers), default=0.0),
    }


def cut_through_plan(
    hosts: Sequence[str],
    rows: Sequence[Sequence[float]],
    trees: Sequence[tuple[float, Sequence[int]]],
    roots: Sequence[int],
    begun: Sequence[float],
    done: Sequence[float],
    at: float,
) -> dict[str, t.Any]:
    """``stages``, ``trees`` and ``parents`` of a cut-through solution, the heaviest tree first.

    A stage holds each host's transfer in the heaviest tree, from its first chunk to its last.
    """
    stages: list[list[dict[str, t.Any]]] = []
    out: list[dict[str, t.Any]] = []
    parents: dict[str, list[list[str]]] = {}
    ranked = ranked_senders(done, rows, roots)
    for weight, parent in sorted(trees, key=lambda tree: -tree[0]):
        order = [v for v in top_down(children_of(parent), roots) if parent[v] >= 0]
        out.append({"weight": weight, "edges": [{"from": hosts[parent[v]], "to": hosts[v]} for v in order]})
        if not stages:
            depth = depths(parent, roots)
            stages = [[] for _unused in range(max(depth, default=0))]
            for v in order:
                move = {"from": hosts[parent[v]], "to": hosts[v], "start_s": at + begun[v], "end_s": at + done[v]}
                stages[depth[v] - 1].append(move)
        for v, list_ in enumerate(fallbacks(parent, ranked, rows, roots)):
            if list_:
                parents.setdefault(hosts[v], []).append([hosts[u] for u in list_])
    return {"stages": stages, "trees": out, "parents": parents}
