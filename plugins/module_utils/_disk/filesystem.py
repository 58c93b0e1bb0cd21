# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The file system that a path lies on: its mount, whether other hosts write it too, and what it can."""

from __future__ import annotations

import os
import typing as t

from .attributes import set_immutable_of
from .sparse_copy import clone

#: File systems that one kernel alone works on. Any other may be mounted elsewhere too, however it is called.
_LOCAL_TYPES = frozenset(
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs", "reiserfs", "nilfs2", "udf", "tmpfs", "ramfs", "rootfs"]
    + ["overlay", "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "fuse.ntfs-3g", "fuse.fuse-overlayfs", "unknown"]
)


class Mount(t.NamedTuple):
    type: str
    source: str
    point: str


def parse_mounts(text: str) -> list[Mount]:
    """Mounts in the order of /proc/self/mountinfo; later ones cover earlier ones at the same point."""
    mounts = []
    for line in text.split("\n"):  # other ends of lines may be in the name of a mount point, which a user may choose
        before, _separator, after = line.partition(" - ")
        fields, details = before.split(" "), after.split(" ")
        if len(fields) > 4 and len(details) > 1:
            mounts.append(Mount(_unescape(details[0]), _unescape(details[1]), _unescape(fields[4])))
    return mounts


def _unescape(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def mount_of(path: str, mounts: t.Sequence[Mount]) -> Mount | None:
    """The mount that a resolved path lies in: the longest mount point above it, the last of equals."""
    best = None
    for mount in mounts:
        prefix = mount.point.rstrip("/") + "/"
        if (path + "/").startswith(prefix) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def is_network_type(kind: str) -> bool:
    return kind not in _LOCAL_TYPES


def is_network(path: str) -> bool:
    """Whether the path lies on network storage, where other hosts write without this one's kernel noticing."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mount = mount_of(os.path.realpath(existing_parent(path)), parse_mounts(file.read()))
    return mount is not None and is_network_type(mount.type)


def existing_parent(path: str) -> str:
    """The path, or the nearest directory above it that exists."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


class FileSystem(t.NamedTuple):
    """The file system under a pool. ``identity`` is a hint only: equal ones may be one directory. None while there is no pool."""

    type: str
    identity: str | None
    shared: bool
    reflink: bool
    immutable: bool


def describe(path: str) -> FileSystem:
    """Probes reflink and the immutable attribute on nameless files, so nothing is left behind."""
    place = existing_parent(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mount = mount_of(os.path.realpath(place), parse_mounts(file.read()))
    kind = mount.type if mount else "unknown"
    shared = is_network_type(kind)
    identity = None
    if place == path:
        status = os.stat(path)
        if shared and mount:
            identity = f"net:{kind}:{mount.source}:{status.st_ino}"
        else:
            identity = f"local:{boot_id()}:{status.st_dev}:{status.st_ino}"
    reflink, immutable = _probe(place)
    return FileSystem(kind, identity, shared, reflink, immutable)


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _probe(directory: str) -> tuple[bool, bool]:
    descriptors: list[int] = []
    try:
        for _number in range(2):
            descriptors.append(os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
        os.write(descriptors[0], bytes(4096))
        reflink = clone(descriptors[0], descriptors[1])
        immutable = set_immutable_of(descriptors[1], True)
        if immutable:
            set_immutable_of(descriptors[1], False)
        return reflink, immutable
    except OSError:
        return False, False
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def is_writable(path: str) -> bool:
    try:
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError:
        return False
    return not read_only and os.access(path, os.W_OK | os.X_OK)
