# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Room to work in for one network, and what the inner loops make of trees in it."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Sequence

from .. import jit
from ..heap import heap_for
from ..jit import Ints
from ..trees import depths
from . import annealing, grow, grow_by_class, reduce_depth, simulator, two_level_trees
from .load import measure
from .model import Forest, Growing, Loads, Net, Stripes, portions
from .shorten_links import shorten

# More hosts than these get fewer, longer searches: see ``search``.
MANY_HOSTS = 300
# Where annealing starts: hot moves find other trees, cold ones repair what was grown.
HOT, COLD = 0.3, 0.003
# How often a tree is gone through to make it shallower.
FLATTENING = 20
# How often a tree is gone through for shorter links.
SHORTENING = 5


class Planner:
    """Room to work in, and what was found so far."""

    def __init__(self, net: Net, bound: float) -> None:
        """:param bound: a lower bound of the finish."""
        self.net = net
        n = net.n
        ways = jit.fill_floats(len(net.sc))
        self.loads = Loads(jit.fill_floats(n), jit.fill_floats(n), jit.fill_floats(n * n if net.nic else 1), ways)
        self.nearest: Ints | None = None
        self.bound = bound

    def grown(self, count: int, most: int) -> Forest | None:
        """``count`` trees grown one after another; None if the depth does not reach everybody."""
        net, n = self.net, self.net.n
        par = jit.fill_ints(count * n, -1)
        for loads in self.loads:
            for e in range(len(loads)):
                loads[e] = 0.0
        for k in range(count):
            weight = 1.0 / count
            if net.classes:
                joined = self._spread(k, Growing(par, k * n, weight, most, 0.1 * weight * self.bound))
            else:
                joined = self._grow(Growing(par, k * n, weight, most, 1e-4 * self.bound))
            if joined < n:
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

    def _grow(self, tree: Growing) -> int:
        n, floats, ints = self.net.n, jit.fill_floats, jit.fill_ints
        room = grow.Room(ints(n), floats(n), ints(n), floats(3 * n), self._nearest(), ints(n))
        return int(grow.grow(self.net, self.loads, tree, room))

    def _nearest(self) -> Ints:
        """For each host all hosts, the shortest link from it first."""
        if self.nearest is None:
            n, D = self.net.n, self.net.D
            rows = ([float(x) for x in D[u * n : (u + 1) * n]] for u in range(n))
            self.nearest = jit.ints(v for row in rows for v in sorted(range(n), key=row.__getitem__))
        return self.nearest

    def _spread(self, k: int, tree: Growing) -> int:
        net, n = self.net, self.net.n
        sent = [float(x) for x in self.loads.out]
        # The host that has sent least is joined first; hosts that are alike take turns.
        order = sorted(range(net.roots, n), key=lambda v: (-sent[v], (v * 7919 + k * 104729) % 1000003))
        room = grow_by_class.Room(jit.fill_ints(net.classes), jit.fill_ints(n), jit.fill_ints(n), heap_for(n + 1))
        return int(grow_by_class.spread(net, self.loads, tree, room, jit.ints(order)))

    def forest(self, par: Ints, weights: Sequence[float]) -> Forest:
        """A Forest from flat parents, with its load; leaves its loads in our room."""
        n, count = self.net.n, len(weights)
        load = measure(self.net, Stripes(count, jit.floats(weights), par), self.loads)
        trees = [[int(p) for p in par[k * n : (k + 1) * n]] for k in range(count)]
        return Forest(trees, list(weights), float(load))

    def _stripes(self, forest: Forest) -> Stripes:
        return Stripes(len(forest.trees), jit.floats(forest.weights), jit.ints(p for tree in forest.trees for p in tree))

    def annealed(self, forest: Forest, most: int, moves: int, seed: int, hot: float = COLD) -> Forest:
        """The forest with hosts moved between senders."""
        edges, ints = self.net.n * len(forest.trees), jit.fill_ints
        room = annealing.Room(ints(edges), ints(edges), ints(edges if self.net.n > MANY_HOSTS else 0), ints(1))
        course = annealing.Course(most, moves, hot, 0.1 * min(hot, 0.01), seed)
        annealing.anneal(self.net, self._stripes(forest), self.loads, room, course)
        found = self.forest(room.best, forest.weights)
        return found if found.load <= forest.load * (1 + 1e-9) else forest

    def flattened(self, forest: Forest) -> Forest:
        """The forest with shallower trees, of hardly more load."""
        return self._improved(forest, reduce_depth.flatten, FLATTENING)

    def nearer(self, forest: Forest) -> Forest:
        """The forest with shorter links, of hardly more load."""
        return self._improved(forest, shorten, SHORTENING)

    def _improved(self, forest: Forest, by: t.Callable[..., int], rounds: int) -> Forest:
        """What a kernel that changes trees and keeps to a load makes of the forest."""
        stripes, n = self._stripes(forest), self.net.n
        self.forest(stripes.par, forest.weights)  # brings its loads into our room
        room = reduce_depth.Room(jit.fill_ints(n), jit.fill_ints(n))
        by(self.net, stripes, self.loads, room, forest.load * (1 + 1e-9), rounds)
        return self.forest(stripes.par, forest.weights)

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
        tables = [jit.floats(table[e] for e in at) for table in (net.D, net.occ, net.rcv)]
        numbers_of = (jit.ints(portion[k] for k in used), jit.ints(start), jit.ints(tree), jit.ints(child), jit.ints(link))
        by_sender = simulator.Edges(chunks, len(used), *numbers_of, len(numbers), *tables)
        finish, room = simulator.finish_of(net, by_sender)
        return finish, [float(x) for x in room.begun], [float(x) for x in room.done]

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
