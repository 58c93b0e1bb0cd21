# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Disks from outside of the store that a machine uses in place: block devices of the host, and files that somebody put into a pool.

Nothing here changes them. Whoever writes a manifest does not administer the host, so what is looked at is where a path really
leads, and who has that in use.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import stat
import typing as t

from .._errors import FleetError
from . import file_io, in_use, sources
from .image_header import HeaderError, parse_qcow2
from .store import Store

_HEAD_BYTES = 1 << 16
# Whoever may log in can put a link there.
_OPEN_PLACES = ("/dev/shm", "/dev/mqueue", "/dev/fd")


class Outside(t.NamedTuple):
    """
    :param path: where it really is.
    :param problem: why no machine may use it, as the end of a sentence that begins with its name; empty where one may.
    :param used_by: who has it, such as ``domain shop-web-1``; a machine may use what it has itself.
    """

    path: str
    size_bytes: int = 0
    problem: str = ""
    used_by: tuple[str, ...] = ()


def is_permitted(path: str, patterns: t.Iterable[str]) -> bool:
    """Whether a path matches a pattern, directory by directory: a star stands for a part of one name, never for a slash."""
    parts = path.split("/")
    for pattern in patterns:
        wanted = os.path.normpath(pattern).split("/")
        if len(wanted) == len(parts) and all(map(fnmatch.fnmatchcase, parts, wanted)):
            return True
    return False


def look(kind: str, path: str, image_format: str, stores: t.Mapping[str, Store]) -> Outside | None:
    """
    :param kind: block or volume.
    :returns: None where nothing is.
    """
    return look_at_block(path) if kind == "block" else look_at_volume(path, image_format, stores)


# -- block devices


def look_at_block(path: str) -> Outside | None:
    true = os.path.realpath(path)
    try:
        status = os.stat(true)
    except OSError:
        return None
    try:
        return _look_at_block(path, true, status)
    except FleetError as error:
        return Outside(true, problem=_unused(error))


def _unused(error: FleetError) -> str:
    return f"cannot be used: {error.message.rstrip('.')}"


def _look_at_block(path: str, true: str, status: os.stat_result) -> Outside:
    if not stat.S_ISBLK(status.st_mode):
        return Outside(true, problem="is not a block device")
    if not true.startswith("/dev/") or any(f"{os.path.normpath(path)}/".startswith(f"{place}/") for place in _OPEN_PLACES):
        return Outside(true, problem="is not a device that the host's administrator has put below /dev")
    used_by = [f"domain {domain}" for domain, disk in sources.libvirt_disks() if _overlaps(disk, status.st_rdev)]
    used_by += _writers(status.st_rdev)
    size, problem = 0, ""
    try:
        # Exclusively: the kernel refuses it while a file system, swap, LVM or RAID of the host has the device or a part of it.
        descriptor = os.open(true, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.EBUSY:
            problem = "is in use by the host itself (mounted, or a part of swap, LVM, RAID or multipath)"
        else:
            problem = f"cannot be opened: {error.strerror}"
    else:
        with contextlib.closing(os.fdopen(descriptor, "rb", buffering=0)) as device:
            size = device.seek(0, os.SEEK_END)
    return Outside(true, size, problem, tuple(dict.fromkeys(used_by)))


def _overlaps(path: str, device: int) -> bool:
    """Whether a path is the device, the whole of which it is a partition, or a partition of it."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    if not stat.S_ISBLK(status.st_mode):
        return False
    other = status.st_rdev
    return other == device or _whole(other) == device or _whole(device) == other


def _whole(device: int) -> int | None:
    """The disk of a partition."""
    try:
        place = os.path.realpath(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
        with open(os.path.join(place, "partition"), encoding="ascii"):
            pass
        with open(os.path.join(os.path.dirname(place), "dev"), encoding="ascii") as file:
            major, _colon, minor = file.read(64).strip().partition(":")
        return os.makedev(int(major), int(minor))
    except (OSError, ValueError):
        return None


def _writers(device: int) -> t.Iterator[str]:
    """Processes that have the device open for writing. By its number: libvirt gives each QEMU nodes of its own."""
    for process in os.listdir("/proc"):
        if process.isdigit() and int(process) != os.getpid() and _has_open(process, device):
            yield in_use.title_of(process)


def _has_open(process: str, device: int) -> bool:
    try:
        numbers = os.listdir(f"/proc/{process}/fd")
    except OSError:
        return False
    for number in numbers:
        try:
            status = os.stat(f"/proc/{process}/fd/{number}")
            if not (stat.S_ISBLK(status.st_mode) and status.st_rdev == device):
                continue
            mode = os.lstat(f"/proc/{process}/fd/{number}").st_mode  # of the link: whether it was opened for writing
        except OSError:
            continue  # it has just ended, or closed it
        if mode & stat.S_IWUSR:
            return True
    return False


# -- volumes


def look_at_volume(path: str, image_format: str, stores: t.Mapping[str, Store]) -> Outside | None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        true = sources.true_path(place, path)
        status = os.fstat(place)
        if not stat.S_ISREG(status.st_mode):
            return Outside(true, problem="is not a regular file")
        problem = _owner_problem(true, status, stores)
        if problem:
            return Outside(true, problem=problem)
        used_by = [f"domain {domain}" for domain, disk in sources.libvirt_disks() if sources.identity(disk) == sources.identity(true)]
        with contextlib.closing(os.fdopen(file_io.reopen(place), "rb", buffering=0)) as file:
            use = in_use.look(file.fileno())
            used_by += use.holders or (use.text(),) if use is not None else ()
            size, problem = _content(os.pread(file.fileno(), _HEAD_BYTES, 0), image_format, status.st_size)
        return Outside(true, size, problem, tuple(dict.fromkeys(used_by)))
    except FleetError as error:
        return Outside(path, problem=_unused(error))
    finally:
        os.close(place)


def _owner_problem(true: str, status: os.stat_result, stores: t.Mapping[str, Store]) -> str:
    """Machines' files and the store's are nobody's volume."""
    below = False
    for store in stores.values():
        root = os.path.realpath(store.pool_path).rstrip("/") + "/"
        if true.startswith(root):
            below = True
            if true[len(root) :].split("/", maxsplit=1)[0] in ("machines", "bases"):
                return "belongs to a machine or to the base store"
    if not below:
        return f"lies outside of the host's pools (it is {true})"
    if status.st_nlink > 1:
        return "has further names (hard links), which may be a base's or a machine's; copy it"
    if any(true.startswith(os.path.realpath(shared).rstrip("/") + "/") for _domain, shared in sources.libvirt_shares()):
        return "lies in a directory that machines share, whose guests could put a link in its place; keep it in one apart"
    if sources.is_of_machine(status, stores) or sources.is_of_store(status, stores):
        return "is a file of a machine or of the base store, seen through another mount"
    return ""


def _content(head: bytes, image_format: str, size: int) -> tuple[int, str]:
    """The size that a guest sees, and what is wrong with it."""
    if image_format != "qcow2":
        return size, "" if size else "is empty"
    try:
        header = parse_qcow2(head)
    except HeaderError as error:
        return 0, f"is not a qcow2 image: {error}"
    if header.backing is not None or header.external_data:
        return 0, "has a backing file or keeps its data in another file; copy it into one (qemu-img convert)"
    return header.virtual_size_bytes, "is encrypted; a machine has no key for it" if header.encrypted else ""
