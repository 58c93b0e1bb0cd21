# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs of a host under a real libvirtd with Debian's own user, handed over by ansible with and without async."""

from __future__ import annotations

import json
import time
import typing as t
import uuid

import pytest
from ansible_collections.basecast.fleet.tests.integration.relay_site import begin_relay
from ansible_collections.basecast.fleet.tests.lab import Host, Lab, images, slowness

SERVICE = "shop"
POOL = "/var/lib/libvirt/images"

pytestmark = pytest.mark.timeout(300)


class Fleet:
    """One lab host, and modules run on it as a user would."""

    def __init__(self, lab: Lab, name: str = "kvm1") -> None:
        self.lab = lab
        self.host: Host = lab.hosts[name]

    def module(self, module: str, flags: t.Sequence[str] = (), **args: t.Any) -> dict[str, t.Any]:
        argv: list[t.Any] = [
            "ansible",
            "-i",
            self.lab.inventory,
            self.host.name,
            "-m",
            f"basecast.fleet.{module}",
            "-a",
            json.dumps(args),
            *flags,
        ]
        done = self.lab.exec_in_controller(argv, timeout=280)
        _head, arrow, result = done.stdout.partition(" => ")
        assert arrow, done.stdout + done.stderr
        return t.cast("dict[str, t.Any]", json.loads(result[result.index("{") :]))

    def job(self, flags: t.Sequence[str] = (), **args: t.Any) -> dict[str, t.Any]:
        return self.module("host_job", flags, **{"service": SERVICE, "domain_type": "qemu", "boot_timeout_s": 100, **args})

    def hand_over(self, **args: t.Any) -> str:
        """As a playbook does; the run's name."""
        run = str(args.pop("run", None) or self.new_run())
        self.job(["-B", "600", "-P", "0"], run=run, **args)
        return run

    def collect(self, run: str | None, timeout_s: float = 200, service: str = SERVICE) -> dict[str, t.Any]:
        job = self.module("host_job_info", service=service, timeout_s=timeout_s, **({"run": run} if run else {}))["job"]
        return t.cast("dict[str, t.Any]", job)

    @staticmethod
    def new_run() -> str:
        return f"run-{uuid.uuid4().hex[:8]}"

    def put_base(self, version: str) -> str:
        """An image on the host; its digest. It is not a base yet."""
        self.host.put(images.tiny(version=version), f"{POOL}/{version}.qcow2")
        return self.host.run(f"sha256sum {POOL}/{version}.qcow2").stdout.split()[0]

    def import_base(self, version: str) -> None:
        done = self.module("base_disk_import", src=f"{POOL}/{version}.qcow2", name="tiny", version=version)
        assert done["base"], done


def work(base: str, *names: str, network: str = "default", **changes: t.Any) -> dict[str, t.Any]:
    """What a plan gives a host for new machines on one base."""
    machines = [
        {"machine": name, "number": int(name.rpartition("-")[2]), "memory_mib": 128, "networks": [{"network": network}], **changes}
        for name in names
    ]
    return {
        "machines": machines,
        "disks": [{"machine": name, "name": "root", "base": base} for name in names],
        "seeds": [{"machine": name, "user_data": {"write_files": [{"path": "/etc/key", "content": "verysecret"}]}} for name in names],
        "references": [{"sha256": base, "pool": "default", "name": "tiny", "version": "v1"}],
        "record": {"format": 1, "service": SERVICE, "generation": 1, "secret": "verysecret"},
    }


@pytest.fixture(scope="module")
def fleet(lab_factory: t.Callable[..., Lab]) -> t.Iterator[Fleet]:
    found = Fleet(lab_factory(hosts=1, libvirt="debian"))
    yield found
    found.host.run(f"chattr -R -i {POOL}/bases", check=False)


@pytest.fixture(scope="module")
def base(fleet: Fleet) -> str:
    digest = fleet.put_base("v1")
    fleet.import_base("v1")
    return digest


def states(job: t.Mapping[str, t.Any]) -> dict[str, str]:
    return {machine["machine"]: machine["state"] for machine in job["machines"]}


def test_a_job_predicts_makes_and_then_finds_its_machines(fleet: Fleet, base: str) -> None:
    wanted = work(base, "web-1", "web-2")
    predicted = fleet.job(["-C", "-D"], run="predicted", **wanted)
    assert predicted["changed"] and states(predicted["job"]) == {"web-1": "deployed", "web-2": "deployed"}
    assert fleet.host.run("virsh list --all --name").stdout.split() == []

    run = fleet.hand_over(**wanted)
    job = fleet.collect(run)
    assert (job["state"], states(job)) == ("done", {"web-1": "deployed", "web-2": "deployed"}), job
    for machine in job["machines"]:
        assert machine["report"]["hostname"] == machine["machine"] and machine["running"]
        times = [machine[key] for key in ("base_there_at", "disks_at", "started_at", "reported_at")]
        assert times == sorted(times) and times[2] - times[0] < 10
    assert "libvirt-qemu" in fleet.host.run(f"stat -c %U {POOL}/machines/{SERVICE}/web-1/root.qcow2").stdout
    kept = fleet.host.run(
        "find /run/basecast/.jobs -type f -printf '%m %p\\n'; grep -rl verysecret /run/basecast/.jobs", check=False
    ).stdout
    assert all(line.startswith("600 ") for line in kept.splitlines()), kept

    again = fleet.job(run=fleet.new_run(), **wanted)
    assert not again["changed"] and states(again["job"]) == {"web-1": "present", "web-2": "present"}
    assert [machine["report"] for machine in again["job"]["machines"]] == [machine["report"] for machine in job["machines"]]


def test_the_survey_sees_what_the_small_modules_see(fleet: Fleet, base: str) -> None:
    seen = fleet.module("survey_info", service=SERVICE)["observation"]
    assert seen["known"], seen["reason"]
    assert seen["pools"]["default"]["bases"] == fleet.module("base_disk_info", tenant="default")["pools"]["default"]["bases"]
    told = fleet.module("machine_info", service=SERVICE)
    assert seen["domains"] == told["domains"] and [one["machine"] for one in seen["machines"]] == ["web-1", "web-2"]
    assert seen["record"] == fleet.module("service_record", service=SERVICE)["records"][SERVICE]


def test_one_machine_that_cannot_be_made_hides_no_other(fleet: Fleet, base: str) -> None:
    good, bad = work(base, "app-1", "app-2"), work(base, "bad-1", network="nowhere")
    joined = {key: [*good[key], *bad[key]] for key in ("machines", "disks", "seeds")}
    job = fleet.job(run=fleet.new_run(), **{**good, **joined, "service": "other"})["job"]
    assert job["state"] == "failed" and states(job) == {"app-1": "deployed", "app-2": "deployed", "bad-1": "failed"}
    failed = job["machines"][2]
    assert "nowhere" in failed["problem"] and failed["step"] == "define and start"


def test_a_machine_starts_when_its_own_base_is_there(fleet: Fleet, base: str) -> None:
    late = fleet.put_base("v2")
    now, then = work(base, "early-1"), work(late, "late-1")
    joined = {key: [*now[key], *then[key]] for key in ("machines", "disks", "seeds")}
    run = fleet.hand_over(**{**now, **joined, "references": [], "service": "mixed"})
    # Without a relay node a job waits for seconds only, so nothing slow may stand between the start and the import.
    deadline = time.monotonic() + 60
    while "mixed-early-1" not in fleet.host.run("virsh -q list --name").stdout.split():
        assert time.monotonic() < deadline
    fleet.import_base("v2")
    job = fleet.collect(run, service="mixed")
    assert states(job) == {"early-1": "deployed", "late-1": "deployed"}, job
    early, waited = job["machines"]
    assert early["started_at"] < waited["base_there_at"] and waited["started_at"] - waited["base_there_at"] < 3 * slowness()


@pytest.mark.variant
def test_a_base_that_nobody_brings_fails_its_machines_only(fleet: Fleet, base: str) -> None:
    absent = "ab" * 32
    now, never = work(base, "fine-1"), work(absent, "lost-1")
    joined = {key: [*now[key], *never[key]] for key in ("machines", "disks", "seeds", "references")}
    joined["references"][1]["version"] = "v9"
    job = fleet.job(run=fleet.new_run(), **{**now, **joined, "service": "half"})["job"]
    assert states(job) == {"fine-1": "deployed", "lost-1": "failed"}
    assert "no relay node of the run" in job["machines"][1]["problem"] and job["machines"][1]["step"] == "wait for its base"
    assert absent not in fleet.host.run(f"ls {POOL}/bases/.refs").stdout


def test_a_job_that_is_killed_goes_on_when_run_again(fleet: Fleet, base: str) -> None:
    wanted = {**work(base, "kill-1", "kill-2"), "service": "killed"}
    run = fleet.hand_over(**wanted)
    deadline = time.monotonic() + 30
    while not (job := fleet.collect(run, 0, "killed"))["summary"].get("disks"):
        assert time.monotonic() < deadline
    fleet.host.run(f"kill -9 {job['pid']}")
    lost = fleet.collect(None, 5, "killed")
    assert lost["state"] == "lost" and "Run it again" in lost["msg"]
    again = fleet.job(run=run, **wanted)["job"]
    assert again["state"] == "done" and set(states(again).values()) <= {"deployed", "started", "present"}


@pytest.mark.variant
def test_two_jobs_of_one_service_both_end_well(fleet: Fleet, base: str) -> None:
    wanted = {**work(base, "twin-1", "twin-2", "twin-3"), "service": "twins"}
    runs = [fleet.hand_over(**wanted), fleet.hand_over(**wanted)]
    jobs = [fleet.collect(run, service="twins") for run in runs]
    assert [job["state"] for job in jobs] == ["done", "done"], jobs
    made = [state for job in jobs for state in states(job).values() if state == "deployed"]
    assert len(made) == 3
    assert fleet.host.run("virsh list --name | grep -c twins-").stdout.strip() == "3"


def test_no_job_is_told_as_none(fleet: Fleet) -> None:
    told = fleet.module("host_job_info", service="nobody", begin_s=0)["job"]
    assert told["state"] == "absent" and "never started" in told["msg"]


@pytest.mark.variant
def test_no_host_waits_for_a_crawling_one(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    """Two hosts get a base from a third, one of them at 5 Mbit/s. Every controller is gone as soon as the jobs were handed over."""
    lab = fresh_lab_factory(hosts=3, libvirt="debian")
    fleets = {name: Fleet(lab, name) for name in lab.hosts}
    base = fleets["kvm1"].put_base("v1")
    fleets["kvm1"].import_base("v1")
    [known] = fleets["kvm1"].module("base_disk_info", tenant="default")["pools"]["default"]["bases"]
    keys = ("format", "sha256", "source_sha256", "size_bytes", "virtual_size_bytes", "image_format", "parent", "chunk_bytes")
    metadata = {key: known[key] for key in (*keys, "chunks_sha256", "imported_at", "imported_from", "signatures")}
    lab.hosts["kvm3"].slow_link(5)
    begin_relay(lab, metadata, {"kvm1": [], "kvm2": ["kvm1"], "kvm3": ["kvm1"]}, run="crawl")
    for name in ("kvm3", "kvm2"):  # the crawling one first
        fleets[name].hand_over(run="crawl", service=f"on-{name}", **work(base, "web-1"))
    jobs = {name: fleets[name].collect("crawl", 150, f"on-{name}") for name in ("kvm2", "kvm3")}
    started, arrived = jobs["kvm2"]["machines"][0]["started_at"], jobs["kvm3"]["machines"][0]["base_there_at"]
    assert started < arrived, jobs
    for name, job in jobs.items():
        assert states(job) == {"web-1": "deployed"}, job
        [machine] = job["machines"]
        times = {key: round(machine[key] - job["began_at"], 1) for key in ("base_there_at", "disks_at", "started_at", "reported_at")}
        print(name, times)
        assert machine["started_at"] - machine["base_there_at"] < 3 * slowness()
