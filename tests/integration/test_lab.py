# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab does what it says: each test looks at the effect, not at the lab's own word."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.lab import Host, Lab, LabError, LabTimeout, _lab, _linux, _pace, slowness

LAB = Path(_lab.HERE) / "lab"
PORT = 5201
MIB = 1024 * 1024

RECEIVE = f"""
import socket, time
listener = socket.create_server(("0.0.0.0", {PORT}), reuse_port=True)
print("listening", flush=True)
connection, _peer = listener.accept()
size = 0
while data := connection.recv(1 << 20):
    if not size:
        start = time.monotonic()
    size += len(data)
print(size * 8 / 1e6 / (time.monotonic() - start))
"""

SEND = """
import socket, sys
with socket.create_connection((sys.argv[1], {port}), timeout=20) as connection:
    connection.sendall(bytes(int(sys.argv[2])))
"""

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 22), timeout=1).close()
    print("open")
except TimeoutError:
    print("silence")
except OSError as error:
    print(type(error).__name__)
"""

# Says whether the peer's end of an open connection is noticed.
WATCH = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 22), timeout=5)
connection.recv(100)
open("/run/watching", "w").close()
connection.settimeout(1.5)
try:
    print("closed" if connection.recv(100) == b"" else "data")
except TimeoutError:
    print("silence")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def lab(lab_factory: Callable[..., Lab]) -> Lab:
    return lab_factory(hosts=3)


def wait_for(condition: Callable[[], t.Any], what: str, seconds: float = 10) -> t.Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value


def python(host: Host, source: str, *arguments: str, timeout: float = 30) -> str:
    return host.run(["/usr/bin/python3", "-c", source, *arguments], timeout=timeout).stdout


@contextlib.contextmanager
def in_thread(function: Callable[[], t.Any]) -> Iterator[list[t.Any]]:
    result: list[t.Any] = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    try:
        yield result
    finally:
        thread.join()


def mbps(source: Host, target: Host, megabits: float) -> float:
    """Payload rate of one TCP connection, from the first byte that arrived."""
    with in_thread(lambda: python(target, RECEIVE)) as result:
        wait_for(lambda: listening(target), "the receiver listens")
        python(source, SEND.format(port=PORT), target.address, str(int(megabits * 1e6 / 8)))
    return float(result[0].split()[1])


def listening(host: Host) -> bool:
    return f":{PORT} " in host.run(["ss", "-Hltn"]).stdout


def reach(source: Host, target: Host) -> str:
    return python(source, CONNECT, target.address).strip()


# ---- hosts


def test_hosts_have_their_own_names_files_and_processes(lab: Lab) -> None:
    one, two = lab.hosts["kvm1"], lab.hosts["kvm2"]
    assert [host.run(["hostname"]).stdout.strip() for host in lab.hosts.values()] == ["kvm1", "kvm2", "kvm3"]
    one.run("echo mine > /etc/only-here; echo home > /root/only-here; exec -a only-process sleep 30 >/dev/null 2>&1 &")
    assert "only-process" in one.run(["ps", "ax"]).stdout
    assert "only-process" not in two.run(["ps", "ax"]).stdout
    assert two.run("cat /etc/only-here", check=False).rc == 1
    assert not Path("/etc/only-here").exists()
    assert one.run("ls -A /root").stdout.split() == [".ssh", "only-here"]
    assert one.run(["ls", str(_lab.lab_root())]).stdout == ""
    assert one.run(["ssh", "kvm2", "hostname"]).stdout == "kvm2\n"


def test_transfers_do_not_depend_on_what_this_machine_is_set_to(lab: Lab) -> None:
    for host in lab.hosts.values():
        assert host.run("cat /proc/sys/net/ipv4/tcp_congestion_control").stdout == "cubic\n"


@pytest.mark.parametrize("where", ["/etc/fleet-test", "/var/lib/libvirt/images/a/b", "/tmp/x", "/run/x", "/root/x"])
def test_files_are_seen_from_outside(lab: Lab, tmp_path: Path, where: str) -> None:
    host = lab.hosts["kvm2"]
    (tmp_path / "from").write_bytes(b"a" * 100 + bytes(MIB))
    host.put(tmp_path / "from", where, mode=0o640)
    assert host.run(["stat", "-c", "%s %a", where]).stdout == f"{MIB + 100} 640\n"
    host.run(f"echo more >> {where}")
    host.get(where, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"a" * 100 + bytes(MIB) + b"more\n"
    assert host.path(where).read_bytes() == (tmp_path / "back").read_bytes()


def test_commands(lab: Lab) -> None:
    host = lab.hosts["kvm1"]
    result = host.run("cat; echo err >&2; exit 3", check=False, stdin="in")
    assert (result.rc, result.stdout, result.stderr) == (3, "in", "err\n")
    assert host.run(["echo", "a  b", "$HOME"]).stdout == "a  b $HOME\n"
    assert len(host.run("head -c 3000000 /dev/zero | tr '\\0' x; exit 0").stdout) == 3_000_000
    with pytest.raises(LabError, match="exit code 1\nls: cannot access '/nowhere'") as failed:
        host.run("ls /nowhere; exit 1")
    assert not isinstance(failed.value, LabTimeout)
    started = time.monotonic()
    with pytest.raises(LabTimeout, match=r"kvm1: sleep 30: not done after 0\.3 s"):
        host.run("sleep 30", timeout=0.3)
    assert time.monotonic() - started < 5


def test_a_playbook_runs_on_the_hosts(lab: Lab, tmp_path: Path) -> None:
    play = [
        {
            "hosts": "lab",
            "gather_facts": False,
            "tasks": [
                {"ansible.builtin.command": "hostname", "register": "name"},
                {
                    "ansible.builtin.copy": {
                        "content": "{{ [name.stdout, basecast_address, basecast_pools, basecast_domain_type] | to_json }}",
                        "dest": "/tmp/who",
                    }
                },
            ],
        }
    ]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    done = lab.playbook([tmp_path / "play.yml"])
    assert done.returncode == 0, done.stdout + done.stderr
    for name, host in lab.hosts.items():
        pools = {"default": "/var/lib/libvirt/images"}
        assert json.loads(host.path("/tmp/who").read_text()) == [name, host.address, pools, "qemu"]
    assert list((lab.state / "cp").iterdir()), "the lab's own folder holds the control sockets"


def test_a_signal_to_a_playbook_arrives(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(
        json.dumps([{"hosts": "kvm1", "gather_facts": False, "tasks": [{"ansible.builtin.command": "sleep 33.25"}]}])
    )
    with lab.popen_playbook([tmp_path / "play.yml"]) as process:
        wait_for(lambda: "sleep 33.25" in lab.hosts["kvm1"].run(["ps", "ax"]).stdout, "the task runs", 20)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) != 0


# ---- links


def test_links_are_shaped_per_direction(lab_factory: Callable[..., Lab]) -> None:
    lab = lab_factory(hosts=3, rate_mbps={"kvm1": (60, 20)})
    one, two, three = lab.hosts.values()
    assert 40 < mbps(one, two, 30) < 66
    assert 13 < mbps(two, one, 10) < 22
    assert mbps(two, three, 200) > 100

    one.slow_link((8, None))
    assert 5 < mbps(one, two, 5) < 9.5
    assert mbps(two, one, 100) > 40

    one.restore_link()
    lab.pair(one, two).slow(10, both=False)
    assert 6 < mbps(one, two, 6) < 11.5
    assert 13 < mbps(two, one, 10) < 22
    assert 40 < mbps(one, three, 30) < 66
    lab.pair(one, two).restore()
    assert 40 < mbps(one, two, 30) < 66


def test_a_link_slows_down_under_a_transfer(lab: Lab) -> None:
    one, two = lab.hosts["kvm1"], lab.hosts["kvm2"]
    one.slow_link(100)
    with in_thread(lambda: python(two, RECEIVE)) as result:
        wait_for(lambda: listening(two), "the receiver listens")
        with in_thread(lambda: python(one, SEND.format(port=PORT), two.address, str(8 * MIB))):
            time.sleep(0.3)
            one.slow_link(40)
    one.restore_link()
    assert 35 < float(result[0].split()[1]) < 75


def test_one_pair_is_cut_in_silence(lab: Lab) -> None:
    one, two, three = lab.hosts.values()
    assert reach(one, two) == "open"
    lab.pair(one, two).cut()
    assert (reach(one, two), reach(two, one)) == ("silence", "silence")
    assert (reach(one, three), reach(three, two)) == ("open", "open")
    lab.pair("kvm1", "kvm2").restore()
    assert (reach(one, two), reach(two, one)) == ("open", "open")
    # A connection that is there already does not get through either.
    with watch(two, one) as seen:
        lab.pair(one, two).cut()
        one.crash()
    assert seen == ["silence"]
    lab.pair(one, two).restore()
    one.revive()


def test_a_link_is_cut_and_mended(lab: Lab) -> None:
    one, two, three = lab.hosts.values()
    with watch(two, one) as seen:
        one.cut_link()
        with pytest.raises(LabError):
            one.run("true", timeout=1)
    assert seen == ["silence"]
    assert reach(two, one) in ("silence", "OSError")
    assert reach(two, three) == "open"
    one.restore_link()
    wait_for(lambda: reach(two, one) == "open", "the way is open again")
    one.disconnect()
    assert one.run(["hostname"]).stdout == "kvm1\n"


@contextlib.contextmanager
def watch(source: Host, target: Host) -> Iterator[list[str]]:
    """Holds a connection over the block; afterwards the list has what its end at `source` saw."""
    mark = source.path("/run/watching")
    mark.unlink(missing_ok=True)
    with in_thread(lambda: python(source, WATCH, target.address).strip()) as seen:
        wait_for(mark.exists, "the connection is there")
        yield seen


# ---- ends and beginnings of hosts


@pytest.mark.parametrize(("kill", "noticed"), [(Host.crash, "closed"), (Host.power_cut, "silence")])
def test_a_killed_host_comes_back_with_its_files(lab: Lab, kill: Callable[[Host], None], noticed: str) -> None:
    one, two = lab.hosts["kvm1"], lab.hosts["kvm2"]
    for where in ("/var/lib/libvirt/images/kept", "/etc/kept", "/run/lost", "/tmp/lost"):
        one.run(f"echo {noticed} > {where}")
    one.run("(exec -a runs-before sleep 100) >/dev/null 2>&1 &")
    with watch(two, one) as seen:
        kill(one)
    assert seen == [noticed]
    assert not one.running
    assert one.path("/etc/kept").read_text() == f"{noticed}\n"
    with pytest.raises(LabError, match="host kvm1 is not running"):
        one.run("true")

    one.revive()
    assert one.running
    assert one.run("hostname; cat /var/lib/libvirt/images/kept /etc/kept; ls /run/lost /tmp/lost", check=False).stdout == (
        f"kvm1\n{noticed}\n{noticed}\n"
    )
    assert "runs-before" not in one.run(["ps", "ax"]).stdout
    assert reach(two, one) == "open"


def test_a_revived_host_has_forgotten_what_libvirt_noted(lab: Lab) -> None:
    """Which machines run, and what belonged to whom before: another start of the host makes that void."""
    one = lab.hosts["kvm1"]
    path = one.path(one.pools["default"]) / "noted"
    path.write_text("kept")
    os.setxattr(path, "trusted.libvirt.security.ref_dac", b"1")
    one.crash()
    one.revive()
    assert os.listxattr(path) == [] and path.read_text() == "kept"


def test_a_revived_host_has_its_links_as_before(lab: Lab) -> None:
    one, two = lab.hosts["kvm1"], lab.hosts["kvm2"]
    one.slow_link(30)
    lab.pair(one, two).slow(8, both=False)
    one.power_cut()
    one.revive()
    assert 5 < mbps(one, two, 5) < 9.5
    assert 20 < mbps(two, one, 15) < 33
    lab.pair(one, two).restore()
    one.restore_link()


# ---- pools


@pytest.mark.parametrize(("fs", "reflink"), [("ext4", False), ("xfs", True), ("btrfs", True), ("tmpfs", False)])
def test_a_pool_with_its_own_file_system(lab: Lab, fs: str, reflink: bool) -> None:
    host = lab.hosts["kvm3"]
    size = 400 if fs == "xfs" else 160
    where = host.add_pool(fs, fs=fs, size_mib=size)
    assert json.loads(lab.inventory.read_text())["all"]["children"]["lab"]["hosts"]["kvm3"]["basecast_pools"][fs] == where
    assert host.run(["findmnt", "-n", "-o", "FSTYPE", where]).stdout.strip() == fs
    assert (size - 120) * MIB < int(host.run(["df", "-B1", "--output=avail", where]).stdout.split()[1]) <= size * MIB
    host.run(f"head -c 3000000 /dev/urandom > {where}/a")
    assert host.path(f"{where}/a").stat().st_size == 3_000_000
    assert (host.run(f"cp --reflink=always {where}/a {where}/b", check=False).rc == 0) is reflink

    host.fill_pool(fs, leave_bytes=5 * MIB)
    full = host.run(f"head -c 20M /dev/zero > {where}/c && sync {where}/c", check=False)
    assert full.rc != 0
    assert "No space left" in full.stderr
    host.run(f"rm {where}/c")
    host.free_pool(fs)
    host.run(f"head -c 20M /dev/zero > {where}/c && sync {where}/c")


def test_a_directory_is_never_filled(lab: Lab) -> None:
    with pytest.raises(LabError, match="'default' is a plain directory on this machine's own disk"):
        lab.hosts["kvm1"].fill_pool("default")


def test_a_shared_pool_is_the_same_folder(lab: Lab) -> None:
    one, two, three = lab.hosts.values()
    one.add_pool("common")
    one.run("echo from-one > /srv/pools/common/file")
    where = lab.share_pool("common", [one, "kvm2"])
    assert two.run(f"cat {where}/file; echo from-two > {where}/file").stdout == "from-one\n"
    assert one.run(f"cat {where}/file").stdout == "from-two\n"
    identity = f"stat -c '%d %i' {where}"
    assert one.run(identity).stdout == two.run(identity).stdout
    assert three.run(f"ls {where}", check=False).rc != 0
    assert "common" in two.pools
    assert "common" not in three.pools
    two.crash()
    two.revive()
    assert two.run(f"cat {where}/file").stdout == "from-two\n"


def test_hosts_with_mounts_of_their_own_see_no_locks_of_others(lab: Lab) -> None:
    where = lab.share_pool("apart", ["kvm1", "kvm2"], apart=True)
    one, two = lab.hosts["kvm1"], lab.hosts["kvm2"]
    one.run(f"echo from-one > {where}/file")
    assert two.run(f"cat {where}/file").stdout == "from-one\n"
    kind = f"findmnt -no FSTYPE,SOURCE {where}"
    assert one.run(kind).stdout == two.run(kind).stdout
    assert one.run(kind).stdout.startswith("fuse.shared")
    pid = one.run(f"flock -n {where}/file sleep 60 > /dev/null 2>&1 & echo $!").stdout.strip()
    one.run(f"while flock -n {where}/file true; do sleep 0.05; done")
    assert two.run(f"flock -n {where}/file true").rc == 0
    one.run(f"kill {pid}")
    two.crash()
    two.revive()
    assert two.run(f"cat {where}/file").stdout == "from-one\n"


# ---- labs


def test_eight_hosts_are_up_in_five_seconds(fresh_lab_factory: Callable[..., Lab]) -> None:
    started = time.monotonic()
    lab = fresh_lab_factory(hosts=8, rate_mbps=200)
    assert time.monotonic() - started < 5
    assert {host.run(["hostname"]).stdout for host in lab.hosts.values()} == {f"kvm{n}\n" for n in range(1, 9)}


def test_two_labs_do_not_meet(lab: Lab, fresh_lab_factory: Callable[..., Lab]) -> None:
    other = fresh_lab_factory(names=["kvm1", "other"])
    assert not {host.address for host in other.hosts.values()} & {host.address for host in lab.hosts.values()}
    for number, each in enumerate((lab, other)):
        each.hosts["kvm1"].path("/etc/which").write_text(f"lab {number}\n")
        done = each.exec_in_controller(["ansible", "kvm1", "-m", "ansible.builtin.command", "-a", "cat /etc/which"])
        assert f"lab {number}\n" in done.stdout, done.stdout + done.stderr
        assert each.hosts["kvm1"].run("cat /etc/which").stdout == f"lab {number}\n"
    # Only the first lab has a third host.
    assert python(other.hosts["kvm1"], CONNECT, lab.address("kvm3")).strip() != "open"


@pytest.mark.parametrize(
    ("settings", "environment"),
    [
        ("", {}),
        ("control_path_dir = {shared}", {}),
        ("control_path = {shared}/one-for-all", {}),
        ("ssh_args = -o ControlMaster=auto -o ControlPersist=60s -o ControlPath={shared}/%%C", {}),
        ("ssh_extra_args = -o ControlPath={shared}/%%C", {}),
        ("", {"ANSIBLE_SSH_CONTROL_PATH": "{shared}/%%h"}),
        ("", {"ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o ControlPath={shared}/x"}),
    ],
    ids=["default", "folder", "path", "arguments", "extra-arguments", "environment", "environment-arguments"],
)
def test_a_users_configuration_reaches_its_own_lab(
    lab: Lab, lab_factory: Callable[..., Lab], folder: Path, settings: str, environment: dict[str, str]
) -> None:
    other = lab_factory(hosts=1) if settings == "" and not environment else lab
    shared = folder / "cp"
    shared.mkdir()
    config = folder / "ansible.cfg"
    config.write_text(f"[ssh_connection]\n{settings.format(shared=shared)}\n")
    own = {key: value.format(shared=shared) for key, value in environment.items()}
    for each in (lab, other):
        for used in (each.state / "cp").iterdir():
            used.unlink()
        done = each.exec_in_controller(
            ["ansible", "kvm1", "-i", each.inventory, "-m", "ansible.builtin.command", "-a", "hostname -I"],
            {"ANSIBLE_CONFIG": str(config), "HOME": str(folder), **own},
        )
        assert each.address("kvm1") in done.stdout, done.stdout + done.stderr
        assert [found.name for found in (each.state / "cp").iterdir()] == [f"root@{each.address('kvm1')}"]
    assert not list(shared.iterdir())
    assert not list(folder.glob(".ansible/cp/*"))


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


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short, because sockets are made in it.
    made = Path(tempfile.mkdtemp(prefix="lab-", dir="/var/tmp"))
    yield made
    _linux.remove_tree(made)


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


# ---- libvirt

DOMAIN = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{pool}/disk.qcow2'/>
<backingStore type='file'><format type='qcow2'/><source file='{pool}/base'><seclabel model='dac' relabel='no'/></source>
<backingStore/></backingStore><target dev='vda' bus='virtio'/></disk>
<interface type='network'><source network='default'/></interface></devices></domain>
"""


@pytest.mark.parametrize(("kind", "user"), [("root", "root"), ("debian", "libvirt-qemu")])
def test_libvirt_runs_a_machine_on_an_immutable_base(fresh_lab_factory: Callable[..., Lab], kind: str, user: str) -> None:
    lab = fresh_lab_factory(hosts=2, libvirt=kind)
    pool = "/var/lib/libvirt/images"
    for host in lab.hosts.values():
        host.run(f"cd {pool} && qemu-img create -q -f qcow2 base 16M && chmod 0444 base && chattr +i base")
        host.run(f"cd {pool} && qemu-img create -q -f qcow2 -b base -F qcow2 disk.qcow2")
        host.path("/root/domain.xml").write_text(DOMAIN.format(name="same-name", pool=pool))
        host.run("virsh define /root/domain.xml && virsh start --paused same-name")
    for host in lab.hosts.values():
        assert host.run("virsh list --name").stdout.split() == ["same-name"]
        assert host.run("ps -o user:20= -C qemu-system-x86_64").stdout.split() == [user]
        assert host.run(["stat", "-c", "%U", f"{pool}/base", f"{pool}/disk.qcow2"]).stdout.split() == ["root", user]
        assert "master virbr0" in host.run(["ip", "link", "show", "vnet0"]).stdout
        assert host.run("virsh net-list --name").stdout.split() == ["default"]
    one = lab.hosts["kvm1"]
    assert one.run("virsh -c qemu+ssh://kvm2/system hostname").stdout.strip() == "kvm2"
    one.power_cut()
    one.revive()
    assert one.run("virsh list --all --name").stdout.split() == ["same-name"]
    assert one.run("virsh list --name").stdout.split() == []
