# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import math

import networkx as nx
import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import jit
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.cut_through.arborescence import arborescence, room_for
from hypothesis import given, settings
from hypothesis import strategies as st

COSTS = st.sampled_from([0.0, 1.0, 2.0, 3.0, 7.0, math.inf])


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 6).flatmap(lambda n: st.lists(st.lists(COSTS, min_size=n, max_size=n), min_size=n, max_size=n)))
def test_the_cheapest_arborescence_costs_what_networkx_says(rows: list[list[float]]) -> None:
    n = len(rows)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n))
    graph.add_weighted_edges_from((u, v, x) for u, row in enumerate(rows) for v, x in enumerate(row) if u != v and v and x < math.inf)
    parent = jit.fill_ints(n)
    cost = arborescence(n, jit.flat(rows), room_for(n), parent)
    if len(nx.descendants(graph, 0)) < n - 1:
        assert cost == math.inf
        return
    best = nx.minimum_spanning_arborescence(graph)
    assert cost == pytest.approx(sum(x for _u, _v, x in best.edges(data="weight")))
    assert sum(rows[parent[v]][v] for v in range(1, n)) == pytest.approx(cost)
