# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths and trees written by hand, against those of networkx."""

from __future__ import annotations

import itertools
import typing as t

import networkx as nx
import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network.matrix import INF
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network.shortest_paths import shortest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network.whole_paths import whole_paths
from hypothesis import given, settings
from hypothesis import strategies as st

# Few different times, so that many paths tie, and some pairs without a link.
SECONDS = st.sampled_from([1.0, 2.0, 3.0, 5.0, INF])


@st.composite
def networks(draw: st.DrawFn) -> list[list[float]]:
    n = draw(st.integers(2, 7))
    return [[0.0 if u == v else draw(SECONDS) for v in range(n)] for u in range(n)]


def graph_of(rows: list[list[float]]) -> t.Any:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(rows)))
    graph.add_weighted_edges_from((u, v, x) for u, row in enumerate(rows) for v, x in enumerate(row) if u != v and x < INF)
    return graph


@settings(max_examples=150, deadline=None)
@given(networks(), st.integers(1, 3))
def test_totals_are_those_of_dijkstra(rows: list[list[float]], holders: int) -> None:
    roots = range(min(holders, len(rows)))
    found = shortest(rows, dict.fromkeys(roots, 0.0))
    least = nx.multi_source_dijkstra_path_length(graph_of(rows), set(roots))
    assert {v: at for v, at in enumerate(found.seconds) if at < INF} == least
    # Of paths that tie the one with the fewest links counts.
    for v, at in least.items():
        if v not in roots:
            paths = [p for r in roots for p in _paths(rows, r, v) if sum(rows[a][b] for a, b in itertools.pairwise(p)) == at]
            assert found.links[v] == min(len(path) - 1 for path in paths)


def _paths(rows: list[list[float]], root: int, end: int) -> t.Iterable[list[int]]:
    graph = graph_of(rows)
    return nx.all_shortest_paths(graph, root, end, weight="weight") if nx.has_path(graph, root, end) else []


@settings(max_examples=60, deadline=None)
@given(networks())
def test_ties_are_told_where_there_are_two_shortest_paths(rows: list[list[float]]) -> None:
    hosts = [f"h{v}" for v in range(len(rows))]
    seconds = [[x if x < INF else None for x in row] for row in rows]
    graph = graph_of(rows)
    for row in whole_paths({"hosts": hosts, "seconds": seconds}):
        ways = list(nx.all_shortest_paths(graph, hosts.index(row["from"]), hosts.index(row["to"]), weight="weight"))
        assert row["seconds"] == pytest.approx(sum(rows[a][b] for a, b in itertools.pairwise(ways[0])))
        assert row["tie"] == (len(ways) > 1)
        assert [hosts.index(host) for host in row["path"]] in ways
