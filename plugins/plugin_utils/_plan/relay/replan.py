# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""relay_replan: a plan for what is left, from what was observed."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ....module_utils._errors import FleetError, InvalidOption
from ..network import matrix as mx
from ..network import shared_pools
from ..network.shortest_paths import EPSILON
from ..staged import schedule as st
from ..trees import children_of, top_down
from ..types import Move, Plan
from . import plan_format, planner
from .request import OPTIONS, Problem, Request, check, problem

KEYS = ("at_s", "holders", "progress", "lost_hosts", "lost_links", "links", "new_targets")
# A link counts as changed when it got this much slower than the plan assumed.
SLOWER = 1.05


class Running(t.NamedTuple):
    """A transfer that was under way: names, start and expected end; ``touched``: its link got slower."""

    sender: str
    receiver: str
    start: float
    end: float
    touched: bool


class State(t.NamedTuple):
    """What the observation says; ``wanted`` are the targets to be planned for, ``shares``: see ``sharing.Apart``."""

    at: float
    holders: list[str]
    lost: set[str]
    wanted: list[str]
    shares: dict[str, str]
    running: list[Running]
    left: dict[str, float]


def _change_links(matrix: mx.Matrix, observed: Mapping[str, t.Any]) -> None:
    for entry in observed.get("lost_links") or []:
        i, j = matrix.pair("observed.lost_links", entry)
        matrix.set_seconds(i, j, mx.INF)
    for entry in observed.get("links") or []:
        if not isinstance(entry, list) or len(entry) != 3:
            raise InvalidOption("observed.links", mx.shown(entry), "[from, to, seconds] is wanted")
        i, j = matrix.pair("observed.links", entry[:2])
        matrix.set_seconds(i, j, mx.number("observed.links", entry[2]))


def _progress(plan: Plan, observed: Mapping[str, t.Any], at: float, size: int | None) -> dict[str, tuple[str | None, float, float]]:
    """By host: from whom, since when, and which share of the base it has; by default as the plan foresaw."""
    moves = plan_format.moves_of(plan)
    found: dict[str, tuple[str | None, float, float]] = {}
    given = observed.get("progress")
    if given:
        if not isinstance(given, dict) or not all(isinstance(v, dict) for v in given.values()):
            raise InvalidOption("observed.progress", mx.shown(given), '{host: {"bytes": n, "from": host}} is')
        for host, entry in given.items():
            sender = entry.get("from")
            move = moves.get(host)
            same = move is not None and move["from"] == sender
            start = float(move["start_s"]) if move is not None and same and move["start_s"] <= at else at
            done = mx.number(f"observed.progress.{host}.bytes", entry.get("bytes") or 0)
            if size:
                share = min(done / size, 1.0)
            else:
                share = _elapsed(move, at) if move is not None and same else 0.0
            found[host] = (sender, start, share)
        return found
    if plan["mode"] != "staged":
        return found
    for host, move in moves.items():
        if move["start_s"] < at - EPSILON and at + EPSILON < move["end_s"]:
            found[host] = (move["from"], float(move["start_s"]), _elapsed(move, at))
    return found


def _elapsed(move: Move, at: float) -> float:
    """The share of the base that a host should have by now."""
    span = move["end_s"] - move["start_s"]
    carried = move.get("share", 1.0)
    part = min(max((at - move["start_s"]) / span, 0.0), 1.0) if span > 0 else 0.0
    return 1.0 - carried + carried * part


def observe(request: Request, plan: Plan, observed: Mapping[str, t.Any]) -> State:
    """Checks the observation against plan and matrix."""
    matrix = request.matrix
    at = mx.number("observed.at_s", observed.get("at_s") or 0)
    lost = set(mx.names("observed.lost_hosts", observed.get("lost_hosts") or []))
    new = mx.names("observed.new_targets", observed.get("new_targets") or [], matrix.index)
    if observed.get("holders") is None:
        held = [*plan["sources"], *(h for h, m in plan_format.moves_of(plan).items() if m["end_s"] <= at + EPSILON)]
    else:
        held = mx.names("observed.holders", observed["holders"])
    targets = dict.fromkeys([*plan["targets"], *new])
    # What a lost host has brought into a shared pool is still there.
    there = shared_pools.with_mates(matrix, held, {*plan["sources"], *targets})
    holders = [h for h in there if h not in lost and h in matrix.index]
    if not holders:
        raise FleetError(
            f"no host that can still be reached holds the base (lost: {', '.join(sorted(lost)) or 'none'}); nothing more can be delivered",
            kind="no_holder",
            lost=sorted(lost),
        )
    have = set(holders)
    wanted = [h for h in targets if h not in have and h not in lost]
    mx.names("plan.targets", wanted, matrix.index)
    moves = plan_format.moves_of(plan)
    running: list[Running] = []
    left: dict[str, float] = {}
    progress = _progress(plan, observed, at, request.size_bytes)
    for host, (sender, start, share) in progress.items():
        if host not in wanted:
            continue
        left[host] = 1.0 - share
        if sender is None or sender not in have or plan["mode"] != "staged":
            continue
        pair = [matrix.index[sender], matrix.index[host]]
        whole = matrix.sub(pair, request.size_bytes)[0][1]
        if whole == mx.INF:
            continue
        move = moves.get(host)
        touched = False
        end = at + (1.0 - share) * whole
        if move is not None and move["from"] == sender:
            before = (move["end_s"] - move["start_s"]) / (move.get("share", 1.0) or 1.0)
            touched = whole > before * SLOWER
            if not observed.get("progress") and abs(whole - before) <= EPSILON * (1 + before):
                end = float(move["end_s"])
        running.append(Running(sender, host, start, end, touched))
    receiving = {host for host, (sender, _start, _share) in progress.items() if sender is not None}
    wanted, shares = shared_pools.apart(matrix, holders, wanted, left, receiving)
    running = [move for move in running if move.receiver in wanted]
    left = {host: share for host, share in left.items() if host in wanted}
    return State(at, holders, lost, wanted, shares, running, left)


def _repaired(plan: Plan, view: Problem) -> list[tuple[float, list[int]]]:
    """The plan's trees with as little changed as can be: who lost its sender, or is new, goes to its next choice.

    Empty if a tree cannot be repaired.
    """
    n = len(view.hosts)
    index = {h: k for k, h in enumerate(view.hosts)}
    out = []
    for number, tree in enumerate(plan["trees"]):
        parent = [-1] * n
        for edge in tree["edges"]:
            sender, host = index.get(edge["from"]), index.get(edge["to"])
            if sender is not None and host is not None and host not in view.ready and view.rows[sender][host] < mx.INF:
                parent[host] = sender
        for v in range(n):
            if parent[v] >= 0 or v in view.ready:
                continue
            below = set(top_down(children_of(parent), [v]))
            choices = plan["parents"].get(view.hosts[v], [])
            listed = [index[h] for h in (choices[number] if number < len(choices) else []) if h in index]
            listed += [u for _seconds, u in sorted((view.rows[u][v], u) for u in range(n))]
            parent[v] = next((u for u in listed if u not in below and view.rows[u][v] < mx.INF), -1)
            if parent[v] < 0:
                return []
        out.append((float(tree["weight"]), parent))
    return out


def _solve(request: Request, state: State, kept: list[Running]) -> tuple[planner.Solved, list[str]]:
    """The plan and who cannot be reached, with ``kept`` transfers going on."""
    ready = dict.fromkeys(state.holders, state.at)
    for move in kept:
        if request.contention == "port":
            ready[move.sender] = max(ready[move.sender], move.end)
        ready[move.receiver] = move.end
    carried = {move.receiver for move in kept}
    wanted = [h for h in state.wanted if h not in carried]
    left = {h: share for h, share in state.left.items() if h not in carried}
    if planner.hierarchical(request, ready, wanted):
        moves = [(m.sender, m.receiver, m.start, m.end) for m in kept]
        holders = dict.fromkeys(state.holders, state.at)
        solved, unreachable = planner.by_classes(request, ready, wanted, left, moves, holders)
        _with_shares(request, state, solved.body, left)
        return solved, unreachable
    view, unreachable = problem(request, ready, wanted, left)
    index = {h: k for k, h in enumerate(view.hosts)}
    transfers = [st.Transfer(index[m.sender], index[m.receiver], m.start, m.end) for m in kept]
    more, bound = planner.staged_transfers(request, view)
    roots = [index[h] for h in state.holders]
    body = plan_format.staged_plan(view.hosts, view.rows, transfers + more, roots, dict.fromkeys(roots, state.at), view.site)
    _with_shares(request, state, body, left)
    return planner.Solved(body, bound, planner.EXACT if planner.proven(view, bound) else planner.QUICK), unreachable


def _with_shares(request: Request, state: State, body: dict[str, t.Any], left: Mapping[str, float]) -> None:
    body["predicted_s"] = max(body["predicted_s"], state.at)
    for stage in body["stages"]:
        for move in stage:
            share = left.get(move["to"], 1.0)
            if share < 1.0:
                move["share"] = share
                if request.size_bytes:
                    move["bytes"] = round(share * request.size_bytes)


def relay_replan(plan: object, matrix: object, observed: object, **options: object) -> Plan:
    """A plan for what is left; times go on from the start of the run.

    Running transfers are kept, but one whose link got slower is given up (and resumed from another host) where
    that is sooner done. Raises FleetError (kind ``no_holder``) when nobody holds the base any more.

    :param options: see ``request.OPTIONS``; by default as the plan has them.
    """
    read = mx.plain(mx.read_input("plan", plan))
    if not isinstance(read, dict) or not {"stages", "sources", "targets", "mode"} <= set(read):
        raise InvalidOption("plan", mx.shown(read), "a plan as relay_plan returns it is wanted")
    known = t.cast("Plan", read)
    observed = mx.plain(observed)
    if not isinstance(observed, dict) or not set(observed) <= set(KEYS):
        raise InvalidOption("observed", mx.shown(observed), f"a dictionary with any of {', '.join(KEYS)} is wanted")
    parsed = mx.parse(matrix)
    _change_links(parsed, observed)
    for key, (_default, kept) in OPTIONS.items():
        if kept and options.get(key) is None:
            options[key] = known.get(key)
    sources = [h for h in known["sources"] if h in parsed.index] or parsed.hosts[:1]
    request = check(parsed, sources, **options)
    state = observe(request, known, observed)
    request = request._replace(sources=state.holders, targets=state.wanted)
    if request.mode == "cut_through":
        # Whoever receives has only part of it, so that everybody's part counts and no transfer is tied to a sender.
        ready = dict.fromkeys(state.holders, state.at)
        if planner.hierarchical(request, ready, state.wanted):
            solved, unreachable = planner.by_classes(request, ready, state.wanted, state.left, [])
        else:
            view, unreachable = problem(request, ready, state.wanted, state.left)
            solved = planner.cut_through(request, view, state.at, _repaired(known, view))
        return _result(request, known, state, solved, unreachable)
    solved, unreachable = planner.with_best_streams(request, lambda given: _solve(given, state, state.running))
    untouched = [move for move in state.running if not move.touched]
    if len(untouched) < len(state.running):
        other = planner.with_best_streams(request, lambda given: _solve(given, state, untouched))
        if other[0].body["predicted_s"] < solved.body["predicted_s"] - EPSILON:
            solved, unreachable = other
    return _result(request, known, state, solved, unreachable)


def _result(request: Request, plan: Plan, state: State, solved: planner.Solved, unreachable: list[str]) -> Plan:
    result = {
        **shared_pools.told(planner.described(request, solved), state.shares),
        "base": plan.get("base"),
        "at_s": state.at,
        "sources": state.holders,
        "targets": [*state.wanted, *state.shares],
        "unreachable": [*shared_pools.also(unreachable, state.shares), *(h for h in plan["targets"] if h in state.lost)],
    }
    made = t.cast("Plan", result)
    if request.copies is not None:
        made["local"] = planner.local(request, made)
    return made
