# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of nodes whose controller is cancelled, interrupted, killed, or killed with all that it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.daemon import start_time
from ansible_collections.basecast.fleet.tests.integration.relay_site import ANSIBLE_PLAYBOOK, CHECKOUT, HOSTS, Site, wait_until

SIZE = 16 * 1024 * 1024

# 8 MiB at 2 Mbit/s: half a minute and more.
PLAYBOOK = """
- hosts: "{{ query('basecast.fleet.cancellable', ['kvm1']) if guarded else ['kvm1'] }}"
  gather_facts: false
  tasks:
    - basecast.fleet.relay_guard:
        run: test
        runtime_dir: "{{ runtime_dir }}"
    - ansible.builtin.file:
        path: "{{ marker }}"
        state: touch
        mode: "0600"
    - ansible.builtin.pause:
        seconds: 300
"""


def begin(site: Site, rate_mbps: float) -> dict[str, t.Any]:
    metadata = site.put_base("kvm1", SIZE)
    site.listen("kvm1", rate_mbps=rate_mbps)
    for host in HOSTS[1:]:
        site.listen(host)
    site.start("kvm1", metadata, [], mode="cut_through")
    site.start("kvm 2", metadata, ["kvm1"], mode="cut_through")
    site.start("kvm3", metadata, ["kvm 2", "kvm1"], mode="cut_through")
    return metadata


def controller(site: Site, guarded: bool = True) -> subprocess.Popen[bytes]:
    """One that has got as far as guarding the run."""
    marker = site.directory / "marker"
    (site.directory / "guard.yml").write_text(PLAYBOOK)
    process = subprocess.Popen(
        [ANSIBLE_PLAYBOOK, "-i", "inventory.json", "guard.yml", "-e", json.dumps({"marker": str(marker), "guarded": guarded})],
        cwd=site.directory,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
            "ANSIBLE_HOME": str(site.directory / "home"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    wait_until(lambda: marker.exists() or process.poll() is not None, 60)
    assert process.poll() is None, process.communicate()[0].decode()
    return process


def end(process: subprocess.Popen[bytes], number: int) -> float:
    process.send_signal(number)
    process.wait(20)
    return time.monotonic()


def alive(site: Site) -> list[str]:
    return [host for host in HOSTS if start_time(site.peers[host]["pid"])]


def ending(site: Site, host: str) -> str:
    path = Path(site.hosts[host]["runtime_dir"]) / "test,ended.json"
    return str(json.loads(path.read_text())["ended"])


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.variant)], ids=["term", "int"])
def test_a_cancelled_run_s_nodes_end_in_time(site: Site, number: int) -> None:
    metadata = begin(site, 0.5)
    process = controller(site)
    time.sleep(3)  # so that everybody has heard of the guard
    at = end(process, number)
    wait_until(lambda: not alive(site), 30)
    assert time.monotonic() - at < 30
    assert {ending(site, host) for host in HOSTS} == {"the run was cancelled on the controller"}
    told = site.call("kvm3", state="finished", timeout_s=5)
    assert told["failed"]
    assert "the run was cancelled on the controller" in told["msg"]
    # What had come is kept for the next run.
    (partial,) = Store(str(site.pool("kvm3"))).partials()
    assert partial["sha256"] == metadata["sha256"]
    assert not partial["in_use"]


@pytest.mark.variant
def test_a_killed_controller_s_nodes_finish(site: Site) -> None:
    metadata = begin(site, 2)
    process = controller(site)
    time.sleep(3)
    end(process, signal.SIGKILL)
    wait_until(lambda: all(site.base(host)["state"] == "holding" for host in HOSTS), 90)
    assert alive(site) == list(HOSTS)
    for host in HOSTS:
        assert Store(str(site.pool(host))).find(metadata["sha256"]) is not None


@pytest.mark.variant
def test_an_unguarded_run_s_nodes_finish(site: Site) -> None:
    begin(site, 4)
    end(controller(site, guarded=False), signal.SIGTERM)
    wait_until(lambda: all(site.base(host)["state"] == "holding" for host in HOSTS), 60)
    assert alive(site) == list(HOSTS)


@pytest.mark.variant
def test_with_everything_on_the_controller_killed_nodes_end(site: Site) -> None:
    begin(site, 0.5)
    process = controller(site)
    time.sleep(3)
    guards = [
        int(place.name)
        for place in Path("/proc").iterdir()
        if place.name.isdigit() and str(site.directory).encode() in environment(place) and b"guard.yml" in command(place)
    ]
    assert process.pid in guards
    assert len(guards) > 1
    for pid in guards:
        os.kill(pid, signal.SIGKILL)
    process.wait(20)
    wait_until(lambda: not alive(site), 30)


def environment(place: Path) -> bytes:
    try:
        return (place / "environ").read_bytes()
    except OSError:
        return b""


def command(place: Path) -> bytes:
    try:
        return (place / "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_run_that_is_cancelled_while_it_measures_ends(site: Site) -> None:
    for host in HOSTS:
        site.listen(host, linger_s=1)
    for host in HOSTS:
        site.probe(host)
    process = controller(site)
    time.sleep(12)  # longer than it takes until a host that has no part counts as one that never gets one
    assert alive(site) == list(HOSTS)
    end(process, signal.SIGTERM)
    wait_until(lambda: not alive(site), 30)
    assert {ending(site, host) for host in HOSTS} == {"the run was cancelled on the controller"}
