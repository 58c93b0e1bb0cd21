# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A clone of a running guest until it reports, beside a deployment of the same machine and ``virsh start`` of it.

A guest reports once, when it starts for the first time: a machine that was off and is started is not waited for, and is nothing to
compare with.
"""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.basecast.fleet.tests.lab import Lab, LabError, images

from . import machine
from .results import Run, ToolResult
from .scenarios import MIB, Scenario

POOL = "/var/lib/libvirt/images"
SERVICE, MACHINE, CLONE = "bench", "web-1", "web-9"
MEMORY_MIB = 96
UP = "TINY done"  # the last line of a guest on its console begins with it
UP_S = 60


class CloneGround:
    """A lab of one host with libvirt and one machine with two disks, which runs."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.lab = Lab(hosts=1, libvirt="debian")
        self.lab.up()
        (self.host,) = self.lab.hosts.values()
        self.congestion_control = self.host.run("cat /proc/sys/net/ipv4/tcp_congestion_control").stdout.strip()
        machine.take_memory(2 * MEMORY_MIB * MIB)
        self.host.put(images.tiny(version="bench"), f"{POOL}/images/bench.qcow2")
        self.manifest = {
            "format": 1,
            "service": SERVICE,
            "bases": [{"name": "tiny", "version": "1", "source": {"host": self.host.name, "path": "images/bench.qcow2"}}],
            "machines": [{
                "name": "web", "hosts": [self.host.name], "memory_mib": MEMORY_MIB, "networks": [], "cloud_init": {},
                "disks": [{"name": "root", "base": "tiny", "size_gib": 1}, {"name": "data", "size_gib": 1}],
            }],
        }  # fmt: skip
        self.play("deploy", {"manifest": self.manifest})

    def __enter__(self) -> CloneGround:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.host.run(f"chattr -R -i {POOL}/bases", check=False)
        self.lab.down()

    def play(self, playbook: str, given: t.Mapping[str, t.Any]) -> None:
        done = self.lab.playbook([f"basecast.fleet.{playbook}", "-e", json.dumps(given)], timeout=300)
        if done.returncode:
            raise LabError(f"{playbook}: exit {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")

    def without_machine(self) -> None:
        self.play("remove", {"service": SERVICE, "machines": [MACHINE]})

    def off(self) -> None:
        self.play("power_off", {"service": SERVICE, "machines": [MACHINE]})

    def without_clone(self) -> None:
        """The machine runs, and has no clone."""
        if self.host.path(f"{POOL}/machines/{SERVICE}/{CLONE}").exists():
            self.play("remove", {"service": SERVICE, "machines": [CLONE]})

    def by_virsh(self) -> None:
        """``virsh start``, and its guest's report on the console."""
        console = self.host.path(f"{POOL}/machines/{SERVICE}/{MACHINE}/console.log")
        before, deadline = console.stat().st_size if console.exists() else 0, time.monotonic() + UP_S
        self.host.run(f"virsh start {SERVICE}-{MACHINE}")
        while UP not in said(console, before):
            if time.monotonic() > deadline:
                raise LabError(f"{MACHINE} did not report within {UP_S} s")
            time.sleep(0.05)

    def by_deploy(self) -> None:
        self.play("deploy", {"manifest": self.manifest})

    def by_clone(self) -> None:
        self.play("clone", {"service": SERVICE, "machine": MACHINE, "clone_name": CLONE})


class Way(t.NamedTuple):
    """What is measured, and what has to be so before; both are methods of the ground."""

    name: str
    title: str
    note: str
    before: Callable[[CloneGround], None]
    run: Callable[[CloneGround], None]


WAYS: Sequence[Way] = (
    Way("clone-virsh", "virsh start", "on the host, until the guest's report", CloneGround.off, CloneGround.by_virsh),
    Way("clone-deploy", "deploy, the host has the base", "the whole playbook", CloneGround.without_machine, CloneGround.by_deploy),
    Way("clone", "clone, the machine runs", "the whole playbook", CloneGround.without_clone, CloneGround.by_clone),
)


def said(console: t.Any, before: int) -> str:
    """What the console has since then; libvirt begins a file anew with each start."""
    text: str = console.read_text(errors="replace")
    return text[before:] if len(text) >= before else text


def measured(ground: CloneGround) -> t.Iterator[ToolResult]:
    """Each way, as often as the scenario says."""
    for way in WAYS:
        if way.name in ground.scenario.tools:
            result = ToolResult(way.name, way.title, way.note, 0, None)
            result.runs += [once(ground, way) for _run in range(ground.scenario.repeat)]
            yield result


def once(ground: CloneGround, way: Way) -> Run:
    way.before(ground)
    processor, begin = machine.ProcessorTime(ground.lab), time.monotonic()
    wrong = ""
    try:
        way.run(ground)
    except LabError as error:
        wrong = str(error)
    seconds = time.monotonic() - begin
    cpu, _controller = processor.seconds()
    return Run(
        seconds=None if wrong else seconds,
        hosts={ground.host.name: "missing" if wrong else "complete"},
        exit=1 if wrong else 0,
        cpu_s=cpu,
        other_cpu_s=0.0,  # Ansible's own is among it
        said=wrong,
    )
