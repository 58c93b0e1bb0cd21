# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""relay_plan: from a matrix and holders to a plan."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import assemble, large
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import matrix as mx
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import staged as st
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.paths import EPSILON, shortest

CHUNK_BYTES = 256 * 1024
# Where nobody says how large the base is: only the number of chunks depends on it.
UNKNOWN_BYTES = 8 * 1024**3
# How much sooner new trees must finish, for those in use to be left.
WORTH_A_CHANGE = 1.05
# Hierarchical matrices up to this many hosts are spread out.
DENSE_HOSTS = 1200
MODES = ("cut_through", "staged")
STRATEGIES = ("best", "preferred_paths")
CONTENTIONS = ("port", "independent")


class Request(t.NamedTuple):
    """Checked options of one plan, host numbers being those of the matrix."""

    matrix: mx.Matrix
    sources: list[str]
    targets: list[str]
    mode: str
    strategy: str
    contention: str
    size_bytes: int | None
    chunk_bytes: int


class Problem(t.NamedTuple):
    """What a planner sees: holders and reachable targets only, in an order that does not depend on names.

    ``rows`` are seconds for the whole base, inf where there is no link. ``ready``: when each holder can send.
    """

    hosts: list[str]
    rows: list[list[float]]
    ready: dict[int, float]


def check(
    matrix: t.Any, sources: t.Any, targets: t.Any, mode: t.Any, strategy: t.Any, contention: t.Any, limits: t.Any,
    size_bytes: t.Any, chunk_bytes: t.Any,
) -> Request:  # fmt: skip
    """All options checked, or InvalidOption."""
    parsed = mx.parse(matrix)
    held = mx.names("sources", mx.plain(sources), parsed.index)
    if not held:
        raise InvalidOption("sources", [], "at least one host that holds the base is")
    wanted = parsed.hosts if targets is None else mx.names("targets", mx.plain(targets), parsed.index)
    holders = set(held)
    parsed.add_limits(mx.plain(limits))
    size = parsed.size_bytes
    if size_bytes is not None:
        size = int(mx.number("size_bytes", size_bytes, zero=False, integer=True))
    chunk = CHUNK_BYTES
    if chunk_bytes is not None:
        chunk = int(mx.number("chunk_bytes", chunk_bytes, zero=False, integer=True))
    if parsed.limited and size is None:
        raise InvalidOption("size_bytes", None, "with limits the base's size is needed, in bytes")
    return Request(
        parsed,
        held,
        [h for h in wanted if h not in holders],
        mx.choice("mode", mode, MODES),
        mx.choice("strategy", strategy, STRATEGIES),
        mx.choice("contention", contention, CONTENTIONS),
        size,
        chunk,
    )


def canonical(rows: Sequence[Sequence[float]], ready: Mapping[int, float], seconds: Sequence[float]) -> list[int]:
    """Host numbers in an order that follows from the matrix alone (exact sums, so no order of addition matters).

    Hosts that look the same stay in their given order.
    """
    finite = [[x for x in row if x < mx.INF] for row in rows]
    columns = [[x for x in column if x < mx.INF] for column in zip(*rows, strict=True)]
    keys = [
        (v not in ready, ready.get(v, 0.0), seconds[v], math.fsum(finite[v]), math.fsum(columns[v]), v)
        for v in range(len(rows))
    ]
    return sorted(range(len(rows)), key=keys.__getitem__)


def problem(
    request: Request, ready: Mapping[str, float], wanted: Sequence[str], left: Mapping[str, float] | None = None
) -> tuple[Problem, list[str]]:
    """The planners' view, and the targets that no path leads to.

    :param ready: when each holder can send.
    :param left: the share of the base that a host still misses, for hosts with a partial copy.
    """
    inside = {*ready, *wanted}
    chosen = [i for i, h in enumerate(request.matrix.hosts) if h in inside]
    hosts = [request.matrix.hosts[i] for i in chosen]
    rows = request.matrix.sub(chosen, request.size_bytes)
    if left:
        share = [left.get(h, 1.0) for h in hosts]
        rows = [[x if x == mx.INF else x * share[j] for j, x in enumerate(row)] for row in rows]
    at = {k: ready[h] for k, h in enumerate(hosts) if h in ready}
    seconds = shortest(rows, at).seconds
    order = [v for v in canonical(rows, at, seconds) if seconds[v] < mx.INF]
    unreachable = [h for k, h in enumerate(hosts) if seconds[k] == mx.INF]
    new = [[rows[i][j] for j in order] for i in order]
    return Problem([hosts[v] for v in order], new, {k: at[v] for k, v in enumerate(order) if v in at}), unreachable


def best_tree(request: Request, view: Problem) -> tuple[list[int], float]:
    """Parents and a lower bound for the chosen strategy and contention (staged)."""
    parents, found = st.by_paths(view.rows, view.ready)
    bound = st.path_bound(found)
    if request.contention == "port":
        bound = max(bound, st.growth_bound(view.rows, view.ready, found))
        if request.strategy == "best":
            # Only here, as it brings NumPy and Numba with it.
            from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import search  # noqa: PLC0415

            parents, bound = search.best(view.rows, view.ready, found, bound)
    return parents, bound


def hierarchical(request: Request, ready: Mapping[str, float], wanted: Sequence[str]) -> bool:
    """Whether the plan is made by classes of hosts; smaller fleets are planned host by host."""
    return not request.matrix.dense and len(ready) + len(wanted) > DENSE_HOSTS


def by_classes(
    request: Request, ready: Mapping[str, float], wanted: Sequence[str], left: Mapping[str, float],
    kept: Sequence[tuple[str, str, float, float]], holders: Mapping[str, float] | None = None,
) -> tuple[dict[str, t.Any], float, list[str]]:  # fmt: skip
    """Body, lower bound and unreachable targets of a plan for a large hierarchical fleet.

    ``kept``: transfers (from, to, start, end) that go on; their receivers are in ``ready`` but not in ``holders``.
    """
    if request.mode != "staged":
        raise InvalidOption(
            "mode", request.mode, f"staged is, for a hierarchical matrix and more than {DENSE_HOSTS} hosts"
        )
    view, unreachable = large.fleet(request.matrix, request.size_bytes, ready, wanted, left)
    parents, bound = large.tree(view, request.strategy, request.contention)
    index = {h: k for k, h in enumerate(view.hosts)}
    rows = t.cast("st.Rows", view)
    transfers = [st.Transfer(index[a], index[b], start, end) for a, b, start, end in kept]
    transfers += st.schedule(rows, parents, view.ready, request.contention == "independent")
    started = {index[h]: at for h, at in (holders or ready).items()}
    body = assemble.staged_plan(view.hosts, rows, transfers, list(started), started, view.senders)
    return body, bound, unreachable


def _ports(request: Request, view: Problem) -> tuple[list[float] | None, list[float] | None]:
    """Seconds that the whole base takes at each port's limit, both ways; None where ports are shared by time.

    With limits for some hosts only, another's port is taken to be as fast as its fastest link.
    """
    n = len(view.rows)
    if request.contention == "independent":
        return [0.0] * n, [0.0] * n
    up, down = request.matrix.up, request.matrix.down
    if not (up or down) or request.size_bytes is None:
        return None, None
    numbers = [request.matrix.index[h] for h in view.hosts]

    def seconds(limits: Mapping[int, float], host: int, links: Sequence[float]) -> float:
        if host in limits and request.size_bytes:
            return mx.mbps_seconds(request.size_bytes, limits[host])
        least = min(links)
        return least if least < mx.INF else 0.0

    columns = list(zip(*view.rows, strict=True))
    return (
        [seconds(up, i, view.rows[k]) for k, i in enumerate(numbers)],
        [seconds(down, i, columns[k]) for k, i in enumerate(numbers)],
    )


def cut_through(
    request: Request, view: Problem, at: float, running: Sequence[tuple[float, Sequence[int]]] = ()
) -> tuple[dict[str, t.Any], float]:
    """A cut-through plan's body and its lower bound; ``at``: when it starts.

    :param running: weights and trees that are in use; they stay unless new ones finish clearly sooner.
    """
    from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import cut_through as ct  # noqa: PLC0415

    roots = list(view.ready)
    if len(view.hosts) == len(roots):
        return {"stages": [], "trees": [], "parents": {}, "predicted_s": at}, at
    net = ct.network(view.rows, len(roots), *_ports(request, view))
    chunks = math.ceil((request.size_bytes or UNKNOWN_BYTES) / request.chunk_bytes)
    if request.strategy == "best":
        found = ct.best(net, chunks)
    else:
        found = ct.follow(net, [st.by_paths(view.rows, dict.fromkeys(roots, 0.0))[0]], [1.0], chunks)
    if running:
        kept = ct.follow(net, [tree for _weight, tree in running], [weight for weight, _tree in running], chunks)
        if kept.finish <= found.finish * WORTH_A_CHANGE:
            found = kept._replace(bound=max(kept.bound, min(found.bound, kept.finish)))
    trees = list(zip(found.forest.weights, found.forest.trees, strict=True))
    body = assemble.cut_through_plan(view.hosts, view.rows, trees, roots, found.begun, found.done, at)
    body["predicted_s"] = at + found.finish
    return body, at + found.bound


def summary(request: Request, predicted: float, bound: float) -> dict[str, t.Any]:
    """What every plan says of itself."""
    predicted = float(predicted)
    bound = min(float(bound), predicted)
    return {
        "format": assemble.FORMAT,
        "mode": request.mode,
        "strategy": request.strategy,
        "contention": request.contention,
        "size_bytes": request.size_bytes,
        "chunk_bytes": request.chunk_bytes,
        "predicted_s": predicted,
        "lower_bound_s": bound,
        "gap": (predicted - bound) / bound if bound > 0 else 0.0,
        "proven_optimal": predicted <= bound * (1 + EPSILON) + EPSILON,
    }


def relay_plan(
    matrix: t.Any,
    sources: t.Any,
    targets: t.Any = None,
    mode: t.Any = "staged",
    strategy: t.Any = "best",
    contention: t.Any = "port",
    limits: t.Any = None,
    size_bytes: t.Any = None,
    chunk_bytes: t.Any = None,
    copies: t.Any = None,
    base: t.Any = None,
) -> dict[str, t.Any]:
    """A plan that brings the base from ``sources`` to ``targets`` (default: every other host of the matrix)."""
    request = check(matrix, sources, targets, mode, strategy, contention, limits, size_bytes, chunk_bytes)
    ready = dict.fromkeys(request.sources, 0.0)
    if hierarchical(request, ready, request.targets):
        body, bound, unreachable = by_classes(request, ready, request.targets, {}, [])
    else:
        view, unreachable = problem(request, ready, request.targets)
        if request.mode == "staged":
            parents, bound = best_tree(request, view)
            transfers = st.schedule(view.rows, parents, view.ready, request.contention == "independent")
            body = assemble.staged_plan(view.hosts, view.rows, transfers, list(view.ready), view.ready)
        else:
            body, bound = cut_through(request, view, 0.0)
    plan = {
        **summary(request, body["predicted_s"], bound),
        "base": mx.plain(base),
        "sources": request.sources,
        "targets": request.targets,
        **{key: body[key] for key in ("stages", "trees", "parents")},
        "unreachable": unreachable,
    }
    if copies is not None:
        plan["local"] = local(request, mx.plain(copies), plan)
    return plan


def local(request: Request, copies: t.Any, plan: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The plan's local copies, each after the base has come to its host."""
    has = dict.fromkeys(plan["sources"], plan.get("at_s", 0.0))
    depth = dict.fromkeys(plan["sources"], 0)
    for number, stage in enumerate(plan["stages"], 1):
        for move in stage:
            has[move["to"]], depth[move["to"]] = move["end_s"], number
    return assemble.local_copies(copies, request.matrix.index, has, depth)
