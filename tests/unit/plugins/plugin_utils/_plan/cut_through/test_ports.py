# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cut-through plans where ports have limits of their own: the bound is what the network can carry, and plans reach it."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import jit
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.cut_through import bounds, model
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network import limits
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.planner import relay_plan

PLAN_TESTS = pathlib.Path(__file__).resolve().parents[5] / "plan"
# Searches take their steps, however busy the machine.
pytestmark = pytest.mark.timeout(400)


def _families() -> t.Any:
    spec = importlib.util.spec_from_file_location("plan_families", PLAN_TESTS / "families.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["plan_families"] = module
    spec.loader.exec_module(module)
    return module


families = _families()


def fluid(instance: dict[str, t.Any]) -> float:
    """Seconds of the best plan with chunks of no size: the greatest rate at which flows to each host fit into the ports.

    Of the flows to different hosts each link and port carries only the greatest (network coding or trees of Edmonds).
    """
    optimize = pytest.importorskip("scipy.optimize")
    n, seconds = instance["n"], instance["matrix_s"]
    up = [families.BITS / x for x in instance["uplink_mbps"]]
    down = [families.BITS / x for x in instance["downlink_mbps"]]
    links = [(u, v) for u in range(n) for v in range(1, n) if u != v]
    m, hosts = len(links), range(1, n)
    size = m * n + 1

    def row(entries: dict[int, float]) -> list[float]:
        out = [0.0] * size
        for at, x in entries.items():
            out[at] = x
        return out

    # First what each link carries, then each host's flow over it, last the rate.
    most = [row({e: up[u] for e, (u, _v) in enumerate(links) if u == host}) for host in range(n)]
    most += [row({e: down[v] for e, (_u, v) in enumerate(links) if v == host}) for host in hosts]
    right = [1.0] * len(most)
    most += [row({m * host + e: 1.0, e: -1.0}) for host in hosts for e in range(m)]
    right += [0.0] * (m * (n - 1))
    kept = []
    for host in hosts:
        for at in hosts:
            through = {m * host + e: (1.0 if v == at else -1.0) for e, (u, v) in enumerate(links) if at in (u, v)}
            kept.append(row({**through, size - 1: -1.0 if at == host else 0.0}))
    bounds = [(0, 1 / seconds[u][v]) for u, v in links] + [(0, None)] * (size - m)
    found = optimize.linprog(row({size - 1: -1.0}), A_ub=most, b_ub=right, A_eq=kept, b_eq=[0.0] * len(kept), bounds=bounds, method="highs")
    return 1.0 / float(found.x[-1])


def plan_of(instance: dict[str, t.Any]) -> dict[str, t.Any]:
    both = zip(instance["hosts"], instance["uplink_mbps"], instance["downlink_mbps"], strict=True)
    matrix = {
        "format": 1, "hosts": instance["hosts"], "seconds": instance["matrix_s"],
        "limits": {"hosts": {h: {"up_mbps": u, "down_mbps": d} for h, u, d in both}},
    }  # fmt: skip
    size = families.IMAGE_MIB << 20
    return relay_plan(matrix, [instance["source"]], mode="cut_through", size_bytes=size, chunk_bytes=1 << 20)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", ["nic", "residential"])
def test_the_bound_is_what_the_ports_carry(family: str, seed: int) -> None:
    instance = families.instance(family, 7, seed)
    plan, best = plan_of(instance), fluid(instance)
    assert best * (1 - 1e-4) <= plan["lower_bound_s"] <= best * (1 + 1e-6)
    assert plan["predicted_s"] <= best * 1.005


def test_what_all_send_together_bounds_the_finish() -> None:
    """Ten targets that take in ten times what anybody, the holder too, sends."""
    n = 11
    rows = [[float(u != v) for v in range(n)] for u in range(n)]
    sites = limits.SiteLoads(1, [0] * n, [0.0], [0.0], [0.0])
    net = model.network(rows, 1, [3.0] * n, [0.3] * n, sites)
    assert bounds.simple_bound(net) == pytest.approx(3.0)
    slow = model.network(rows, 1, [1.0] + [3.0] * (n - 1), [0.3] * n, sites)
    assert bounds.simple_bound(slow) == pytest.approx((n - 1) / (1.0 + (n - 1) / 3.0))


@pytest.mark.skipif(not jit.COMPILED, reason="weighted trees need Numba and SciPy")
def test_uneven_ports_get_trees_of_uneven_weight() -> None:
    """All ports send as much as they can; no stripes of one size do that."""
    pytest.importorskip("scipy")
    plan = plan_of(families.instance("residential", 16, 11))
    assert plan["gap"] <= 0.005


@pytest.mark.skipif(not jit.COMPILED, reason="needs as many moves as compiled loops make")
def test_of_trees_with_the_same_load_those_that_leave_room_are_taken() -> None:
    """A link that is busy all the time must not wait for a sender that is busy with others."""
    assert plan_of(families.instance("nic", 48, 11))["gap"] <= 0.003
