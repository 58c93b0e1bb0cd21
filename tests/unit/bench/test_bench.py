# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pure parts of the benchmark: what is chosen, and what becomes of the figures."""

from __future__ import annotations

import hashlib
import pathlib
import shlex
import subprocess
import typing as t

import jsonschema
import pytest
import yaml
from ansible_collections.basecast.fleet.tests.bench import __main__ as program
from ansible_collections.basecast.fleet.tests.bench import clone, deployment, machine, results, survey
from ansible_collections.basecast.fleet.tests.bench.results import Run, ToolResult
from ansible_collections.basecast.fleet.tests.bench.scenarios import FULL, MIB, QUICK, Scenario, UnknownName, select
from ansible_collections.basecast.fleet.tests.bench.tools import TOOLS
from ansible_collections.basecast.fleet.tests.bench.tools.stars import ClushTree
from ansible_collections.basecast.fleet.tests.bench.tools.swarm import info_hash
from ansible_collections.basecast.fleet.tests.documented import ROOT, typed

HOSTS = ("kvm2", "kvm3")


def ran(seconds: float | None, *states: str, **more: t.Any) -> Run:
    return Run(seconds, dict(zip(HOSTS, states or ("complete",) * 2, strict=True)), more.pop("exit", 0), cpu_s=1.0, **more)


def tool(*runs: Run, name: str = "relay", **more: t.Any) -> ToolResult:
    return ToolResult(name, name.title(), "note", 128 * MIB, 5.0, runs=list(runs), **more)


def found(*all_results: ToolResult, kind: str = "spread") -> dict[str, t.Any]:
    scenario = {
        "name": "x", "title": "two hosts", "kind": kind, "receivers": 2, "rate_mbps": 200, "between_mbps": None, "congestion_control": "cubic",
        "results": [results.as_json(one) for one in all_results],
    }  # fmt: skip
    return {
        "format": 1, "command": "c", "started_at": "2026-01-01T00:00:00+00:00", "commit": "abc", "machine": {}, "versions": {},
        "scenarios": [scenario],
    }  # fmt: skip


def test_the_limit_is_the_time_of_one_copy_over_the_narrowest_link() -> None:
    eight, sites = FULL[0], next(one for one in FULL if one.name == "sites")
    assert eight.limit_s(128 * MIB) == pytest.approx(5.36870912)
    assert sites.limit_s(32 * MIB) == pytest.approx(32 * MIB * 8 / 20e6)
    assert next(one for one in FULL if one.name == "single").limit_s(MIB) is None


def test_a_star_gets_a_smaller_file_where_it_would_take_for_ever() -> None:
    scenario = Scenario("x", "x", "spread", 32, 50, 128, ("rsync",), most_s=60)
    assert scenario.size_for(1) == 128 * MIB
    assert scenario.size_for(32) == 8 * MIB  # 43 s; twice of it would be 86 s
    assert scenario.size_for(1000) == 4 * MIB


WAYS: dict[str, t.Sequence[t.Any]] = {"deploy": deployment.WAYS, "survey": survey.WAYS, "clone": clone.WAYS}


@pytest.mark.parametrize("one", [*FULL, *QUICK], ids=lambda one: f"{one.name}-{one.size_mib}")
def test_scenarios_name_tools_that_exist(one: Scenario) -> None:
    if one.kind in WAYS:
        assert set(one.tools) == {way.name for way in WAYS[one.kind]}
        return
    assert set(one.tools) <= set(TOOLS)
    for name in one.tools:
        assert TOOLS[name].copies(one.receivers) >= 1


def test_selection() -> None:
    assert select([]) == list(FULL)
    assert select(["quick"]) == list(QUICK)
    assert [(one.name, one.size_mib) for one in select(["quick", "hosts8"])] == [("hosts8", QUICK[0].size_mib)]
    assert [one.name for one in select(["sites", "hosts16"])] == ["sites", "hosts16"]
    assert [(one.name, one.tools) for one in select([], ["scp"])] == [("single", ("scp",))]
    with pytest.raises(UnknownName, match="no scenario 'hosts9'; there are quick, full, hosts8"):
        select(["hosts9"])
    with pytest.raises(UnknownName, match="no tool 'cp'; there are aria2"):
        select([], ["cp"])


def test_figures_are_medians_over_the_limit() -> None:
    one = tool(ran(6.0), ran(5.5), ran(9.0))
    assert (one.seconds, one.ratio) == (6.0, pytest.approx(1.2))
    assert one.cpu_s_per_gib == pytest.approx(1.0 / 2 / (128 / 1024))
    assert tool(ran(7.0, undisturbed_s=5.0), ran(6.0, undisturbed_s=5.0)).disturbed_ratio == pytest.approx(1.3)
    assert tool(ran(6.0, wire_ratio=1.01), ran(6.0, wire_ratio=1.02), ran(6.0)).most("wire_ratio") == 1.02


def test_one_host_without_the_file_in_one_run_is_a_failure_whatever_the_tool_says() -> None:
    one = tool(ran(6.0), ran(None, "complete", "truncated"))
    assert not one.complete
    assert one.seconds is None
    assert one.failure == "1 of 2 truncated, exit 0"
    assert tool(ran(None, "wrong", "missing", exit=None)).failure == "1 of 2 missing, 1 of 2 wrong, did not end"
    assert not tool().complete


def test_results_keep_their_form() -> None:
    whole = found(tool(ran(6.0)), tool(name="rsync", missing="rsync not installed"), tool(ran(None, "missing", "dead")))
    jsonschema.validate(whole, results.SCHEMA)
    assert results.from_json(whole["scenarios"][0]["results"][0]) == tool(ran(6.0))
    whole["scenarios"][0]["results"][0]["runs"][0]["hosts"]["kvm2"] = "nearly"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(whole, results.SCHEMA)


def test_the_table_is_sorted_and_names_what_failed_and_what_was_not_run() -> None:
    whole = found(
        tool(name="rsync", missing="rsync not installed (package rsync)"),
        tool(ran(None, "complete", "truncated"), name="taktuk"),
        tool(ran(40.0), name="star"),
        tool(ran(5.5, payload_ratio=1.0002)),
    )
    lines = results.text(whole).splitlines()
    assert lines[0] == "two hosts"
    assert [line.split()[0] for line in lines[2:]] == ["Relay", "Star", "Taktuk", "Rsync"]
    assert "1.100" in lines[2]
    assert "1.0002" in lines[2]
    assert lines[4].endswith("FAILED: 1 of 2 truncated, exit 0")
    assert lines[5].endswith("not run: rsync not installed (package rsync)")
    table = results.markdown(whole).splitlines()
    assert table[0] == "**two hosts**"
    assert {line.count("|") for line in table[2:]} == {table[2].count("|")}


@pytest.mark.parametrize("kind", ["kill", "single", "memory"])
def test_every_kind_has_its_table(kind: str) -> None:
    heading, (cells,) = results.rows(found(tool(ran(6.0, undisturbed_s=5.0, resident_mib=31.2)), kind=kind)["scenarios"][0])
    assert len(heading) == len(cells)
    assert {"kill": "1.20", "single": "0.02", "memory": "31.2"}[kind] in cells


def test_gateways_serve_every_host_once() -> None:
    hosts = [f"kvm{number}" for number in range(2, 10)]
    tree = ClushTree.gateways(hosts)
    assert len(tree) == 3
    assert sorted([*tree, *(host for behind in tree.values() for host in behind)]) == sorted(hosts)


def test_info_hash_is_found_by_parsing() -> None:
    info = b"d6:lengthi5e4:name5:image6:pieces20:4:infod6:lengthi9e12e"
    torrent = b"d8:announce8:http://x13:creation datei7e4:info" + info + b"e"
    assert info_hash(torrent) == hashlib.sha1(info, usedforsecurity=False).hexdigest()


def test_a_machine_keeps_its_memory_while_it_measures_and_not_after(tmp_path: pathlib.Path) -> None:
    knob = tmp_path / "min_free_ms"
    knob.write_text("5\n")
    with pytest.raises(KeyError), machine.keeping_memory(knob) as kept:
        assert kept
        assert knob.read_text() == str(machine.KEEP_MS)
        raise KeyError
    assert knob.read_text() == "5"


def test_a_machine_that_cannot_keep_its_memory_is_measured_all_the_same(tmp_path: pathlib.Path) -> None:
    with machine.keeping_memory(tmp_path / "none") as kept:
        assert not kept
    assert not list(tmp_path.iterdir())


# --- whole deployments, and what makes runs on different machines comparable

REPORT = {
    "zero_s": 10.0,
    "transfers": [{"started_s": 0.5, "ended_s": 2.0}, {"started_s": None, "ended_s": None}, {"started_s": 0.2, "ended_s": 3.5}],
    "machines": [{"times": {"started_s": 4.0, "reported_s": 12.0}}, {"times": {"started_s": 6.0, "reported_s": 11.0}}],
}


def test_phases_of_our_deployment_come_from_its_report() -> None:
    times = deployment.times_of_report(REPORT)
    assert times == {"copying": 10.2, "copied": 13.5, "started": 16.0, "up": 22.0}
    assert [round(one, 1) for one in deployment.phases(times, 25.0).values()] == [10.2, 3.3, 2.5, 6.0, 3.0]


def test_what_did_not_happen_took_no_time() -> None:
    nothing = deployment.times_of_report({"zero_s": 5.0, "transfers": [], "machines": [{"times": {"started_s": None, "reported_s": None}}]})
    assert nothing == {}
    assert list(deployment.phases(nothing, 8.0).values()) == [0.0, 0.0, 0.0, 0.0, 8.0]


def test_phases_of_the_plain_playbook_are_its_tasks() -> None:
    plain = yaml.safe_load((deployment.PLAIN / "deploy.yml").read_text())
    lines = [(float(at), f"TASK [{task['name']}] ****") for at, task in enumerate(plain[0]["tasks"])]
    times = deployment.times_of_tasks([*lines, (40.0, "PLAY RECAP ****")])
    assert list(times) == ["copying", "copied", "started", "up"]
    assert times["copying"] < times["copied"] < times["started"] < times["up"] == 40.0


def test_processor_time_is_told_beside_a_plain_chain_of_the_same_run() -> None:
    heading, cells = results.rows(found(tool(ran(6.0)), tool(ran(5.5), name="mbuffer"))["scenarios"][0])
    at = heading.index("over mbuffer")
    assert {line[0]: line[at] for line in cells} == {"Relay": "1.00", "Mbuffer": "1.00"}
    assert "over mbuffer" not in results.rows(found(tool(ran(6.0)))["scenarios"][0])[0]


def test_deployments_stay_in_their_order_with_their_phases() -> None:
    runs = {f"deploy-{kind}": ran(seconds, phases=dict.fromkeys(results.PHASES, 1.0)) for kind, seconds in (("cold", 30.0), ("warm", 20.0))}
    heading, cells = results.rows(found(*(tool(run, name=name) for name, run in runs.items()), kind="deploy")["scenarios"][0])
    assert [line[0] for line in cells] == ["Deploy-Cold", "Deploy-Warm"]
    assert cells[0][heading.index("the copy")] == "1.0"


def test_a_busy_machine_is_told() -> None:
    quiet, loud = (found(tool(ran(10.0, other_cpu_s=other))) | {"machine": {"cpus": 2}} for other in (0.9, 5.0))
    assert results.busy(quiet) == ""
    assert results.busy(loud) == (
        "This machine was busy with something else: 5 of 20 CPU s went there. Measure again on an idle machine."
    )  # fmt: skip


def test_the_speed_of_the_machine_is_told() -> None:
    speeds = machine.calibration()
    assert all(value is None or value >= 0 for value in speeds.values())
    assert "SHA-256" in results.text({**found(tool(ran(6.0))), "machine": speeds}).splitlines()[0]


def test_a_definition_becomes_that_of_another_machine() -> None:
    definition = (
        '<domain><name>bench-web-1</name><uuid>1-2</uuid><x number="1" machine="web-1"/><source file=\'/p/bench/web-1/root.qcow2\'/>'
        "<mac address='52:54:00:aa:bb:cc'/></domain>"
    )
    assert survey.another(definition, 300) == (
        '<domain><name>bench-web-300</name><uuid>00000000-0000-0000-0000-00000000012c</uuid><x number="300" machine="web-300"/>'
        "<source file='/p/bench/web-300/root.qcow2'/><mac address='52:54:00:01:2c:01'/></domain>"
    )


def test_commands_of_the_page_choose_what_they_say(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed up to the measuring, which tests/integration/test_bench.py does with one small file."""
    chosen: list[list[Scenario]] = []

    def measured(scenario: Scenario) -> t.Iterator[dict[str, t.Any]]:
        chosen[-1].append(scenario)
        yield found()["scenarios"][0]

    monkeypatch.setattr(program, "measured", measured)
    monkeypatch.setattr(machine, "calibration", dict)
    for line in typed("docs/bench.md", "# make bench"):
        done = subprocess.run(
            ["bash", "-c", line], cwd=ROOT, text=True, capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", "MAKEFLAGS": "n"}
        )
        (call,) = (shlex.split(one) for one in done.stdout.splitlines() if "-m tests.bench" in one)
        chosen.append([])
        assert program.main([*call[call.index("tests.bench") + 1 :], "--output", str(tmp_path)]) == 0
    everything, quick, some, few_tools = chosen
    assert everything == list(FULL) and quick == list(QUICK)
    assert [one.name for one in some] == ["hosts8", "kill"] and some[0] == FULL[0]
    assert [(one.name, one.tools) for one in few_tools] == [("hosts8", ("relay", "rsync"))]
    assert few_tools[0].size_bytes == QUICK[0].size_bytes
