# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans every instance through the filters, checks it and prints how near it comes to the best known.

usage: python -m tests.plan [--half] [--mode staged|cut_through] [--chunk-mib 1] [--json FILE] [NAME...]

Figures are ratios: a staged plan's finish over the best known (or proven best) one, a cut-through plan's simulated
finish over the fluid bound. Exits with 1 if a plan is not feasible or a group misses its figure.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import statistics
import sys
import tempfile
import time
import typing as t

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
sys.path.insert(0, str(HERE.parent.parent / ".collections"))

from ansible_collections.basecast.fleet.plugins.filter.relay_plan import relay_plan_filter

from tests.plan import check

# group: (hosts up to, mean, worst) by mode.
FIGURES: dict[str, list[tuple[str, int, float, float]]] = {
    "staged": [
        ("up to 13", 13, 1.0 + 1e-6, 1.0 + 1e-6),
        ("14 to 18", 18, 1.003, 1.02),
        ("32 to 64", 64, 1.01, 1.03),
        ("128 to 256", 256, 1.02, 1.04),
    ],
    "cut_through": [("up to 32", 32, 1.02, math.inf), ("64", 64, 1.05, math.inf), ("128 to 256", 256, 1.10, math.inf)],
}
NIC = 1.01


def load(path: pathlib.Path) -> dict[str, t.Any]:
    return json.loads(path.read_text())


def as_matrix(instance: dict[str, t.Any], *, limits: bool) -> dict[str, t.Any]:
    """The documented form of an instance."""
    matrix: dict[str, t.Any] = {"format": 1, "hosts": instance["hosts"], "seconds": instance["matrix_s"]}
    if limits and instance.get("uplink_mbps"):
        both = zip(instance["hosts"], instance["uplink_mbps"], instance["downlink_mbps"], strict=True)
        matrix["limits"] = {"hosts": {h: {"up_mbps": u, "down_mbps": d} for h, u, d in both}}
    return matrix


def run(instance: dict[str, t.Any], mode: str, chunk_mib: float) -> dict[str, t.Any]:
    """One row of the table."""
    matrix = as_matrix(instance, limits=mode == "cut_through")
    size = int(instance["image_mib"]) << 20
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "matrix.json"
        path.write_text(json.dumps(matrix))
        wall, cpu = time.monotonic(), time.process_time()
        plan = relay_plan_filter(
            str(path), [instance["source"]], mode=mode, size_bytes=size, chunk_bytes=int(chunk_mib * (1 << 20))
        )
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    row = {"name": instance["name"], "n": instance["n"], "wall_s": wall, "cpu_s": cpu, "bound": plan["lower_bound_s"]}
    if mode == "staged":
        finish = check.staged(matrix, plan)
        best = instance["staged"]["best_makespan_s"]
        row["recorded"] = 1.0
    else:
        ports = None
        if instance.get("uplink_mbps"):
            bits = size * 8e-6
            both = zip(instance["hosts"], instance["uplink_mbps"], instance["downlink_mbps"], strict=True)
            ports = {h: (bits / u, bits / d) for h, u, d in both}
        finish = check.cut_through(matrix, plan, math.ceil(size / plan["chunk_bytes"]), ports)[0]
        best = instance["pipelined"]["fluid_bound_s"]
        row["recorded"] = instance["pipelined"]["best_simulated_s"] / best
    if finish < plan["lower_bound_s"] * (1 - 1e-6):
        raise check.BadPlan(f"the finish {finish} is below the stated bound {plan['lower_bound_s']}")
    row |= {
        "finish_s": finish, "ratio": finish / best, "predicted": plan["predicted_s"] / finish,
        "gap": finish / plan["lower_bound_s"] - 1, "proven": plan["proven_optimal"], "trees": len(plan["trees"]),
    }  # fmt: skip
    return row


def summary(rows: list[dict[str, t.Any]], mode: str) -> bool:
    """Prints the groups; whether all of them reach their figures."""
    good, low = True, 0
    print(f"\n{mode}: ratio to {'the best known' if mode == 'staged' else 'the fluid bound'}")
    print(f"  {'hosts':<12} {'plans':>5} {'mean':>8} {'worst':>8}   {'wanted mean':>11} {'worst':>6}   {'CPU s, most':>11}")
    for label, high, mean, worst in FIGURES[mode]:
        group = [row for row in rows if low < row["n"] <= high]
        low = high
        if not group:
            continue
        ratios = [row["ratio"] for row in group]
        fine = statistics.mean(ratios) <= mean and max(ratios) <= worst
        good &= fine
        print(
            f"  {label:<12} {len(group):>5} {statistics.mean(ratios):>8.4f} {max(ratios):>8.4f}   {mean:>11.4f} "
            f"{worst:>6.3g}   {max(row['cpu_s'] for row in group):>11.2f}  {'' if fine else 'MISSED'}"
        )
    nic = [row["ratio"] for row in rows if row["name"].startswith(("nic-", "asymup-"))]
    if mode == "cut_through" and nic:
        fine = max(nic) <= NIC
        good &= fine
        print(f"  {'port limits':<12} {len(nic):>5} {statistics.mean(nic):>8.4f} {max(nic):>8.4f}   {'':>11} {NIC:>6}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="instances (default: all)")
    parser.add_argument("--half", action="store_true", help="only up to 32 hosts")
    parser.add_argument("--mode", choices=list(FIGURES), action="append")
    parser.add_argument("--chunk-mib", type=float, default=1.0)
    parser.add_argument("--json", type=pathlib.Path, help="also write the rows here")
    options = parser.parse_args()
    instances = [load(path) for path in (HERE / "instances").glob("*.json")]
    instances = [i for i in instances if not options.names or i["name"] in options.names]
    instances = [i for i in instances if not options.half or i["n"] <= 32]
    good, kept = True, {}
    for mode in options.mode or list(FIGURES):
        rows = []
        for instance in sorted(instances, key=lambda i: (i["n"], i["name"])):
            row = run(instance, mode, options.chunk_mib)
            rows.append(row)
            print(
                f"{mode:<11} {row['name']:<20} finish {row['finish_s']:>9.2f}  ratio {row['ratio']:.4f} "
                f"(recorded {row['recorded']:.4f})  gap {row['gap']:7.1%}  trees {row['trees']:>3}  "
                f"predicted/simulated {row['predicted']:.4f}  CPU {row['cpu_s']:.2f} s",
                flush=True,
            )
        good &= summary(rows, mode)
        kept[mode] = rows
    if options.json:
        options.json.write_text(json.dumps(kept, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
