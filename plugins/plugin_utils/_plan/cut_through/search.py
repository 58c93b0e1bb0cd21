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
from ..network.limits import SiteLoads
from ..network.matrix import INF
from ..network.shortest_paths import EPSILON, Rows
from ..relay.backup_parents import depths
from ..staged import search
from . import annealing, two_level_trees
from .grow_by_class import spread
from .reduce_depth import flatten
from .shorten_links import nearer
from .simulator import simulate

# Chunks that a simulation for comparing candidates takes at most, and events that it and the final one may.
COARSE = 8192
COARSE_EVENTS, EVENTS = (1_000_000, 5_000_000) if jit.COMPILED else (250_000, 1_000_000)


# More hosts than these get fewer, longer searches: see ``effort``, ``legs`` and ``choose``.
MANY_HOSTS = 300
# Where annealing starts: hot moves find other trees, cold ones repair what was grown.
HOT, COLD = 0.3, 0.003
# The load that is good enough, over the bound.
NEAR_LOAD = 1.002
# The load over the bound with which trees of classes are good enough, and the chunks from which on it says enough.
ENOUGH_LOAD, FULL = 1.09, 1024
# How often a tree is gone through to make it shallower.
FLATTENING = 20
# How often a tree is gone through for shorter links.
SHORTENING = 5
# What a link of depth costs beside the load, for choosing what to simulate, and each tree, for the hosts that keep them.
LEVEL, TREE = 0.001, 2e-5


class Net(t.NamedTuple):
    """The network as the kernels want it; the holders come first.

    Seconds from u to v are ``D[off[u] + col[v]]``, so that hosts may share rows. ``nic``: ports have limits of their own
    (``occ``, ``rcv``: port seconds per link); else a port is shared by time, and both are ``D``. ``classes``: hosts
    that look alike share rows (0: each has its own).
    """

    n: int
    roots: int
    D: t.Any
    occ: t.Any
    rcv: t.Any
    off: t.Any
    col: t.Any
    nic: int
    sites: int
    of: t.Any
    sc: t.Any
    near: t.Any
    width: int
    classes: int


class Risk(t.NamedTuple):
    """How probable it is that a relay dies during the run, and the seconds that this costs those behind it."""

    relay: float = 0.0001
    recovery_s: float = 5.0


class Forest(t.NamedTuple):
    """Trees as parents by host, with weights that add up to 1; ``load``: the greatest load, in seconds."""

    trees: list[list[int]]
    weights: list[float]
    load: float


class Result(t.NamedTuple):
    """The chosen trees, their simulated finish and each host's first and last chunk, and a lower bound.

    ``relays``: how many other targets a host depends on, on average; ``deepest``: links to the last host.
    """

    forest: Forest
    finish: float
    begun: list[float]
    done: list[float]
    bound: float
    relays: float
    deepest: int


def _sites(loads: SiteLoads) -> tuple[int, t.Any, t.Any]:
    return loads.number, jit.ints(loads.of), jit.floats([*loads.out, *loads.inn, *loads.between])


def network(rows: Rows, roots: int, up: Sequence[float] | None, down: Sequence[float] | None, sites: SiteLoads) -> Net:
    """``up``, ``down``: seconds of the whole base at each port's limit (0: none); both None: time-shared ports."""
    n = len(rows)
    near, width = search.nearest(rows, roots)
    D = jit.flat(rows)
    occ = rcv = D
    nic = 0
    if up is not None and down is not None:
        occ = jit.flat([[u] * n for u in up])
        rcv = jit.flat([list(down) for _unused in rows])
        nic = 1
    off, col = jit.ints(v * n for v in range(n)), jit.ints(range(n))
    return Net(n, roots, D, occ, rcv, off, col, nic, *_sites(sites), jit.ints(near), width, 0)


def class_network(
    table: Rows, class_of: Sequence[int], roots: int, near: Sequence[int], width: int, sites: SiteLoads
) -> Net:
    """Hosts of one class share a row of ``table``; ports are shared by time."""
    n, count = len(class_of), len(table)
    D = jit.flat(table)
    off, col = jit.ints(c * count for c in class_of), jit.ints(class_of)
    return Net(n, roots, D, D, D, off, col, 0, *_sites(sites), jit.ints(near), width, count)


def depth_limits(n: int) -> tuple[int, int]:
    """Deep trees lose time to filling the pipeline and more hosts to one that dies; flat ones queue at their senders."""
    levels = max(2, (n - 1).bit_length())
    return 2 * levels, 3 * levels


class Planner:
    """Room to work in, and what was found so far."""

    def __init__(self, net: Net, bound: float) -> None:
        """:param bound: a lower bound of the finish."""
        self.net = net
        n = net.n
        self.out, self.inn = jit.fill_floats(n), jit.fill_floats(n)
        self.lnk = jit.fill_floats(n * n if net.nic else 1)
        self.sl = jit.fill_floats(len(net.sc))
        self.nearest: t.Any = None
        self.bound = bound

    def grown(self, count: int, most: int) -> Forest | None:
        """``count`` trees grown one after another; None if the depth does not reach everybody."""
        net, n = self.net, self.net.n
        par = jit.fill_ints(count * n, -1)
        for v in range(n):
            self.out[v] = self.inn[v] = 0.0
        for loads in (self.lnk, self.sl):
            for e in range(len(loads)):
                loads[e] = 0.0
        grow = self._spread if net.classes else self._grow
        for k in range(count):
            if grow(k, 1.0 / count, par, most) < n:
                return None
        return self.forest(par, [1.0 / count] * count)

    def nests(self, counts: Sequence[int] = two_level_trees.STRIPES) -> list[Forest]:
        """So many trees of classes and of hosts in them, those with the least load first; none where that does not do."""
        net = self.net
        classes = two_level_trees.classes_of(net) if net.classes else None
        if classes is None:
            return []
        found = []
        for count in counts:
            for most in (two_level_trees.levels_of(classes), classes.number):
                par = two_level_trees.grown(net, classes, count, most, self.bound)
                if par is not None:
                    found.append(self.forest(par, [1.0 / count] * count))
                    break
        return sorted(found, key=lambda f: f.load)

    def _grow(self, k: int, weight: float, par: t.Any, most: int) -> int:
        net, n = self.net, self.net.n
        joined = annealing.grow(
            n, net.roots, k, weight, net.D, net.occ, net.rcv, net.off, net.col, net.nic, self.out, self.inn, self.lnk,
            net.sites, net.of, net.sc, self.sl, par, jit.fill_ints(n), most, 1e-4 * self.bound, jit.fill_floats(n),
            jit.fill_ints(n), jit.fill_floats(3 * n), self._nearest(), jit.fill_ints(n),
        )  # fmt: skip
        return int(joined)

    def _nearest(self) -> t.Any:
        """For each host all hosts, the shortest link from it first."""
        if self.nearest is None:
            n, D = self.net.n, self.net.D
            rows = ([float(x) for x in D[u * n : (u + 1) * n]] for u in range(n))
            self.nearest = jit.ints(v for row in rows for v in sorted(range(n), key=row.__getitem__))
        return self.nearest

    def _spread(self, k: int, weight: float, par: t.Any, most: int) -> int:
        net, n = self.net, self.net.n
        sent = [float(x) for x in self.out]
        # Who has sent least is joined first; hosts that are alike take turns.
        order = sorted(range(net.roots, n), key=lambda v: (-sent[v], (v * 7919 + k * 104729) % 1000003))
        joined = spread(
            n, net.roots, k, weight, net.classes, net.D, net.col, jit.ints(order), self.out, self.inn, net.sites,
            net.of, net.sc, self.sl, par, jit.fill_ints(n), most, 0.1 * weight * self.bound, jit.fill_ints(net.classes),
            jit.fill_ints(n),
        )  # fmt: skip
        return int(joined)

    def forest(self, par: t.Any, weights: Sequence[float]) -> Forest:
        """A Forest from flat parents, with its load."""
        net, n, count = self.net, self.net.n, len(weights)
        load = annealing.loads(
            n, count, jit.floats(weights), net.D, net.occ, net.rcv, net.off, net.col, net.nic, net.sites, net.of, net.sc,
            self.sl, par, self.out, self.inn, self.lnk,
        )  # fmt: skip
        trees = [[int(p) for p in par[k * n : (k + 1) * n]] for k in range(count)]
        return Forest(trees, list(weights), float(load))

    def annealed(self, forest: Forest, most: int, moves: int, seed: int, hot: float = COLD) -> Forest:
        """The forest with hosts moved between senders."""
        net, n, count = self.net, self.net.n, len(forest.trees)
        par = jit.ints(p for tree in forest.trees for p in tree)
        best = jit.fill_ints(count * n)
        annealing.anneal(
            n, net.roots, count, jit.floats(forest.weights), net.D, net.occ, net.rcv, net.off, net.col, net.nic, net.sites,
            net.of, net.sc, self.sl, net.near, net.width, par, self.out, self.inn, self.lnk, most, moves, hot,
            0.1 * min(hot, 0.01), seed, best, jit.fill_ints(count * n),
            jit.fill_ints(count * n if n > MANY_HOSTS else 0),
        )  # fmt: skip
        found = self.forest(best, forest.weights)
        return found if found.load <= forest.load * (1 + 1e-9) else forest

    def flattened(self, forest: Forest) -> Forest:
        """The forest with shallower trees, of hardly more load."""
        return self._improved(forest, flatten, jit.fill_ints(self.net.n), jit.fill_ints(self.net.n), FLATTENING)

    def nearer(self, forest: Forest) -> Forest:
        """The forest with shorter links, of hardly more load."""
        return self._improved(forest, nearer, jit.fill_ints(self.net.n), SHORTENING)

    def _improved(self, forest: Forest, by: t.Callable[..., int], *room_and_rounds: t.Any) -> Forest:
        """What a kernel that changes trees and keeps to a load makes of the forest."""
        net, count = self.net, len(forest.trees)
        par = jit.ints(p for tree in forest.trees for p in tree)
        self.forest(par, forest.weights)  # brings its loads into our room
        by(
            net.n, count, jit.floats(forest.weights), net.D, net.occ, net.rcv, net.off, net.col, net.nic, net.of, par,
            self.out, self.inn, self.lnk, forest.load * (1 + 1e-9), *room_and_rounds,
        )  # fmt: skip
        return self.forest(par, forest.weights)

    def simulated(self, forest: Forest, chunks: int) -> tuple[float, list[float], list[float]]:
        """Finish, first and last chunk by host."""
        net, n = self.net, self.net.n
        portion = portions(forest.weights, chunks)
        used = [k for k, p in enumerate(portion) if p]
        edges: list[list[tuple[int, int]]] = [[] for _unused in range(n)]
        for j, k in enumerate(used):
            for v, p in enumerate(forest.trees[k]):
                if p >= 0:
                    edges[p].append((j, v))
        off, col = [int(x) for x in net.off], [int(x) for x in net.col]
        start, tree, child, link, at = [0], [], [], [], []
        numbers: dict[tuple[int, int], int] = {}
        for u in range(n):
            for j, v in edges[u]:
                tree.append(j)
                child.append(v)
                link.append(numbers.setdefault((u, v), len(numbers)))
                at.append(off[u] + col[v])
            start.append(len(tree))
        count = len(used)
        begun, done = jit.fill_floats(n), jit.fill_floats(n)
        by_edge = [jit.floats(table[e] for e in at) for table in (net.D, net.occ, net.rcv)]
        finish = simulate(
            n, net.roots, count, chunks, jit.ints(portion[k] for k in used), jit.ints(start), jit.ints(tree),
            jit.ints(child), jit.ints(link), len(numbers), by_edge[0], by_edge[1], by_edge[2],
            net.nic, net.sites, net.of, net.sc, jit.fill_floats(len(net.sc)), jit.fill_ints(len(tree)),
            jit.fill_ints(n * count), jit.fill_ints(n * (count + 1)), jit.fill_ints(len(tree)), jit.fill_ints(n),
            jit.fill_floats(len(numbers)), jit.fill_floats(n), jit.fill_floats(n),
            jit.fill_ints(n), jit.fill_floats(n), begun, done,
        )  # fmt: skip
        return float(finish), [float(x) for x in begun], [float(x) for x in done]

    def relays(self, forest: Forest) -> tuple[float, int]:
        """How many targets stand between the holders and a host, on average and over all its stripes, and the depth."""
        net, n = self.net, self.net.n
        roots = range(net.roots)
        total = [0] * n
        deepest = 0
        for tree in forest.trees:
            deep = depths(tree, roots)
            deepest = max(deepest, *deep)
            total = [a + max(d - 1, 0) for a, d in zip(total, deep, strict=True)]
        return math.fsum(total) / max(n - net.roots, 1), deepest


def simple_bound(net: Net) -> float:
    """What must pass through ports and sites, in seconds.

    Every host must take the base in, and the holders must send it out once, over their best links; and once into and
    out of each site with limits. Where ports have limits of their own, all senders together must send it once for
    each target (Kumar, Ross 2006).
    """
    n, roots = net.n, net.roots
    bound = site_bound(net)
    for v in range(roots, n):
        bound = max(bound, min(net.rcv[u * n + v] for u in range(n) if net.D[u * n + v] < INF))
    if not net.nic:
        least = [min((net.D[r * n + v] for v in range(roots, n)), default=INF) for r in range(roots)]
        return _at_pace(1.0, [1.0 / x if x > 0 else INF for x in least], bound)
    # No link brings a host more than it takes in by the bound so far.
    rates = [[1.0 / x if (x := max(net.D[u * n + v], bound)) > 0 else INF for v in range(roots, n)] for u in range(n)]
    for v in range(roots, n):
        bound = _at_pace(1.0, [rates[u][v - roots] for u in range(n) if u != v], bound)
    out = []
    for u in range(n):
        # With links that are slower than the port several run at once.
        free = sum(x for k, x in enumerate(rates[u]) if k + roots != u)
        out.append(min(free, 1.0 / net.occ[u * n]) if net.occ[u * n] > 0 else free)
    return _at_pace(n - roots, out, _at_pace(1.0, out[:roots], bound))


def _at_pace(bases: float, rates: Sequence[float], bound: float) -> float:
    """The bound, or the seconds in which so many bases pass at these rates together, if that is more."""
    pace = sum(rates)
    return float(max(bound, bases / pace if pace > 0 else 0.0))


def site_bound(net: Net) -> float:
    """The base must come once into every site without a holder, and once out of those with all holders."""
    return max(two_level_trees.sure_crossings(net), default=0.0)


def portions(weights: Sequence[float], chunks: int) -> list[int]:
    """Chunks of each tree, by largest remainder."""
    whole = sum(weights)
    exact = [w / whole * chunks for w in weights]
    out = [int(x) for x in exact]
    rest = sorted(range(len(out)), key=lambda k: (out[k] - exact[k], k))
    for k in rest[: chunks - sum(out)]:
        out[k] += 1
    return out


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
    from . import column_generation  # noqa: PLC0415

    return column_generation


# Shallow trees are tried where dead relays are expected to cost more than this share of the time.
RISKY = 0.002


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
