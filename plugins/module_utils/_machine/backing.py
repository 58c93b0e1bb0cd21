# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The files under a qcow2 disk, read from the images' headers (one process less per disk than asking qemu-img)."""

from __future__ import annotations

import os
import struct
import typing as t

from .._errors import FleetError

# magic, version, offset and length of the backing file's name: see QEMU's docs/interop/qcow2.txt
_HEADER = struct.Struct(">4sIQI")
_BACKING_FORMAT = 0xE2792ACA
_LONGEST_CHAIN = 200


class Layer(t.NamedTuple):
    path: str
    image_format: str


def backing_chain(path: str, image_format: str) -> list[Layer] | None:
    """What lies under a disk, nearest first; empty for a disk that stands alone.

    :returns: None when a part is no local file (network, json: names): then only libvirt can tell.
    """
    layers: list[Layer] = []
    while image_format == "qcow2":
        backing = _backing(path)
        if backing is None:
            return layers
        if ":" in backing.path.split("/", 1)[0]:
            return None
        path = os.path.join(os.path.realpath(os.path.dirname(path)), backing.path)
        path, image_format = os.path.normpath(path), backing.image_format
        layers.append(Layer(path, image_format))
        if len(layers) > _LONGEST_CHAIN:
            raise FleetError(f"The base chain under {layers[0].path} is longer than {_LONGEST_CHAIN}: a loop?")
    return layers


def _backing(path: str) -> Layer | None:
    """The next layer, its path as written in the image."""
    try:
        with open(path, "rb") as file:
            magic, version, offset, length = _HEADER.unpack(file.read(_HEADER.size).ljust(_HEADER.size, b"\0"))
            if magic != b"QFI\xfb":
                raise FleetError(f"{path} is said to be qcow2 but is not", path=path)
            if not offset:
                return None
            file.seek(offset)
            name = os.fsdecode(file.read(length))
            file.seek(0)
            head = file.read(offset)
    except OSError as error:
        raise FleetError(f"Cannot read the disk {path}: {error.strerror}", path=path)
    image_format = _extension(head, version) or ("raw" if not name.endswith(".qcow2") else "qcow2")
    return Layer(name, image_format)


def _extension(head: bytes, version: int) -> str | None:
    """The backing format that the header extensions name."""
    position = struct.unpack_from(">I", head, 100)[0] if version >= 3 else 72
    while position + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, position)
        if kind == 0:
            break
        if kind == _BACKING_FORMAT:
            return head[position + 8 : position + 8 + length].decode("ascii", "replace")
        position += 8 + (length + 7) // 8 * 8
    return None
