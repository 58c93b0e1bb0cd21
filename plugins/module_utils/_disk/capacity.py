# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a host has to give, and what it lacks: space, memory, processors, programs, ports."""

from __future__ import annotations

import importlib
import os
import platform
import socket
import tempfile
import time
import typing as t

from .._errors import InvalidOption
from . import access, filesystem, sparse_copy, users
from .listing import listable
from .packages import package
from .runner import find_program
from .store import Store

ISO_TOOLS = ("xorriso", "genisoimage", "mkisofs")
LIBVIRT_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")
_LIBVIRT_DAEMONS = ("libvirtd", "virtqemud")
_MEASURE_BYTES = 64 * 1024 * 1024
_MIB = 1024 * 1024
_MAX_PORTS = 1000


def parse_meminfo(text: str) -> dict[str, int]:
    """MiB by the names of /proc/meminfo."""
    values = {}
    for line in text.splitlines():
        name, _colon, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdigit():
            values[name] = int(number[0]) // 1024
    return values


def promised_bytes(disks: t.Iterable[users.FoundDisk], partials: t.Iterable[t.Mapping[str, t.Any]] = ()) -> int:
    """What the disks, and base disks on their way, may still grow by.

    :param partials: each with size_bytes and allocated_bytes.
    """
    disk_growth = sum(max(0, disk.virtual_size_bytes - disk.allocated_bytes) for disk in disks)
    return disk_growth + sum(max(0, item["size_bytes"] - item["allocated_bytes"]) for item in partials)


def pool_capacity(store: Store, disks: t.Iterable[users.FoundDisk], measure: bool = False) -> dict[str, t.Any]:
    exists = os.path.isdir(store.pool_path)
    place = filesystem.existing_parent(store.pool_path)
    space = os.statvfs(place)
    writable = filesystem.is_writable(store.pool_path)
    partials = store.partials()
    left = [one for one in partials if not one["in_use"]]
    # A relay's writer has promised what its partial lacks.
    being_written = max(store.room.promised_bytes(), promised_bytes((), (one for one in partials if one["in_use"])))
    return {
        "path": store.pool_path,
        "exists": exists,
        "writable": writable,
        "total_bytes": space.f_blocks * space.f_frsize,
        "free_bytes": space.f_bavail * space.f_frsize,
        "reserve_bytes": store.room.reserve_bytes,
        "promised_bytes": promised_bytes([disk for disk in disks if disk.pool == store.pool], left) + being_written,
        "qemu_problem": access.problem(store.pool_path, access.qemu_user()) if exists else "",
        "write_mbps": measure_write_mbps(store.pool_path) if measure and writable else None,
    }


def measure_write_mbps(directory: str, size: int = _MEASURE_BYTES) -> float:
    """Millions of bits per second that reach the disk under a directory. The file has no name and leaves nothing."""
    block = memoryview(os.urandom(_MIB))
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        start = time.monotonic()
        for offset in range(0, size, _MIB):
            sparse_copy.write_at(file.fileno(), block, offset)
        os.fdatasync(file.fileno())
        elapsed = max(time.monotonic() - start, 1e-6)
    return round(size * 8 / elapsed / 1e6, 1)


def packages() -> dict[str, t.Any]:
    """Programs and libraries that the collection uses on a host."""
    return {
        "qemu_img": find_program("qemu-img") is not None,
        "qemu_system": find_program(f"qemu-system-{platform.machine()}") is not None
        or any(os.path.exists(path) for path in ("/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm")),
        "python3_libvirt": _importable("libvirt"),
        "iso_tool": next((tool for tool in ISO_TOOLS if find_program(tool) is not None), None),
        "libvirtd": any(find_program(daemon) is not None for daemon in _LIBVIRT_DAEMONS),
        "libvirt_socket": next((path for path in LIBVIRT_SOCKETS if os.path.exists(path)), None),
    }


def _importable(module: str) -> bool:
    """By the interpreter that runs this; a binding for another one does not count."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def missing(found: t.Mapping[str, t.Any]) -> list[dict[str, str]]:
    """[{"what", "package"}] with the names that this host's distribution gives them."""
    needs = [
        ("qemu_img", "qemu-img", "qemu-img"),
        ("qemu_system", "qemu", "qemu"),
        ("python3_libvirt", "the Python module libvirt", "python3-libvirt"),
        ("iso_tool", f"a program that writes ISO images ({', '.join(ISO_TOOLS)})", "xorriso"),
        ("libvirtd", "the libvirt daemon", "libvirt"),
    ]
    return [{"what": what, "package": package(need)} for key, what, need in needs if not found[key]]


def checked_ports(value: str) -> tuple[int, int]:
    """First and last of "first-last"."""
    first, _dash, last = value.partition("-")
    accepted = f"a range of ports is first-last, both from 1 to 65535, at most {_MAX_PORTS} of them"
    if not first.strip().isdigit() or not last.strip().isdigit():
        raise InvalidOption("port_range", value, accepted)
    low, high = int(first), int(last)
    if not 1 <= low <= high <= 65535 or high - low >= _MAX_PORTS:
        raise InvalidOption("port_range", value, accepted)
    return low, high


def free_ports(address: str, first: int, last: int) -> list[int]:
    """TCP ports of a range that can be listened on at this moment."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    free = []
    for port in range(first, last + 1):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError:
                continue
            free.append(port)
    return free


def is_local_address(address: str) -> bool:
    """Whether this host can listen on the address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def default_address() -> str | None:
    """The address from which packets leave by the default route; nothing is sent."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return None


def _memory() -> dict[str, int]:
    with open("/proc/meminfo", encoding="ascii") as file:
        return parse_meminfo(file.read())


def memory_available_mib() -> int:
    """What can be had without swapping."""
    return _memory().get("MemAvailable", 0)


def survey(stores: t.Mapping[str, Store], measure: bool = False) -> dict[str, t.Any]:
    """Processors, memory, load and pools."""
    memory = _memory()
    stores = listable(stores)  # the others are told of by base_disk_info
    disks = users.scan(stores)
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": memory.get("MemTotal", 0),
        "memory_available_mib": memory.get("MemAvailable", 0),
        "load_1m": round(os.getloadavg()[0], 2),
        "pools": {pool: pool_capacity(store, disks, measure) for pool, store in stores.items()},
    }
