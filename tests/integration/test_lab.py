# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab does what it says: each test looks at the effect, not at the lab's own word."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.integration.variants import few
from ansible_collections.basecast.fleet.tests.lab import Host, Lab, LabError, LabTimeout, _lab

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
    few(
        [
            ("", {}),
            ("control_path_dir = {shared}", {}),
            ("control_path = {shared}/one-for-all", {}),
            ("ssh_args = -o ControlMaster=auto -o ControlPersist=60s -o ControlPath={shared}/%%C", {}),
            ("ssh_extra_args = -o ControlPath={shared}/%%C", {}),
            ("", {"ANSIBLE_SSH_CONTROL_PATH": "{shared}/%%h"}),
            ("", {"ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o ControlPath={shared}/x"}),
        ],
        2,
    ),
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
            # A connection whose socket was only unlinked would unlink the next one's when its time is over.
            subprocess.run(["ssh", "-S", used, "-O", "exit", "kvm1"], check=True, capture_output=True)
        done = each.exec_in_controller(
            ["ansible", "kvm1", "-i", each.inventory, "-m", "ansible.builtin.command", "-a", "hostname -I"],
            {"ANSIBLE_CONFIG": str(config), "HOME": str(folder), **own},
        )
        assert each.address("kvm1") in done.stdout, done.stdout + done.stderr
        assert [found.name for found in (each.state / "cp").iterdir()] == [f"root@{each.address('kvm1')}"]
    assert not list(shared.iterdir())
    assert not list(folder.glob(".ansible/cp/*"))


def test_an_inventory_of_ones_own_reaches_each_host(lab: Lab, folder: Path) -> None:
    # It says nothing of ssh's lasting connections, so the lab's ansible.cfg does.
    names = list(lab.hosts)[:2]
    inventory = folder / "own.ini"
    secret = f"ansible_user=root ansible_ssh_private_key_file={lab.state / 'key'}"
    inventory.write_text("".join(f"{name} ansible_host={lab.address(name)} {secret}\n" for name in names))
    asked = ["ansible", "all", "-i", str(inventory), "-m", "ansible.builtin.command", "-a", "hostname", "--forks", "1"]
    told = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    done = lab.exec_in_controller(asked, {"ANSIBLE_SSH_COMMON_ARGS": told})
    assert [line for line in done.stdout.splitlines() if line in names] == names, done.stdout + done.stderr


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
