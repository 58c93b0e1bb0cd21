# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One instance through the filter and the checker, and the figures that groups of instances must reach."""

from __future__ import annotations

import json
import math
import pathlib
import statistics
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
for folder in (ROOT, ROOT / ".collections"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from ansible_collections.basecast.fleet.plugins.filter.relay_plan import relay_plan_filter

from tests.plan import check

INSTANCES = pathlib.Path(__file__).resolve().parent / "instances"


class Figure(t.NamedTuple):
    """What the instances of up to ``high`` hosts must reach: mean and worst ratio, and seconds of one core for each."""

    label: str
    high: int
    mean: float
    worst: float
    seconds: float


FIGURES: dict[str, list[Figure]] = {
    "staged": [
        Figure("up to 13", 13, 1.0 + 1e-6, 1.0 + 1e-6, 1.0),
        Figure("14 to 18", 18, 1.003, 1.02, 5.0),
        Figure("32 to 64", 64, 1.01, 1.03, 5.0),
        Figure("128 to 256", 256, 1.02, 1.04, 15.0),
    ],
    "cut_through": [
        Figure("up to 32", 32, 1.02, math.inf, 5.0),
        Figure("64", 64, 1.05, math.inf, 10.0),
        Figure("128 to 256", 256, 1.10, math.inf, 30.0),
    ],
}
# Cut-through plans where ports have limits of their own.
PORTS = 1.01


def recorded(names: t.Collection[str] = ()) -> list[dict[str, t.Any]]:
    """The recorded instances, smallest first."""
    found = [json.loads(path.read_text()) for path in INSTANCES.glob("*.json") if not names or path.stem in names]
    return sorted(found, key=lambda instance: (instance["n"], instance["name"]))


def smaller_half(instances: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    return instances[: len(instances) // 2]


def as_matrix(instance: dict[str, t.Any], *, limits: bool) -> dict[str, t.Any]:
    """The documented form of an instance."""
    matrix: dict[str, t.Any] = {"format": 1, "hosts": instance["hosts"], "seconds": instance["matrix_s"]}
    if limits and instance.get("uplink_mbps"):
        both = zip(instance["hosts"], instance["uplink_mbps"], instance["downlink_mbps"], strict=True)
        matrix["limits"] = {"hosts": {h: {"up_mbps": u, "down_mbps": d} for h, u, d in both}}
    return matrix


def planned(matrix: dict[str, t.Any], source: str, **options: t.Any) -> tuple[dict[str, t.Any], float]:
    """The plan, from a file as users should give it, and the seconds of processor time that the filter took."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "matrix.json"
        path.write_text(json.dumps(matrix))
        begun = time.process_time()
        plan = relay_plan_filter(str(path), [source], **options)
        return plan, time.process_time() - begun


def replayed(instance: dict[str, t.Any], matrix: dict[str, t.Any], plan: dict[str, t.Any]) -> float:
    """The finish according to the checker; BadPlan if it cannot be, or contradicts what the plan says of itself."""
    if plan["mode"] == "staged":
        finish = check.staged(matrix, plan)
    else:
        ports = None
        size = plan["size_bytes"]
        if instance.get("uplink_mbps"):
            bits = size * 8e-6
            both = zip(instance["hosts"], instance["uplink_mbps"], instance["downlink_mbps"], strict=True)
            ports = {h: (bits / u, bits / d) for h, u, d in both}
        finish = check.cut_through(matrix, plan, math.ceil(size / plan["chunk_bytes"]), ports)[0]
    if finish < plan["lower_bound_s"] * (1 - 1e-6):
        raise check.BadPlan(f"the finish {finish} is below the stated bound {plan['lower_bound_s']}")
    return finish


def row_of(instance: dict[str, t.Any], mode: str, chunk_mib: float = 1.0, long_effort: float | None = None) -> dict[str, t.Any]:
    """One row of the table: the ratio to what is recorded, or to a search ``long_effort`` times as long."""
    matrix = as_matrix(instance, limits=mode == "cut_through")
    options = {
        "mode": mode, "size_bytes": int(instance["image_mib"]) << 20, "chunk_bytes": int(chunk_mib * (1 << 20))
    }  # fmt: skip
    plan, cpu = planned(matrix, instance["source"], **options)
    finish = replayed(instance, matrix, plan)
    if long_effort:
        longer = planned(matrix, instance["source"], effort=long_effort, **options)[0]
        best = longer["predicted_s"] if mode == "staged" else max(plan["lower_bound_s"], longer["lower_bound_s"])
    else:
        best = instance["staged"]["best_makespan_s"] if mode == "staged" else instance["pipelined"]["fluid_bound_s"]
    return {
        "name": instance["name"], "n": instance["n"], "finish_s": finish, "ratio": finish / best, "cpu_s": cpu,
        "predicted": plan["predicted_s"] / finish, "gap": finish / plan["lower_bound_s"] - 1, "trees": len(plan["trees"]),
        "depth": plan.get("depth", len(plan["stages"])), "ports": bool(instance.get("uplink_mbps")),
        "proven": plan["proven_optimal"],
    }  # fmt: skip


def shown(mode: str, row: dict[str, t.Any]) -> str:
    return (
        f"{mode:<11} {row['name']:<20} finish {row['finish_s']:>9.2f}  ratio {row['ratio']:.4f}  gap {row['gap']:7.1%}  "
        f"trees {row['trees']:>3}  depth {row['depth']:>2}  predicted/simulated {row['predicted']:.4f}  CPU {row['cpu_s']:.2f} s"
    )


def summary(rows: list[dict[str, t.Any]], mode: str, *, timed: bool = True) -> tuple[list[str], list[str]]:
    """The table of groups, and the figures that are missed."""
    lines = [f"{mode}: ratio to {'the best known' if mode == 'staged' else 'the fluid bound'}"]
    lines.append(
        f"  {'hosts':<12} {'plans':>5} {'mean':>8} {'worst':>8}   {'wanted mean':>11} {'worst':>6}   {'CPU s, most':>11} {'wanted':>6}"
    )
    missed, low = [], 0
    for figure in FIGURES[mode]:
        group = [row for row in rows if low < row["n"] <= figure.high]
        low = figure.high
        if not group:
            continue
        ratios, seconds = [row["ratio"] for row in group], max(row["cpu_s"] for row in group)
        mean = statistics.mean(ratios)
        fine = mean <= figure.mean and max(ratios) <= figure.worst and (not timed or seconds <= figure.seconds)
        lines.append(
            f"  {figure.label:<12} {len(group):>5} {mean:>8.4f} {max(ratios):>8.4f}   {figure.mean:>11.4f} {figure.worst:>6.3g}"
            f"   {seconds:>11.2f} {figure.seconds:>6.3g}{'' if fine else '  MISSED'}"
        )
        missed += [] if fine else [f"{mode}, {figure.label} hosts"]
    ports = [row["ratio"] for row in rows if row["ports"]]
    if mode == "cut_through" and ports:
        fine = max(ports) <= PORTS
        lines.append(
            f"  {'port limits':<12} {len(ports):>5} {statistics.mean(ports):>8.4f} {max(ports):>8.4f}   {'':>11} {PORTS:>6}"
            f"{'' if fine else '  MISSED'}"
        )
        missed += [] if fine else ["cut_through, port limits"]
    return lines, missed
