# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Cut-through plans: which trees, with which weights, and how soon that is done.

Candidates (trees grown by least load, annealed stripes, weighted trees by column generation) are compared by their
simulated finish and by how many relays stand between the holders and a host.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Sequence

from .. import jit
from ..network.matrix import INF
from ..network.shortest_paths import EPSILON
from .model import Forest, Net, Result, Risk, depth_limits
from .workspace import COLD, HOT, MANY_HOSTS, Planner

# Chunks that a simulation for comparing candidates takes at most, and events that it and the final one may.
COARSE = 8192
COARSE_EVENTS, EVENTS = (1_000_000, 5_000_000) if jit.COMPILED else (250_000, 1_000_000)
# The load that is good enough, over the bound.
NEAR_LOAD = 1.002
# The load over the bound with which trees of classes are good enough, and the chunks from which on it says enough.
ENOUGH_LOAD, FULL = 1.09, 1024
# What a link of depth costs beside the load, for choosing what to simulate, and each tree, for the hosts that keep them.
LEVEL, TREE = 0.001, 2e-5
# Shallow trees are tried where dead relays are expected to cost more than this share of the time.
RISKY = 0.002


def effort(n: int) -> tuple[list[int], int]:
    """Numbers of stripes to try, and moves for each."""
    if not jit.COMPILED:
        return ([1, 2, 4, 8, 16, 32], min(30_000, 3_000 * n)) if n <= 64 else ([1, 4, 16], 60_000)
    if n <= 40:
        return [1, 2, 4, 8, 16, 32, 64], 1_500_000 if n > 8 else 60_000 * n
    if n <= 90:
        return [1, 4, 8, 16, 64], 1_000_000
    if n <= MANY_HOSTS:
        return [1, 4, 16, 64, 128], 5_000_000
    return [16, 32], 20_000_000


def best(net: Net, bound: float, chunks: int, risk: Risk, longer: float = 1.0) -> Result:
    """The plan with the least finish among trees, chains and stripes.

    :param bound: a lower bound; ``longer``: how many times more moves than usual.
    """
    planner = Planner(net, bound)
    flat, _deep = depth_limits(net.n)
    risky = risk.relay * risk.recovery_s * flat > RISKY * bound
    nests = planner.nests()
    # Simulations of few chunks make many stripes look worse than they are.
    events = 2 * EVENTS if nests and longer > 1.0 else EVENTS
    if nests and nests[0].load <= ENOUGH_LOAD * bound and chunks >= FULL and not (risky or longer > 1.0):
        return choose(planner, nests[:1], chunks, risk, 2 * EVENTS)
    if nests and longer > 1.0:
        nests += legs(planner, nests[0], flat, effort(net.n)[1], 1, longer)
    return choose(planner, nests + searched(planner, chunks, risky, longer), chunks, risk, events)


def searched(planner: Planner, chunks: int, risky: bool, longer: float) -> list[Forest]:
    """Grown and annealed stripes, a chain, weighted trees, and flat trees where deep ones are ``risky``."""
    net, n = planner.net, planner.net.n
    counts, moves = effort(n)
    candidates: list[Forest] = []
    flat, deep = depth_limits(n)
    # How a forest queues is seen only in the simulation: some of each kind.
    kinds = [(flat, COLD), (deep, COLD), (deep, HOT)][: 3 if n <= 90 else 2]
    chunks_few = coarse_chunks(n, chunks)
    weighted = not (net.classes or net.sites > 1) and n - net.roots > 1 and n <= MANY_HOSTS
    for count in counts:
        grown = planner.grown(count, flat) or planner.grown(count, n)
        if grown is not None and n > MANY_HOSTS:
            candidates += legs(planner, grown, flat, moves, count, longer)
        elif grown is not None:
            candidates += [planner.annealed(grown, most, int(moves * longer), count, hot) for most, hot in kinds]
        least = min(candidates, key=lambda f: f.load, default=Forest([], [], INF))
        tight = least.load <= planner.bound * NEAR_LOAD
        if tight and (n > MANY_HOSTS or planner.simulated(least, chunks_few)[0] <= planner.bound * 1.004):
            break
        if weighted and net.nic and count >= 4 and least.load > planner.bound * NEAR_LOAD and _columns().MASTER:
            # Stripes of one size come near the best loads slowly; weighted trees reach them.
            break
    chain = planner.grown(1, n)
    if chain is not None:
        candidates.append(chain)
    if risky:
        candidates += [f for count in counts[:3] if (f := planner.grown(count, 2 + flat // 4)) is not None]
    if weighted and min(f.load for f in candidates) > planner.bound * NEAR_LOAD:
        weighted_trees, eased = _columns().generate(planner, candidates, longer)
        candidates += eased
        for trees in weighted_trees:
            count = len(trees.trees)
            more = int(moves * longer)
            candidates += [trees, planner.annealed(trees, flat, more, count)]
            if n <= 40:
                candidates.append(planner.annealed(trees, deep, more, count, HOT))
    return candidates


def legs(planner: Planner, start: Forest, most: int, moves: int, seed: int, longer: float) -> list[Forest]:
    """What annealing leaves after ``moves``, and after each doubling of them.

    So a longer search has all that a shorter one has to choose from: less load may queue more.
    """
    spent = min(longer, 1.0)
    found = [planner.annealed(start, most, int(moves * spent), seed)]
    while 2 * spent <= longer:
        found.append(planner.annealed(found[-1], most, int(moves * spent), seed + len(found)))
        spent *= 2
    return found


def _columns() -> t.Any:
    """The column generation, imported where it is needed: see ``jit``."""
    from . import column_generation  # noqa: PLC0415 - see jit: imported where it is needed

    return column_generation


def follow(net: Net, bound: float, trees: Sequence[Sequence[int]], weights: Sequence[float], chunks: int) -> Result:
    """The given trees, and what they take."""
    planner = Planner(net, bound)
    forest = planner.forest(jit.ints(p for tree in trees for p in tree), weights)
    return choose(planner, [forest], chunks, Risk())


def coarse_chunks(n: int, chunks: int) -> int:
    """Chunks in a simulation that only compares."""
    return max(1, min(chunks, COARSE, COARSE_EVENTS // max(n, 1)))


def choose(planner: Planner, candidates: list[Forest], chunks: int, risk: Risk, events: int = EVENTS) -> Result:
    """Simulates the most promising candidates, coarsely where it would take long; the best one finely.

    ``events``: how many a fine simulation may take.
    """
    n = planner.net.n
    coarse = coarse_chunks(n, chunks)
    candidates = [heaviest_first(f) for k, f in enumerate(candidates) if f not in candidates[:k]]
    costs = []
    for forest in candidates:
        relays, deepest = planner.relays(forest)
        expected = risk.relay * risk.recovery_s * relays
        costs.append((forest.load * (1 + LEVEL * deepest) + expected, len(forest.trees), expected))
    ranked = sorted(range(len(candidates)), key=lambda k: costs[k][:2])
    chosen, least = candidates[ranked[0]], INF
    known: tuple[float, list[float], list[float]] | None = None
    tried = ranked if n > MANY_HOSTS else ranked[: 20 if n <= 40 else 10 if n <= 90 else 8 if n <= 150 else 5]
    for k in tried if len(candidates) > 1 else []:
        if candidates[k].load + costs[k][2] > least:
            continue
        kinds = [candidates[k]]
        if n <= MANY_HOSTS:
            kinds = [planner.nearer(candidates[k])]
            # Where links differ, shallower trees may queue more.
            kinds += [flat for flat in [planner.flattened(kinds[0])] if flat.trees != kinds[0].trees]
        for forest in kinds:
            expected = risk.relay * risk.recovery_s * planner.relays(forest)[0]
            # A coarse simulation of very many hosts says more about the chunks than about the trees.
            fine = finely(planner, forest, chunks, events) if n > MANY_HOSTS else None
            rough = (fine or planner.simulated(forest, coarse))[0]
            finish = rough * (1 + TREE * len(forest.trees)) + expected
            if finish < least - EPSILON:
                chosen, least, known = forest, finish, fine
    finish, begun, done = known or finely(planner, chosen, chunks, events)
    return Result(chosen, finish, begun, done, min(planner.bound, chosen.load), *planner.relays(chosen))


def heaviest_first(forest: Forest) -> Forest:
    """The forest in the order in which a plan lists its trees, which decides between chunks that are as urgent."""
    order = sorted(range(len(forest.trees)), key=lambda k: -forest.weights[k])
    return Forest([forest.trees[k] for k in order], [forest.weights[k] for k in order], forest.load)


def finely(planner: Planner, forest: Forest, chunks: int, events: int) -> tuple[float, list[float], list[float]]:
    """Finish, first and last chunk by host; with more chunks than can be simulated in good time it follows from two
    coarser simulations, as what filling and queueing cost is in proportion to a chunk."""
    fine = max(1, min(chunks, events // (2 * max(planner.net.n, 1))))
    finish, begun, done = planner.simulated(forest, fine)
    if not math.isfinite(finish):
        return forest.load, begun, done
    if fine < chunks and fine > 1:
        half = fine // 2
        rough = planner.simulated(forest, half)[0]
        slope = max(0.0, rough - finish) / (1.0 / half - 1.0 / fine)
        exact = max(forest.load, finish - slope * (1.0 / fine - 1.0 / chunks))
        done = [x * exact / finish for x in done]
        begun = [x * exact / finish for x in begun]
        finish = exact
    return finish, begun, done
