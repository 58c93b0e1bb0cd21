# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Cut-through plans: which trees, with which weights, and how soon that is done."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Sequence

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import engine, search
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.matrix import INF
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.paths import EPSILON, Rows

# Chunks that a simulation for comparing candidates takes at most, and events that the final one may.
COARSE = 8192
EVENTS = 12_000_000 if engine.COMPILED else 1_000_000


class Net(t.NamedTuple):
    """The network as the kernels want it: flat n*n arrays; the holders come first.

    ``nic``: ports have limits of their own (``occ``, ``rcv``: port seconds per link); else a port is shared by time,
    and both are ``D``.
    """

    n: int
    roots: int
    D: t.Any
    occ: t.Any
    rcv: t.Any
    nic: int
    near: t.Any
    width: int


class Forest(t.NamedTuple):
    """Trees as parents by host, with weights that add up to 1; ``load``: the greatest load, in seconds."""

    trees: list[list[int]]
    weights: list[float]
    load: float


class Result(t.NamedTuple):
    """The chosen trees, their simulated finish and each host's first and last chunk, and a lower bound."""

    forest: Forest
    finish: float
    begun: list[float]
    done: list[float]
    bound: float


def network(rows: Rows, roots: int, up: Sequence[float] | None, down: Sequence[float] | None) -> Net:
    """``up``, ``down``: seconds of the whole base at each port's limit (0: none); both None: time-shared ports."""
    n = len(rows)
    near, width = search.nearest(rows, roots)
    D = engine.flat(rows)
    if up is None or down is None:
        return Net(n, roots, D, D, D, 0, engine.ints(near), width)
    occ = engine.flat([[u] * n for u in up])
    rcv = engine.flat([list(down) for _unused in rows])
    return Net(n, roots, D, occ, rcv, 1, engine.ints(near), width)


def depth_limit(n: int) -> int:
    """Deep trees lose time to filling the pipeline and more hosts to one that dies."""
    return 6 + 3 * max(1, (n - 1).bit_length())


class Planner:
    """Room to work in, and what was found so far."""

    def __init__(self, net: Net) -> None:
        self.net = net
        n = net.n
        self.out, self.inn = engine.fill_floats(n), engine.fill_floats(n)
        self.lnk = engine.fill_floats(n * n if net.nic else 1)
        self.bound: float = self.simple_bound()

    def simple_bound(self) -> float:
        """Every host must take the base in, and the holders must send it out once, over their best links."""
        net, n = self.net, self.net.n
        bound = 0.0
        for v in range(net.roots, n):
            bound = max(bound, min(net.rcv[u * n + v] for u in range(n) if net.D[u * n + v] < INF))
        pace = 0.0
        for r in range(net.roots):
            # With links that are slower than the port several run at once.
            if net.nic:
                free = sum(1.0 / net.D[r * n + v] for v in range(net.roots, n) if net.D[r * n + v] > 0)
                port = net.occ[r * n]
                pace += min(free, 1.0 / port) if port > 0 else free
            else:
                least = min((net.D[r * n + v] for v in range(net.roots, n)), default=INF)
                pace += 1.0 / least if least > 0 else INF
        return float(max(bound, 1.0 / pace if pace > 0 else 0.0))

    def grown(self, count: int, most: int) -> Forest | None:
        """``count`` trees grown one after another; None if the depth does not reach everybody."""
        from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import stripes  # noqa: PLC0415

        net, n = self.net, self.net.n
        par = engine.fill_ints(count * n, -1)
        for v in range(n):
            self.out[v] = self.inn[v] = 0.0
        for e in range(len(self.lnk)):
            self.lnk[e] = 0.0
        work = engine.fill_ints(n), engine.fill_floats(n), engine.fill_ints(n)
        penalty = 1e-4 * self.bound
        for k in range(count):
            joined = stripes.grow(
                n, net.roots, k, 1.0 / count, net.D, net.occ, net.rcv, net.nic, self.out, self.inn, self.lnk, par,
                work[0], most, penalty, work[1], work[2],
            )  # fmt: skip
            if joined < n:
                return None
        return self.forest(par, [1.0 / count] * count)

    def forest(self, par: t.Any, weights: Sequence[float]) -> Forest:
        """A Forest from flat parents, with its load."""
        from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import stripes  # noqa: PLC0415

        net, n, count = self.net, self.net.n, len(weights)
        load = stripes.loads(
            n, count, engine.floats(weights), net.D, net.occ, net.rcv, net.nic, par, self.out, self.inn, self.lnk
        )
        trees = [[int(p) for p in par[k * n : (k + 1) * n]] for k in range(count)]
        return Forest(trees, list(weights), float(load))

    def annealed(self, forest: Forest, most: int, moves: int, seed: int) -> Forest:
        """The forest with hosts moved between senders."""
        from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import stripes  # noqa: PLC0415

        net, n, count = self.net, self.net.n, len(forest.trees)
        par = engine.ints(p for tree in forest.trees for p in tree)
        best = engine.fill_ints(count * n)
        stripes.anneal(
            n, net.roots, count, engine.floats(forest.weights), net.D, net.occ, net.rcv, net.nic, net.near, net.width,
            par, self.out, self.inn, self.lnk, most, moves, 0.3, 1e-3, seed, best,
        )  # fmt: skip
        found = self.forest(best, forest.weights)
        return found if found.load < forest.load else forest

    def simulated(self, forest: Forest, chunks: int) -> tuple[float, list[float], list[float]]:
        """Finish, first and last chunk by host."""
        from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.simulate import simulate  # noqa: PLC0415

        net, n = self.net, self.net.n
        portion = portions(forest.weights, chunks)
        used = [k for k, p in enumerate(portion) if p]
        edges: list[list[tuple[int, int]]] = [[] for _unused in range(n)]
        for j, k in enumerate(used):
            for v, p in enumerate(forest.trees[k]):
                if p >= 0:
                    edges[p].append((j, v))
        start, tree, child, link = [0], [], [], []
        numbers: dict[tuple[int, int], int] = {}
        for u in range(n):
            for j, v in edges[u]:
                tree.append(j)
                child.append(v)
                link.append(numbers.setdefault((u, v), len(numbers)))
            start.append(len(tree))
        count = len(used)
        begun, done = engine.fill_floats(n), engine.fill_floats(n)
        finish = simulate(
            n, net.roots, count, chunks, engine.ints(portion[k] for k in used), engine.ints(start), engine.ints(tree),
            engine.ints(child), engine.ints(link), net.D, net.occ, net.rcv, engine.fill_ints(len(tree)),
            engine.fill_ints(n * count), engine.fill_floats(len(numbers)), engine.fill_floats(n), engine.fill_floats(n),
            engine.fill_ints(n), engine.fill_floats(n), begun, done,
        )  # fmt: skip
        return float(finish), [float(x) for x in begun], [float(x) for x in done]


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
    if not engine.COMPILED:
        return ([1, 2, 4, 8, 16, 32], 60_000) if n <= 64 else ([1, 4, 16], 60_000)
    if n <= 90:
        return [1, 2, 4, 8, 16, 32, 64], 3_000_000
    if n <= 300:
        return [1, 4, 16, 32, 64, 128], 6_000_000
    return [1, 4], 2_000_000


def best(net: Net, chunks: int) -> Result:
    """The plan with the least simulated finish among trees, chains and stripes."""
    planner = Planner(net)
    n = net.n
    counts, moves = effort(n)
    candidates: list[Forest] = []
    most = depth_limit(n)
    chunks_few = coarse_chunks(n, chunks)
    for count in counts:
        found = planner.grown(count, most) or planner.grown(count, n)
        if found is None:
            continue
        # Short and long: which of them queues less is seen only in the simulation.
        if n <= 150:
            candidates.append(planner.annealed(found, most, moves // 8, count + 1))
        better = planner.annealed(found, most, moves, count)
        candidates.append(better)
        if better.load <= planner.bound * 1.002 and planner.simulated(better, chunks_few)[0] <= planner.bound * 1.004:
            break
    chain = planner.grown(1, n)
    if chain is not None:
        candidates.append(chain)
    if not net.nic and net.roots and n - net.roots > 1 and min(f.load for f in candidates) > planner.bound * 1.002:
        from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import columns  # noqa: PLC0415

        for found in columns.generate(planner, candidates):
            candidates += [found, planner.annealed(found, most, moves, len(found.trees))]
    return choose(planner, candidates, chunks)


def follow(net: Net, trees: Sequence[Sequence[int]], weights: Sequence[float], chunks: int) -> Result:
    """The given trees, and what they take."""
    planner = Planner(net)
    forest = planner.forest(engine.ints(p for tree in trees for p in tree), weights)
    return choose(planner, [forest], chunks)


def coarse_chunks(n: int, chunks: int) -> int:
    """Chunks in a simulation that only compares."""
    return max(1, min(chunks, COARSE, EVENTS // (4 * max(n, 1))))


def choose(planner: Planner, candidates: list[Forest], chunks: int) -> Result:
    """Simulates the most promising candidates, coarsely where it would take long."""
    n = planner.net.n
    coarse = coarse_chunks(n, chunks)
    fine = max(1, min(chunks, EVENTS // max(n, 1)))
    ranked = sorted(candidates, key=lambda f: (f.load, len(f.trees)))
    chosen, least = ranked[0], INF
    for forest in ranked[: 20 if n <= 40 else 10 if n <= 150 else 6]:
        if forest.load > least:
            break
        finish = planner.simulated(forest, coarse)[0]
        if finish < least - EPSILON:
            chosen, least = forest, finish
    order = sorted(range(len(chosen.trees)), key=lambda k: -chosen.weights[k])
    chosen = Forest([chosen.trees[k] for k in order], [chosen.weights[k] for k in order], chosen.load)
    finish, begun, done = planner.simulated(chosen, fine)
    if not math.isfinite(finish):
        finish = chosen.load
    return Result(chosen, finish, begun, done, min(planner.bound, chosen.load))
