# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Puts placement instances through the filter place_machines, checks the answers and prints how near they come to the best known.

usage: python -m tests.placement [--instances DIR] [--out DIR] [--fresh SEED] [NAME...]

Without a directory the recorded instances; with --fresh, instances drawn from the same families. Of each one a file of the
same name is written into --out, in the checker's form: [{"machine", "host", "pool"}]. Exits with 1 if a limit is broken, if
more machines are left out than in the best known assignment, or if a figure is missed. Times are CPU seconds of the
call of the filter, with compiled code in the cache.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

from tests.placement import check, convert, families

HERE = pathlib.Path(__file__).parent
Row = dict[str, t.Any]

# (hosts up to, seconds, finish over the best known)
FIGURES = ((6, 1.0, None), (12, 2.0, 1.04), (60, 8.0, 1.20), (400, 20.0, 1.02), (1000, 60.0, None))


def answer_of(instance: dict[str, t.Any]) -> tuple[dict[str, t.Any], float]:
    """The filter's answer, and the seconds it took."""
    from ansible_collections.basecast.fleet.plugins.filter.place_machines import place_machines

    manifest, hosts = convert.manifest_of(instance), convert.hosts_of(instance)
    begin = time.process_time()
    answer = place_machines(manifest, hosts, bring=instance.get("bring_seconds", {}), base_beside_disk=True)
    return answer, time.process_time() - begin


def row_of(instance: dict[str, t.Any]) -> tuple[Row, list[dict[str, str]]]:
    """What the table says of one instance, and its assignment."""
    answer, seconds = answer_of(instance)
    assignment = convert.assignment_of(instance, answer)
    broken, vector = check.vector_of(instance, assignment)
    best = instance.get("best")
    row: Row = {
        "name": instance["name"],
        "hosts": len(instance["hosts"]),
        "seconds": seconds,
        "vector": vector,
        "best": {key: best[key] for key in check.COMPONENTS} if best else None,
        "broken": broken,
        "ties": check.missed_ties(instance, assignment),
        "binds": answer["binds"],
        "wanted_binds": best.get("binds") if best else None,
    }
    row["missed"] = missed(row)
    return row, assignment


def missed(row: Row) -> list[str]:
    """Which figures a row does not reach."""
    told = [*row["broken"]]
    if row["ties"]:
        told.append(f"ties: {', '.join(row['ties'])}")
    _hosts, limit, ratio = next((figure for figure in FIGURES if row["hosts"] <= figure[0]), FIGURES[-1])
    if row["seconds"] > limit:
        told.append(f"{row['seconds']:.1f} s of {limit:g}")
    best, mine = row["best"], row["vector"]
    if not best:
        return told
    if mine["unplaced"] > best["unplaced"]:
        told.append(f"{mine['unplaced']} are left out, {best['unplaced']} need be")
    if ratio and mine["new_copies_finish_s"] > ratio * best["new_copies_finish_s"]:
        told.append(f"finish {mine['new_copies_finish_s']} s, {ratio:g} times {best['new_copies_finish_s']} s were wanted")
    if row["wanted_binds"] is not None and set(row["wanted_binds"]) != set(row["binds"]):
        told.append(f"binds {row['binds']}, wanted were {row['wanted_binds']}")
    return told


def shown(row: Row) -> str:
    """One line of the table."""
    vector = " ".join(f"{row['vector'][key]:>{width}}" for key, width in zip(check.COMPONENTS, (4, 6, 14, 6), strict=True))
    best = (
        " ".join(f"{row['best'][key]:>{width}}" for key, width in zip(check.COMPONENTS, (4, 6, 14, 6), strict=True)) if row["best"] else ""
    )
    return f"{row['name']:<28}{row['seconds']:>7.2f} s {vector}  | {best}  {'; '.join(row['missed']) or 'ok'}"


def read(folder: pathlib.Path, names: list[str]) -> list[tuple[str, dict[str, t.Any]]]:
    """The instances of a folder, by file name."""
    paths = sorted(folder.glob("*.json"))
    return [(path.name, json.loads(path.read_text())) for path in paths if not names or path.stem in names]


def enter_environment() -> None:
    """Goes on in the Python environment of the checkout if this one, started by hand, does not have the collection."""
    try:
        importlib.util.find_spec("ansible_collections.basecast.fleet.plugins")
        return
    except ModuleNotFoundError:
        pass
    root = HERE.parents[1]
    subprocess.run([root / "tools" / "setup"], check=True)
    python = str(root / ".venv" / "bin" / "python")
    os.execve(python, [python, "-m", "tests.placement", *sys.argv[1:]], {**os.environ, "PYTHONPATH": str(root / ".collections")})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="instances (default: all)")
    parser.add_argument("--instances", type=pathlib.Path, default=HERE / "instances")
    parser.add_argument("--out", type=pathlib.Path, help="write assignments here")
    parser.add_argument("--fresh", type=int, metavar="SEED", help="instances drawn with this seed")
    parser.add_argument("--sizes", default="20x6,40x12,300x60,2000x400", help="machines x hosts of the fresh ones")
    options = parser.parse_args()
    if options.fresh is not None:
        sizes = [tuple(int(part) for part in size.split("x")) for size in options.sizes.split(",")]
        drawn = [families.instance(machines, hosts, options.fresh) for machines, hosts in sizes]
        instances = [(f"{instance['name']}.json", instance) for instance in drawn]
    else:
        instances = read(options.instances, options.names)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    # What has to be compiled first is not the placement's time.
    answer_of(families.instance(30, 6, 1))
    print(f"{'':<28}{'time':>9} {'left':>4} {'finish':>6} {'bytes':>14} {'level':>6}  | best known")
    failed = 0
    for name, instance in instances:
        row, assignment = row_of(instance)
        print(shown(row), flush=True)
        failed += bool(row["missed"])
        if options.out:
            (options.out / name).write_text(json.dumps(assignment))
    print(f"{len(instances) - failed} of {len(instances)} reach their figures")
    return 1 if failed else 0


if __name__ == "__main__":
    enter_environment()
    sys.exit(main())
