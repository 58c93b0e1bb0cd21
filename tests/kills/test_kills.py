# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller is killed with SIGKILL at random moments of a deployment; the next run goes on from there.

Twenty kills, or as many as BASECAST_KILLS says, in chains of up to five with one run to the end each. The moments are drawn from
a seed, as shares of the time that an undisturbed run took in this very test.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.lab import Host, Lab, images

HOSTS = 3
# Longer than a busy controller needs from one task of a host to the next.
LINGER_S = 20
SEED = 20261101
KILLS = int(os.environ.get("BASECAST_KILLS", "20"))
CHAIN = min(KILLS, 5)
POOL = "/var/lib/libvirt/images"

MANIFEST: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
    "machines": [
        {
            "name": "web",
            "hosts": ["kvm1", "kvm2", "kvm3"],
            "memory_mib": 128,
            "disks": [{"name": "root", "base": "tiny"}, {"name": "data", "size_gib": 1}],
            "networks": [],
            "cloud_init": {"user_data": {"runcmd": ["true"]}},
        }
    ],
}


def command(lab: Lab, patient: bool = False) -> list[str]:
    """:param patient: nodes wait for as long as they usually do."""
    manifest = lab.state / "shop.json"
    manifest.write_text(json.dumps(MANIFEST))
    limits = [] if patient else [f"-ebasecast_relay_linger_s={LINGER_S}", f"-ebasecast_part_timeout_s={LINGER_S}"]
    return ["basecast.fleet.deploy", "-e", f"manifest={manifest}", "-e", "basecast_boot_timeout_s=120", *limits]


def prepared() -> Lab:
    lab = Lab(hosts=HOSTS, rate_mbps=200, libvirt=True).up()
    source = lab.hosts["kvm1"]
    source.run(["mkdir", "-p", f"{POOL}/images"])
    source.put(images.tiny(pad_mib=48), f"{POOL}/images/tiny.qcow2")
    return lab


def timed(work: t.Callable[[], t.Any]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def run_to_the_end(lab: Lab, patient: bool = False) -> None:
    done = lab.playbook(command(lab, patient), timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def run_and_kill(lab: Lab, after_s: float) -> bool:
    """Whether the run was still under way when its time came."""
    process = lab.popen_playbook(command(lab), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(after_s)
        return False
    except subprocess.TimeoutExpired:
        # The whole group, as when the machine loses power: workers and ssh clients die with it.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def relay_processes(host: Host) -> list[str]:
    # Outcomes of jobs and the last words of nodes stay, for later questions.
    kept = "-name .jobs -prune -o ! -name '*,ended.json'"
    return host.run(f"find /run/basecast -mindepth 1 {kept} -print 2>/dev/null || true").stdout.split()


def state_of(lab: Lab) -> dict[str, t.Any]:
    """What the fleet has in the end, without what differs between two runs by design (tokens, dates)."""
    state: dict[str, t.Any] = {}
    for name, host in lab.hosts.items():
        pool = host.path(POOL)
        # What a killed run held or was promised ends by its time to live, or with the next promise.
        kept = [f for f in pool.rglob("*") if f.is_file() and not f.name.endswith(".log") and f.parent.name not in (".held", ".room")]
        files = sorted(str(f.relative_to(pool)) for f in kept)
        domains = sorted(host.run("virsh -q list --name").stdout.split())
        backing = host.run(f"for d in {POOL}/machines/*/*/*.qcow2; do qemu-img info -U --output=json $d; done").stdout
        state[name] = {
            "files": files,
            "running": domains,
            "backing": sorted(json.loads(part + "}")["virtual-size"] for part in backing.split("\n}\n") if part.strip()),
            "record": json.loads(host.run("find /var/lib/basecast/services -name '*.json' -exec cat {} +").stdout).get("assignments"),
        }
    return state


def last_lines(lab: Lab) -> str:
    """What the nodes that are still there wrote."""
    return "\n".join(f"{name}:\n{host.run('tail -n 15 /run/basecast/*/node.log').stdout}" for name, host in lab.hosts.items())


def assert_nothing_left(lab: Lab) -> None:
    deadline = time.monotonic() + LINGER_S + 15
    for name, host in lab.hosts.items():
        while relay_processes(host):
            assert time.monotonic() < deadline, f"{name} still has {relay_processes(host)}\n{last_lines(lab)}"
            time.sleep(0.2)
        pool = host.path(POOL)
        partial = [str(f) for f in pool.glob("bases/.partial/**/*") if f.is_file()]
        assert not partial, f"partial files on {name}: {partial}"
        incoming = [str(f) for f in pool.rglob("*") if f.is_file() and (f.name.endswith((".tmp", ".part")) or ".incoming" in str(f))]
        assert not incoming, f"half-done files on {name}: {incoming}"
        # OpenSSH's own keys have another first line.
        secrets = host.run(r"grep -rlsI 'BEGIN \(EC \)\?PRIVATE KEY' /tmp /run /var/lib /var/log /root || true").stdout.split()
        assert not secrets, f"keys on {name}: {secrets}"


@pytest.fixture(scope="module")
def undisturbed() -> t.Iterator[tuple[dict[str, t.Any], float, float]]:
    """The state that a run ends in, the seconds that it takes, and those of a second run that has nothing to do."""
    lab = prepared()
    try:
        # In a new checkout the controller first compiles its planner, for longer than nodes wait here.
        cold = timed(lambda: run_to_the_end(lab, patient=True))
        assert_nothing_left(lab)
        state = state_of(lab)
        warm = timed(lambda: run_to_the_end(lab))
        yield state, cold, warm
    finally:
        lab.down()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chain", range(KILLS // CHAIN))
def test_killed_again_and_again_then_run_to_the_end(chain: int, undisturbed: tuple[dict[str, t.Any], float, float]) -> None:
    expected, cold, warm = undisturbed
    moments = random.Random(SEED + chain)
    lab = prepared()
    try:
        killed, whole = 0, cold
        while killed < CHAIN:
            if run_and_kill(lab, whole * moments.uniform(0.05, 0.95)):
                killed += 1
            else:
                # It had less left to do than the moment said; there is only a warm run's time left to kill in.
                whole = warm
        run_to_the_end(lab)
        assert state_of(lab) == expected
        assert_nothing_left(lab)
        again = lab.playbook(command(lab), timeout=300)
        assert again.returncode == 0
        assert re.findall(r"changed=(\d+)", again.stdout) == ["0"] * HOSTS
    finally:
        lab.down()
