# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Plans for large fleets whose matrix is given by classes of hosts: nothing here costs hosts squared.

A host with a limit, an exception or part of the base becomes a class of its own.
"""

from __future__ import annotations

import heapq
import math
import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import FleetError
from ..network.limits import SiteLoads, site_loads
from ..network.matrix import INF
from ..network.nearest import NEAR
from ..staged import schedule as st
from .backup_parents import BESIDE
from .request import Request, numbered, streams_of

if t.TYPE_CHECKING:
    from ..cut_through.model import Result

MOST_CLASSES = 3000
EARLY = 4


class Row:
    """Seconds from one host, by host number."""

    def __init__(self, seconds: Sequence[float], class_of: Sequence[int]) -> None:
        self.seconds, self.class_of = seconds, class_of

    def __getitem__(self, j: int) -> float:
        return self.seconds[self.class_of[j]]


class Fleet:
    """Hosts by number, holders first; ``table`` are seconds from class to class, ``members`` hosts by class.

    ``site``, ``sites`` and ``streams``: see ``request.Problem``.
    """

    def __init__(self, hosts: list[str], class_of: list[int], table: list[list[float]], ready: dict[int, float], request: Request) -> None:
        self.hosts, self.class_of, self.table, self.ready = hosts, class_of, table, ready
        matrix = request.matrix
        names = [matrix.site[matrix.index[h]] for h in hosts]
        self.site = numbered(names)
        self.sites: SiteLoads = site_loads(matrix.limits, names, request.size_bytes)
        self.streams = streams_of(request, hosts)
        self.members: list[list[int]] = [[] for _unused in table]
        for v, c in enumerate(class_of):
            self.members[c].append(v)

    def __len__(self) -> int:
        return len(self.hosts)

    def __getitem__(self, i: int) -> Row:
        return Row(self.table[self.class_of[i]], self.class_of)

    def distances(self) -> tuple[list[float], list[int]]:
        """Seconds along the shortest path, and the sender at its end (-1: a holder, or no path), by host."""
        count = len(self.table)
        seconds, via = [INF] * count, [-1] * count
        for r, at in sorted(self.ready.items()):
            for c, x in enumerate(self.table[self.class_of[r]]):
                if at + x < seconds[c]:
                    seconds[c], via[c] = at + x, r
        open_ = {c for c in range(count) if any(v not in self.ready for v in self.members[c])}
        heap = [(seconds[c], c) for c in open_ if seconds[c] < INF]
        heapq.heapify(heap)
        while heap:
            at, c = heapq.heappop(heap)
            if c not in open_ or at > seconds[c]:
                continue
            open_.discard(c)
            speaker = next(v for v in self.members[c] if v not in self.ready)
            for d in open_:
                x = at + self.table[c][d]
                if x < seconds[d]:
                    seconds[d], via[d] = x, speaker
                    heapq.heappush(heap, (x, d))
        host_seconds = [self.ready.get(v, seconds[c]) for v, c in enumerate(self.class_of)]
        return host_seconds, [-1 if v in self.ready else via[c] for v, c in enumerate(self.class_of)]

    def extremes(self) -> tuple[list[float], list[float]]:
        """By host, the least time to send to any target, and to receive from anybody."""
        targets = [sum(v not in self.ready for v in group) for group in self.members]
        out, inn = [], []
        columns = list(zip(*self.table, strict=True))
        least_out = [[x for d, x in enumerate(row) if d != c and targets[d]] for c, row in enumerate(self.table)]
        least_in = [[x for d, x in enumerate(col) if d != c and self.members[d]] for c, col in enumerate(columns)]
        best_out = [min(row, default=INF) for row in least_out]
        best_in = [min(col, default=INF) for col in least_in]
        for v, c in enumerate(self.class_of):
            own = self.table[c][c]
            others = targets[c] - (v not in self.ready)
            out.append(min(best_out[c], own) if others else best_out[c])
            inn.append(min(best_in[c], own) if len(self.members[c]) > 1 else best_in[c])
        return out, inn

    def nearest(self) -> list[int]:
        """For every host its ``NEAR`` best senders (-1: no more); different ones for hosts of one class."""
        columns = list(zip(*self.table, strict=True))
        out: list[int] = []
        ranking = [[d for seconds, d in sorted((x, d) for d, x in enumerate(col)) if seconds < INF] for col in columns]
        for v, c in enumerate(self.class_of):
            found: list[int] = []
            for d in ranking[c][:NEAR]:
                group = self.members[d]
                start = (v * 7919) % len(group) if group else 0
                room = min(NEAR // 2 if d != c else NEAR, NEAR - len(found), len(group))
                found += [u for k in range(room) if (u := group[(start + k) % len(group)]) != v]
                if len(found) >= NEAR:
                    break
            out += found[:NEAR] + [-1] * (NEAR - len(found[:NEAR]))
        return out

    def senders(self, has: Sequence[float]) -> list[list[int]]:
        """For every host others that could give it the base soonest: of each class those that have it first."""
        early = [heapq.nsmallest(EARLY, group, key=lambda u: (has[u], u)) for group in self.members]
        by_class = []
        for c in range(len(self.table)):
            soonest = ((has[u] + self.table[d][c], u) for d, group in enumerate(early) for u in group if u not in self.ready)
            by_class.append([u for _at, u in heapq.nsmallest(4 * BESIDE, soonest)])
        return [[u for u in by_class[c] if u != v and self.table[self.class_of[u]][c] < INF] for v, c in enumerate(self.class_of)]


def fleet(request: Request, ready: Mapping[str, float], wanted: Sequence[str], left: Mapping[str, float]) -> tuple[Fleet, list[str]]:
    """The part of a hierarchical matrix that a plan needs, and the targets that no path leads to."""
    matrix, size_bytes = request.matrix, request.size_bytes
    inside = [*ready, *(h for h in wanted if h not in ready)]
    numbers = sorted(matrix.index[h] for h in inside)
    alone = {i for pair in matrix.exceptions for i in pair} | {matrix.index[h] for h in matrix.limits.hosts}
    alone |= {matrix.index[h] for h, share in left.items() if share < 1.0}
    speakers: dict[tuple[int, int], int] = {}
    own = [speakers.setdefault((matrix.class_of[i], i if i in alone else -1), i) for i in numbers]
    if len(speakers) > MOST_CLASSES:
        raise FleetError(
            f"matrix: {len(speakers)} classes, counting every host with an exception or limit as one, are too many for"
            f" {len(numbers)} hosts; up to {MOST_CLASSES} can be planned",
            kind="too_many_classes",
        )
    table = matrix.sub(list(speakers.values()), size_bytes)
    for c, ((original, single), i) in enumerate(speakers.items()):
        if single < 0:
            # ``sub`` takes the diagonal for a host and itself; here it is a class and itself.
            scale = size_bytes / matrix.size_bytes if size_bytes and matrix.size_bytes else 1.0
            table[c][c] = matrix.class_seconds[original][original] * scale
        share = left.get(matrix.hosts[i], 1.0)
        if share < 1.0:
            for row in table:
                row[c] = row[c] if row[c] == INF else row[c] * share
    at = {i: c for c, i in enumerate(speakers.values())}
    class_of = [at[i] for i in own]
    names = [matrix.hosts[i] for i in numbers]
    first = Fleet(names, class_of, table, {k: ready[h] for k, h in enumerate(names) if h in ready}, request)
    seconds, _unused = first.distances()
    sums = [
        (math.fsum(x for x in row if x < INF), math.fsum(x for x in col if x < INF))
        for row, col in zip(table, zip(*table, strict=True), strict=True)
    ]
    order = sorted(
        (v for v in range(len(names)) if seconds[v] < INF),
        key=lambda v: (v not in first.ready, first.ready.get(v, 0.0), seconds[v], sums[class_of[v]], v),
    )
    unreachable = [names[v] for v in range(len(names)) if seconds[v] == INF]
    ready_ = {k: first.ready[v] for k, v in enumerate(order) if v in first.ready}
    return Fleet([names[v] for v in order], [class_of[v] for v in order], table, ready_, request), unreachable


def tree(view: Fleet, request: Request) -> tuple[list[int], float]:
    """Parents and a lower bound of a staged plan."""
    seconds, via = view.distances()
    bound = max(seconds, default=0.0)
    if request.contention == "independent":
        return via, bound
    targets = [v for v in range(len(view)) if v not in view.ready]
    streams = view.streams
    if targets:
        out, inn = view.extremes()
        together = 1 if streams.single else streams.most
        bound = max(bound, st.growth(view.ready, seconds, targets, out, [inn[v] for v in targets], together))
    if request.strategy != "best" or not targets:
        return via, bound
    from ..staged import network, search  # noqa: PLC0415 - see jit: imported where it is needed

    arrays = network.class_arrays(view.table, view.class_of, view.nearest(), view.ready, view.streams)
    return search.best_of_many(arrays, t.cast("st.Rows", view), view.ready, request.effort), bound


def flow_bound(view: Fleet) -> float:
    """A lower bound of any cut-through plan with time-shared ports.

    Every host takes the base in once, and at least one base comes into each class without a holder from outside; the
    holders send at least one base; each of a class's hosts can receive only one thing at a time.
    """
    out, inn = view.extremes()
    held = {view.class_of[r] for r in view.ready}
    bound = max((inn[v] for v in range(len(view)) if v not in view.ready), default=0.0)
    columns = list(zip(*view.table, strict=True))
    for c, group in enumerate(view.members):
        targets = [v for v in group if v not in view.ready]
        if not targets or c in held:
            continue
        outside = min((x for d, x in enumerate(columns[c]) if d != c and view.members[d]), default=INF)
        inside = min(outside, view.table[c][c])
        if outside < INF:
            bound = max(bound, (outside + (len(targets) - 1) * inside) / len(targets))
    pace = sum(1.0 / out[r] if out[r] > 0 else INF for r in view.ready if out[r] < INF)
    return max(bound, 1.0 / pace if pace > 0 else 0.0)


def cut_through(view: Fleet, request: Request, chunks: int) -> Result:
    """The chosen trees; every holder is there from the start."""
    from ..cut_through import bounds, model  # noqa: PLC0415 - see jit: imported where it is needed
    from ..cut_through import search as ct  # noqa: PLC0415 - see jit: imported where it is needed

    roots = len(view.ready)
    net = model.class_network(view.table, view.class_of, roots, view.nearest(), NEAR, view.sites)
    bound = max(flow_bound(view), bounds.site_bound(net))
    if request.strategy != "best":
        return ct.follow(net, bound, [view.distances()[1]], [1.0], chunks)
    return ct.best(net, bound, chunks, model.Risk(request.relay_risk, request.recovery_s), request.effort)
