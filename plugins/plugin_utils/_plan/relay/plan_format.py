# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""From a schedule or trees to the documented plan: stages, parents, local copies."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ....module_utils._errors import InvalidOption
from ..network import matrix as mx
from ..staged.schedule import Transfer
from ..trees import children_of, depths, top_down
from ..types import Move, Plan
from .backup_parents import Choices, ranked_senders

FORMAT = 1


def moves_of(plan: Plan) -> dict[str, Move]:
    """{receiver: transfer} of a plan; a receiver of several trees has its last one."""
    return {move["to"]: move for stage in plan["stages"] for move in stage}


def guessed_links(plan: Mapping[str, t.Any]) -> set[tuple[str, str]]:
    """Links that the plan uses and nobody measured, or not lately."""
    return {(link[0], link[1]) for link in plan.get("estimated_links") or []}


def local_copies(copies: object, hosts: Mapping[str, int], has: Mapping[str, float], depth: Mapping[str, int]) -> list[dict[str, t.Any]]:
    """Copies that stay on a host: ``{host: count}``, or ``{host: {pool: count}}`` with the receiving pool first.

    A further pool gets the base once from the first, beside the first one's own copies; then its own follow.
    """
    if not isinstance(copies, Mapping):
        raise InvalidOption("copies", mx.shown(copies), "{host: count} or {host: {pool: count}} is wanted")
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
    site: Sequence[int],
    senders: Callable[[Sequence[float]], list[list[int]]] | None = None,
) -> dict[str, t.Any]:
    """``stages``, ``trees``, ``parents`` and ``predicted_s`` of a staged solution.

    ``site``: a number for each host. ``senders``: ranks each host's possible senders, given when each has the base.
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
    ranked = senders(has) if senders else ranked_senders(has, rows, roots, site)
    choices = Choices(ranked, rows, roots, site).of_tree(parent, has)
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
    site: Sequence[int],
    senders: Callable[[Sequence[float]], list[list[int]]] | None = None,
) -> dict[str, t.Any]:
    """``stages``, ``trees`` and ``parents`` of a cut-through solution, the heaviest tree first.

    A stage holds each host's transfer in the heaviest tree, from its first chunk to its last.
    """
    stages: list[list[dict[str, t.Any]]] = []
    out: list[dict[str, t.Any]] = []
    parents: dict[str, list[list[str]]] = {}
    ranked = senders(done) if senders else ranked_senders(done, rows, roots, site)
    lists = Choices(ranked, rows, roots, site)
    for weight, parent in sorted(trees, key=lambda tree: -tree[0]):
        order = [v for v in top_down(children_of(parent), roots) if parent[v] >= 0]
        out.append({"weight": weight, "edges": [{"from": hosts[parent[v]], "to": hosts[v]} for v in order]})
        if not stages:
            depth = depths(parent, roots)
            stages = [[] for _unused in range(max(depth, default=0))]
            for v in order:
                move = {"from": hosts[parent[v]], "to": hosts[v], "start_s": at + begun[v], "end_s": at + done[v]}
                stages[depth[v] - 1].append(move)
        for v, list_ in enumerate(lists.of_tree(parent, done)):
            if list_:
                parents.setdefault(hosts[v], []).append([hosts[u] for u in list_])
    return {"stages": stages, "trees": out, "parents": parents}
