# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process that is a lab: PID 1 of a PID, mount and network namespace of its own.

It is started as a program with the state folder as its argument and three inherited descriptors: the lock
of the state folder, a pipe for the one JSON line that says whether the lab is up, and (or -1) a pidfd of the
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
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import traceback
import typing as t
import uuid
from dataclasses import dataclass, field
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2] / ".collections")

from ansible_collections.basecast.fleet.tests.lab import _linux

BRIDGE = "br0"
CONTROLLER = "10.77.0.1"
PREFIX = 16
DEAD_MAC = "02:bc:de:ad:00:00"
READY_S = 30.0
FILL_FILE = ".lab-fill"

# A host sees the machine's own programs, but none of the machine's own data.
MASKED = (
    "/root",
    "/srv",
    "/var/tmp",
    "/var/lib/basecast",
    "/var/lib/libvirt",
    "/var/log/libvirt",
    "/var/cache/libvirt",
    "/etc/libvirt/qemu",
    "/etc/libvirt/storage",
    "/etc/libvirt/secrets",
    "/etc/libvirt/nwfilter",
)

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "SHELL": "/bin/bash",
}

SSHD_CONFIG = """\
Port 22
HostKey /etc/basecast-lab/host_key
AuthorizedKeysFile /etc/basecast-lab/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
MaxStartups 200
MaxSessions 200
PidFile /run/sshd.pid
Subsystem sftp internal-sftp
"""

SSH_CONFIG = """\
Host *
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""

QEMU_CONF = {
    "root": """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
remember_owner = 0
""",
    # Debian's own user, group and ownership (nothing said about them: the package's defaults hold).
    # security_driver: there is no AppArmor in a lab host; the rest: no cgroups, no virtlogd.
    "debian": """\
security_driver = "none"
cgroup_controllers = []
stdio_handler = "file"
""",
}

# As Debian ships it, but for no-ping: dnsmasq otherwise takes 3 s to see that an address is free.
DEFAULT_NETWORK = """\
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>default</name>
  <uuid>{uuid}</uuid>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='off' delay='0'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp>
  </ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
"""


class Refused(Exception):
    """A request that cannot be carried out: the message is for the one who asked."""


@dataclass
class Pool:
    name: str
    path: str
    """Where the host sees it."""
    fs: str
    source: Path
    """Where the supervisor sees it; for a plain directory this is also where everybody else does."""
    shared: bool = False
    size_mib: int | None = None


@dataclass
class LabHost:
    name: str
    index: int
    address: str
    up_mbps: float | None
    down_mbps: float | None
    folder: Path
    pools: dict[str, Pool] = field(default_factory=dict)
    pid: int = 0
    net: int = -1
    cut: bool = False
    slow: tuple[float | None, float | None] | None = None

    @property
    def port(self) -> str:
        return f"p{self.index}"

    @property
    def mac(self) -> str:
        return f"02:bc:00:00:{self.index >> 8:02x}:{self.index & 255:02x}"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def rates(self) -> tuple[float | None, float | None]:
        return self.slow if self.slow is not None else (self.up_mbps, self.down_mbps)


def command(*argv: str | Path, stdin: str | None = None, net: int = -1, check: bool = True) -> str:
    """Runs a program, in the network namespace of the descriptor `net` if one is given."""
    enter = (lambda: _linux.setns(net, _linux.CLONE_NEWNET)) if net >= 0 else None
    done = subprocess.run(
        [str(arg) for arg in argv],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=enter,
        env=ENVIRONMENT,
    )
    if check and done.returncode != 0:
        raise Refused(
            f"{' '.join(map(str, argv))}: {(done.stderr or done.stdout).strip() or f'exit code {done.returncode}'}"
        )
    return done.stdout


class Supervisor:
    def __init__(self, state: Path, lock: int) -> None:
        self.state = state
        self.lock = lock
        self.spec: dict[str, t.Any] = json.loads((state / "spec.json").read_text())
        self.libvirt: str | None = self.spec["libvirt"] or None
        self.pairs: dict[tuple[str, str], dict[str, t.Any]] = {}
        self.hosts: dict[str, LabHost] = {}
        for index, entry in enumerate(self.spec["hosts"], start=1):
            number = 10 + index
            self.hosts[entry["name"]] = LabHost(
                name=entry["name"],
                index=index,
                address=f"10.77.{number >> 8}.{number & 255}",
                up_mbps=entry["up_mbps"],
                down_mbps=entry["down_mbps"],
                folder=state / "hosts" / entry["name"],
            )

    # ---- start

    def start(self) -> None:
        _linux.mount("none", "/", flags=_linux.MS_REC | _linux.MS_SLAVE)
        _linux.mount("proc", "/proc", "proc", _linux.MS_NOSUID)
        command("ip", "-batch", "-", stdin="\n".join((
            "link set lo up",
            f"link add {BRIDGE} type bridge forward_delay 0 stp_state 0",
            f"addr add {CONTROLLER}/{PREFIX} brd + dev {BRIDGE}",
            f"link set {BRIDGE} up",
        )))  # fmt: skip
        filtering = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        if filtering.exists():
            filtering.write_text("0")  # costs, and there is nothing to filter
        for host in self.hosts.values():
            self.make_files(host)
            for pool in self.spec["pools"]:
                self.make_pool(host, pool["name"], pool["fs"], pool["size_mib"])
        for host in self.hosts.values():
            self.boot(host)
        self.wait_ready(list(self.hosts.values()))

    def make_files(self, host: LabHost) -> None:
        """The host's file tree: the machine's own below, a memory file system above."""
        host.root.mkdir(parents=True)
        layer = host.folder / "layer"
        layer.mkdir()
        _linux.mount("lab", layer, "tmpfs", data="mode=0755")
        upper, work = layer / "upper", layer / "work"
        upper.mkdir(mode=0o755)
        work.mkdir()
        for masked in (*MASKED, self.spec["labs"]):
            self.mask(upper, masked)
        files = {
            "etc/hostname": f"{host.name}\n",
            "etc/hosts": "127.0.0.1 localhost\n"
            + f"{CONTROLLER} controller\n"
            + "".join(f"{other.address} {other.name}\n" for other in self.hosts.values()),
            "etc/machine-id": uuid.uuid4().hex + "\n",
            "etc/basecast-lab/sshd_config": SSHD_CONFIG,
            "etc/basecast-lab/authorized_keys": (self.state / "key.pub").read_text(),
            "etc/basecast-lab/host_key": (self.state / "host_key").read_text(),
            "root/.ssh/id_ed25519": (self.state / "key").read_text(),
            "root/.ssh/config": SSH_CONFIG,
        }
        if self.libvirt:
            network = DEFAULT_NETWORK.format(uuid=uuid.uuid4())
            files |= {
                "etc/libvirt/libvirtd.conf": f'auth_unix_rw = "none"\nhost_uuid = "{uuid.uuid4()}"\n',
                "etc/libvirt/qemu.conf": QEMU_CONF[self.libvirt],
                "etc/libvirt/qemu/networks/default.xml": network,
            }
        for name, text in files.items():
            path = upper / name
            self.make_parents(upper, path.parent)
            private = path.name in {"host_key", "id_ed25519"}
            path.touch(mode=0o600 if private else 0o644)
            path.write_text(text)
        (upper / "root/.ssh").chmod(0o700)
        if self.libvirt:
            autostart = upper / "etc/libvirt/qemu/networks/autostart"
            autostart.mkdir(exist_ok=True)
            (autostart / "default.xml").symlink_to("/etc/libvirt/qemu/networks/default.xml")
        _linux.mount("lab", host.root, "overlay", data=f"lowerdir=/,upperdir={upper},workdir={work}")
        _linux.mount("none", host.root, flags=_linux.MS_SHARED)

    def make_parents(self, upper: Path, folder: Path) -> None:
        """Folders of the upper layer are what the host sees, so they keep the machine's owner and mode."""
        parts = folder.relative_to(upper).parts
        for depth in range(1, len(parts) + 1):
            mine = upper.joinpath(*parts[:depth])
            if mine.exists():
                continue
            mine.mkdir(mode=0o755)
            theirs = Path("/", *parts[:depth])
            if theirs.is_dir():
                self.copy_mode(theirs, mine)

    @staticmethod
    def copy_mode(theirs: Path, mine: Path) -> None:
        found = theirs.stat()
        os.chown(mine, found.st_uid, found.st_gid)
        mine.chmod(stat.S_IMODE(found.st_mode))

    def mask(self, upper: Path, folder: str) -> None:
        """Hides what the machine has in a folder; sub-folders stay, empty, with their owners and modes."""
        mine = upper / folder.lstrip("/")
        self.make_parents(upper, mine)
        os.setxattr(mine, "trusted.overlay.opaque", b"y")
        if not folder.startswith(("/etc/", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")):
            return
        for path, folders, _files in os.walk(folder):
            for name in folders:
                theirs = Path(path, name)
                if theirs.is_symlink():
                    continue
                copy = upper / str(theirs).lstrip("/")
                copy.mkdir(exist_ok=True)
                self.copy_mode(theirs, copy)
            if Path(path) != Path(folder):
                folders[:] = []

    # ---- boot and end of a host

    def boot(self, host: LabHost) -> None:
        if host.net >= 0:
            os.close(host.net)
            host.net = -1
            command("ip", "link", "del", host.port, check=False)
        for name, mode in (("run", "0755"), ("tmp", "1777")):
            folder = host.root / name
            if folder.is_mount():
                _linux.umount(folder)
            _linux.mount("lab", folder, "tmpfs", _linux.MS_NOSUID | _linux.MS_NODEV, f"mode={mode}")
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
            host.net = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            command("ip", "-batch", "-", stdin="\n".join((
                f"link add {host.port} type veth peer name eth0 address {host.mac} netns {pid}",
                f"link set {host.port} master {BRIDGE}",
            )))  # fmt: skip
            command("ip", "-batch", "-", net=host.net, stdin="\n".join((
                "link set lo up",
                f"addr add {host.address}/{PREFIX} brd + dev eth0",
                "link set eth0 up",
                f"route add default via {CONTROLLER}",
            )))  # fmt: skip
            self.shape(host)
            for (source, target), pair in self.pairs.items():
                if source == host.name:
                    self.shape_pair(host, self.hosts[target], pair)
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
        self.make_dev(root / "dev")
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

    @staticmethod
    def make_dev(dev: Path) -> None:
        _linux.mount("lab", dev, "tmpfs", _linux.MS_NOSUID, "mode=0755")
        for name, major, minor in (
            ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
            ("net/tun", 10, 200),
        ):  # fmt: skip
            (dev / name).parent.mkdir(exist_ok=True)
            os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            (dev / name).chmod(0o666)
        for name, target in (
            ("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"),
        ):  # fmt: skip
            (dev / name).symlink_to(target)
        for name in ("pts", "shm"):
            (dev / name).mkdir()
        _linux.mount("devpts", dev / "pts", "devpts", data="newinstance,ptmxmode=0666,mode=620,gid=5")
        _linux.mount("lab", dev / "shm", "tmpfs", _linux.MS_NOSUID | _linux.MS_NODEV, "mode=1777")

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

    # ---- links

    def shape(self, host: LabHost) -> None:
        """Sets a link's state and its rates: the way up on the host's own side, the way down on the bridge's."""
        up, down = host.rates()
        script = [
            f"class replace dev eth0 parent 1: classid 1:ffff {htb(up)}",
            f"class replace dev eth0 parent 1:ffff classid 1:1 {htb(up)}",
            f"qdisc replace dev eth0 parent 1:1 {bfifo(up)}",
        ]
        has_htb = "qdisc htb" in command("tc", "qdisc", "show", "dev", "eth0", net=host.net)
        if not has_htb:
            script.insert(0, "qdisc replace dev eth0 root handle 1: htb default 1")
        slow_pairs = any(pair.get("mbps") for (source, _to), pair in self.pairs.items() if source == host.name)
        if has_htb or slow_pairs or up is not None:
            command("tc", "-batch", "-", net=host.net, stdin="\n".join(script))
        if down is None:
            command("tc", "qdisc", "del", "dev", host.port, "root", check=False)
        else:
            command("tc", "qdisc", "replace", "dev", host.port, "root", *tbf(down).split())
        command("ip", "link", "set", host.port, "down" if host.cut else "up")

    def shape_pair(self, source: LabHost, target: LabHost, pair: dict[str, t.Any]) -> None:
        """Traffic of one direction only; the other direction is another pair."""
        if source.net < 0:
            return
        number = 0x10 + target.index
        # A neighbour nobody answers for drops in silence. A route would tell the sender at once.
        if pair.get("cut"):
            dead = ("lladdr", DEAD_MAC, "dev", "eth0", "nud", "permanent")
            command("ip", "neigh", "replace", target.address, *dead, net=source.net)
        else:
            command("ip", "neigh", "del", target.address, "dev", "eth0", net=source.net, check=False)
        class_id = f"1:{number:x}"
        where = ("dev", "eth0", "parent", "1:", "protocol", "ip", "prio", str(number))
        if pair.get("mbps"):
            self.shape(source)
            for line in (
                f"class replace dev eth0 parent 1:ffff classid {class_id} {htb(pair['mbps'])}",
                f"qdisc replace dev eth0 parent {class_id} {bfifo(pair['mbps'])}",
            ):
                command("tc", *line.split(), net=source.net)
            command("tc", "filter", "del", *where, net=source.net, check=False)
            match = ("u32", "match", "ip", "dst", f"{target.address}/32", "flowid", class_id)
            command("tc", "filter", "add", *where, *match, net=source.net)
        else:
            command("tc", "filter", "del", *where, net=source.net, check=False)
            command("tc", "class", "del", "dev", "eth0", "classid", class_id, net=source.net, check=False)

    # ---- pools

    def make_pool(self, host: LabHost, name: str, fs: str, size_mib: int | None) -> Pool:
        if name in host.pools:
            raise Refused(f"host {host.name} has a pool {name!r} already")
        source = host.folder / "pools" / name
        source.mkdir(parents=True)
        pool = Pool(name, pool_path(name), fs, source, size_mib=None if fs == "dir" else size_mib or 1024)
        try:
            self.make_file_system(host, pool)
            source.chmod(0o711)
            self.show_pool(host, pool)
        except (Refused, OSError):
            if source.is_mount():
                _linux.umount(source)
            shutil.rmtree(source)
            raise
        return pool

    def make_file_system(self, host: LabHost, pool: Pool) -> None:
        if pool.fs == "dir":
            return
        if pool.fs == "tmpfs":
            _linux.mount("lab", pool.source, "tmpfs", data=f"size={pool.size_mib}m")
            return
        options = {
            "ext4": ["-q", "-F", "-m0", "-E", "lazy_itable_init=1,nodiscard"],
            "xfs": ["-q", "-f", "-K", "-m", "reflink=1"],
            "btrfs": ["-q", "-f", "-K"],
        }[pool.fs]
        image = pool.source.with_name(f"{pool.name}.img")
        with open(image, "wb") as file:
            file.truncate((pool.size_mib or 0) * 1024 * 1024)
        device = -1
        try:
            command(f"mkfs.{pool.fs}", *options, image)
            node, device = _linux.attach_loop(image, host.folder / "layer" / "dev")
            _linux.mount(node, pool.source, pool.fs)
        except (Refused, OSError):
            image.unlink()
            raise
        finally:
            if device >= 0:
                os.close(device)

    @staticmethod
    def show_pool(host: LabHost, pool: Pool) -> None:
        """Makes the pool appear at its place in the host, running or not."""
        target = Path(f"{host.root}{pool.path}")
        target.mkdir(parents=True, exist_ok=True)
        _linux.mount(pool.source, target, flags=_linux.MS_BIND)
        host.pools[pool.name] = pool

    def fill(self, pool: Pool, leave_bytes: int) -> dict[str, t.Any]:
        if pool.fs == "dir":
            raise Refused(
                f"pool {pool.name!r} is a plain directory on this machine's own disk, which the lab does not fill: "
                "give the pool a file system of its own (dir -> ext4, xfs, btrfs or tmpfs, with a size)"
            )
        path = pool.source / FILL_FILE
        with open(path, "ab") as file:
            for _attempt in range(64):
                found = os.statvfs(pool.source)
                extra = found.f_bavail * found.f_frsize - leave_bytes
                if extra < found.f_frsize:
                    break
                size = file.tell()
                for part in (extra, extra // 2, extra // 4, 1 << 20):
                    try:
                        # btrfs and xfs need room for their own records of a large extent
                        os.posix_fallocate(file.fileno(), size, max(min(part, extra), found.f_frsize))
                        break
                    except OSError:
                        continue
                else:
                    break
                file.seek(0, os.SEEK_END)
            os.fsync(file.fileno())
        found = os.statvfs(pool.source)
        return {"free_bytes": found.f_bavail * found.f_frsize}

    def share(self, name: str, hosts: list[LabHost]) -> None:
        if len(hosts) < 2:
            raise Refused(f"pool {name!r} can be shared between two hosts at least")
        owner = next((host for host in hosts if name in host.pools), None)
        if owner is None:
            source = self.state / "shared" / name
            source.mkdir(parents=True)
            source.chmod(0o711)
            pool = Pool(name, pool_path(name), "dir", source)
        else:
            pool = owner.pools[name]
        pool.shared = True
        for host in hosts:
            if host.pools.get(name) is not pool:
                self.show_pool(host, pool)

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
                self.shape(host)
            case "pair":
                source, target = self.host(request, "source"), self.host(request, "target")
                if source is target:
                    raise Refused(f"host {source.name} has no link to itself")
                pair = self.pairs.setdefault((source.name, target.name), {})
                if request["state"] == "restore":
                    pair.clear()
                else:
                    pair.update({"cut": True} if request["state"] == "cut" else {"mbps": request["mbps"]})
                self.shape_pair(source, target, pair)
            case "add_pool":
                self.make_pool(self.host(request), request["pool"], request["fs"], request["size_mib"])
            case "share_pool":
                self.share(request["pool"], [self.host({"host": name}) for name in request["hosts"]])
            case "fill_pool":
                return self.fill(self.pool(request), request["leave_bytes"])
            case "free_pool":
                pool = self.pool(request)
                (pool.source / FILL_FILE).unlink(missing_ok=True)
                command("sync", "-f", pool.source)  # btrfs gives room back only then
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
            "pairs": [{"from": source, "to": target, **pair} for (source, target), pair in self.pairs.items() if pair],
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


def htb(mbps: float | None) -> str:
    rate = f"{mbps * 1000:.0f}kbit" if mbps else "100gbit"
    size = burst(mbps) if mbps else 4_000_000
    return f"htb rate {rate} ceil {rate} burst {size} cburst {size} quantum 60000"


def bfifo(mbps: float | None) -> str:
    return f"bfifo limit {max(int(mbps * 1e6 / 8 * 0.06), 131072) if mbps else 8_000_000}"


def tbf(mbps: float) -> str:
    return f"tbf rate {mbps * 1000:.0f}kbit burst {burst(mbps)} latency 60ms"


def burst(mbps: float) -> int:
    return max(int(mbps * 1e6 / 8 * 0.016), 16384)


def pool_path(name: str) -> str:
    return "/var/lib/libvirt/images" if name == "default" else f"/srv/pools/{name}"


def supervise(state: Path, lock: int, ready: int, life: int) -> t.NoReturn:
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
    supervisor = Supervisor(state, lock)
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
        supervise(state, lock, ready, life_r)
    for fd in (life_r, told_r, ready):
        os.close(fd)
    (state / "keeper").write_text(f"{os.getpid()}\n")
    (state / "supervisor").write_text(f"{child}\n")
    os.close(told_w)
    return keep(state, child, owner)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
