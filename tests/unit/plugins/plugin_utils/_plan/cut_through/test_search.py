# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trees of cut-through plans: how they grow, and how they come to have shorter links and fewer of them."""

from __future__ import annotations

import random
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import jit
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.cut_through import column_generation, model, search, workspace
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network import limits
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.trees import depths
from hypothesis import given, settings
from hypothesis import strategies as some


def planner_of(rows: list[list[float]], ports: float | None) -> workspace.Planner:
    n = len(rows)
    sites = limits.SiteLoads(1, [0] * n, [0.0], [0.0], [0.0])
    port = None if ports is None else [ports] * n
    return workspace.Planner(model.network(rows, 1, port, port, sites), 1.0)


def forest_of(planner: workspace.Planner, count: int, seed: int) -> model.Forest:
    """Random trees: each host below one that comes a little earlier in some order."""
    n, chance = planner.net.n, random.Random(seed)
    breadth = chance.choice([2, 4, n])
    flat: list[int] = []
    for _tree in range(count):
        order = [0, *chance.sample(range(1, n), n - 1)]
        parents = [-1] * n
        for place, host in enumerate(order[1:], start=1):
            parents[host] = order[chance.randrange(max(0, place - breadth), place)]
        flat += parents
    return planner.forest(jit.ints(flat), [1.0 / count] * count)


def children(tree: t.Sequence[int]) -> list[int]:
    return sorted(tree.count(host) for host in range(len(tree)))


@settings(deadline=None, max_examples=60)
@given(some.integers(3, 24), some.integers(1, 3), some.integers(0, 10**6), some.booleans(), some.booleans())
def test_trees_become_shallower_and_nothing_worse(n: int, count: int, seed: int, alike: bool, ports: bool) -> None:
    chance = random.Random(seed)
    rows = [[0.0 if u == v else 1.0 if alike else chance.uniform(0.5, 4.0) for v in range(n)] for u in range(n)]
    planner = planner_of(rows, 0.4 if ports else None)
    before = forest_of(planner, count, seed)
    after = planner.flattened(before)
    assert after.load <= before.load * (1 + 1e-6)
    assert after.weights == before.weights
    for old, new in zip(before.trees, after.trees, strict=True):
        assert new[0] == -1
        deep = depths(new, [0])
        assert all(1 <= deep[host] < n for host in range(1, n)), "everybody hangs on the holder"
        assert sum(deep) <= sum(depths(old, [0]))
        assert children(new) == children(old)


def seconds(planner: workspace.Planner, forest: model.Forest) -> float:
    """Of all links together."""
    n = planner.net.n
    return sum(
        weight * planner.net.D[parent * n + host]
        for tree, weight in zip(forest.trees, forest.weights, strict=True)
        for host, parent in enumerate(tree)
        if parent >= 0
    )


def crossings(forest: model.Forest, of: t.Sequence[int]) -> list[int]:
    """Of each tree the links from site to site."""
    return [sum(p >= 0 and of[p] != of[host] for host, p in enumerate(tree)) for tree in forest.trees]


@settings(deadline=None, max_examples=300)
@given(some.integers(3, 12), some.integers(1, 4), some.integers(0, 10**6), some.booleans(), some.booleans())
def test_links_become_shorter_and_nothing_worse(n: int, count: int, seed: int, apart: bool, ports: bool) -> None:
    chance = random.Random(seed)
    of = [host % 3 if apart else 0 for host in range(n)]
    rows = [[0.0 if u == v else chance.uniform(0.5, 4.0) for v in range(n)] for u in range(n)]
    ways = [0.0] * 6 + [9.0 * (a != b) for a in range(3) for b in range(3)]
    port = [0.4] * n if ports else None
    sites = limits.SiteLoads(3, of, ways[:3], ways[3:6], ways[6:])
    planner = workspace.Planner(model.network(rows, 1, port, port, sites), 1.0)
    before = forest_of(planner, count, seed)
    after = planner.nearer(before)
    assert after.load <= before.load * (1 + 1e-6)
    assert after.weights == before.weights
    assert (seconds(planner, after) < seconds(planner, before)) == (after.trees != before.trees)
    assert all(new <= old for new, old in zip(crossings(after, of), crossings(before, of), strict=True))
    for tree in after.trees:
        assert all(1 <= deep < n for deep in depths(tree, [0])[1:]), "everybody hangs on the holder"


def test_what_comes_from_a_site_does_not_go_back_there() -> None:
    of = [0, 0, 1, 1]
    rows = [[0.0 if u == v else 1.0 if of[u] == of[v] else 9.0 for v in range(4)] for u in range(4)]
    planner = planner_of(rows, None)
    # To the other site and back: the host there has room to be served at home, or to send it over itself.
    back = planner.forest(jit.ints([-1, 2, 0, 2]), [1.0])
    assert crossings(planner.nearer(back), of) == [1]


def test_whoever_has_room_serves_the_hosts_that_are_near() -> None:
    rows = [[0.0 if u == v else 9.0 for v in range(4)] for u in range(4)]
    rows[1][3] = rows[0][1] = 1.0
    planner = planner_of(rows, None)
    before = planner.forest(jit.ints([-1, 0, 0, 2]), [1.0])
    assert planner.nearer(before).trees == [[-1, 0, 0, 1]]


@settings(deadline=None, max_examples=40)
@given(some.integers(3, 20), some.integers(0, 10**6), some.booleans(), some.integers(2, 20))
def test_a_tree_grows_by_the_edge_that_leaves_the_least_load(n: int, seed: int, ports: bool, most: int) -> None:
    chance = random.Random(seed)
    rows = [[0.0 if u == v else chance.uniform(0.5, 4.0) for v in range(n)] for u in range(n)]
    planner = planner_of(rows, 2.0 if ports else None)
    grown = planner.grown(2, most)
    out, inn = [0.0] * n, [0.0] * n
    lnk = [[0.0] * n for _host in range(n)]
    for tree in grown.trees if grown else ():
        deep = {0: 0}
        while len(deep) < n:
            costs: dict[tuple[int, int], float] = {}
            for u, depth in deep.items():
                for v in range(1, n):
                    if depth < most and v not in deep:
                        added = 1.0 if ports else rows[u][v] / 2
                        link = rows[u][v] / 2 + (lnk[u][v] if ports else 0.0)
                        load = max(out[u] + added, inn[v] + added, link)
                        costs[u, v] = load + 1e-7 * rows[u][v] / 2 + 1e-4 * (depth + 1)
            # Several may be as good.
            u, v = min(((p, v) for v, p in enumerate(tree) if v not in deep and p in deep), key=costs.__getitem__)
            assert costs[u, v] == pytest.approx(min(costs.values()), rel=1e-12)
            out[u] += 1.0 if ports else rows[u][v] / 2
            inn[v] += 1.0 if ports else rows[u][v] / 2
            lnk[u][v] += rows[u][v] / 2
            deep[v] = deep[u] + 1


@pytest.mark.parametrize("n", [9, 33])
def test_between_equal_links_a_chain_with_leaves_becomes_a_tree(n: int) -> None:
    """Every second host has two children: one that has two itself, and one that has none."""
    planner = planner_of([[float(u != v) for v in range(n)] for u in range(n)], None)
    spine = [max(0, 2 * ((host - 1) // 2) - 1) for host in range(1, n)]
    before = planner.forest(jit.ints([-1, *spine]), [1.0])
    after = planner.flattened(before)
    assert planner.relays(before)[1] == n // 2
    assert planner.relays(after)[1] <= (n - 1).bit_length()


@pytest.mark.parametrize("stripes", [1, 4])
def test_trees_grow_over_a_shared_way_once(stripes: int) -> None:
    """Two sites whose hosts are equally near to each other; the way between the sites is ten times slower than a link."""
    n = 12
    of = [1 + host % 2 for host in range(n)]
    sites = limits.SiteLoads(3, of, [0.0] * 3, [0.0] * 3, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0])
    rows = [[0.1 * (u != v) for v in range(n)] for u in range(n)]
    planner = workspace.Planner(model.network(rows, 1, None, None, sites), 1.0)
    grown = planner.grown(stripes, n)
    assert grown is not None
    for tree in grown.trees:
        assert sum(parent >= 0 and of[parent] != of[host] for host, parent in enumerate(tree)) == 1
    assert grown.load == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(2))
def test_a_longer_search_for_many_hosts_is_never_worse(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sites: trees of less load queue more, which only the simulation tells."""
    n, chance = workspace.MANY_HOSTS + 20, random.Random(seed)
    site = [chance.randrange(3) for _host in range(n)]
    rows = [[0.0 if u == v else (1.0 if site[u] == site[v] else 9.0) * chance.uniform(0.9, 1.1) for v in range(n)] for u in range(n)]
    monkeypatch.setattr(search, "effort", lambda _hosts: ([4], 100_000))
    net = planner_of(rows, None).net
    risk = model.Risk(relay=0.0)
    finishes = [search.best(net, 0.1, 400, risk, longer).finish for longer in (1.0, 2.0, 4.0, 8.0, 16.0)]
    assert finishes == sorted(finishes, reverse=True)


@pytest.mark.skipif(not jit.COMPILED, reason="weighted trees need Numba and SciPy")
def test_weighted_trees_with_more_room_queue_less() -> None:
    """Four racks, slow between them: with the least load nearly all ports are busy all the time."""
    pytest.importorskip("scipy")
    n, chance = 20, random.Random(1)
    rows = [[0.0 if u == v else (1.0 if u // 5 == v // 5 else 6.0) * chance.uniform(0.9, 1.1) for v in range(n)] for u in range(n)]
    planner = planner_of(rows, None)
    start = [grown for count in (4, 16, 32) if (grown := planner.grown(count, n))]
    weighted, eased = column_generation.generate(planner, start)
    least = min(weighted, key=lambda forest: forest.load)
    for forest in eased:
        assert least.load < forest.load <= least.load * (1.01 + max(column_generation.SLACKS))
        assert sum(forest.weights) == pytest.approx(1.0)
    best = min(planner.simulated(forest, 4096)[0] for forest in eased)
    assert best < min(planner.simulated(forest, 4096)[0] for forest in weighted)
