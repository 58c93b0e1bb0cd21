# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The files under a qcow2 disk, read from the images' headers (one process less per disk than asking qemu-img)."""

from __future__ import annotations

import os
import typing as t

from .._disk.image_header import HEAD_BYTES, HeaderError, parse_qcow2
from .._errors import FleetError

_LONGEST_CHAIN = 200


class Layer(t.NamedTuple):
    path: str
    image_format: str


def backing_chain(path: str, image_format: str) -> list[Layer] | None:
    """What lies under a disk, nearest first; empty for a disk that stands alone.

    :returns: None when the headers do not tell (a part is no local file, or its format is not named): then only
        libvirt can.
    """
    layers: list[Layer] = []
    while image_format == "qcow2":
        header = _header(path)
        if header.backing is None:
            return layers
        if ":" in header.backing.split("/", 1)[0] or header.backing_format is None:
            return None
        folder = os.path.realpath(os.path.dirname(path))
        path, image_format = os.path.normpath(os.path.join(folder, header.backing)), header.backing_format
        layers.append(Layer(path, image_format))
        if len(layers) > _LONGEST_CHAIN:
            raise FleetError(f"The base chain under {layers[0].path} is longer than {_LONGEST_CHAIN}: a loop?")
    return layers


def _header(path: str) -> t.Any:
    try:
        with open(path, "rb") as file:
            return parse_qcow2(file.read(HEAD_BYTES))
    except OSError as error:
        raise FleetError(f"Cannot read the disk {path}: {error.strerror}", path=path)
    except HeaderError as error:
        raise FleetError(f"The disk {path} cannot be used as qcow2: {error}", path=path)
