# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""relay_plan: from a matrix and holders to a plan."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ..cut_through.few_receivers import exceeded, trees_within
from ..network import matrix as mx
from ..network import shared_pools
from ..network.shortest_paths import EPSILON
from ..staged import schedule as st
from ..types import Plan
from . import host_classes, plan_format
from .request import Problem, Request, check, problem

# Where nobody says how large the base is: only the number of chunks depends on it.
UNKNOWN_BYTES = 8 * 1024**3
# How much sooner new trees must finish, for those in use to be left.
WORTH_A_CHANGE = 1.05
# Hierarchical matrices up to this many hosts are spread out.
DENSE_HOSTS = 1200
# How much dearer than they are links between sites with limits are taken to be, in turn, in search of a plan.
CROSSING = (1.0, 2.0, 5.0)


# What proves a bound.
QUICK, EXACT, PORTS = "paths and growth", "all plans", "ports"


class Solved(t.NamedTuple):
    """A plan's body, its lower bound, and what proves that."""

    body: dict[str, t.Any]
    bound: float
    bound_by: str


def best_tree(request: Request, view: Problem, rows: st.Rows | None = None) -> tuple[list[int], float]:
    """Parents and a lower bound for the chosen strategy and contention (staged).

    ``rows``: what the search is to take for the links' seconds, if not the view's own; the bound is of no use then.
    """
    rows = view.rows if rows is None else rows
    parents, found = st.by_paths(rows, view.ready)
    bound = st.path_bound(found)
    if request.contention == "port":
        bound = max(bound, st.growth_bound(rows, view.ready, found, view.streams.together(rows)))
        if request.strategy == "best":
            from ..staged import search  # noqa: PLC0415 - see jit: imported where it is needed

            parents, bound = search.best(rows, view.ready, found, bound, view.streams, request.effort)
    return parents, bound


def staged_transfers(request: Request, view: Problem) -> tuple[list[st.Transfer], float]:
    """The transfers of a staged plan, and a lower bound.

    Limits of sites are met by the order of the transfers; the search for the tree sees them only as dearer links.
    """
    independent = request.contention == "independent"
    parents, bound = best_tree(request, view)
    chosen = st.schedule(view.rows, parents, view.ready, independent, view.streams, view.sites)
    if not view.sites.any or independent or request.strategy != "best":
        return chosen, bound
    free = st.schedule(view.rows, parents, view.ready, independent, view.streams)
    if ends(free) >= ends(chosen) - EPSILON:
        return chosen, bound
    of = view.sites.of
    for factor in CROSSING[1:]:
        dear = [[x if of[i] == of[j] else x * factor for j, x in enumerate(row)] for i, row in enumerate(view.rows)]
        other = best_tree(request, view, dear)[0]
        found = st.schedule(view.rows, other, view.ready, independent, view.streams, view.sites)
        if ends(found) < ends(chosen) - EPSILON:
            chosen = found
    return chosen, bound


def ends(transfers: Sequence[st.Transfer]) -> float:
    """When the last one ends."""
    return max((move.end for move in transfers), default=0.0)


def hierarchical(request: Request, ready: Mapping[str, float], wanted: Sequence[str]) -> bool:
    """Whether the plan is made by classes of hosts; smaller fleets are planned host by host."""
    return not request.matrix.dense and len(ready) + len(wanted) > DENSE_HOSTS


def by_classes(
    request: Request, ready: Mapping[str, float], wanted: Sequence[str], left: Mapping[str, float],
    kept: Sequence[tuple[str, str, float, float]], holders: Mapping[str, float] | None = None,
) -> tuple[Solved, list[str]]:  # fmt: skip
    """The plan of a large hierarchical fleet, and unreachable targets.

    ``kept``: transfers (from, to, start, end) that go on; their receivers are in ``ready`` but not in ``holders``.
    """
    view, unreachable = host_classes.fleet(request, ready, wanted, left)
    rows = t.cast("st.Rows", view)
    if request.mode == "cut_through":
        at = min(ready.values(), default=0.0)
        if len(view) == len(view.ready):
            return Solved(nothing(at), at, QUICK), unreachable
        result = host_classes.cut_through(view, request, chunks_of(request))
        trees = list(zip(result.forest.weights, result.forest.trees, strict=True))
        body = plan_format.cut_through_plan(
            view.hosts, rows, trees, list(view.ready), result.begun, result.done, at, view.site, view.senders
        )
        body |= {"predicted_s": at + result.finish, "depth": result.deepest, "relays": result.relays}
        return Solved(body, at + result.bound, PORTS), unreachable
    parents, bound = host_classes.tree(view, request)
    index = {h: k for k, h in enumerate(view.hosts)}
    transfers = [st.Transfer(index[a], index[b], start, end) for a, b, start, end in kept]
    transfers += st.schedule(rows, parents, view.ready, request.contention == "independent", view.streams, view.sites)
    started = {index[h]: at for h, at in (holders or ready).items()}
    body = plan_format.staged_plan(view.hosts, rows, transfers, list(started), started, view.site, view.senders)
    return Solved(body, bound, QUICK), unreachable


def nothing(at: float) -> dict[str, t.Any]:
    """The body of a plan that has nothing to do."""
    return {"stages": [], "trees": [], "parents": {}, "predicted_s": at}


def chunks_of(request: Request) -> int:
    return math.ceil((request.size_bytes or UNKNOWN_BYTES) / request.chunk_bytes)


def _ports(request: Request, view: Problem) -> tuple[list[float] | None, list[float] | None]:
    """Seconds that the whole base takes at each port's limit, both ways; None where ports are shared by time.

    With limits for some hosts only, another's port is taken to be as fast as its fastest link.
    """
    n, size = len(view.rows), request.size_bytes
    if request.contention == "independent":
        return [0.0] * n, [0.0] * n
    up, down = request.matrix.limits.up, request.matrix.limits.down
    if not (up or down) or size is None:
        return None, None

    def seconds(limits: Mapping[str, float], host: str, links: Sequence[float]) -> float:
        if host in limits:
            return mx.mbps_seconds(size, limits[host])
        least = min(links)
        return least if least < mx.INF else 0.0

    columns = list(zip(*view.rows, strict=True))
    return (
        [seconds(up, h, view.rows[k]) for k, h in enumerate(view.hosts)],
        [seconds(down, h, columns[k]) for k, h in enumerate(view.hosts)],
    )


def cut_through(request: Request, view: Problem, at: float, running: Sequence[tuple[float, Sequence[int]]] = ()) -> Solved:
    """A cut-through plan; ``at``: when it starts.

    :param running: weights and trees that are in use; they stay unless new ones finish clearly sooner.
    """
    from ..cut_through import bounds, model  # noqa: PLC0415 - see jit: imported where it is needed
    from ..cut_through import search as ct  # noqa: PLC0415 - see jit: imported where it is needed

    roots = list(view.ready)
    if len(view.hosts) == len(roots):
        return Solved(nothing(at), at, QUICK)
    sites = view.sites if request.contention == "port" else view.sites._replace(number=1)
    net = model.network(view.rows, len(roots), *_ports(request, view), sites)
    chunks = chunks_of(request)
    bound = bounds.simple_bound(net)
    if request.strategy == "best":
        risk = model.Risk(request.relay_risk, request.recovery_s)
        longer = request.effort * (4.0 if request.certify else 1.0)
        found = ct.best(net, bound, chunks, risk, longer)
    else:
        found = ct.follow(net, bound, [st.by_paths(view.rows, dict.fromkeys(roots, 0.0))[0]], [1.0], chunks)
    found = within_limits(net, view, found, chunks)
    if running and not exceeded([tree for _w, tree in running], view.streams.limit):
        kept = ct.follow(net, bound, [tree for _w, tree in running], [weight for weight, _tree in running], chunks)
        if kept.finish <= found.finish * WORTH_A_CHANGE:
            found = kept._replace(bound=max(kept.bound, min(found.bound, kept.finish)))
    trees = list(zip(found.forest.weights, found.forest.trees, strict=True))
    body = plan_format.cut_through_plan(view.hosts, view.rows, trees, roots, found.begun, found.done, at, view.site)
    body |= {"predicted_s": at + found.finish, "depth": found.deepest, "relays": found.relays}
    return Solved(body, at + found.bound, PORTS)


def within_limits(net: t.Any, view: Problem, found: t.Any, chunks: int) -> t.Any:
    """The result, or the quickest tree in which no host serves more others than it may.

    Where the limits leave no way to serve everybody the result stays: nodes keep to their limits, and their further
    receivers wait for each other.
    """
    from ..cut_through import search as ct  # noqa: PLC0415 - see jit: imported where it is needed

    if not exceeded(found.forest.trees, view.streams.limit):
        return found
    trees = trees_within(view.rows, net.roots, view.streams.limit)
    results = [ct.follow(net, found.bound, [tree], [1.0], chunks) for tree in trees]
    return min(results, key=lambda result: result.finish)._replace(bound=found.bound) if results else found


def proven(view: Problem, bound: float) -> bool:
    """Whether the bound is better than the quick ones, so that it comes from a search of all plans."""
    if len(view.hosts) > st.ALL_PLANS:
        return False
    found = st.by_paths(view.rows, view.ready)[1]
    quick = max(st.path_bound(found), st.growth_bound(view.rows, view.ready, found, view.streams.together(view.rows)))
    return bound > quick * (1 + EPSILON)


def staged(request: Request, view: Problem) -> Solved:
    """A staged plan."""
    transfers, bound = staged_transfers(request, view)
    by = EXACT if proven(view, bound) else QUICK
    if request.certify and request.contention == "port" and ends(transfers) > bound * (1 + EPSILON):
        from ..staged import lp_bound  # noqa: PLC0415 - see jit: imported where it is needed

        bound, by = lp_bound.staged(view.rows, view.ready, view.streams, bound, ends(transfers))
    body = plan_format.staged_plan(view.hosts, view.rows, transfers, list(view.ready), view.ready, view.site)
    return Solved(body, bound, by)


def with_best_streams(request: Request, solve: Callable[[Request], tuple[Solved, list[str]]]) -> tuple[Solved, list[str]]:
    """What ``solve`` finds with as many receivers at a time as are allowed, or with one, whichever ends sooner.

    A sender's receivers share its port: all of them get the base late, where one after another would have passed it on.
    """
    solved, unreachable = solve(request)
    if request.mode != "staged" or request.streams == 1:
        return solved, unreachable
    alone, _same = solve(request._replace(streams=1))
    if alone.body["predicted_s"] < solved.body["predicted_s"] - EPSILON:
        # What bounds plans with several receivers at a time bounds those with one.
        return alone._replace(bound=solved.bound, bound_by=solved.bound_by), unreachable
    return solved, unreachable


def _estimated_links(request: Request, body: Mapping[str, t.Any]) -> list[list[str]]:
    """Links that the plan uses and whose speed is a guess: what is proven of the plan is proven of that guess."""
    matrix = request.matrix
    if not matrix.uncertain and matrix.measured is None:
        return []
    used = dict.fromkeys((edge["from"], edge["to"]) for tree in body["trees"] for edge in tree["edges"])
    return [[a, b] for a, b in used if matrix.is_estimated(matrix.index[a], matrix.index[b])]


def described(request: Request, solved: Solved) -> dict[str, t.Any]:
    """What every plan says of itself, with its body."""
    predicted = float(solved.body["predicted_s"])
    bound = min(float(solved.bound), predicted)
    more = {key: solved.body[key] for key in ("depth", "relays") if key in solved.body}
    estimated = _estimated_links(request, solved.body)
    if estimated:
        more["estimated_links"] = estimated
    return {
        "format": plan_format.FORMAT,
        **request.described(),
        "predicted_s": predicted,
        "lower_bound_s": bound,
        "bound_by": solved.bound_by,
        "gap": (predicted - bound) / bound if bound > 0 else 0.0,
        "proven_optimal": not estimated and predicted <= bound * (1 + EPSILON) + EPSILON,
        **more,
        **{key: solved.body[key] for key in ("stages", "trees", "parents")},
    }


def relay_plan(matrix: object, sources: object, targets: object = None, base: t.Any = None, **options: object) -> Plan:
    """A plan that brings the base from ``sources`` to ``targets`` (default: every other host of the matrix).

    :param options: see ``request.OPTIONS``.
    """
    request = check(matrix, sources, targets, **options)
    held = shared_pools.with_mates(request.matrix, request.sources, request.targets)
    request = request._replace(sources=held, targets=[h for h in request.targets if h not in held])
    ready = dict.fromkeys(request.sources, 0.0)
    wanted, shares = shared_pools.apart(request.matrix, request.sources, request.targets)

    def solve(given: Request) -> tuple[Solved, list[str]]:
        if hierarchical(given, ready, wanted):
            return by_classes(given, ready, wanted, {}, [])
        view, unreachable = problem(given, ready, wanted)
        return staged(given, view) if given.mode == "staged" else cut_through(given, view, 0.0), unreachable

    solved, unreachable = with_best_streams(request, solve)
    plan = t.cast(
        "Plan",
        {
            **shared_pools.told(described(request, solved), shares),
            "base": mx.plain(base),
            "sources": request.sources,
            "targets": request.targets,
            "unreachable": shared_pools.also(unreachable, shares),
        },
    )
    if request.copies is not None:
        plan["local"] = local(request, plan)
    return plan


def local(request: Request, plan: Plan) -> list[dict[str, t.Any]]:
    """The plan's local copies, each after the base has come to its host."""
    has = dict.fromkeys(plan["sources"], plan.get("at_s", 0.0))
    depth = dict.fromkeys(plan["sources"], 0)
    for number, stage in enumerate(plan["stages"], 1):
        for move in stage:
            has[move["to"]], depth[move["to"]] = move["end_s"], number
    for host, first in (plan.get("shares") or {}).items():
        if first in has:
            has[host], depth[host] = has[first], depth[first]
    return plan_format.local_copies(mx.plain(request.copies), request.matrix.index, has, depth)
