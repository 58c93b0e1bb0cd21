# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Python side of a lab: what tests and the `lab` program use."""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import _linux
from ._host import Host, LabError, Pair, Rate, both_ways, check_pool
from ._network import CONGESTION_CONTROL, permit_congestion_control
from ._pace import limit_s, patience
from ._state import claim, claim_subnet, is_stale, lab_root, remove_stale

CHECKOUT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
START_S = 300.0
# ssh makes control sockets below the state folder: cp/root@ADDRESS and a random part, 107 bytes in all.
LONGEST_STATE = 66
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SSH_OPTIONS = (
    "-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
)  # fmt: skip

_counter = itertools.count(1)

PoolSpec = str | tuple[str, int]
"""File system, or (file system, MiB)."""


class Lab:
    """Hosts with their own files, names and sshd, on links of their own.

    :param hosts: how many (kvm1, kvm2, …), unless `names` names them.
    :param rate_mbps: of every link, or by host name; see `Rate`.
    :param libvirt: False, True or "debian" (guests run as Debian's own user, with libvirt's handling of ownership) or
        "root" (libvirtd and guests all as root). Both with an active network `default`.
    :param pools: pools of every host: name -> file system, or (file system, MiB).
    :param state_dir: where the lab keeps its files; by default a folder of `lab_root()` named `name`.
    :param detached: lives on when this process ends, until `down` (what `lab up` does).
    :param slowness: ssh waits this many times longer for an answer; by default as the machine is.
    """

    def __init__(
        self,
        hosts: int = 4,
        rate_mbps: Rate | Mapping[str, Rate] = None,
        libvirt: bool | str = False,
        names: Sequence[str] | None = None,
        pools: Mapping[str, PoolSpec] | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        name: str | None = None,
        detached: bool = False,
        slowness: float | None = None,
    ) -> None:
        self.names = list(names) if names is not None else [f"kvm{number}" for number in range(1, hosts + 1)]
        self.name = name or f"t{os.getpid()}-{next(_counter)}"
        self.state = Path(state_dir).absolute() if state_dir else lab_root() / self.name
        self.detached = detached
        self.slowness = patience() if slowness is None else slowness
        self.supervisor = 0
        self.status: dict[str, t.Any] = {}
        self.hosts: dict[str, Host] = {}
        self._keeper: subprocess.Popen[bytes] | None = None
        self._net = -1
        self._check_names()
        self._spec: dict[str, t.Any] = {
            "libvirt": libvirt_kind(libvirt),
            "hosts": self._host_specs(rate_mbps),
            "labs": str(lab_root() if self.state.is_relative_to(lab_root()) else self.state),
            "pools": [pool_spec(pool, fs) for pool, fs in (pools or {"default": "dir"}).items()],
        }

    def _check_names(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise LabError(f"a lab needs hosts with different names, not {self.names}")
        for name in [*self.names, self.name]:
            if not re.fullmatch(r"[a-z0-9]([a-z0-9_-]{0,40}[a-z0-9])?", name):
                raise LabError(f"{name!r} is no name for a lab or a host: lower-case letters, digits, '-' and '_'")
        if len(os.fsencode(self.state)) > LONGEST_STATE:
            raise LabError(f"the paths of sockets below {self.state} would be too long: its own has at most {LONGEST_STATE} bytes")

    def _host_specs(self, rates: Rate | Mapping[str, Rate]) -> list[dict[str, t.Any]]:
        by_name = rates if isinstance(rates, Mapping) else dict.fromkeys(self.names, rates)
        unknown = set(by_name) - set(self.names)
        if unknown:
            raise LabError(f"rates for hosts that are not in the lab: {', '.join(sorted(unknown))}")
        specs = []
        for name in self.names:
            up, down = both_ways(by_name.get(name))
            specs.append({"name": name, "up_mbps": up, "down_mbps": down})
        return specs

    @staticmethod
    def check_machine(libvirt: bool, file_systems: Sequence[str]) -> None:
        """Says everything at once that keeps a lab from running here."""
        if os.geteuid() != 0:
            raise LabError("the lab makes namespaces, mounts and network links: it has to run as root (try sudo)")
        wanted = [("ip", "iproute2"), ("tc", "iproute2")]
        wanted += [("sshd", "openssh-server"), ("ssh", "openssh-client"), ("ssh-keygen", "openssh-client")]
        if libvirt:
            wanted += [
                ("libvirtd", "libvirt-daemon-system"), ("virsh", "libvirt-clients"), ("dnsmasq", "dnsmasq-base"),
                ("iptables", "iptables"), ("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils"),
            ]  # fmt: skip
        packages = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}
        wanted += [(f"mkfs.{fs}", packages[fs]) for fs in file_systems if fs in packages]
        missing = {package: program for program, package in wanted if not shutil.which(program, path=SEARCH_PATH)}
        if missing:
            programs = ", ".join(missing.values())
            raise LabError(f"the lab needs {programs}; install: apt-get install {' '.join(missing)} (tools/setup does)")
        elsewhere = [path for path in ("/etc", "/usr", "/var") if os.stat(path).st_dev != os.stat("/").st_dev]
        if elsewhere:
            raise LabError(f"hosts show this machine's root file system, and {', '.join(elsewhere)} would be missing in it")
        for path, what in (("/proc/self/ns/pid", "PID namespaces"), ("/proc/self/ns/net", "network namespaces")):
            if not os.path.exists(path):
                raise LabError(f"this kernel has no {what}")

    # ---- life

    def up(self) -> Lab:
        """Starts the lab; returns when every host's sshd (and libvirtd) answers."""
        self.check_machine(bool(self._spec["libvirt"]), [pool["fs"] for pool in self._spec["pools"]])
        if not permit_congestion_control():
            print(f"lab: hosts keep this machine's TCP congestion control, as {CONGESTION_CONTROL} may not be chosen", file=sys.stderr)
        _linux.make_room_for_neighbours(len(self._spec["hosts"]))
        lock = claim(self.state)
        owner = -1 if self.detached else os.pidfd_open(os.getpid())
        ready_r, ready_w = os.pipe()
        subnet = -1
        try:
            self._spec["subnet"], subnet = claim_subnet()
            for key in ("key", "host_key"):
                make_key(self.state / key)
            (self.state / "spec.json").write_text(json.dumps(self._spec))
            (self.state / "cp").mkdir()
            with open(self.state / "lab.log", "w+b") as log:
                self._keeper = subprocess.Popen(
                    [
                        sys.executable,
                        "-S",
                        "-E",
                        str(HERE / "_supervisor.py"),
                        str(self.state),
                        str(lock),
                        str(ready_w),
                        str(owner),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=[fd for fd in (lock, ready_w, owner, subnet) if fd >= 0],
                )
                os.close(ready_w)
                ready_w = -1
                reply = read_all(ready_r, START_S)
                if "ok" not in reply:
                    if "error" not in reply:
                        self._keeper.kill()
                    self._keeper.wait()
                    log.seek(0)
                    tail = log.read()[-2000:].decode(errors="replace")
                    raise LabError(f"the lab did not start: {reply.get('error') or tail or 'no reason was given'}")
        except BaseException:
            os.close(lock)  # or this process would wait for itself
            lock = -1
            self.down()
            raise
        finally:
            for fd in (ready_r, ready_w, owner, lock, subnet):
                if fd >= 0:
                    os.close(fd)
        self.status = reply["ok"]
        self._attached()
        self.write_inventory()
        self._write_config()
        return self

    def _attached(self) -> None:
        if self._runs("1"):
            self.supervisor = 1  # this program runs on the controller of that very lab
        else:
            self.supervisor = int((self.state / "supervisor").read_text())
        self._net = os.open(f"/proc/{self.supervisor}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.names = list(self.status["hosts"])
        self.hosts = {name: Host(self, name) for name in self.names}

    @classmethod
    def attach(cls, state: str | os.PathLike[str]) -> Lab:
        """The lab that runs with this state folder; leaving a `with` block does not end it."""
        lab = cls(state_dir=state)
        if os.geteuid() != 0:
            cls.check_machine(False, [])
        if is_stale(lab.state):
            raise LabError(f"there is no running lab in {lab.state}")
        lab.detached = True
        lab.status = lab.request("status")
        lab.name = lab.state.name
        lab._attached()
        return lab

    def down(self) -> None:
        """Ends everything that runs in the lab, then removes its files. Fine if it is down already."""
        for host in self.hosts.values():
            host.disconnect()
        if self._net >= 0:
            os.close(self._net)
            self._net = -1
        keeper = ""
        if self._keeper is not None:
            self._keeper.terminate()
            self._keeper.wait()
            self._keeper = None
        elif not is_stale(self.state):
            keeper = (self.state / "keeper").read_text().strip()
            self.request("down")
        # The keeper removes the folder; a keeper that was killed may have left a supervisor that is just dying.
        deadline = time.monotonic() + 30
        while self._runs(keeper) or (self.state.exists() and not is_stale(self.state)):
            if time.monotonic() > deadline:
                raise LabError(f"{self.state} is still in use 30 s after its lab was stopped")
            time.sleep(0.01)
        remove_stale(self.state)
        self.supervisor = 0

    def _runs(self, pid: str) -> bool:
        """Whether this process is the keeper or the supervisor of this very lab."""
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes() if pid else b""
        except (FileNotFoundError, ProcessLookupError):
            return False
        return os.fsencode(self.state) in argv.split(b"\0")

    def __enter__(self) -> Lab:
        if not self.supervisor:
            self.up()
        return self

    def __exit__(self, *_exc: object) -> None:
        if not self.detached:
            self.down()

    # ---- talk

    def request(self, op: str, **arguments: t.Any) -> dict[str, t.Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(120)
            try:
                connection.connect(str(self.state / "control"))
                connection.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    line = lines.readline()
            except OSError as error:
                raise LabError(f"the lab in {self.state} does not answer: {error}") from error
        if not line:
            raise LabError(f"the lab in {self.state} ended")
        reply = json.loads(line)
        if "error" in reply:
            raise LabError(reply["error"])
        if "hosts" in reply["ok"]:
            self.status = reply["ok"]
        return reply["ok"]

    def refresh(self) -> dict[str, t.Any]:
        return self.request("status")

    def address(self, name: str) -> str:
        return self.status["hosts"][name]["address"]

    def pair(self, source: str | Host, target: str | Host) -> Pair:
        return Pair(self, getattr(source, "name", t.cast(str, source)), getattr(target, "name", t.cast(str, target)))

    def share_pool(self, name: str, hosts: Sequence[str | Host], apart: bool = False) -> str:
        """One folder becomes pool `name` of all these hosts; the first one that has it brings it. Returns the path.

        :param apart: a new folder, which each host mounts for itself as a network file system, without seeing others' locks.
        """
        check_pool(name, "dir")
        names = [getattr(host, "name", host) for host in hosts]
        self.request("share_pool", pool=name, hosts=names, apart=apart)
        self.write_inventory()
        return self.hosts[t.cast(str, names[0])].pools[name]

    def look_alike(self, name: str, hosts: Sequence[str | Host], overlay: bool = False) -> None:
        """Gives two hosts pools that look equal, as network file systems, and are not one storage.

        :param overlay: the second host sees what the first writes, but not the reverse; else they are mounts of copied images.
        """
        check_pool(name, "dir")
        self.request("look_alike", pool=name, hosts=[getattr(host, "name", host) for host in hosts], overlay=overlay)
        self.write_inventory()

    def connect(self, address: str, port: int, timeout: float | None = None) -> socket.socket:
        """A TCP connection from the lab's controller to a host."""
        return self.in_controller(lambda: socket.create_connection((address, port), timeout=timeout))

    def in_controller(self, function: Callable[[], t.Any]) -> t.Any:
        """Calls a function in a thread that is in the controller's network; sockets made there stay there."""
        outcome: list[t.Any] = []

        def enter() -> None:
            try:
                _linux.setns(self._net, _linux.CLONE_NEWNET)
                outcome.append((True, function()))
            except BaseException as error:
                outcome.append((False, error))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        done, value = outcome[0]
        if not done:
            raise value
        return value

    # ---- programs on the controller

    @property
    def inventory(self) -> Path:
        return self.state / "inventory.yml"

    @property
    def config(self) -> Path:
        return self.state / "ansible.cfg"

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment for programs that run in the lab's controller."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "SSH_"))}
        own = {
            "ANSIBLE_CONFIG": str(self.config),
            "ANSIBLE_INVENTORY": str(self.inventory),
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
            "ANSIBLE_LOCAL_TEMP": str(self.state / "tmp"),
            "BASECAST_LAB": str(self.state),
            "PATH": f"{CHECKOUT}/.venv/bin:{os.environ.get('PATH', '')}:{SEARCH_PATH}",
        }
        return inherited | own | dict(extra or {})

    def controller_argv(self, argv: Sequence[str | os.PathLike[str]]) -> list[str]:
        return [
            sys.executable,
            "-S",
            "-E",
            str(HERE / "_enter.py"),
            str(self.supervisor),
            *(os.fspath(arg) for arg in argv),
        ]

    def exec_in_controller(
        self,
        argv: Sequence[str | os.PathLike[str]],
        extra_env: Mapping[str, str] | None = None,
        timeout: float = 300,
        check: bool = False,
        cwd: str | os.PathLike[str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program on this machine, but in the lab's network; it ends with the lab at the latest.

        :param timeout: seconds, as `limit_s` takes them.
        """
        return subprocess.run(
            self.controller_argv(argv),
            env=self.environment(extra_env),
            timeout=limit_s(timeout),
            check=check,
            cwd=cwd,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )

    def popen_in_controller(
        self, argv: Sequence[str | os.PathLike[str]], extra_env: Mapping[str, str] | None = None, **options: t.Any
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(self.controller_argv(argv), env=self.environment(extra_env), text=True, **options)

    def _playbook_argv(self, args: Sequence[str | os.PathLike[str]]) -> list[str]:
        return [str(CHECKOUT / ".venv/bin/ansible-playbook"), *(os.fspath(arg) for arg in args)]

    def playbook(
        self,
        args: Sequence[str | os.PathLike[str]],
        extra_env: Mapping[str, str] | None = None,
        timeout: float = 300,
        check: bool = False,
        cwd: str | os.PathLike[str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs ansible-playbook with the lab's inventory and configuration."""
        return self.exec_in_controller(self._playbook_argv(args), extra_env, timeout, check, cwd)

    def popen_playbook(
        self, args: Sequence[str | os.PathLike[str]], extra_env: Mapping[str, str] | None = None, **options: t.Any
    ) -> subprocess.Popen[str]:
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | options
        return self.popen_in_controller(self._playbook_argv(args), extra_env, **options)

    # ---- files for Ansible

    @property
    def ssh_args(self) -> str:
        """Connections that last, by the lab's own control sockets."""
        return (
            f"-o ControlMaster=auto -o ControlPersist=60s -o ControlPath={self.state}/cp/%r@%h"
            f" -o ConnectTimeout={5 * self.slowness:.0f} -o ServerAliveInterval={2 * self.slowness:.0f} -o ServerAliveCountMax=2"
        )

    def host_vars(self) -> dict[str, dict[str, t.Any]]:
        return {
            name: {
                "ansible_host": host["address"],
                "basecast_address": host["address"],
                "basecast_pools": {pool: found["path"] for pool, found in host["pools"].items()},
            }
            for name, host in self.status["hosts"].items()
        }

    def write_inventory(self) -> None:
        shared = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.state / "key"),
            # Variables win over a user's ansible.cfg and environment; for ssh, the first of two options counts.
            "ansible_ssh_args": self.ssh_args,
            "ansible_ssh_common_args": " ".join(SSH_OPTIONS),
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_pipelining": True,
            "basecast_domain_type": "qemu",
        }
        tree = {
            "all": {
                "children": {"lab": {"hosts": self.host_vars(), "vars": shared}},
            }
        }
        # JSON is YAML. Replaced in one step, for a playbook may be starting.
        fresh = self.inventory.with_suffix(".new")
        fresh.write_text(json.dumps(tree, indent=2) + "\n")
        fresh.replace(self.inventory)

    def _write_config(self) -> None:
        self.config.write_text(f"""\
[defaults]
inventory = {self.inventory}
collections_path = {CHECKOUT}/.collections
local_tmp = {self.state}/tmp
forks = 20
host_key_checking = False
retry_files_enabled = False
interpreter_python = /usr/bin/python3
nocows = True
timeout = 10

[ssh_connection]
pipelining = True
ssh_args = {self.ssh_args}
retries = 0
""")


def libvirt_kind(libvirt: bool | str | None) -> str | None:
    kind = "debian" if libvirt is True else libvirt or None
    if kind not in (None, "root", "debian"):
        raise LabError(f"libvirt={libvirt!r}: False, True, 'root' and 'debian' are possible")
    return kind


def pool_spec(name: str, pool: PoolSpec) -> dict[str, t.Any]:
    fs, size = (pool, None) if isinstance(pool, str) else pool
    check_pool(name, fs)
    return {"name": name, "fs": fs, "size_mib": size}


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "basecast-lab", "-f", str(path)], check=True)


def read_all(fd: int, timeout_s: float) -> dict[str, t.Any]:
    """The JSON object that the other end of a pipe wrote before it closed it; {} if it wrote none."""
    data = b""
    deadline = time.monotonic() + timeout_s
    while True:
        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return {}
        part = os.read(fd, 65536)
        if not part:
            return json.loads(data) if data else {}
        data += part
