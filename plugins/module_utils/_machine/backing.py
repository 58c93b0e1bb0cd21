# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The files under a disk, checked before QEMU opens them (read from the images' headers: one process less per disk).

QEMU reads whatever a header names, as its own user and for the guest to see. So every layer is a regular file that
names nothing but one of the host's base disks, or a file beside it, and no format is guessed.
"""

from __future__ import annotations

import os
import typing as t

from .._disk import file_io
from .._disk.errors import UnsafeImage
from .._disk.image_header import HeaderError, Qcow2Header, read_qcow2
from .._disk.users import resolve_backing
from .._errors import FleetError
from .._names import is_sha256
from .._text import shown

_LONGEST_CHAIN = 200
_FORMATS = ("qcow2", "raw")


class Layer(t.NamedTuple):
    path: str
    image_format: str


class Places:
    """Where the disks of a service and what lies under them may be.

    :param pools: paths of the host's pools.
    """

    def __init__(self, pools: t.Iterable[str], service: str) -> None:
        # The longest first: pools may lie in each other.
        self._pools = sorted({os.path.realpath(pool) for pool in pools}, key=len, reverse=True)
        self._service = service

    def _inside(self, path: str) -> list[str] | None:
        """The path's parts below its pool; None outside of all pools."""
        for pool in self._pools:
            if path.startswith(pool.rstrip("/") + "/"):
                return path[len(pool) :].strip("/").split("/")
        return None

    def may_be_parent(self, path: str) -> bool:
        """
        :param path: resolved.
        """
        parts = self._inside(path)
        if parts is None:
            return False
        if parts[0] == "bases":
            return len(parts) == 3 and is_sha256(parts[1]) and parts[2] == "disk"
        return parts[0] != "machines" or parts[1:2] == [self._service]

    def check_disk(self, path: str) -> None:
        """UnsafeImage for a disk that is a base, another service's file, or a link that leads out of the pool."""
        resolved = os.path.realpath(path)
        parts, named = self._inside(resolved), self._inside(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
        lexical = self._inside(os.path.abspath(path))
        if parts is None and (lexical or named):
            raise UnsafeImage(f"The disk {path} leads out of its pool, to {resolved}; remove the symbolic link.", path=path)
        if parts and parts[0] == "bases":
            raise UnsafeImage(f"The disk {path} lies in a base store; machines write to differencing disks only.", path=path)
        if parts and parts[0] == "machines" and parts[1:2] != [self._service]:
            raise UnsafeImage(f"The disk {path} belongs to another service than {self._service}.", path=path)


def backing_chain(path: str, image_format: str | None, places: Places) -> list[Layer]:
    """What lies under a disk, nearest first; empty for a disk that stands alone.

    :param image_format: of the disk itself; None is raw, as libvirt takes it.
    :raises FleetError: a layer is missing, or must not be opened.
    """
    places.check_disk(path)
    layers: list[Layer] = []
    seen: set[tuple[int, int]] = set()
    current, image_format = path, image_format or "raw"
    while True:
        seen.add(_identity(current, seen, path))
        if image_format != "qcow2":
            return layers
        header = _header(current)
        _refuse_external(current, header)
        if header.backing is None:
            return layers
        current, image_format = _parent(current, header, places)
        layers.append(Layer(current, image_format))
        if len(layers) > _LONGEST_CHAIN:
            raise UnsafeImage(f"The chain under the disk {path} has more than {_LONGEST_CHAIN} layers; flatten it.", path=path)


def _identity(current: str, seen: t.Collection[tuple[int, int]], path: str) -> tuple[int, int]:
    try:
        descriptor = file_io.open_regular(current)
    except OSError as error:
        raise FleetError(f"Cannot read the disk {current}: {error.strerror}", path=current)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        raise UnsafeImage(
            f"The chain under the disk {path} is a loop: it comes back to {current}. Restore the disk, or remove the machine and deploy it"
            " again.",
            path=path,
        )
    return identity


def _header(path: str) -> Qcow2Header:
    try:
        return read_qcow2(path)
    except OSError as error:
        raise FleetError(f"Cannot read the disk {path}: {error.strerror}", path=path)
    except HeaderError as error:
        raise FleetError(f"The disk {path} cannot be used as qcow2: {error}", path=path)


def _refuse_external(path: str, header: Qcow2Header) -> None:
    if header.external_data:
        raise UnsafeImage(
            f"The disk {path} keeps its data in another file ({shown(header.data_file) if header.data_file else 'not named'}),"
            " which QEMU would open for the guest; convert it to one file (qemu-img convert -O qcow2).",
            path=path,
        )


def _parent(path: str, header: Qcow2Header, places: Places) -> tuple[str, str]:
    name = t.cast(str, header.backing)
    resolved = resolve_backing(path, name)
    if resolved is None:
        raise UnsafeImage(
            f"The header of the disk {path} names {shown(name)} as its backing file, which is not a local file;"
            " flatten the disk (qemu-img convert -O qcow2).",
            path=path,
        )
    if header.backing_format is None:
        raise UnsafeImage(
            f"The header of the disk {path} names no format for its backing file {shown(name)}; a guest could choose it."
            " Write it down with qemu-img rebase -u -F.",
            path=path,
        )
    if header.backing_format not in _FORMATS:
        raise UnsafeImage(
            f"The backing file {resolved} of the disk {path} is said to be {shown(header.backing_format)};"
            f" {' and '.join(_FORMATS)} are accepted.",
            path=path,
        )
    if not places.may_be_parent(resolved):
        raise UnsafeImage(
            f"The header of the disk {path} names the backing file {shown(name)} ({resolved}), which is not a base disk in one"
            " of the host's pools; QEMU would show it to the guest. Import it as a base, or flatten the disk.",
            path=path,
        )
    return resolved, header.backing_format
