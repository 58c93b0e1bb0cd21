# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Worked examples 1 to 5 of the relay through basecast.fleet.deploy, in both modes, changed while they run.

Hosts S, 1, 2 and 3 are kvm1 to kvm4; hosts 1 to 3 get three machines each, with whole copies of the base. A minute of an
example is about a second of the test. Which links carried the base, in which order hosts had it and where the local copies
came from is compared. Times are compared where nothing has to be noticed first: that takes longer than the example.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import CHUNK_BYTES
from ansible_collections.basecast.fleet.tests.lab import Host, Lab

POOL = "/var/lib/libvirt/images"
SIZE = 12 * 1024 * 1024
NAMES = {"S": "kvm1", "1": "kvm2", "2": "kvm3", "3": "kvm4"}
EXAMPLE_1 = {"S>1": 10, "S>2": 30, "S>3": 45, "1>2": 10, "2>1": 10, "1>3": 15, "3>1": 15, "2>3": 5, "3>2": 5}
EXAMPLE_4 = {**dict.fromkeys(EXAMPLE_1, 15), "S>1": 10, "S>2": 20, "S>3": 20}
MODES = ("staged", "cut_through")


class Example:
    """One deployment of a new image, while the test changes what it likes."""

    def __init__(self, lab: Lab, mode: str, minute_s: float, links: t.Mapping[str, float]) -> None:
        self.lab = lab
        self.mode = mode
        self.minute_s = minute_s
        self.output, self.report_file, self.plan_file = (lab.state / name for name in ("deploy.out", "report.json", "plan.json"))
        self.process: subprocess.Popen[str] | None = None
        for link, minutes in links.items():
            self.set(link, minutes)
        self.known = [{"from": NAMES[k[0]], "to": NAMES[k[2]], "mbps": self.mbps(minutes)} for k, minutes in links.items()]
        image = lab.state / "image.raw"
        image.write_bytes(os.urandom(SIZE))
        lab.hosts["kvm1"].put(image, f"{POOL}/images/image.raw")
        self.before = self.carried()

    # --- links

    def mbps(self, minutes: float) -> float:
        """Rate of a link over which the image takes so many minutes."""
        return SIZE * 8e-6 / (minutes * self.minute_s)

    def set(self, link: str, minutes: float) -> None:
        # What the shaper counts beside the payload: headers of packets, and of encryption.
        self.lab.pair(NAMES[link[0]], NAMES[link[2]]).slow(self.mbps(minutes) / 0.955, both=False)

    def carried(self, hosts: str = "S123") -> dict[str, int]:
        """Bytes that each shaped link of these hosts has carried, as its shaper counts them."""
        found = {}
        numbers = {0x10 + number: short for number, short in enumerate(NAMES, start=1)}
        for short, name in ((short, NAMES[short]) for short in hosts if NAMES[short] in self.lab.hosts):
            told = self.lab.hosts[name].run("tc -s class show dev eth0").stdout
            for class_id, count in re.findall(r"class htb 1:(\w+) .*?Sent (\d+) bytes", told, re.S):
                if int(class_id, 16) in numbers:
                    found[f"{short}>{numbers[int(class_id, 16)]}"] = int(count)
        return found

    def carriers(self, hosts: str = "S123", share: float = 0.2) -> list[str]:
        """Links that carried a good part of the base."""
        return sorted(link for link, count in self.carried(hosts).items() if count - self.before.get(link, 0) > share * SIZE)

    # --- the run

    def manifest(self) -> dict[str, t.Any]:
        hosts = [name for name in self.lab.hosts if name != "kvm1"]
        copy = {"name": "root", "base": "image", "differencing": False}
        return {
            "format": 1,
            "service": "copies",
            "bases": [{"name": "image", "version": "1", "source": {"host": "kvm1", "path": "images/image.raw"}}],
            "machines": [{"name": "m", "hosts": hosts, "per_host": 3, "memory_mib": 32, "networks": [], "disks": [copy]}],
        }

    def call(self, playbook: str, manifest: dict[str, t.Any], **variables: t.Any) -> list[str]:
        given = {
            "manifest": manifest,
            "basecast_links": self.known,
            "basecast_relay_mode": self.mode,
            "basecast_relay_strategy": "preferred_paths" if self.mode == "staged" else "best",
            "basecast_relay_contention": "independent",
            "basecast_relay_poll_s": 0.5,
            "basecast_relay_patience_s": 8,
            "basecast_ask_timeout_s": 5,
            "basecast_report_file": str(self.report_file),
            "basecast_plan_file": str(self.plan_file),
        }
        return [f"basecast.fleet.{playbook}", "-e", json.dumps({**given, **variables})]

    def plan(self) -> dict[str, t.Any]:
        """The relay plan of the base, as the playbook plan writes it."""
        done = self.lab.playbook(self.call("plan", self.manifest()))
        assert done.returncode == 0, done.stdout[-6000:]
        (plan,) = json.loads(self.plan_file.read_text())["relay"]
        return t.cast("dict[str, t.Any]", plan)

    def start(self, manifest: dict[str, t.Any] | None = None, **variables: t.Any) -> None:
        with self.output.open("w") as file:
            self.process = self.lab.popen_playbook(self.call("deploy", manifest or self.manifest(), **variables), stdout=file)

    @property
    def said(self) -> str:
        return self.output.read_text()

    def end(self, timeout: float = 150) -> dict[str, t.Any]:
        """The report."""
        assert self.process is not None
        try:
            self.process.wait(timeout)
        finally:
            self.process.kill()
            self.process.wait()
        assert self.report_file.exists(), self.said[-6000:]
        return t.cast("dict[str, t.Any]", json.loads(self.report_file.read_text()))

    # --- what hosts have

    def store(self, host: str) -> Host:
        return self.lab.hosts[NAMES[host]]

    def share(self, host: str) -> float:
        """How much of the base a host has."""
        store = self.store(host).path(f"{POOL}/bases")
        if any(store.glob("[0-9a-f]*")):
            return 1.0
        for marks in store.glob(".partial/*/map"):
            data = marks.read_bytes()
            return data[16:].count(1) * CHUNK_BYTES / SIZE if len(data) > 16 else 0.0
        return 0.0

    def until(self, host: str, share: float) -> None:
        """Wait until a host has so much of the base."""
        deadline = time.monotonic() + 90
        while self.share(host) < share:
            assert self.process is not None
            assert self.process.poll() is None, self.said[-6000:]
            assert time.monotonic() < deadline, f"{host} has {self.share(host)}"
            time.sleep(0.02)

    def arrived(self) -> dict[str, float]:
        """When each host had the whole base, in seconds since the epoch, in that order."""
        times = {
            short: folder.stat().st_ctime
            for short, name in NAMES.items()
            if short != "S" and name in self.lab.hosts
            for folder in self.store(short).path(f"{POOL}/bases").glob("[0-9a-f]*")
        }
        return dict(sorted(times.items(), key=lambda item: item[1]))

    def order(self) -> list[str]:
        return list(self.arrived())

    def left(self, host: str) -> list[str]:
        return [str(f) for f in self.store(host).path(f"{POOL}/bases/.partial").glob("*/disk")]


def states(report: dict[str, t.Any]) -> set[str]:
    return {machine["state"] for machine in report["machines"]}


def received(report: dict[str, t.Any], host: str) -> int:
    (base,) = report["hosts"][host]["relay"]["bases"].values()
    return int(base["received_bytes"])


@pytest.fixture
def lab(fresh_lab_factory: t.Callable[..., Lab]) -> Lab:
    return fresh_lab_factory(hosts=4, libvirt=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", MODES)
def test_example_1_the_plan_is_what_happens(lab: Lab, mode: str) -> None:
    example = Example(lab, mode, 1.0, EXAMPLE_1)
    plan = example.plan()
    minutes = {short: plan["arrivals"][NAMES[short]]["at_s"] / example.minute_s for short in "123"}
    expected = {"1": 10, "2": 20, "3": 25} if mode == "staged" else {"1": 10, "2": 10, "3": 10}
    assert minutes == pytest.approx(expected, rel=0.1)
    assert [(e["host"], e["count"]) for e in plan["local"]] == [(NAMES[short], 2) for short in "123"]
    example.start()
    report = example.end()
    assert (states(report), example.process.returncode) == ({"deployed"}, 0), example.said[-6000:]
    assert example.carriers() == (["1>2", "1>3", "S>1"] if mode == "staged" else ["1>2", "2>3", "S>1"]), example.carried()
    assert example.order() == ["1", "2", "3"]
    assert all(SIZE <= received(report, NAMES[short]) <= 1.02 * SIZE for short in "123")
