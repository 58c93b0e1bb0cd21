# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pools of hosts: folders or file systems that appear in the hosts' file trees."""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

from . import _linux
from ._common import LabHost, Pool, Refused, command

FILL_FILE = ".lab-fill"


def make_pool(host: LabHost, name: str, fs: str, size_mib: int | None) -> Pool:
    if name in host.pools:
        raise Refused(f"host {host.name} has a pool {name!r} already")
    source = host.folder / "pools" / name
    source.mkdir(parents=True)
    pool = Pool(name, pool_path(name), fs, source, size_mib=None if fs == "dir" else size_mib or 1024)
    try:
        make_file_system(host, pool)
        source.chmod(0o711)
        show_pool(host, pool)
    except (Refused, OSError):
        if source.is_mount():
            _linux.umount(source)
        shutil.rmtree(source)
        raise
    return pool


def make_file_system(host: LabHost, pool: Pool) -> None:
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


def show_pool(host: LabHost, pool: Pool) -> None:
    """Makes the pool appear at its place in the host, running or not."""
    target = Path(f"{host.root}{pool.path}")
    target.mkdir(parents=True, exist_ok=True)
    _linux.mount(pool.source, target, flags=_linux.MS_BIND)
    host.pools[pool.name] = pool


def forget_labels(host: LabHost) -> None:
    """What libvirt notes on files of running machines; after a reboot the host's start time shows it that they are old."""
    for pool in host.pools.values():
        if pool.shared:
            continue
        for folder, _folders, files in os.walk(pool.source):
            for path in (os.path.join(folder, name) for name in files):
                for name in os.listxattr(path, follow_symlinks=False):
                    if name.startswith("trusted.libvirt."):
                        os.removexattr(path, name, follow_symlinks=False)


def fill(pool: Pool, leave_bytes: int) -> dict[str, t.Any]:
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


def free(pool: Pool) -> None:
    (pool.source / FILL_FILE).unlink(missing_ok=True)
    command("sync", "-f", pool.source)  # btrfs gives room back only then


def share(state: Path, name: str, hosts: list[LabHost], apart: bool = False) -> None:
    """:param apart: each host has a FUSE mount of its own, so that locks of one are not seen by the others, as with NFS."""
    if len(hosts) < 2:
        raise Refused(f"pool {name!r} can be shared between two hosts at least")
    owner = next((host for host in hosts if name in host.pools), None)
    if owner is None or apart:
        source = state / "shared" / name
        source.mkdir(parents=True)
        source.chmod(0o711)
        pool = Pool(name, pool_path(name), "dir", source)
    else:
        pool = owner.pools[name]
    pool.shared = True
    for host in hosts:
        if apart:
            mount_apart(host, pool)
        elif host.pools.get(name) is not pool:
            show_pool(host, pool)


def look_alike(state: Path, name: str, hosts: list[LabHost], overlay: bool) -> None:
    """Gives two hosts pools that look equal in all that can be read of them, and are not one storage.

    :param overlay: the second host sees what the first writes, but not the reverse; else the two are mounts of copied images.
    """
    if len(hosts) != 2:
        raise Refused("two hosts are wanted")
    folder = state / "alike" / name
    sources = [folder / host.name for host in hosts]
    for source in sources:
        source.mkdir(parents=True)
        source.chmod(0o711)
    if overlay:
        for part in ("upper", "work"):
            (folder / part).mkdir()
        (folder / "upper").chmod(0o711)
        options = f"lowerdir={sources[0]},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        _linux.mount("overlay", sources[1], "overlay", data=options)
    else:
        for number, host in enumerate(hosts):
            image = folder / f"{host.name}.img"
            if number:
                command("cp", "--sparse=always", folder / f"{hosts[0].name}.img", image)
            else:
                with open(image, "wb") as file:
                    file.truncate(1 << 30)
                command("mkfs.ext4", "-q", "-F", "-m0", "-E", "lazy_itable_init=1,nodiscard", image)
        for host, source in zip(hosts, sources, strict=True):
            node, device = _linux.attach_loop(folder / f"{host.name}.img", folder)
            try:
                _linux.mount(node, source, "ext4")
            finally:
                os.close(device)
            source.chmod(0o711)
    for host, source in zip(hosts, sources, strict=True):
        mount_apart(host, Pool(name, pool_path(name), "dir", source))


def mount_apart(host: LabHost, pool: Pool) -> None:
    target = Path(f"{host.root}{pool.path}")
    target.mkdir(parents=True, exist_ok=True)
    # The name makes it a network file system, whose mounts know nothing of each other.
    options = "subtype=shared,attr_timeout=0,entry_timeout=0,negative_timeout=0"
    command("bindfs", "-o", options, pool.source, target)
    host.pools[pool.name] = pool


def pool_path(name: str) -> str:
    return "/var/lib/libvirt/images" if name == "default" else f"/srv/pools/{name}"
