# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a survey costs a host with many machines and bases, beside the same on an empty host and modules of Ansible itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import typing as t
import uuid

from ansible_collections.basecast.fleet.tests.integration.relay_site import publish
from ansible_collections.basecast.fleet.tests.lab import Host, Lab, LabError, images

from . import machine
from .results import Run, ToolResult
from .scenarios import Scenario

POOL = "/var/lib/libvirt/images"
SERVICE = "bench"
BASES = 200
MACHINES = 500
BASE_BYTES = 64 * 1024


class Way(t.NamedTuple):
    """A module that is run; on the full host or on the empty one."""

    name: str
    title: str
    module: str
    arguments: dict[str, t.Any]
    full: bool


WAYS = (
    Way("survey", f"survey_info, {BASES} bases and {MACHINES} machines", "basecast.fleet.survey_info", {"service": SERVICE}, True),
    Way("survey-empty", "survey_info, nothing on the host", "basecast.fleet.survey_info", {"service": SERVICE}, False),
    Way("setup", "ansible.builtin.setup", "ansible.builtin.setup", {}, False),
    Way("ping", "ansible.builtin.ping", "ansible.builtin.ping", {}, False),
)


class SurveyGround:
    """A lab of two hosts with libvirt: one with bases and machines, which do not run, and an empty one."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.lab = Lab(hosts=2, libvirt="debian")
        self.lab.up()
        self.full, self.empty = self.lab.hosts.values()
        self.congestion_control = self.full.run("cat /proc/sys/net/ipv4/tcp_congestion_control").stdout.strip()

    def __enter__(self) -> SurveyGround:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.full.run(f"chattr -R -i {POOL}/bases", check=False)
        self.lab.down()

    def fill(self) -> None:
        """One machine is deployed; the others are made of what is then on the host."""
        self._deploy()
        for _base in range(1, BASES):
            publish(self.full.path(POOL), os.urandom(BASE_BYTES))
        folder = self.full.path(f"{POOL}/machines/{SERVICE}")
        self.full.run(f"virsh destroy {SERVICE}-web-1")
        definition = self.full.run(f"virsh dumpxml --inactive {SERVICE}-web-1").stdout
        definitions = self.full.path("/root/definitions")
        definitions.mkdir()
        for number in range(2, MACHINES + 1):
            shutil.copytree(folder / "web-1", folder / f"web-{number}")
            (definitions / f"{number}.xml").write_text(another(definition, number))
        self.full.run("for one in /root/definitions/*; do echo define $one; done | virsh", timeout=300)
        found = self.full.run("virsh list --all --name").stdout.split()
        if len(found) != MACHINES:
            raise LabError(f"{len(found)} domains were defined instead of {MACHINES}")

    def _deploy(self) -> None:
        self.full.put(images.tiny(version="bench"), f"{POOL}/images/bench.qcow2")
        manifest = {
            "format": 1,
            "service": SERVICE,
            "bases": [{"name": "tiny", "version": "1", "source": {"host": self.full.name, "path": "images/bench.qcow2"}}],
            "machines": [{
                "name": "web", "hosts": [self.full.name], "memory_mib": 96, "networks": [], "cloud_init": {},
                "disks": [{"name": "root", "base": "tiny", "size_gib": 1}, {"name": "data", "size_gib": 1}],
            }],
        }  # fmt: skip
        done = self.lab.playbook(["basecast.fleet.deploy", "-e", json.dumps({"manifest": manifest})], timeout=300)
        if done.returncode:
            raise LabError((done.stdout + done.stderr)[-2000:])

    def packed(self, host: Host, module: str, arguments: t.Mapping[str, t.Any]) -> str:
        """The path of the module on the host, as Ansible sends it."""
        keeping = ["env", "ANSIBLE_KEEP_REMOTE_FILES=true", "ANSIBLE_PIPELINING=false"]
        asked: list[t.Any] = [
            "ansible",
            "-i",
            self.lab.inventory,
            host.name,
            "-m",
            module,
            *(["-a", json.dumps(arguments)] if arguments else []),
        ]
        done = self.lab.exec_in_controller([*keeping, *asked], timeout=120)
        name = f"AnsiballZ_{module.rpartition('.')[2]}.py"
        path = host.run(f"find /root/.ansible -name {name} | head -n 1").stdout.strip()
        if not path:
            raise LabError(f"{name} is not on {host.name}: {(done.stdout + done.stderr)[-2000:]}")
        return path


def another(definition: str, number: int) -> str:
    """The definition of machine ``web-1`` as that of another one: name, disks, identity, addresses of cards."""
    text = re.sub(r"\bweb-1\b", f"web-{number}", definition).replace('number="1"', f'number="{number}"')
    text = re.sub(r"<uuid>[^<]*</uuid>", f"<uuid>{uuid.UUID(int=number)}</uuid>", text)
    return re.sub(r"(<mac address='52:54:00):[^']*'", rf"\1:{number >> 8:02x}:{number & 255:02x}:01'", text)


def measured(ground: SurveyGround) -> t.Iterator[ToolResult]:
    """Each module on its host without ssh and controller: how long, and how much processor time."""
    ground.fill()
    for way in WAYS:
        if way.name not in ground.scenario.tools:
            continue
        host = ground.full if way.full else ground.empty
        path = ground.packed(host, way.module, way.arguments)
        result = ToolResult(way.name, way.title, "run on the host as Ansible sends it, without ssh", 0, None)
        result.runs += [once(ground, host, path) for _run in range(ground.scenario.repeat)]
        yield result


def once(ground: SurveyGround, host: Host, path: str) -> Run:
    processor = machine.ProcessorTime(ground.lab)
    done = host.run(f"TIMEFORMAT='%R %U %S'; time python3 {path} >/root/answer.json; echo $? >&2", check=False)
    _cpu, other = processor.seconds()
    (real, user, system), code = done.stderr.split()[-4:-1], int(done.stderr.split()[-1])
    answer = host.path("/root/answer.json").read_text()
    whole = code == 0 and (SERVICE not in path or '"failed": true' not in answer)
    return Run(
        seconds=float(real) if whole else None,
        hosts={host.name: "complete" if whole else "missing"},
        exit=code,
        cpu_s=float(user) + float(system),
        other_cpu_s=other,
        said="" if whole else answer[-2000:],
    )
