# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""From relay plans to the part of each host, and to the stage in which it is waited for."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from ..types import Part, Plan, Relay


def relay_parts(relays: Sequence[Relay], plans: Sequence[Plan]) -> dict[str, list[Part]]:
    """Each node's part: ``{host: [{"metadata", "pool", "parents", "weights", "expected_mbps", "children"}]}``.

    ``parents`` holds for each tree of the plan whom to fetch its chunks from, best first, and ``weights`` the trees'
    shares; none at all: the host has the base. ``expected_mbps`` is the rate that measured links promise, or None.
    ``children`` are in the order in which a staged plan serves them: one after another where they would share the
    sender's port. A host that the plan could not reach still tries every source: a poor measurement must not cost it
    its machines.
    """
    parts: dict[str, list[Part]] = {}
    for relay, plan in zip(relays, plans, strict=True):
        uplinks = [{edge["to"]: edge["from"] for edge in tree["edges"]} for tree in plan.get("trees") or []]
        children, expected = _children(plan), _expected_mbps(plan)
        weights = [tree["weight"] for tree in plan.get("trees") or []]
        sources = {host: relay["sources"][host] for host in plan["sources"] if host in relay["sources"]}
        receivers = {**relay["targets"], **helpers_of(relay, plan)}
        for host, pool in {**sources, **receivers}.items():
            parents: list[list[str]] = []
            if host in receivers:
                planned = (plan.get("parents") or {}).get(host) or [[]] * max(1, len(weights))
                parents = [_choices(choices, above, sources) for choices, above in zip_longest(planned, uplinks[: len(planned)])]
            part: Part = {
                "metadata": relay["metadata"],
                "pool": pool,
                "parents": parents,
                "weights": weights if parents else [],
                "expected_mbps": expected.get(host) if parents else None,
                "children": children.get(host, []),
            }
            parts.setdefault(host, []).append(part)
    return parts


def helpers_of(relay: Relay, plan: Plan) -> dict[str, str]:
    """The hosts that pass the base on without needing it, and their pools."""
    return {host: pool for host, pool in (relay.get("helpers") or {}).items() if host in plan["targets"]}


def members(relay: Relay, plan: Plan) -> list[str]:
    """Every host that takes part in a relay, or may."""
    return list(dict.fromkeys([*relay["sources"], *relay["targets"], *helpers_of(relay, plan)]))


def _choices(choices: Sequence[str], above: Mapping[str, str] | None, sources: t.Iterable[str]) -> list[str]:
    """Whom a host asks in one tree: its parent, the one above that, the plan's other choices, every source.

    When the parent dies, the one above it has just what is lacking, and a place that has become free.
    """
    beyond = [above[choices[0]]] if choices and above and choices[0] in above else []
    return list(dict.fromkeys([*choices[:1], *beyond, *choices[1:], *sources]))


def _expected_mbps(plan: Plan) -> dict[str, float]:
    """At which rate each target gets the base according to a plan that was made from measured links.

    A stage holds a host's transfer from its first chunk to its last.
    """
    size = plan.get("size_bytes")
    if not size or plan.get("assumed"):
        return {}
    moves = [move for stage in plan.get("stages") or [] for move in stage]
    return {move["to"]: size * 8 / 1e6 / (move["end_s"] - move["start_s"]) for move in moves if move["end_s"] > move["start_s"]}


def _children(plan: Plan) -> dict[str, list[str]]:
    """Whom each sender serves, in order; empty where all may be served at once."""
    if plan.get("mode") != "staged" or plan.get("contention") != "port":
        return {}
    transfers = sorted((move for stage in plan.get("stages") or [] for move in stage), key=lambda move: move["start_s"])
    children: dict[str, list[str]] = {}
    for move in transfers:
        children.setdefault(move["from"], []).append(move["to"])
    return children


def relay_stages(plans: Sequence[Plan], deepest: int = 16) -> dict[str, int]:
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
