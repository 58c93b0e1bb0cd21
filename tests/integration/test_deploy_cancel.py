# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A deployment over ssh that is cancelled, or whose controller is killed, while its base is on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import bases, give, manifest, verified_chunks, wait_for
from ansible_collections.basecast.fleet.tests.lab import Lab

HOSTS = ("kvm1", "kvm2", "kvm3")


def main_process(file: Path) -> int:
    """The ansible-playbook that was called; what it forked has the same command line and is younger."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            command = (place / "cmdline").read_bytes().split(b"\0")
            began = int((place / "stat").read_bytes().rpartition(b")")[2].split()[19])
        except (OSError, ValueError, IndexError):
            continue
        if b"python" in command[0] and f"manifest={file}".encode() in command:
            found.append((began, int(place.name)))
    return min(found)[1]


def begin(lab: Lab, **variables: t.Any) -> tuple[subprocess.Popen[str], int, list[str]]:
    give(lab.hosts["kvm1"])
    file = lab.state / "shop.json"
    file.write_text(json.dumps(manifest()))
    process = lab.popen_playbook(["basecast.fleet.deploy", "-e", f"manifest={file}", "-e", json.dumps(variables)])
    output: list[str] = []
    threading.Thread(target=lambda: output.extend(process.stdout or []), daemon=True).start()
    wait_for(lambda: verified_chunks(lab.hosts["kvm3"]) > 4 or process.poll() is not None, 120, "kvm3 got nothing")
    assert process.poll() is None, "".join(output)[-4000:]
    time.sleep(3)
    return process, main_process(file), output


def nodes(lab: Lab) -> list[str]:
    return [name for name in HOSTS if list(lab.hosts[name].path("/run/basecast").glob("*/node.sock"))]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.variant)], ids=["term", "int"])
def test_a_cancelled_deployment_leaves_no_node(fresh_lab_factory: t.Callable[..., Lab], number: int) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True, rate_mbps=2)
    process, main, output = begin(lab)
    try:
        assert nodes(lab) == list(HOSTS)
        at = time.monotonic()
        os.kill(main, number)
        wait_for(lambda: not nodes(lab), 30, "nodes live on")
        assert time.monotonic() - at < 30
        assert process.wait(30) != 0
    finally:
        process.kill()
    assert bases(lab.hosts["kvm3"]) == []
    # What had come is there for the next run.
    assert verified_chunks(lab.hosts["kvm3"]) > 4, "".join(output)[-2000:]


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_run_that_is_stopped_by_its_name_is_over_for_its_controller_too(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True, rate_mbps=2)
    process, _main, output = begin(lab, basecast_relay_patience_s=20)
    try:
        (run,) = {place.parent.name for name in HOSTS for place in lab.hosts[name].path("/run/basecast").glob("*/node.sock")}
        done = lab.playbook(["basecast.fleet.stop", "-e", f"run={run}"])
        assert done.returncode == 0, done.stdout + done.stderr
        assert nodes(lab) == []
        assert process.wait(240) != 0, "".join(output)[-4000:]
        # It took the end of its nodes for a crash, and was not let start them again.
        assert nodes(lab) == []
    finally:
        process.kill()
    assert "the run was stopped by its name" in " ".join("".join(output).split()), "".join(output)[-4000:]
    assert bases(lab.hosts["kvm3"]) == []


@pytest.mark.variant
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("number", "on_cancel"),
    [(signal.SIGKILL, "end"), (signal.SIGTERM, "finish")],
    ids=["killed", "finish"],
)
def test_a_base_arrives_without_its_controller(fresh_lab_factory: t.Callable[..., Lab], number: int, on_cancel: str) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True, rate_mbps=4)
    process, main, _output = begin(lab, basecast_on_cancel=on_cancel)
    try:
        os.kill(main, number)
        process.wait(30)
        wait_for(lambda: all(bases(lab.hosts[name]) for name in HOSTS), 120, "the base did not arrive")
        # An administrator ends what is left.
        done = lab.playbook(["basecast.fleet.stop"])
        assert done.returncode == 0, done.stdout + done.stderr
        (run,) = {place.parent.name for name in HOSTS for place in lab.hosts[name].path("/run/basecast").glob("*/node.sock")}
        assert f"{run}: kvm1, kvm2, kvm3" in done.stdout
        wrong = lab.playbook(["basecast.fleet.stop", "-e", "run=nonesuch"])
        assert wrong.returncode != 0
        assert "no host of this fleet has a relay node or a claim of the run nonesuch" in wrong.stdout
        done = lab.playbook(["basecast.fleet.stop", "-e", f"run={run}"])
        assert done.returncode == 0, done.stdout + done.stderr
        assert nodes(lab) == []
    finally:
        process.kill()
