# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the benchmark: `python -m tests.bench [quick] [SCENARIO …] [--tools TOOL …]`; `make bench` sets all up before."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import jsonschema
from ansible_collections.basecast.fleet.tests.lab import LabError

from . import clone, deployment, machine, results, survey
from .field import Field
from .results import Run, ToolResult
from .scenarios import Scenario, UnknownName, select
from .tools import TOOLS, Tool

# When the relaying host dies, as a part of the time that the physical limit is.
KILL_AT = 0.4

OURS = ("relay", "deploy", "survey", "clone")  # how names of tools begin

# Where nothing is copied: the ground, and what measures on it.
WITHOUT_A_FILE = {
    "survey": (survey.SurveyGround, survey.measured),
    "clone": (clone.CloneGround, clone.measured),
}

OUTPUT = machine.CHECKOUT / "tests/output/bench"
PLOT_PYTHON = machine.CHECKOUT / ".venv-plot/bin/python"


def say(line: str) -> None:
    print(line, flush=True)


def measure(field: Field, tool: Tool) -> ToolResult:
    """All runs of one tool."""
    scenario = field.scenario
    copies = tool.copies(scenario.receivers)
    size = scenario.size_for(copies)
    result = ToolResult(tool.name, tool.title, tool.note, size, scenario.limit_s(size), tool.missing())
    if result.missing:
        say(f"  {tool.title}: not run: {result.missing}")
        return result
    for _number in range(scenario.repeat if copies <= 2 or scenario.kind == "single" else 1):
        run = once(field, tool, size, None)
        if scenario.kind == "kill" and run.seconds:
            undisturbed = run.seconds
            run = once(field, tool, size, KILL_AT * undisturbed)
            run.undisturbed_s = undisturbed
        result.runs.append(run)
        told = results.shown(run.seconds, ".2f")
        beside = f", {run.other_cpu_s:.1f} CPU s went elsewhere" if run.other_cpu_s > 0.2 * (run.seconds or 0) + 0.5 else ""
        say(f"  {tool.title}: {told} s{beside}{'' if run.complete else f': {result.failure}: {run.said}'}")
    return result


def once(field: Field, tool: Tool, size: int, incident_s: float | None) -> Run:
    try:
        return tool.run(field, size, incident_s)
    except (LabError, OSError, subprocess.SubprocessError) as error:
        # One tool that does not work is a result, not the end of the benchmark.
        return Run(None, dict.fromkeys(field.receivers, "missing"), None, 0.0, said=f"{type(error).__name__}: {error}"[-2000:])


def measured(scenario: Scenario) -> t.Iterator[dict[str, t.Any]]:
    """The scenario's results after each tool, so that a run that is broken off leaves what it has."""
    say(f"{scenario.title}:")
    if scenario.kind == "deploy":
        yield from deployed(scenario)
        return
    if scenario.kind in WITHOUT_A_FILE:
        yield from of_a_host(scenario, *WITHOUT_A_FILE[scenario.kind])
        return
    with Field(scenario) as field:
        whole = described(scenario, file_system=field.fs, congestion_control=field.congestion_control)
        for name in scenario.tools:
            whole["results"].append(results.as_json(measure(field, TOOLS[name])))
            yield whole


def described(scenario: Scenario, **facts: str) -> dict[str, t.Any]:
    """The scenario's results before the first one."""
    return {
        "name": scenario.name,
        "title": scenario.title,
        "kind": scenario.kind,
        "receivers": scenario.receivers,
        "rate_mbps": scenario.rate_mbps,
        "between_mbps": scenario.between_mbps,
        **facts,
        "results": [],
    }


def deployed(scenario: Scenario) -> t.Iterator[dict[str, t.Any]]:
    """Whole deployments, by each way."""
    with deployment.Ground(scenario) as ground:
        whole = described(scenario, congestion_control=ground.congestion_control)
        for way in deployment.WAYS:
            if way.name not in scenario.tools:
                continue
            for result in deployment.measured(ground, way):
                (run,) = result.runs
                say(f"  {result.title}: {results.shown(run.seconds, '.1f')} s{'' if run.complete else f': exit {run.exit}: {run.said}'}")
                whole["results"].append(results.as_json(result))
                yield whole


def of_a_host(scenario: Scenario, make: t.Any, measuring: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """What happens on one host, where no file is copied."""
    with make(scenario) as ground:
        whole = described(scenario, congestion_control=ground.congestion_control)
        for result in measuring(ground):
            say(f"  {result.title}: {results.shown(result.seconds, '.2f')} s{'' if result.complete else f': {result.failure}'}")
            whole["results"].append(results.as_json(result))
            yield whole


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("what", nargs="*", help="quick, or names of scenarios; none: the full set")
    parser.add_argument("--tools", default="", help="only these, with commas or blanks between them")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for results.json, table.txt and plot.svg")
    options = parser.parse_args(argv)
    try:
        scenarios = select(options.what, options.tools.replace(",", " ").split())
    except UnknownName as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    begin = time.monotonic()
    used = {name for scenario in scenarios for name in scenario.tools if name in TOOLS}
    found: dict[str, t.Any] = {
        "format": results.FORMAT,
        "command": shlex.join(["python", "-m", "tests.bench", *argv]),
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": {**machine.facts(), **machine.calibration()},
        "versions": dict(sorted(one for name in used for one in TOOLS[name].versions().items())),
        "scenarios": [],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    with machine.keeping_memory() as kept:
        found["machine"]["keeps_free_memory"] = kept
        for scenario in scenarios:
            before = found["scenarios"]
            for whole in measured(scenario):
                found["scenarios"] = [*before, whole]
                found["seconds"] = round(time.monotonic() - begin, 1)
                write(found, options.output)
    say("")
    say(results.text(found))
    say(f"{found['seconds']:.0f} s in all; results in {options.output}")
    say(plotted(options.output))
    if told := results.busy(found):
        say(told)
    # A peer's failure is a result; ours is an error.
    own = [results.from_json(one) for scenario in found["scenarios"] for one in scenario["results"] if one["tool"].startswith(OURS)]
    return 0 if all(one.complete for one in own) else 1


def write(found: dict[str, t.Any], folder: Path) -> None:
    jsonschema.validate(found, results.SCHEMA)
    (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "table.txt").write_text(results.text(found))
    (folder / "table.md").write_text(results.markdown(found))


def plotted(folder: Path) -> str:
    if not PLOT_PYTHON.exists():
        return "No plot: tools/setup --bench makes the environment with matplotlib."
    drawing = [str(PLOT_PYTHON), str(Path(__file__).with_name("plot.py")), str(folder / "results.json"), str(folder / "plot.svg")]
    done = subprocess.run(drawing, text=True, capture_output=True, check=False)
    return f"plot in {folder / 'plot.svg'}" if done.returncode == 0 else f"No plot: {done.stderr.strip()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
