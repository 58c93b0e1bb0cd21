# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a lab begins and ends, and its program: nothing is left of it, and what is missing or wrong is said."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.documented import typed
from ansible_collections.basecast.fleet.tests.integration.test_lab import wait_for
from ansible_collections.basecast.fleet.tests.lab import Lab, LabError, _lab, _linux, _pace, slowness

LAB = Path(_lab.HERE) / "lab"

OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ansible_collections.basecast.fleet.tests.lab import Lab, _lab
with Lab(hosts=2, pools={{"default": "dir", "disk": ("xfs", 400)}}, state_dir=sys.argv[2]) as lab:
    host = lab.hosts["kvm1"]
    host.run("echo x > /var/lib/libvirt/images/base; chattr +i /var/lib/libvirt/images/base; lsattr /var/lib/libvirt/images/base")
    host.run("setsid sh -c 'trap \\"\\" HUP INT TERM; exec sleep {seconds}' >/dev/null 2>&1 </dev/null &")
    master = ["-o", "ControlMaster=yes", "-o", "ControlPersist=600", "-S", f"{{lab.state}}/cp/m", "-i", f"{{lab.state}}/key"]
    lab.exec_in_controller(["ssh", *_lab.SSH_OPTIONS, *master, f"root@{{host.address}}", "true"], check=True)
    outside = lab.popen_in_controller(["sleep", "{seconds}"])
    print("ready", flush=True)
    time.sleep(600)
"""


class Traces:
    """What a lab leaves in the kernel, looked for from outside of the lab."""

    def __init__(self, state: Path, marker: str) -> None:
        self.state = state
        self.marker = marker
        supervisor = (state / "supervisor").read_text().strip()
        self.networks = {os.readlink(f"/proc/{pid}/ns/net") for pid in self.inside(supervisor)}

    @staticmethod
    def inside(supervisor: str) -> list[str]:
        """The processes of the lab: those that have the supervisor's PID namespace, or one below it."""
        tree = {supervisor}
        for _depth in range(6):
            for entry in Path("/proc").glob("[0-9]*/stat"):
                with contextlib.suppress(OSError):
                    if entry.read_text().rpartition(")")[2].split()[1] in tree:
                        tree.add(entry.parent.name)
        return sorted(tree)

    def processes(self) -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if entry.name == str(os.getpid()) or "pytest" in line:
                    continue
                if self.marker in line or str(self.state) in line or os.readlink(entry / "ns/net") in self.networks:
                    found.append(f"{entry.name}: {line}")
        return found

    def mounts(self) -> list[str]:
        found = set()
        for entry in Path("/proc").glob("[0-9]*/mountinfo"):
            with contextlib.suppress(OSError):
                found |= {line for line in entry.read_text().splitlines() if str(self.state) in line}
        return sorted(found)

    def loops(self) -> list[str]:
        return _linux.loop_devices(self.state)

    def all(self) -> list[str]:
        return self.processes() + self.mounts() + self.loops()


@pytest.mark.parametrize("end", ["owner killed", "owner interrupted", "supervisor killed", "keeper killed", "everything killed"])
def test_nothing_is_left(folder: Path, end: str) -> None:
    state = folder / "doomed"
    marker = f"123{os.getpid()}.5"
    source = textwrap.dedent(OWNER).format(seconds=marker)
    collections = str(_lab.CHECKOUT / ".collections")
    with subprocess.Popen(
        [sys.executable, "-c", source, collections, str(state)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        traces = Traces(state, marker)
        supervisor = int((state / "supervisor").read_text())
        keeper = int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1])
        # The search finds what is there; otherwise finding nothing would say nothing.
        assert len([line for line in traces.processes() if f"sleep {marker}" in line]) >= 2
        assert [line for line in traces.processes() if f"ssh: {state}/cp/m [mux]" in line]
        assert len(traces.networks) == 3
        assert traces.mounts()
        assert len(traces.loops()) == 2
        victims = {
            "owner killed": [owner.pid],
            "owner interrupted": [],
            "supervisor killed": [supervisor],
            "keeper killed": [keeper],
            "everything killed": [owner.pid, keeper],
        }[end]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        if end == "owner interrupted":
            owner.send_signal(signal.SIGINT)
        if not end.startswith(("owner", "everything")):
            wait_for(lambda: not traces.mounts(), "the lab's mounts are gone")
            owner.kill()
    wait_for(lambda: not traces.all(), "the lab is gone")
    if keeper in victims:
        assert state.exists()
        listed = subprocess.run(
            [LAB, "list"],
            env=os.environ | {"BASECAST_LAB_DIR": str(folder)},
            check=True,
            capture_output=True,
            text=True,
        )
        assert listed.stdout == "no lab is running\n"
    wait_for(lambda: not state.exists(), "the lab's files are gone")


def test_a_lab_that_cannot_start_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(LabError, match=r"the lab did not start: mkfs\.xfs"),
        Lab(pools={"p": ("xfs", 1)}, state_dir=folder / "l"),
    ):
        pass
    assert not (folder / "l").exists()
    started = time.monotonic()
    with monkeypatch.context() as broken, pytest.raises(LabError, match=r"did not start: .*_supervisor.py"):
        broken.setattr(_lab, "HERE", folder)
        Lab(state_dir=folder / "l").up()
    assert time.monotonic() - started < 5
    assert not (folder / "l").exists()
    with Lab(hosts=1, state_dir=folder / "l"), pytest.raises(LabError, match=r"a lab runs in .* already"):
        Lab(hosts=1, state_dir=folder / "l").up()


# ---- the program


def lab_program(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LAB, *arguments],
        env=os.environ | {"BASECAST_LAB_DIR": str(folder)},
        check=check,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.variant
def test_the_program_in_the_background(folder: Path) -> None:
    up = lab_program(folder, "up", "--hosts", "2", "--rate-mbps", "50", "--pool", "default=ext4:64")
    assert "kvm1, kvm2 are up" in up.stdout
    try:
        assert lab_program(folder, "list").stdout == "lab\n"
        assert lab_program(folder, "exec", "kvm2", "--", "hostname").stdout == "kvm2\n"
        assert lab_program(folder, "exec", "kvm1", "exit 5", check=False).returncode == 5
        (folder / "sent").write_text("hello\n")
        lab_program(folder, "put", "kvm2", str(folder / "sent"), "/srv/new/folder/file")
        assert lab_program(folder, "exec", "kvm2", "cat /srv/new/folder/file").stdout == "hello\n"
        lab_program(folder, "get", "kvm2", "/etc/hostname", str(folder / "sent"))
        assert (folder / "sent").read_text() == "kvm2\n"
        missing = lab_program(folder, "put", "kvm2", str(folder / "none"), "/srv/none", check=False)
        assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
        (folder / "sent").unlink()
        lab_program(folder, "power-cut", "kvm1")
        assert json.loads(lab_program(folder, "status").stdout)["hosts"]["kvm1"]["running"] is False
        lab_program(folder, "revive", "kvm1")
        lab_program(folder, "slow", "kvm1", "--to", "kvm2", "10")
        lab_program(folder, "add-pool", "kvm1", "more")
        lab_program(folder, "share-pool", "more", "kvm1", "kvm2")
        lab_program(folder, "fill-pool", "kvm1", "default")
        status = json.loads(lab_program(folder, "status").stdout)
        assert status["pairs"] == [
            {"from": "kvm1", "to": "kvm2", "mbps": 10},
            {"from": "kvm2", "to": "kvm1", "mbps": 10},
        ]
        assert status["hosts"]["kvm2"]["pools"]["more"]["shared"]
        full = lab_program(folder, "exec", "kvm1", "head -c 1M /dev/zero > /var/lib/libvirt/images/x", check=False)
        assert "No space left" in full.stderr
        inventory = json.loads(lab_program(folder, "inventory").stdout)
        assert set(inventory["all"]["children"]["lab"]["hosts"]["kvm2"]["basecast_pools"]) == {"default", "more"}
        wrong = lab_program(folder, "crash", "kvm9", check=False)
        assert (wrong.returncode, wrong.stderr) == (
            1,
            "lab: there is no host 'kvm9' in this lab; there are kvm1, kvm2\n",
        )
        traces = Traces(folder / "lab", "no such process")
        assert traces.all()
    finally:
        lab_program(folder, "down")
    assert traces.all() == []
    assert [entry.name for entry in folder.iterdir()] == [".lock"]


# What a reader is to see, by a part of the command.
SEEN = {"playbook": "0 base disks", "df -h": "/var/lib/libvirt/images", "controller": "kvm4 | SUCCESS", "run": "kvm2 | SUCCESS"}


@pytest.mark.timeout(300)
def test_the_program_is_typed_as_its_page_says(folder: Path) -> None:
    (folder / "tests").symlink_to(_lab.CHECKOUT / "tests")
    (folder / "disk.qcow2").write_text("a disk\n")
    lines = typed("docs/lab.md", "# tests/lab/lab")
    assert all(any(part in line for line in lines) for part in SEEN)
    try:
        for line in lines:
            done = subprocess.run(
                ["bash", "-ec", line.replace(" ; ", "\n")], cwd=folder, env=os.environ | {"BASECAST_LAB_DIR": str(folder)},
                text=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            assert not [words for part, words in SEEN.items() if part in line and words not in done.stdout], f"{line}\n{done.stdout}"
        assert lab_program(folder, "list").stdout == "no lab is running\n"
    finally:
        lab_program(folder, "down", "--all", check=False)


def test_the_program_in_the_foreground(folder: Path) -> None:
    done = lab_program(
        folder,
        "run",
        "--hosts",
        "1",
        "--",
        "sh",
        "-c",
        "ip -br address show br0; cat $ANSIBLE_INVENTORY; $0 exec kvm1 'echo $(hostname) alone'; exit 6",
        str(LAB),
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert re.search(r" 10\.\d+\.0\.1/16 ", done.stdout)
    assert "kvm1 alone" in done.stdout
    assert "kvm1" in done.stdout
    assert [entry.name for entry in folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_program_in_the_foreground_is_ended(folder: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [LAB, "run", "--hosts", "1", "--", "sh", "-c", "echo ready; sleep 100; echo over"],
        env=os.environ | {"BASECAST_LAB_DIR": str(folder)},
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        state = next(entry for entry in folder.iterdir() if entry.is_dir())
        traces = Traces(state, "no such process")
        # Ctrl-C reaches the whole group, the others only the program.
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(timeout=10) != 0
        wait_for(lambda: not state.exists() and not traces.all(), "the lab is gone")


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_lab, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"the lab needs tc, sshd, .*apt-get install iproute2 openssh-server"):
        Lab(hosts=1).up()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="has to run as root"):
        Lab(hosts=1).up()


def test_a_slow_machine_gets_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pace, "WORK", "import time; time.sleep(0.3)")
    monkeypatch.setattr(_pace, "REFERENCE_S", 0.1)
    assert slowness() >= 3
    monkeypatch.setattr(_pace, "REFERENCE_S", 60)
    assert slowness() == 1.0
    assert "ConnectTimeout=15 -o ServerAliveInterval=6 " in Lab(slowness=3).ssh_args


def test_each_of_many_hosts_finds_every_other_one(tmp_path: Path) -> None:
    """Hosts share the machine's table of neighbours: who finds no place there is not reached."""
    for name in ("gc_thresh2", "gc_thresh3"):
        (tmp_path / name).write_text("1024\n")
    _linux.make_room_for_neighbours(8, tmp_path)
    assert (tmp_path / "gc_thresh3").read_text() == "1024\n"
    _linux.make_room_for_neighbours(32, tmp_path)
    for name in ("gc_thresh2", "gc_thresh3"):
        assert int((tmp_path / name).read_text()) > 33 * 33
    _linux.make_room_for_neighbours(32, tmp_path / "missing")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["a", "a"]}, "different names"),
        ({"names": ["A b"]}, "'A b' is no name"),
        ({"libvirt": "yes"}, "'root' and 'debian'"),
        ({"rate_mbps": 0}, "positive number"),
        ({"rate_mbps": {"kvm9": 1}}, "not in the lab: kvm9"),
        ({"pools": {"default": "zfs"}}, "'zfs' is not one of dir, ext4"),
        ({"state_dir": "/var/tmp/" + "x" * 80}, "too long"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, t.Any], message: str) -> None:
    with pytest.raises(LabError, match=message):
        Lab(**arguments)
