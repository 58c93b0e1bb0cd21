# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans instances through the filters, checks the plans and prints how near they come to the best known.

usage: python -m tests.plan [--half] [--mode staged|cut_through] [--chunk-mib 1] [--json FILE] [NAME...]
       python -m tests.plan --fresh SEED [--sizes 12,16,32] [--families wan,racks] [--effort 20] [--mode ...]
       python -m tests.plan --scale [--effort 40] [NAME...]

The recorded instances: a staged plan's finish over the best known (or proven best) one, a cut-through plan's simulated
finish over the fluid bound. Fresh ones are drawn from the same families: a staged plan over that of a search ``--effort``
times as long, a cut-through plan over the best bound that such a search proves. Scale: large fleets, over such a search.
Exits with 1 if a plan is not feasible or a group misses its figure.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import typing as t

from tests.plan import families, figures, scale


def fresh(options: argparse.Namespace) -> list[dict[str, t.Any]]:
    kinds = options.families.split(",") if options.families else list(families.FAMILIES)
    sizes = [int(size) for size in options.sizes.split(",")]
    return [families.instance(kind, size, options.fresh) for size in sizes for kind in kinds]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="instances (default: all)")
    parser.add_argument("--half", action="store_true", help="only the smaller half")
    parser.add_argument("--fresh", type=int, metavar="SEED", help="instances drawn with this seed")
    parser.add_argument("--sizes", default="12,16,32,64,128")
    parser.add_argument("--families", help="of the fresh ones (default: all)")
    parser.add_argument("--scale", action="store_true", help="large fleets")
    parser.add_argument("--effort", type=float, default=20.0, help="of the searches to compare with")
    parser.add_argument("--mode", choices=list(figures.FIGURES), action="append")
    parser.add_argument("--chunk-mib", type=float, default=1.0)
    parser.add_argument("--json", type=pathlib.Path, help="also write the rows here")
    options = parser.parse_args()
    if options.scale:
        return scale.main(options.names, options.effort)
    drawn = options.fresh is not None
    instances = fresh(options) if drawn else figures.recorded(options.names)
    instances = figures.smaller_half(instances) if options.half else instances
    tables: list[str] = []
    missed: list[str] = []
    kept = {}
    for mode in options.mode or list(figures.FIGURES):
        # Times are those with compiled code in the cache: what has to be compiled first is not the planner's time.
        for kind in ("wan", "racks", "nic"):
            figures.row_of(families.instance(kind, 10, 0), mode, long_effort=1.0)
        rows = []
        for instance in instances:
            row = figures.row_of(instance, mode, options.chunk_mib, options.effort if drawn else None)
            rows.append(row)
            print(figures.shown(mode, row), flush=True)
        lines, short = figures.summary(rows, mode)
        tables += ["", *lines]
        missed += short
        kept[mode] = rows
    print("\n".join(tables))
    if options.json:
        options.json.write_text(json.dumps(kept, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
