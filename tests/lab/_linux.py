# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few system calls that Python 3.11 does not wrap, and removal of what they leave on disk."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import stat
import struct
import time
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 2
MS_NODEV = 4
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2

NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default")

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_IMMUTABLE_OR_APPEND = 0x10 | 0x20

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_SET_FD = 0x4C00
_LOOP_CLR_FD = 0x4C01
_LOOP_SET_STATUS64 = 0x4C04
_LO_FLAGS_AUTOCLEAR = 4
_LOOP_MAJOR = 7

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """Moves the calling thread; a mount or user namespace needs a process with one thread."""
    _check(_libc.setns(fd, kind), "setns")


def sethostname(name: str) -> None:
    data = name.encode()
    _check(_libc.sethostname(data, len(data)), "sethostname")


def prctl(option: int, argument: int | bytes) -> None:
    value = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    _check(_libc.prctl(option, value, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)), f"prctl({option})")


def mount(source: str | Path, target: str | Path, fs: str = "", flags: int = 0, data: str = "") -> None:
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            fs.encode() or None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        ),
        f"mount {source} on {target} ({fs or 'flags ' + hex(flags)}, {data})",
    )


def umount(target: str | Path, flags: int = MNT_DETACH) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def pivot_into(root: str | Path) -> None:
    """Makes the mount at `root` the root directory and lets go of the old one."""
    os.chdir(root)
    syscall = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine, 155)
    _check(_libc.syscall(ctypes.c_long(syscall), b".", b"."), f"pivot_root {root}")
    umount(".")
    os.chdir("/")


def close_all_but(keep: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise


def attach_loop(image: Path, nodes: Path) -> tuple[Path, int]:
    """Attaches `image` to a free loop device that detaches itself after its last user.

    The device node is made in the folder `nodes`: the machine has static nodes for the first
    few only. Returns the node and an open descriptor, to be closed once the device is mounted.
    """
    nodes.mkdir(exist_ok=True)
    with open(image, "r+b") as backing, open("/dev/loop-control", "r+b", buffering=0) as control:
        for _attempt in range(100):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            node = nodes / f"loop{number}"
            if not node.exists():
                os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(_LOOP_MAJOR, number))
            device = os.open(node, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_SET_FD, backing.fileno())
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
                continue  # somebody else was given the same free number
            # struct loop_info64: lo_flags stands after five 64-bit and three 32-bit fields.
            name = os.fsencode(image)[-63:]
            info = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR, name, b"", b"", 0, 0)
            try:
                fcntl.ioctl(device, _LOOP_SET_STATUS64, info)
            except OSError:
                fcntl.ioctl(device, _LOOP_CLR_FD)
                os.close(device)
                raise
            return node, device
    raise OSError(errno.EBUSY, f"no free loop device for {image}")


def loop_devices(below: Path) -> list[str]:
    """Names of the loop devices whose backing file is (or was) below this folder."""
    found = []
    for entry in Path("/sys/block").glob("loop*"):
        try:
            backing = (entry / "loop" / "backing_file").read_text().strip()
        except OSError:
            continue
        if backing.startswith(f"{below}/"):
            found.append(entry.name)
    return found


def wait_for_loops(below: Path, timeout_s: float = 10) -> list[str]:
    """Waits until the kernel has let go of the loop devices below a folder; returns what is left."""
    deadline = time.monotonic() + timeout_s
    while (left := loop_devices(below)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def clear_immutable(path: str | Path) -> None:
    """Takes the immutable and append-only attributes from a file or folder, if it has them."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        flags = struct.unpack("i", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, struct.pack("i", 0)))[0]
        if flags & _FS_IMMUTABLE_OR_APPEND:
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("i", flags & ~_FS_IMMUTABLE_OR_APPEND))
    except OSError:
        pass  # a file system without attributes
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Removes a folder, immutable files included. Fine if it is not there."""
    if not path.is_dir():
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            full = os.path.join(folder, name)
            mode = os.lstat(full).st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                clear_immutable(full)
    shutil.rmtree(path)


def make_room_for_neighbours(hosts: int, table: Path = NEIGHBOURS) -> None:
    """All network namespaces share the machine's one table of neighbours, and each host may have every other one in it.

    What finds no place there cannot be reached. The table only becomes larger: another lab may count on that.
    """
    wanted = 2 * (hosts + 1) ** 2
    for name in ("gc_thresh3", "gc_thresh2"):
        limit = table / name
        # Inside a container it is not there, or not ours.
        with contextlib.suppress(OSError, ValueError):
            if int(limit.read_text()) < wanted:
                limit.write_text(str(wanted))
