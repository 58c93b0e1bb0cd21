# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole deployments, from the command until the last guest has come up: ours, and what a plain playbook does.

Both deploy the same machines to the same hosts, from the same image, with the same Ansible and its same configuration: cold (no host
has the image), warm (all have it, no machine is there) and again (nothing is to be done).
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.basecast.fleet.tests.lab import Lab, images

from . import machine
from .results import PHASES, Run, ToolResult
from .scenarios import MIB, Scenario

POOL = "/var/lib/libvirt/images"
IMAGE = f"{POOL}/images/bench.qcow2"
PLAIN = machine.CHECKOUT / "tests/bench/plain"
MEMORY_MIB = 96
ROUNDS = ("cold", "warm", "again")

# Everything of a deployment: domains, whatever made them, and all that is in the pool but the image.
CLEAR_MACHINES = (
    "for one in $(virsh list --all --name); do virsh destroy $one; virsh undefine $one; done >/dev/null 2>&1; "
    f"chattr -R -i {POOL}; rm -rf {POOL}/machines {POOL}/plain/web-*; "
    "rm -rf /var/lib/basecast-fleet"
)
CLEAR_IMAGES = f"chattr -R -i {POOL}; rm -rf {POOL}/bases {POOL}/plain; true"

Times = Mapping[str, float]


class Way(t.Protocol):
    """One way to deploy."""

    name: str
    title: str
    note: str

    def deploy(self, ground: Ground) -> tuple[int, str, Times]:
        """Exit code, output, and seconds since the command when the copy began and ended, and when all machines were started."""


class Ground:
    """A lab with libvirt, and the image on its first host, which gets no machine."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.lab = Lab(hosts=scenario.receivers + 1, rate_mbps=scenario.rate_mbps, libvirt=True)
        self.lab.up()
        self.congestion_control = self.lab.hosts[self.lab.names[0]].run("cat /proc/sys/net/ipv4/tcp_congestion_control").stdout.strip()
        image = images.tiny(version="bench", pad_mib=scenario.size_mib)
        self.size = image.stat().st_size
        self.source, *self.targets = self.lab.names
        self.lab.hosts[self.source].put(image, IMAGE)

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.lab.down()

    def machines(self) -> dict[str, list[str]]:
        """Two machines on each host."""
        return {host: [f"web-{2 * number + 1}", f"web-{2 * number + 2}"] for number, host in enumerate(self.targets)}

    def clear(self, command: str) -> None:
        for name in self.lab.names:
            self.lab.hosts[name].run(command, check=False)

    def play(self, arguments: Sequence[str]) -> tuple[int, list[tuple[float, str]]]:
        """Exit code, and lines of the output with the seconds after which they came."""
        begin = time.monotonic()
        lines: list[tuple[float, str]] = []
        with self.lab.popen_playbook(list(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout
            for line in process.stdout:
                lines.append((time.monotonic() - begin, line.rstrip("\n")))
        return process.returncode, lines

    def states(self) -> dict[str, str]:
        """What each host has: complete with all its machines running."""
        found = {}
        for host, names in self.machines().items():
            running = self.lab.hosts[host].run("virsh list --name").stdout.split()
            found[host] = "complete" if len(running) == len(names) else "missing"
        return found


class Ours:
    """The playbook deploy."""

    name, title, note = "deploy", "basecast.fleet", "basecast.fleet.deploy; guests prove that they came up by their report"

    def deploy(self, ground: Ground) -> tuple[int, str, Times]:
        report = ground.lab.state / "bench-report.json"
        manifest = {
            "format": 1,
            "service": "bench",
            "bases": [{"name": "tiny", "version": "1", "source": {"host": ground.source, "path": "images/bench.qcow2"}}],
            "machines": [{
                "name": "web", "hosts": list(ground.targets), "per_host": 2, "memory_mib": MEMORY_MIB, "networks": [], "cloud_init": {},
                "disks": [{"name": "root", "base": "tiny", "size_gib": 1}],
            }],
        }  # fmt: skip
        given = {"manifest": manifest, "basecast_report_file": str(report)}
        code, lines = ground.play(["basecast.fleet.deploy", "-e", json.dumps(given)])
        return code, "\n".join(line for _at, line in lines), times_of_report(json.loads(report.read_text())) if code == 0 else {}


class PlainPlaybook:
    """rsync from the host that has the image, qemu-img, xorriso, virsh: what an operator writes who has no collection for it."""

    name, title, note = (
        "plain",
        "plain playbook",
        "rsync, qemu-img and virsh in tests/bench/plain/deploy.yml; waits for a line on each console",
    )

    def deploy(self, ground: Ground) -> tuple[int, str, Times]:
        given = {
            "bench_targets": ground.targets,
            "bench_machines": ground.machines(),
            "bench_source": f"root@{ground.lab.hosts[ground.source].address}:{IMAGE}",
            "bench_folder": f"{POOL}/plain",
            "bench_memory_mib": MEMORY_MIB,
        }
        code, lines = ground.play([str(PLAIN / "deploy.yml"), "-e", json.dumps(given)])
        return code, "\n".join(line for _at, line in lines), times_of_tasks(lines)


WAYS: tuple[Way, ...] = (Ours(), PlainPlaybook())


def times_of_report(report: Mapping[str, t.Any]) -> dict[str, float]:
    """When what happened, from the report of a run: seconds since it began."""
    zero = report["zero_s"]

    def latest(values: t.Iterable[float | None]) -> list[float]:
        known = [value for value in values if value is not None]
        return [zero + max(known)] if known else []

    began = [zero + row["started_s"] for row in report["transfers"] if row["started_s"] is not None]
    ended = latest(row["ended_s"] for row in report["transfers"])
    started = latest(one["times"]["started_s"] for one in report["machines"])
    up = latest(one["times"]["reported_s"] for one in report["machines"])
    found = zip(("copying", "copied", "started", "up"), (began[:1] and [min(began)], ended, started, up), strict=True)
    return {name: values[0] for name, values in found if values}


def times_of_tasks(lines: Sequence[tuple[float, str]]) -> dict[str, float]:
    """The same from the output of the plain playbook: its tasks are named for it."""
    begins = {
        match[1]: at for at, line in lines if (match := re.match(r"TASK \[(.*)\]", line)) or (match := re.match(r"PLAY (RECAP)", line))
    }
    wanted = {"copying": "Copy the image", "copied": "Make disks", "started": "Wait for the guests", "up": "RECAP"}
    return {name: begins[task] for name, task in wanted.items() if task in begins}


def phases(times: Times, total_s: float) -> dict[str, float]:
    """Seconds of each phase, one after another; what did not happen took none."""
    ends = [times.get("copying"), times.get("copied"), times.get("started"), times.get("up"), total_s]
    found, at = {}, 0.0
    for name, end in zip(PHASES, ends, strict=True):
        reached = at if end is None else min(max(at, end), total_s)
        found[name] = reached - at
        at = reached
    return found


def measured(ground: Ground, way: Way) -> t.Iterator[ToolResult]:
    """Cold, warm, and again."""
    ground.clear(f"{CLEAR_MACHINES}; {CLEAR_IMAGES}")
    machine.take_memory(len(ground.targets) * 2 * MEMORY_MIB * MIB)
    for kind in ROUNDS:
        if kind == "warm":
            ground.clear(CLEAR_MACHINES)
        processor, begin = machine.ProcessorTime(ground.lab), time.monotonic()
        code, output, times = way.deploy(ground)
        seconds = time.monotonic() - begin
        cpu, other = processor.seconds()
        states = ground.states()
        whole = code == 0 and set(states.values()) == {"complete"}
        run = Run(
            seconds=seconds if whole else None,
            hosts=states,
            exit=code,
            cpu_s=cpu,
            other_cpu_s=0.0,
            controller_cpu_s=other,
            phases={name: round(value, 2) for name, value in phases(times, seconds).items()},
            said="" if whole else output[-2000:],
        )
        yield ToolResult(f"{way.name}-{kind}", f"{way.title}, {kind}", way.note, ground.size, None, runs=[run])
