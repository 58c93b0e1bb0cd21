# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts go on by themselves: beside a host that crawls, and without their controller."""

from __future__ import annotations

import json
import subprocess
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import MANIFEST, deploy, give, wait_for
from ansible_collections.basecast.fleet.tests.lab import Lab, slowness


def jobs(lab: Lab) -> dict[str, dict[str, t.Any]]:
    """What each host says of its latest job."""
    found = {}
    for name, host in lab.hosts.items():
        files = sorted(host.path("/run/basecast").rglob("*.json"), key=lambda file: file.stat().st_mtime)
        told = [json.loads(file.read_text()) for file in files]
        job = [one for one in told if isinstance(one, dict) and "machines" in one and "summary" in one]
        if job:
            found[name] = job[-1]
    return found


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_a_ready_host_does_not_wait_for_one_that_crawls(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True, rate_mbps={"kvm1": 200, "kvm2": 200, "kvm3": 5})
    give(lab.hosts["kvm1"])
    done = deploy(lab, MANIFEST, "--forks", "1", timeout=400)
    assert done.code == 0, done
    times = {}
    for name, job in jobs(lab).items():
        (machine,) = job["machines"]
        times[name] = (machine["base_there_at"], machine["started_at"])
        print(f"{name}: base there at {machine['base_there_at']:.1f}, machine started at {machine['started_at']:.1f}")
    assert set(times) == set(lab.hosts)
    assert times["kvm3"][0] - times["kvm2"][0] > 10  # it did crawl
    assert times["kvm2"][1] - times["kvm2"][0] < 3 * slowness()
    assert "FAILED - RETRYING" not in done.out
    assert "no hosts matched" not in done.out


@pytest.mark.timeout(600)
def test_without_their_controller_all_machines_come_up(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True, rate_mbps=20)
    give(lab.hosts["kvm1"])
    file = lab.state / "shop.json"
    file.write_text(json.dumps(MANIFEST))
    process = lab.popen_playbook(
        ["basecast.fleet.deploy", "-e", f"manifest={file}", "-e", "basecast_boot_timeout_s=120"], stdout=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: len(jobs(lab)) == len(lab.hosts) or process.poll() is not None, 240, "not every host got its job")
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: all(job["state"] != "running" for job in jobs(lab).values()), 200, "jobs went on for too long")
    time.sleep(1)
    again = deploy(lab, MANIFEST)
    assert again.code == 0, again
    assert set(again.states.values()) == {"present"}
    assert set(again.changed.values()) == {0}
