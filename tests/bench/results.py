# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What came out: the form of the results, their figures and their table. Pure."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

FORMAT = 1

STATES = ("complete", "truncated", "missing", "wrong", "dead")

GIB = 1024**3

# Of a whole deployment, one after another.
PHASES = ("until the copy begins", "the copy", "until all machines are started", "until all guests are up", "the rest")

# A tool whose processor time others are compared with: a chain that neither encrypts nor verifies; one to one, the usual copy.
PLAIN = {"spread": "mbuffer", "sites": "mbuffer", "single": "scp"}

# Of the machine's processor time; with more of it elsewhere, figures of a run are not worth keeping.
BUSY = 0.05

_number = {"type": ["number", "null"]}

SCHEMA: dict[str, t.Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["format", "command", "started_at", "commit", "machine", "versions", "scenarios"],
    "properties": {
        "format": {"const": FORMAT},
        "command": {"type": "string"},
        "started_at": {"type": "string"},
        "seconds": {"type": "number"},
        "commit": {"type": "string"},
        "machine": {"type": "object"},
        "versions": {"type": "object", "additionalProperties": {"type": "string"}},
        "scenarios": {"type": "array", "items": {"$ref": "#/$defs/scenario"}},
    },
    "$defs": {
        "scenario": {
            "type": "object",
            "required": ["name", "title", "kind", "receivers", "rate_mbps", "between_mbps", "congestion_control", "results"],
            "properties": {
                "receivers": {"type": "integer", "minimum": 1},
                "rate_mbps": _number,
                "between_mbps": _number,
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
            },
        },
        "result": {
            "type": "object",
            "required": ["tool", "title", "note", "size_bytes", "limit_s", "missing", "runs"],
            "properties": {
                "size_bytes": {"type": "integer", "minimum": 0},
                "limit_s": _number,
                "missing": {"type": "string"},
                "runs": {"type": "array", "items": {"$ref": "#/$defs/run"}},
            },
        },
        "run": {
            "type": "object",
            "required": ["seconds", "hosts", "exit", "cpu_s", "said"],
            "properties": {
                "seconds": _number,
                "hosts": {"type": "object", "additionalProperties": {"enum": list(STATES)}},
                "exit": {"type": ["integer", "null"]},
                "cpu_s": {"type": "number"},
                "other_cpu_s": {"type": "number"},
                "controller_cpu_s": _number,
                "phases": {"type": "object", "additionalProperties": {"type": "number"}},
                "wire_ratio": _number,
                "payload_ratio": _number,
                "resident_mib": _number,
                "undisturbed_s": _number,
                "said": {"type": "string"},
            },
        },
    },
}


@dataclass
class Run:
    """One run of a tool.

    :param seconds: from the start until the last living host had the whole file; None if one of them never had it.
    :param hosts: what each receiver has at the end, by one of STATES, as its digest tells; ``dead`` was killed on purpose.
    :param exit: of the command that the operator started; None if it did not end.
    :param cpu_s: processor seconds of all processes on all hosts; ``other_cpu_s``: of everything else on the machine.
    :param wire_ratio: the most that a receiver's link carried towards it, over the bytes of the file.
    :param payload_ratio: the most that a receiver's node counted as received, over the bytes of the file.
    :param resident_mib: the most that a node of the relay ever had resident.
    :param undisturbed_s: the same without the kill.
    :param controller_cpu_s: of a deployment: processor seconds outside of the hosts, the controller's among them.
    :param phases: of a deployment: seconds of each of PHASES.
    :param said: the last of what the tool had to say, if it failed.
    """

    seconds: float | None
    hosts: dict[str, str]
    exit: int | None
    cpu_s: float
    other_cpu_s: float = 0.0
    wire_ratio: float | None = None
    payload_ratio: float | None = None
    resident_mib: float | None = None
    undisturbed_s: float | None = None
    controller_cpu_s: float | None = None
    phases: dict[str, float] = field(default_factory=dict)
    said: str = ""

    @property
    def complete(self) -> bool:
        return self.seconds is not None


@dataclass
class ToolResult:
    """All runs of a tool in a scenario; ``missing`` says why there are none."""

    tool: str
    title: str
    note: str
    size_bytes: int
    limit_s: float | None
    missing: str = ""
    runs: list[Run] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """A tool that left one host without the file in one run did not do its work."""
        return bool(self.runs) and all(run.complete for run in self.runs)

    @property
    def seconds(self) -> float | None:
        return statistics.median(t.cast(float, run.seconds) for run in self.runs) if self.complete else None

    @property
    def ratio(self) -> float | None:
        return self.seconds / self.limit_s if self.seconds is not None and self.limit_s else None

    @property
    def disturbed_ratio(self) -> float | None:
        """With the kill over without it, at the median."""
        ratios = [run.seconds / run.undisturbed_s for run in self.runs if run.seconds and run.undisturbed_s]
        return statistics.median(ratios) if ratios and self.complete else None

    @property
    def gb_per_s(self) -> float | None:
        return self.size_bytes / self.seconds / 1e9 if self.seconds else None

    @property
    def cpu_s(self) -> float | None:
        """Processor seconds of one run, at the median."""
        return statistics.median(run.cpu_s for run in self.runs) if self.complete else None

    @property
    def cpu_s_per_gib(self) -> float | None:
        """Processor seconds for a GiB that arrived at one host."""
        if not self.complete:
            return None
        return statistics.median(run.cpu_s / len(run.hosts) for run in self.runs) / (self.size_bytes / GIB)

    def phase(self, name: str) -> float | None:
        return statistics.median(run.phases.get(name, 0.0) for run in self.runs) if self.complete else None

    def most(self, name: str) -> float | None:
        found = [value for run in self.runs if (value := getattr(run, name)) is not None]
        return max(found) if found else None

    @property
    def failure(self) -> str:
        """What a failed run left behind, counted: ``3 of 8 truncated, exit 0``."""
        run = next((run for run in self.runs if not run.complete), None)
        if run is None:
            return ""
        counted = [
            f"{number} of {len(run.hosts)} {state}"
            for state in STATES
            if state not in ("complete", "dead") and (number := list(run.hosts.values()).count(state))
        ]
        return ", ".join([*counted, "did not end" if run.exit is None else f"exit {run.exit}"])


def as_json(value: t.Any) -> t.Any:
    """Dataclasses as plain data, numbers rounded to what they are worth."""
    if isinstance(value, ToolResult):
        return {**asdict(value), "runs": [as_json(run) for run in value.runs]}
    if isinstance(value, Run):
        return {key: round(one, 4) if isinstance(one, float) else one for key, one in asdict(value).items()}
    return value


def from_json(value: Mapping[str, t.Any]) -> ToolResult:
    return ToolResult(**{**value, "runs": [Run(**run) for run in value["runs"]]})


def shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _exits(one: ToolResult) -> str:
    return ", ".join(sorted({"none" if run.exit is None else str(run.exit) for run in one.runs}))


def _remark(one: ToolResult) -> str:
    return f"not run: {one.missing}" if one.missing else f"FAILED: {one.failure}" if one.failure else ""


Column = tuple[str, Callable[[ToolResult], str]]

_TOOL: Column = ("tool", lambda one: one.title)
_SECONDS: Column = ("seconds", lambda one: shown(one.seconds, ".2f"))
_CPU: Column = ("CPU s per GiB", lambda one: shown(one.cpu_s_per_gib, ".2f"))
_END: list[Column] = [("runs", lambda one: str(len(one.runs))), ("", _remark)]

_CPU_OF = {"spread": "CPU s per GiB and host", "sites": "CPU s per GiB and host", "single": _CPU[0]}

_SPREAD: list[Column] = [
    _TOOL,
    ("file, MiB", lambda one: f"{one.size_bytes / 1024**2:g}"),
    _SECONDS,
    ("over limit", lambda one: shown(one.ratio, ".3f")),
    (_CPU_OF["spread"], _CPU[1]),
    ("on the wire", lambda one: shown(one.most("wire_ratio"), ".3f")),
    ("received", lambda one: shown(one.most("payload_ratio"), ".4f")),
    *_END,
]

COLUMNS: dict[str, list[Column]] = {
    "single": [_TOOL, _SECONDS, ("GB/s", lambda one: shown(one.gb_per_s, ".2f")), _CPU, *_END],
    "kill": [
        _TOOL,
        _SECONDS,
        ("undisturbed", lambda one: shown(one.most("undisturbed_s"), ".2f")),
        ("ratio", lambda one: shown(one.disturbed_ratio, ".2f")),
        ("exit", _exits),
        *_END,
    ],
    "deploy": [
        _TOOL,
        _SECONDS,
        *((name, lambda one, name=name: shown(one.phase(name), ".1f")) for name in PHASES),
        ("CPU s, hosts", lambda one: shown(one.most("cpu_s"), ".1f")),
        ("controller", lambda one: shown(one.most("controller_cpu_s"), ".1f")),
        ("", _remark),
    ],
    "survey": [_TOOL, _SECONDS, ("CPU s", lambda one: shown(one.cpu_s, ".2f")), *_END],
    "clone": [_TOOL, _SECONDS, ("CPU s, hosts", lambda one: shown(one.cpu_s, ".2f")), *_END],
    "memory": [_TOOL, _SECONDS, ("most resident, MiB", lambda one: shown(one.most("resident_mib"), ".1f")), *_END],
    "spread": _SPREAD,
    "sites": _SPREAD,
}


def rows(scenario: Mapping[str, t.Any]) -> tuple[list[str], list[list[str]]]:
    """Heading and cells of a scenario's table, best first."""
    found = [from_json(result) for result in scenario["results"]]
    if scenario["kind"] not in ("deploy", "survey", "clone"):  # whose order tells a story
        found.sort(key=lambda one: (not one.complete, not one.runs, one.ratio or one.seconds or 0.0))
    columns = [*COLUMNS[scenario["kind"]]]
    plain = next((one for one in found if one.tool == PLAIN.get(scenario["kind"])), None)
    if plain is not None and plain.cpu_s_per_gib:
        place = next(at for at, (name, _cell) in enumerate(columns) if name == _CPU_OF[scenario["kind"]])
        columns.insert(place + 1, (f"over {plain.tool}", lambda one: shown(_over(one, plain), ".2f")))
    return [name for name, _cell in columns], [[cell(one) for _name, cell in columns] for one in found]


def _over(one: ToolResult, plain: ToolResult) -> float | None:
    """Processor time per byte and host over that of the plain tool in the same run."""
    mine, other = one.cpu_s_per_gib, plain.cpu_s_per_gib
    return mine / other if mine is not None and other else None


def busy(results: Mapping[str, t.Any]) -> str:
    """A sentence where other processes took a good part of the machine while something was measured; empty where not."""
    runs = [run for scenario in results["scenarios"] for one in scenario["results"] for run in one["runs"] if run["seconds"]]
    taken = sum(run.get("other_cpu_s", 0.0) for run in runs)
    there = sum(run["seconds"] for run in runs) * results["machine"].get("cpus", 1)
    if not there or taken <= BUSY * there:
        return ""
    return f"This machine was busy with something else: {taken:.0f} of {there:.0f} CPU s went there. Measure again on an idle machine."


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width) if column < len(widths) - 1 else cell
                  for column, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    ]  # fmt: skip


def text(results: Mapping[str, t.Any]) -> str:
    """The tables, for a terminal."""
    out: list[str] = [_speeds(results["machine"])]
    for scenario in results["scenarios"]:
        out += ["", scenario["title"]]
        heading, cells = rows(scenario)
        out += ["  " + line for line in aligned([heading, *cells])]
    return "\n".join(out).lstrip("\n") + "\n"


def _speeds(facts: Mapping[str, t.Any]) -> str:
    """How fast the machine is, so that runs on different ones can be compared."""
    told = {
        "sha256_gib_s": "SHA-256 {:.2f} GiB/s",
        "aes_gcm_gib_s": "AES-256-GCM {:.2f} GiB/s",
        "memory_gib_s": "memory copied at {:.1f} GiB/s",
        "empty_task_s": "an empty task of Ansible {:.3f} s",
    }
    known = [form.format(facts[key]) for key, form in told.items() if facts.get(key) is not None]
    return f"This machine, one core: {', '.join(known)}" if known else ""


def markdown(results: Mapping[str, t.Any]) -> str:
    """The tables, for the documentation."""
    out: list[str] = []
    for scenario in results["scenarios"]:
        heading, cells = rows(scenario)
        out += ["", f"**{scenario['title']}**", "", _pipes(heading), _pipes("---" for _column in heading)]
        out += [_pipes(line) for line in cells]
    return "\n".join(out).lstrip("\n") + "\n"


def _pipes(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
