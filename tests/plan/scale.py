# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Large fleets: time, memory, and the ratio to a search many times as long. Each plan is made by a process of its own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import typing as t
from collections.abc import Sequence

from tests.plan import families
from tests.plan.figures import ROOT

# name: how to draw it, mode, seconds of one core, most ratio.
CASES: dict[str, tuple[t.Callable[[], dict[str, t.Any]], str, float, float]] = {
    **{
        f"dense-1000-{kind}": (lambda kind=kind: _dense(kind, 1000), "staged", 10.0, 1.05)  # type: ignore[misc]
        for kind in ("racks", "wan", "log_uniform", "stragglers", "tiered", "line")
    },
    "racks-10000-staged": (lambda: families.hierarchical(250, 10_000, 1), "staged", 30.0, 1.10),
    "sites-10000-staged": (lambda: families.hierarchical(40, 10_000, 1), "staged", 30.0, 1.10),
    "racks-10000-cut": (lambda: families.hierarchical(250, 10_000, 1), "cut_through", 30.0, 1.10),
    "sites-10000-cut": (lambda: families.hierarchical(40, 10_000, 1), "cut_through", 30.0, 1.10),
}
MEMORY_MIB = 2048
# What the process that plans runs: compiled code comes from the cache, as a first plan leaves it there.
CHILD = """
import json, resource, sys, time
from ansible_collections.basecast.fleet.plugins.filter.relay_plan import relay_plan_filter as plan_of
path, mode, effort = sys.argv[1], sys.argv[2], float(sys.argv[3])
begun = time.process_time()
plan = plan_of(path, ["h0"], mode=mode, effort=effort)
print(json.dumps({
    "predicted_s": plan["predicted_s"], "lower_bound_s": plan["lower_bound_s"], "cpu_s": time.process_time() - begun,
    "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "trees": len(plan["trees"]),
    "served": len(plan["parents"]),
}))
"""


def _dense(kind: str, n: int) -> dict[str, t.Any]:
    drawn = families.instance(kind, n, 1)
    return {"format": 1, "hosts": drawn["hosts"], "seconds": drawn["matrix_s"], "size_bytes": families.IMAGE_MIB << 20}


def run(path: pathlib.Path, mode: str, effort: float) -> dict[str, t.Any]:
    command = [sys.executable, "-c", CHILD, str(path), mode, str(effort)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".collections")}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def main(names: Sequence[str], effort: float) -> int:
    good = True
    for name in names or list(CASES):
        make, mode, seconds, ratio = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "matrix.json"
            path.write_text(json.dumps(make()))
            first, longer = run(path, mode, 1.0), run(path, mode, effort)
        got = first["predicted_s"] / min(longer["predicted_s"], first["predicted_s"])
        fine = got <= ratio and first["cpu_s"] <= seconds and first["memory_mib"] <= MEMORY_MIB
        good &= fine
        print(
            f"{name:<24} finish {first['predicted_s']:>8.2f} bound {first['lower_bound_s']:>8.2f}  CPU {first['cpu_s']:>5.1f} s"
            f" (wanted {seconds:g})  {first['memory_mib']} MiB  ratio {got:.4f} (wanted {ratio:g}) to {longer['predicted_s']:.2f}"
            f" after {longer['cpu_s']:.0f} s  trees {first['trees']}{'' if fine else '  MISSED'}",
            flush=True,
        )
    return 0 if good else 1
