# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Worked examples 1 to 5 of the relay through basecast.fleet.deploy, in both modes, changed while they run.

Hosts S, 1, 2 and 3 are kvm1 to kvm4; hosts 1 to 3 get three machines each, with whole copies of the base. A minute of an
example is about a second of the test. Compared are the plan's times, which links carried the base, the order in which hosts had it,
and that all machines are there. Measured times are not compared: what nodes and controller need to notice a change is long beside a
minute of the example.
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
from ansible_collections.basecast.fleet.tests.lab._pace import patience

POOL = "/var/lib/libvirt/images"
SIZE = 12 * 1024 * 1024
NAMES = {"S": "kvm1", "1": "kvm2", "2": "kvm3", "3": "kvm4"}
EXAMPLE_1 = {"S>1": 10, "S>2": 30, "S>3": 45, "1>2": 10, "2>1": 10, "1>3": 15, "3>1": 15, "2>3": 5, "3>2": 5}
EXAMPLE_4 = {**dict.fromkeys(EXAMPLE_1, 15), "S>1": 10, "S>2": 20, "S>3": 20}
# The default mode shows what counts; the other is a variant.
MODES = (pytest.param("staged", marks=pytest.mark.variant), "cut_through")


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
            "basecast_relay_contention": "independent" if self.mode == "staged" else "port",
            "basecast_relay_poll_s": 0.5,
            "basecast_relay_patience_s": 8,
            "basecast_ask_timeout_s": 5,
            "basecast_report_file": str(self.report_file),
            "basecast_plan_file": str(self.plan_file),
        }
        return [f"basecast.fleet.{playbook}", "-e", json.dumps({**given, **variables})]

    def plan(self, manifest: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The relay plan of the base, as the playbook plan writes it."""
        done = self.lab.playbook(self.call("plan", manifest or self.manifest()))
        assert done.returncode == 0, done.stdout[-6000:]
        (plan,) = json.loads(self.plan_file.read_text())["relay"]
        return t.cast("dict[str, t.Any]", plan)

    def start(self, manifest: dict[str, t.Any] | None = None, **variables: t.Any) -> None:
        with self.output.open("w") as file:
            self.process = self.lab.popen_playbook(self.call("deploy", manifest or self.manifest(), **variables), stdout=file)

    @property
    def code(self) -> int | None:
        return self.process.returncode if self.process else None

    @property
    def said(self) -> str:
        return self.output.read_text()

    def end(self, timeout: float = 300) -> dict[str, t.Any]:
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
        deadline = time.monotonic() + 200
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


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_example_1_the_plan_is_what_happens(lab: Lab, mode: str) -> None:
    example = Example(lab, mode, 1.0, EXAMPLE_1)
    plan = example.plan()
    minutes = {short: plan["arrivals"][NAMES[short]]["at_s"] / example.minute_s for short in "123"}
    expected = {"1": 10, "2": 20, "3": 25} if mode == "staged" else {"1": 10, "2": 10, "3": 10}
    assert minutes == pytest.approx(expected, rel=0.1)
    assert [(e["host"], e["count"]) for e in plan["local"]] == [(NAMES[short], 3) for short in "123"]
    example.start()
    report = example.end()
    assert (states(report), example.code) == ({"deployed"}, 0), example.said[-6000:]
    assert example.carriers() == (["1>2", "1>3", "S>1"] if mode == "staged" else ["1>2", "2>3", "S>1"]), example.carried()
    assert example.order() == ["1", "2", "3"]
    assert all(SIZE <= received(report, NAMES[short]) <= 1.02 * SIZE for short in "123")


@pytest.mark.variant
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_example_2_a_link_gets_quicker_while_another_transfer_runs(lab: Lab, mode: str) -> None:
    # The controller has to measure while the others still wait: a round of it is longer on a slow machine.
    example = Example(lab, mode, 2.5 * patience(), EXAMPLE_1)
    example.start(basecast_relay_measure_s=1)
    example.until("1", 0.2)
    example.set("S>3", 10)
    report = example.end()
    assert (states(report), example.code) == ({"deployed"}, 0), example.said[-6000:]
    assert "the link from kvm1 to kvm4 was measured at" in example.said, example.said[-6000:]
    if mode == "staged":
        assert example.carriers() == ["3>2", "S>1", "S>3"], example.said[-6000:]
        assert example.order() == ["1", "3", "2"]


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_example_2_cut_through_turns_to_a_link_that_serves_sooner(lab: Lab) -> None:
    """In the example itself the chain over 1 and 2 is as good as the link that got quicker; here it is not."""
    example = Example(lab, "cut_through", 2.0, {**dict.fromkeys(EXAMPLE_1, 60), "S>1": 10, "1>2": 30, "1>3": 30})
    example.start(basecast_relay_measure_s=1, basecast_relay_contention="independent")
    example.until("1", 0.2)
    for link in ("S>2", "S>3"):
        example.set(link, 5)
    report = example.end()
    assert (states(report), example.code) == ({"deployed"}, 0), example.said[-6000:]
    assert {"S>2", "S>3"} & set(example.carriers(share=0.6)), example.said[-6000:]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_example_3_a_link_fails_and_what_came_over_it_is_resumed(lab: Lab, mode: str) -> None:
    example = Example(lab, mode, 0.8, {**EXAMPLE_1, "1>3": 25, "S>2": 45})
    example.start(basecast_relay_contention="independent")
    example.until("2", 0.1)
    before = example.share("2")
    lab.pair("kvm2", "kvm3").cut()
    report = example.end()
    lab.pair("kvm2", "kvm3").restore()
    assert (states(report), example.code) == ({"deployed"}, 0), example.said[-6000:]
    assert 0.1 <= before < 1
    if mode == "staged":
        assert received(report, "kvm3") <= 1.1 * SIZE
        # Whatever is noticed first: that the link is silent, or that nothing comes over it.
        assert re.search("the link (between kvm2 and kvm3 is lost|from kvm2 to kvm3 carries)", example.said), example.said[-6000:]
        assert "Planned again: kvm3 from kvm4, kvm4 from kvm2" in example.said, example.said[-6000:]
        assert example.order() == ["1", "3", "2"]
        assert set(example.carriers()) - {"S>2", "1>2"} == {"S>1", "1>3", "3>2"}, example.said[-6000:]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_example_4_the_source_dies_and_who_has_the_base_serves(lab: Lab, mode: str) -> None:
    example = Example(lab, mode, 0.8, EXAMPLE_4)
    example.start(basecast_relay_contention="independent")
    example.until("1", 1.0)
    if mode == "staged":
        example.until("2", 0.55)
    lab.hosts["kvm1"].power_cut()
    report = example.end()
    assert (states(report), example.code) == ({"deployed"}, 0), example.said[-6000:]
    assert "kvm1 is lost" in example.said, example.said[-6000:]
    assert sorted(example.order()) == ["1", "2", "3"], example.said[-6000:]
    if mode == "staged":
        assert example.order()[0] == "1"
        assert {"1>2", "1>3"} <= set(example.carriers("1"))
    for host in ("kvm3", "kvm4"):
        assert received(report, host) <= 1.1 * SIZE


@pytest.mark.variant
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_example_4_the_source_dies_too_early_and_nothing_is_left(lab: Lab, mode: str) -> None:
    example = Example(lab, mode, 0.8, EXAMPLE_4)
    example.start(basecast_relay_contention="independent")
    example.until("1", 0.3)
    lab.hosts["kvm1"].power_cut()
    report = example.end()
    assert (states(report), example.code) == ({"failed"}, 2), example.said[-6000:]
    assert all("no host that can still be reached holds the base" in machine["reason"] for machine in report["machines"]), report[
        "machines"
    ]
    assert example.order() == []
    for host in "123":
        assert not example.left(host)


@pytest.mark.variant
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_example_5_local_copies_run_side_by_side(fresh_lab_factory: t.Callable[..., Lab], mode: str) -> None:
    pools = {"default": "dir", "first": ("ext4", 512), "second": ("ext4", 512)}
    lab = fresh_lab_factory(hosts=2, libvirt=True, pools=pools)
    example = Example(lab, mode, 0.5, {"S>1": 10})
    wanted = example.manifest()
    (base,), (group,) = wanted["bases"], wanted["machines"]
    base["pool"], base["source"]["pool"] = "first", "default"
    wanted["machines"] = [{**group, "name": f"m-{pool}", "disks": [{**group["disks"][0], "pool": pool}]} for pool in ("first", "second")]
    copies = {(copy["from_pool"], copy["pool"]): copy for copy in example.plan(wanted)["local"]}
    assert {key: copy["count"] for key, copy in copies.items()} == {
        ("first", "first"): 3, ("first", "second"): 1, ("second", "second"): 3,
    }  # fmt: skip
    example.start(wanted)
    report = example.end()
    assert (states(report), example.code) == ({"deployed"}, 0), example.said[-6000:]
    assert SIZE <= received(report, "kvm2") <= 1.02 * SIZE
    host = lab.hosts["kvm2"]
    folders = {pool: host.path(f"{host.pools[pool]}/machines/copies") for pool in ("first", "second")}
    disks = {pool: [folder / f"m-{pool}-{n}/root.raw" for n in (1, 2, 3)] for pool, folder in folders.items()}
    assert all(disk.stat().st_size >= SIZE for found in disks.values() for disk in found)
    # Nothing waits for the other pool beside the one copy that begins it.
    times = {machine["machine"]: machine["times"] for machine in report["machines"]}
    ready = {pool: max(times[f"m-{pool}-{n}"]["disks_s"] for n in (1, 2, 3)) for pool in disks}
    print(f"{mode}: base there at {times['m-first-1']['base_there_s']}, disks at {ready}")
    assert all(seconds >= example.minute_s * 10 * 0.9 for seconds in ready.values())
    assert ready["second"] - ready["first"] < 5
