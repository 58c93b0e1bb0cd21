# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certified bounds never exceed the best plan, and tell more than the quick ones; searching longer never hurts."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import textwrap
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.planner import relay_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.staged import lp_bound

INSTANCES = pathlib.Path(__file__).resolve().parents[5] / "plan" / "instances"
COLLECTIONS = pathlib.Path(__file__).resolve().parents[6] / ".collections"
# Searches take their steps, however busy the machine.
pytestmark = pytest.mark.timeout(400)


def instance(name: str) -> tuple[dict[str, t.Any], float]:
    given = json.loads((INSTANCES / f"{name}.json").read_text())
    matrix = {"format": 1, "hosts": given["hosts"], "seconds": given["matrix_s"]}
    return matrix, given["staged"]["best_makespan_s"]


@pytest.mark.parametrize(("name", "least"), [("racks-n14-s1", 0.95), ("hubspoke-n16-s1", 0.85), ("loguni-n18-s2", 0.85)])
def test_a_bound_holds_for_what_is_proven_optimal(name: str, least: float) -> None:
    matrix, best = instance(name)
    rows = [[float("inf") if x is None or i == j else float(x) for j, x in enumerate(row)] for i, row in enumerate(matrix["seconds"])]
    bound, by = lp_bound.staged(rows, {0: 0.0}, lp_bound.Streams(1, ()), 0.0, best * 1.2)
    assert by == "linear programme"
    assert best * least <= bound <= best * (1 + 1e-9)
    # Groups of hosts know less, but nothing wrong.
    groups = lp_bound.grouped(rows, {0: 0.0}, 6)
    assert sum(groups.targets) == len(rows) - 1
    assert lp_bound.feasible(groups, best * 1.001, 40, 1)
    assert not lp_bound.feasible(groups, best * 0.3, 40, 1)


def test_a_certified_plan_is_the_same_plan() -> None:
    matrix, best = instance("racks-n32-s1")
    quick, sure = (relay_plan(matrix, ["h0"], effort=0.1, certify=asked) for asked in (False, True))
    assert sure["trees"] == quick["trees"]
    assert sure["bound_by"] == "linear programme"
    assert quick["lower_bound_s"] * 1.2 < sure["lower_bound_s"] <= best
    assert sure["gap"] < quick["gap"]


def test_longer_searches_are_no_worse() -> None:
    matrix, _best = instance("line-n32-s1")
    short, long = (relay_plan(matrix, ["h0"], effort=effort)["predicted_s"] for effort in (0.001, 0.1))
    assert long <= short


WITHOUT = """
    import json, sys
    for name in {missing}:
        sys.modules[name] = None
    from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import jit
    from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.planner import relay_plan
    given = json.load(open({path!r}))
    matrix = {{"format": 1, "hosts": given["hosts"], "seconds": given["matrix_s"]}}
    out = [jit.NAME]
    for mode in ("staged", "cut_through"):
        plan = relay_plan(matrix, ["h0"], mode=mode, size_bytes=2**28, certify=mode == "staged")
        out += [plan["predicted_s"], plan["bound_by"], len(plan["parents"])]
    print(json.dumps(out))
"""


@pytest.mark.parametrize(("missing", "engine", "bound_by"), [
    (["numba", "scipy", "numpy"], "interpreted", "paths and growth (SciPy is missing)"),
    (["scipy"], "compiled", "all plans"),
])  # fmt: skip
def test_plans_without_the_optional_libraries(missing: list[str], engine: str, bound_by: str) -> None:
    path = INSTANCES / "racks-n14-s1.json"
    script = textwrap.dedent(WITHOUT).format(missing=missing, path=str(path))
    answer = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env={"PYTHONPATH": str(COLLECTIONS)}
    )
    name, staged, by, served, through, _by, striped = json.loads(answer.stdout)
    recorded = json.loads(path.read_text())
    assert name == engine
    assert served == striped == 13
    assert staged <= recorded["staged"]["best_makespan_s"] * 1.02
    assert through <= recorded["pipelined"]["fluid_bound_s"] * 1.15
    assert by == bound_by
