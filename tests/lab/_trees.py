# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file trees that hosts see: the machine's own files below, masked, and the hosts' own above."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterable
from pathlib import Path

from . import _linux
from ._common import LabHost

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


def make_files(host: LabHost, hosts: Iterable[LabHost], controller: str, state: Path, labs: str, libvirt: str | None) -> None:
    """The host's file tree: the machine's own below, a memory file system above."""
    host.root.mkdir(parents=True)
    layer = host.folder / "layer"
    layer.mkdir()
    _linux.mount("lab", layer, "tmpfs", data="mode=0755")
    upper, work = layer / "upper", layer / "work"
    upper.mkdir(mode=0o755)
    work.mkdir()
    for masked in (*MASKED, labs):
        mask(upper, masked)
    files = {
        "etc/hostname": f"{host.name}\n",
        "etc/hosts": "127.0.0.1 localhost\n" + f"{controller} controller\n" + "".join(f"{other.address} {other.name}\n" for other in hosts),
        "etc/machine-id": uuid.uuid4().hex + "\n",
        "etc/basecast-lab/sshd_config": SSHD_CONFIG,
        "etc/basecast-lab/authorized_keys": (state / "key.pub").read_text(),
        "etc/basecast-lab/host_key": (state / "host_key").read_text(),
        "root/.ssh/id_ed25519": (state / "key").read_text(),
        "root/.ssh/config": SSH_CONFIG,
    }
    if libvirt:
        network = DEFAULT_NETWORK.format(uuid=uuid.uuid4())
        files |= {
            "etc/libvirt/libvirtd.conf": f'auth_unix_rw = "none"\nhost_uuid = "{uuid.uuid4()}"\n',
            "etc/libvirt/qemu.conf": QEMU_CONF[libvirt],
            "etc/libvirt/qemu/networks/default.xml": network,
        }
    for name, text in files.items():
        path = upper / name
        make_parents(upper, path.parent)
        private = path.name in {"host_key", "id_ed25519"}
        path.touch(mode=0o600 if private else 0o644)
        path.write_text(text)
    (upper / "root/.ssh").chmod(0o700)
    if libvirt:
        autostart = upper / "etc/libvirt/qemu/networks/autostart"
        autostart.mkdir(exist_ok=True)
        (autostart / "default.xml").symlink_to("/etc/libvirt/qemu/networks/default.xml")
    _linux.mount("lab", host.root, "overlay", data=f"lowerdir=/,upperdir={upper},workdir={work}")
    _linux.mount("none", host.root, flags=_linux.MS_SHARED)


def make_parents(upper: Path, folder: Path) -> None:
    """Folders of the upper layer are what the host sees, so they keep the machine's owner and mode."""
    parts = folder.relative_to(upper).parts
    for depth in range(1, len(parts) + 1):
        mine = upper.joinpath(*parts[:depth])
        if mine.exists():
            continue
        mine.mkdir(mode=0o755)
        theirs = Path("/", *parts[:depth])
        if theirs.is_dir():
            copy_mode(theirs, mine)


def copy_mode(theirs: Path, mine: Path) -> None:
    found = theirs.stat()
    os.chown(mine, found.st_uid, found.st_gid)
    mine.chmod(stat.S_IMODE(found.st_mode))


def mask(upper: Path, folder: str) -> None:
    """Hides what the machine has in a folder; sub-folders stay, empty, with their owners and modes."""
    mine = upper / folder.lstrip("/")
    make_parents(upper, mine)
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
            copy_mode(theirs, copy)
        if Path(path) != Path(folder):
            folders[:] = []


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
