# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trees of classes, and of hosts inside them."""

from __future__ import annotations

import random
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.cut_through import model, search, two_level_trees, workspace
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network import limits
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.trees import depths
from hypothesis import given, settings
from hypothesis import strategies as some

INF = float("inf")


def planner_of(
    table: list[list[float]], class_of: list[int], roots: int = 1, bound: float = 1.0, sites: limits.SiteLoads | None = None
) -> workspace.Planner:
    n = len(class_of)
    sites = sites or limits.SiteLoads(1, [0] * n, [0.0], [0.0], [0.0])
    return workspace.Planner(model.class_network(table, class_of, roots, [-1] * n, 1, sites), bound)


def entries(tree: t.Sequence[int], class_of: t.Sequence[int]) -> list[tuple[int, int]]:
    """Links between classes, as (from, to) by class."""
    return sorted((class_of[u], class_of[v]) for v, u in enumerate(tree) if u >= 0 and class_of[u] != class_of[v])


@settings(deadline=None, max_examples=150)
@given(some.lists(some.integers(1, 9), min_size=2, max_size=8), some.integers(1, 12), some.integers(1, 3), some.integers(0, 10**6))
def test_every_tree_reaches_everybody_and_enters_each_class_once(sizes: list[int], stripes: int, roots: int, seed: int) -> None:
    chance = random.Random(seed)
    count = len(sizes)
    class_of = [c for c, size in enumerate(sizes) for _unused in range(size)]
    chance.shuffle(class_of)
    table = [[chance.uniform(10, 20) if a == b else chance.uniform(50, 500) for b in range(count)] for a in range(count)]
    for _unused in range(count):
        a, b = chance.sample(range(count), 2)
        table[a][b] = INF if a else table[a][b]
    roots = min(roots, len(class_of) - 1)
    planner = planner_of(table, class_of, roots, 100.0)
    forests = planner.nests([stripes])
    held = {class_of[r] for r in range(roots)}
    assert forests or any(table[a].count(INF) for a in range(count))
    for tree in (tree for forest in forests for tree in forest.trees):
        deep = depths(tree, range(roots))
        assert [tree[r] for r in range(roots)] == [-1] * roots
        assert all(1 <= deep[v] < len(tree) for v in range(roots, len(tree)))
        assert all(table[class_of[u]][class_of[v]] < INF for v, u in enumerate(tree) if u >= 0)
        assert sorted(b for _a, b in entries(tree, class_of)) == sorted(set(range(count)) - held)


def racks(count: int, size: int, seed: int) -> tuple[list[list[float]], list[int]]:
    chance = random.Random(seed)
    table = [[chance.uniform(12, 24) if a == b else chance.uniform(60, 140) for b in range(count)] for a in range(count)]
    return table, [k % count for k in range(count * size)]


@pytest.mark.parametrize(("count", "size", "deepest"), [(40, 40, 18), (6, 200, 12)])
def test_loads_come_near_the_least_there_is_in_shallow_trees(count: int, size: int, deepest: int) -> None:
    table, class_of = racks(count, size, 1)
    # What every class takes in: once from outside, the rest from each other.
    bound = max((min(table[a][b] for a in range(count) if a != b) + (size - 1) * table[b][b]) / size for b in range(1, count))
    planner = planner_of(table, class_of, 1, bound)
    (forest,) = planner.nests([64])
    assert forest.load <= 1.05 * bound
    most = two_level_trees.levels_of(t.cast("two_level_trees.Classes", two_level_trees.classes_of(planner.net)))
    for tree in forest.trees:
        above = {b: a for a, b in entries(tree, class_of)}
        levels = []
        for c in range(count):
            levels.append(0)
            while c in above:
                c = above[c]
                levels[-1] += 1
        assert max(levels) <= most
        assert max(depths(tree, [0])) <= deepest


def test_a_slow_way_out_is_not_taken_however_short_the_way_in() -> None:
    """Class 1 is entered quickly and left slowly; others are served by the holder's class, which is left less quickly."""
    table = [[10.0, 40.0, 90.0, 90.0], [900.0, 10.0, 900.0, 900.0], [90.0, 90.0, 10.0, 90.0], [90.0, 90.0, 90.0, 10.0]]
    (forest,) = planner_of(table, [k % 4 for k in range(200)], 1, 12.0).nests([16])
    assert all(a != 1 for tree in forest.trees for a, _b in entries(tree, [k % 4 for k in range(200)]))


def test_links_that_all_trees_want_become_dearer() -> None:
    """The shortest ways all begin in class 1, whose few hosts cannot serve everybody."""
    count, class_of = 12, [0] * 40 + [1] * 4 + [2 + k % 10 for k in range(400)]
    table = [[10.0 if b in (a, 1) else 60.0 if a == 1 else 66.0 for b in range(count)] for a in range(count)]
    (forest,) = planner_of(table, class_of, 1, 14.0).nests([32])
    served = [sum(a == 1 for a, _b in entries(tree, class_of)) for tree in forest.trees]
    assert 0 < sum(served) < 0.2 * 32 * count


def test_a_class_that_takes_in_much_takes_the_shorter_way() -> None:
    """Class 2 is reached over 40 s from the holder's class, which has others to serve, or over 60 s from class 1, which idles."""
    class_of = [0] * 40 + [1] * 100 + [2] * 10 + [3] * 40
    far = 900.0
    table = [[12.0, 20.0, 40.0, 100.0], [far, 1.0, 60.0, far], [far, far, 10.0, far], [far, far, far, 10.0]]
    (forest,) = planner_of(table, class_of, 1, 14.5).nests([32])
    assert sum((0, 2) in entries(tree, class_of) for tree in forest.trees) >= 6


def test_whoever_serves_another_class_need_not_wait_for_its_own() -> None:
    class_of = [0] * 20 + [1] * 200 + [2] * 20
    table = [[10.0, 50.0, INF], [INF, 10.0, 50.0], [INF, INF, 10.0]]
    (forest,) = planner_of(table, class_of, 1, 14.0).nests([16])
    for tree in forest.trees:
        deep = depths(tree, [0])
        gate, sender = (next(u if c == 2 else v for v, u in enumerate(tree) if u >= 0 and class_of[v] == c != class_of[u]) for c in (1, 2))
        assert deep[sender] <= deep[gate] + 1


@pytest.mark.parametrize(("out", "into"), [(19.0, 0.0), (0.0, 19.0)], ids=["out", "into"])
def test_a_way_between_sites_is_crossed_once_where_it_is_limited(out: float, into: float) -> None:
    """Classes 2 and 3 are a site of their own, which all is a little nearer to than they are to each other."""
    count, class_of = 4, [k % 4 for k in range(120)]
    site = [0 if c < 2 else 1 for c in class_of]
    table = [[10.0 if a == b else 60.0 if (a < 2) != (b < 2) else 70.0 for b in range(count)] for a in range(count)]
    (free,) = planner_of(table, class_of, 1, 20.0).nests([16])
    (limited,) = planner_of(table, class_of, 1, 20.0, limits.SiteLoads(2, site, [out, 0.0], [0.0, into], [0.0] * 4)).nests([16])

    def crossings(forest: model.Forest) -> list[int]:
        return [sum((a < 2) != (b < 2) for a, b in entries(tree, class_of)) for tree in forest.trees]

    assert max(crossings(free)) > 1
    assert sum(crossings(limited)) <= 17


def test_one_stripe_that_is_too_much_for_a_port_comes_over_another_link() -> None:
    """Class 1 idles, but with two stripes half a base from there would keep its receiver busy for longer than all the rest."""
    class_of = [0] * 2 + [1] * 100 + [2] * 100
    table = [[10.0, 20.0, 20.0], [INF, 10.0, 60.0], [INF, 20.0, 10.0]]
    (forest,) = planner_of(table, class_of, 1, 14.0).nests([2])
    assert all((1, 2) not in entries(tree, class_of) for tree in forest.trees)


@pytest.mark.parametrize("what", ["inside", "sites"])
def test_where_trees_of_classes_do_not_do_there_are_none(what: str) -> None:
    table = [[10.0, 60.0], [60.0, INF if what == "inside" else 10.0]]
    class_of = [k % 2 for k in range(20)]
    sites = limits.SiteLoads(2, [k // 10 for k in range(20)], [0.0] * 2, [0.0] * 2, [0.0] * 4) if what == "sites" else None
    assert planner_of(table, class_of, 1, 20.0, sites).nests([4]) == []
    # One host needs no links inside its class; a holder and a host do.
    assert what == "sites" or planner_of(table, [0] * 9 + [1], 1, 20.0).nests([4])
    assert planner_of(table, [1, 1], 1, 20.0, sites and limits.SiteLoads(2, [0, 1], [0.0] * 2, [0.0] * 2, [0.0] * 4)).nests([4]) == []


@pytest.mark.parametrize(
    ("chunks", "relay", "longer", "searches"),
    [(2048, 0.0001, 1.0, False), (64, 0.0001, 1.0, True), (2048, 0.05, 1.0, True), (2048, 0.0001, 1.01, True)],
    ids=["usual", "few chunks", "risky", "longer"],
)
def test_where_they_are_near_the_bound_nothing_else_is_searched_for(
    chunks: int, relay: float, longer: float, searches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, class_of = racks(8, 60, 1)
    net = planner_of(table, class_of, 1, 1.0).net
    bound = max((min(table[a][b] for a in range(8) if a != b) + 59 * table[b][b]) / 60 for b in range(1, 8))
    asked = []
    monkeypatch.setattr(search, "searched", lambda *given: asked.append(given) or [])
    monkeypatch.setattr(search, "effort", lambda n: ([], 1000))
    found = search.best(net, bound, chunks, model.Risk(relay), longer)
    assert bool(asked) is searches
    assert found.finish <= (1.12 if chunks > 64 else 2.0) * bound
