# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process that is a lab: PID 1 of a PID, mount and network namespace of its own.

It is started as a program with the state folder as its argument and three inherited descriptors (a fourth, the claim
of its subnet, only has to stay open): the lock of the state folder, a pipe for the one JSON line that says whether the lab is up, and (or -1) a pidfd of the
process whose end ends the lab. Two processes come of it: the *keeper* outside of the namespaces, which
waits, and removes the state folder at the end; and the *supervisor* inside, whose end takes every process,
network, mount and loop device of the lab with it. Each dies with the other.

Mounts are made in the supervisor's namespace and reach the hosts by propagation; a host adds only /proc,
/sys and /dev. So a host's files stay as they were over a crash, and can be read from outside through
/proc/<supervisor>/root.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
import typing as t
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2] / ".collections")

from ansible_collections.basecast.fleet.tests.lab import _linux, _pools, _trees
from ansible_collections.basecast.fleet.tests.lab._common import ENVIRONMENT, LabHost, Pool, Refused, command
from ansible_collections.basecast.fleet.tests.lab._network import Network, host_address

READY_S = 240.0  # on a machine that is very busy


class Supervisor:
    def __init__(self, state: Path) -> None:
        self.state = state
        self.spec: dict[str, t.Any] = json.loads((state / "spec.json").read_text())
        self.libvirt: str | None = self.spec["libvirt"] or None
        self.hosts: dict[str, LabHost] = {}
        for index, entry in enumerate(self.spec["hosts"], start=1):
            self.hosts[entry["name"]] = LabHost(
                name=entry["name"],
                index=index,
                address=host_address(self.spec["subnet"], index),
                up_mbps=entry["up_mbps"],
                down_mbps=entry["down_mbps"],
                folder=state / "hosts" / entry["name"],
            )
        self.network = Network(self.hosts, self.spec["subnet"])

    # ---- start

    def start(self) -> None:
        _linux.mount("none", "/", flags=_linux.MS_REC | _linux.MS_SLAVE)
        _linux.mount("proc", "/proc", "proc", _linux.MS_NOSUID)
        self.network.make_bridge()
        for host in self.hosts.values():
            _trees.make_files(host, self.hosts.values(), self.network.controller, self.state, self.spec["labs"], self.libvirt)
            for pool in self.spec["pools"]:
                _pools.make_pool(host, pool["name"], pool["fs"], pool["size_mib"])
        for host in self.hosts.values():
            self.boot(host)
        self.wait_ready(list(self.hosts.values()))

    # ---- boot and end of a host

    def boot(self, host: LabHost) -> None:
        self.network.disconnect(host)
        for name, mode in (("run", "0755"), ("tmp", "1777")):
            folder = host.root / name
            if folder.is_mount():
                _linux.umount(folder)
            _linux.mount("lab", folder, "tmpfs", _linux.MS_NOSUID | _linux.MS_NODEV, f"mode={mode}")
        _pools.forget_labels(host)
        (host.root / "run/sshd").mkdir(mode=0o755)
        (host.root / "run/lock").mkdir(mode=0o755)
        ready_r, ready_w = os.pipe()
        go_r, go_w = os.pipe()
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        _linux.unshare(_linux.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            try:
                self.be_host(host, ready_w, go_r)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _linux.setns(own, _linux.CLONE_NEWPID)
        for fd in (own, ready_w, go_r):
            os.close(fd)
        try:
            with open(ready_r, "rb") as ready:
                if ready.read(1) != b"1":
                    raise Refused(f"host {host.name} did not start; see {self.state}/lab.log")
            host.pid = pid
            self.network.connect(host)
            os.write(go_w, b"1")
        finally:
            os.close(go_w)

    def be_host(self, host: LabHost, ready: int, go: int) -> t.NoReturn:
        """Runs as PID 1 of the host."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _linux.close_all_but({0, 1, 2, ready, go})
        os.setsid()
        _linux.prctl(_linux.PR_SET_NAME, b"lab-host")
        _linux.unshare(_linux.CLONE_NEWNS | _linux.CLONE_NEWUTS | _linux.CLONE_NEWIPC | _linux.CLONE_NEWNET)
        _linux.sethostname(host.name)
        _linux.mount("none", "/", flags=_linux.MS_REC | _linux.MS_SLAVE)
        root = host.root
        _linux.mount("proc", root / "proc", "proc", _linux.MS_NOSUID | _linux.MS_NODEV)
        _linux.mount("sysfs", root / "sys", "sysfs", _linux.MS_NOSUID | _linux.MS_NODEV)
        _trees.make_dev(root / "dev")
        _linux.pivot_into(root)
        os.write(ready, b"1")
        os.close(ready)
        if os.read(go, 1) != b"1":
            sys.exit(1)
        os.close(go)
        services = [["/usr/sbin/sshd", "-D", "-f", "/etc/basecast-lab/sshd_config", "-E", "/var/log/basecast-sshd.log"]]
        if self.libvirt:
            services.append(["/usr/sbin/libvirtd"])
        for argv in services:
            if os.fork() == 0:
                log = os.open(f"/var/log/{Path(argv[0]).name}-lab.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                os.dup2(log, 1)
                os.dup2(log, 2)
                os.setsid()
                os.umask(0o022)
                os.execve(argv[0], argv, ENVIRONMENT)
        while True:
            try:
                os.wait()
            except ChildProcessError:
                signal.pause()

    def wait_ready(self, hosts: list[LabHost]) -> None:
        deadline = time.monotonic() + READY_S
        for host in hosts:
            if host.cut:
                continue
            while not (self.has_sshd(host) and self.has_libvirt(host)):
                if time.monotonic() > deadline:
                    raise Refused(f"host {host.name} was not ready after {READY_S:g} s:\n{self.host_log(host)}")
                if not self.alive(host):
                    raise Refused(f"host {host.name} ended while it started:\n{self.host_log(host)}")
                time.sleep(0.02)

    @staticmethod
    def has_sshd(host: LabHost) -> bool:
        try:
            with socket.create_connection((host.address, 22), timeout=2) as probe:
                return probe.recv(4) == b"SSH-"
        except OSError:
            return False

    def has_libvirt(self, host: LabHost) -> bool:
        if not self.libvirt:
            return True
        folder = host.root / "run/libvirt"
        if not (folder / "network/default.pid").exists():  # written once the network is active
            return False
        # Relative, because the path of a socket may be 107 bytes long at most.
        try:
            os.chdir(folder)
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect("libvirt-sock")
            return True
        except OSError:
            return False
        finally:
            os.chdir("/")

    @staticmethod
    def host_log(host: LabHost) -> str:
        lines = []
        for log in sorted((host.root / "var/log").glob("*-lab.log")) + [host.root / "var/log/basecast-sshd.log"]:
            try:
                lines += log.read_text(errors="replace").splitlines()[-10:]
            except OSError:
                continue
        return "\n".join(lines) or "(its logs are empty)"

    @staticmethod
    def alive(host: LabHost) -> bool:
        if host.pid:
            # Without WNOWAIT: a dead host is reaped here, and its number forgotten before it can be given anew.
            done, _status = os.waitpid(host.pid, os.WNOHANG)
            if done:
                host.pid = 0
        return bool(host.pid)

    def end(self, host: LabHost) -> None:
        if self.alive(host):
            os.kill(host.pid, signal.SIGKILL)
            os.waitpid(host.pid, 0)
            host.pid = 0

    # ---- requests

    def host(self, request: dict[str, t.Any], key: str = "host") -> LabHost:
        name = request[key]
        if name not in self.hosts:
            raise Refused(f"there is no host {name!r} in this lab; there are {', '.join(self.hosts)}")
        return self.hosts[name]

    def pool(self, request: dict[str, t.Any]) -> Pool:
        host = self.host(request)
        if request["pool"] not in host.pools:
            raise Refused(f"host {host.name} has no pool {request['pool']!r}; it has {', '.join(host.pools)}")
        return host.pools[request["pool"]]

    def answer(self, request: dict[str, t.Any]) -> dict[str, t.Any]:
        match request["op"]:
            case "status":
                pass
            case "crash":
                self.end(self.host(request))
            case "power_cut":
                host = self.host(request)
                host.cut = True
                command("ip", "link", "set", host.port, "down")
                self.end(host)
            case "revive":
                host = self.host(request)
                if self.alive(host):
                    raise Refused(f"host {host.name} is running")
                host.cut = False
                self.boot(host)
                self.wait_ready([host])
            case "link":
                host = self.host(request)
                if request["state"] == "cut":
                    host.cut = True
                elif request["state"] == "slow":
                    host.slow = (request["up_mbps"], request["down_mbps"])
                else:
                    host.cut, host.slow = False, None
                self.network.shape(host)
            case "pair":
                source, target = self.host(request, "source"), self.host(request, "target")
                if source is target:
                    raise Refused(f"host {source.name} has no link to itself")
                pair = self.network.pairs.setdefault((source.name, target.name), {})
                if request["state"] == "restore":
                    pair.clear()
                else:
                    pair.update({"cut": True} if request["state"] == "cut" else {"mbps": request["mbps"]})
                self.network.shape_pair(source, target, pair)
            case "add_pool":
                _pools.make_pool(self.host(request), request["pool"], request["fs"], request["size_mib"])
            case "share_pool":
                hosts = [self.host({"host": name}) for name in request["hosts"]]
                _pools.share(self.state, request["pool"], hosts, bool(request.get("apart")))
            case "look_alike":
                hosts = [self.host({"host": name}) for name in request["hosts"]]
                _pools.look_alike(self.state, request["pool"], hosts, bool(request.get("overlay")))
            case "fill_pool":
                return _pools.fill(self.pool(request), request["leave_bytes"])
            case "free_pool":
                _pools.free(self.pool(request))
            case other:
                raise Refused(f"unknown request {other!r}")
        return self.status()

    def status(self) -> dict[str, t.Any]:
        return {
            "hosts": {
                host.name: {
                    "address": host.address,
                    "running": self.alive(host),
                    "cut": host.cut,
                    "up_mbps": host.rates()[0],
                    "down_mbps": host.rates()[1],
                    "root": str(host.root),
                    "pools": {
                        pool.name: {
                            "path": pool.path,
                            "fs": pool.fs,
                            "source": str(pool.source),
                            "shared": pool.shared,
                            "size_mib": pool.size_mib,
                        }
                        for pool in host.pools.values()
                    },
                }
                for host in self.hosts.values()
            },
            "pairs": [{"from": source, "to": target, **pair} for (source, target), pair in self.network.pairs.items() if pair],
            "libvirt": self.libvirt,
        }

    def serve(self, listener: socket.socket, wakeup: int) -> None:
        while True:
            readable, _w, _x = select.select([listener, wakeup], [], [])
            if wakeup in readable:
                os.read(wakeup, 4096)
                self.reap()
            if listener in readable:
                connection, _peer = listener.accept()
                with connection:
                    connection.settimeout(10)
                    try:
                        self.converse(connection)
                    except (OSError, ValueError):
                        traceback.print_exc()

    def converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            request = json.loads(lines.readline() or b"null")
        if request is None:
            return
        if request.get("op") == "down":
            connection.sendall(b'{"ok": {}}\n')
            os._exit(0)
        try:
            reply: dict[str, t.Any] = {"ok": self.answer(request)}
        except Refused as error:
            reply = {"error": str(error)}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        connection.sendall(json.dumps(reply).encode() + b"\n")

    def reap(self) -> None:
        """Orphans of whatever was run in the lab end up here; hosts are noticed too."""
        hosts = {host.pid: host for host in self.hosts.values() if host.pid}
        while True:
            try:
                pid, _status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in hosts:
                hosts[pid].pid = 0


def supervise(state: Path, ready: int, life: int) -> t.NoReturn:
    """Runs as PID 1 of the lab."""
    _linux.prctl(_linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([life], [], [], 0)[0]:
        os._exit(1)  # the keeper died before it could be watched
    _linux.prctl(_linux.PR_SET_NAME, b"lab-supervisor")
    _linux.unshare(_linux.CLONE_NEWNS | _linux.CLONE_NEWNET | _linux.CLONE_NEWIPC)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    wakeup_r, wakeup_w = os.pipe()
    os.set_blocking(wakeup_r, False)
    os.set_blocking(wakeup_w, False)
    signal.set_wakeup_fd(wakeup_w, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    supervisor = Supervisor(state)
    listener = socket.socket(socket.AF_UNIX)
    try:
        supervisor.start()
        listener.bind(str(state / "control"))
        listener.listen(64)
        os.write(ready, json.dumps({"ok": supervisor.status()}).encode())
    except BaseException as error:
        traceback.print_exc()
        message = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        os.write(ready, json.dumps({"error": message}).encode()[:60000])
        os._exit(1)
    os.close(ready)
    try:
        supervisor.serve(listener, wakeup_r)
    finally:
        traceback.print_exc()
        os._exit(1)


def keep(state: Path, supervisor: int, owner: int) -> int:
    """Runs outside: waits for the end of the lab or of its owner, then leaves nothing behind."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: os.kill(supervisor, signal.SIGKILL))
    own = os.pidfd_open(supervisor)
    poll = select.poll()
    poll.register(own, select.POLLIN)
    if owner >= 0:
        poll.register(owner, select.POLLIN)
    events = [fd for fd, _event in poll.poll()]
    if own not in events:
        os.kill(supervisor, signal.SIGKILL)
    _pid, status = os.waitpid(supervisor, 0)
    left = _linux.wait_for_loops(state)
    if left:
        print(f"loop devices are still attached: {', '.join(left)}", file=sys.stderr)
    _linux.remove_tree(state)
    return os.waitstatus_to_exitcode(status)


def main(argv: list[str]) -> int:
    state = Path(argv[0])
    lock, ready, owner = map(int, argv[1:])
    fcntl.flock(lock, fcntl.LOCK_EX)
    _linux.prctl(_linux.PR_SET_NAME, b"lab-keeper")
    os.chdir("/")
    os.umask(0o022)
    _linux.unshare(_linux.CLONE_NEWPID)
    life_r, life_w = os.pipe()
    told_r, told_w = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(life_w)
        os.close(told_w)
        os.read(told_r, 1)  # whoever is told that the lab is up finds the file
        os.close(told_r)
        if owner >= 0:
            os.close(owner)
        supervise(state, ready, life_r)
    for fd in (life_r, told_r, ready):
        os.close(fd)
    (state / "keeper").write_text(f"{os.getpid()}\n")
    (state / "supervisor").write_text(f"{child}\n")
    os.close(told_w)
    return keep(state, child, owner)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
