# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What an image on its way into the store is, and whether it may become a base disk."""

from __future__ import annotations

import os
import typing as t

from . import image_header
from .errors import DamagedImage, FormatUnclear, UnsafeImage, UnsupportedImage
from .image_header import HeaderError, Qcow2Header
from .qemu_img import FORMATS

_SECTOR = 512
_MAX_VIRTUAL_BYTES = 1 << 60


class Inspection(t.NamedTuple):
    """``keep`` when the file is stored unchanged; ``backing`` is the parent's name as the header gives it."""

    image_format: str
    size_bytes: int
    keep: bool
    backing: str | None
    notes: tuple[str, ...]


def decide_format(name: str, head: bytes, tail: bytes, wanted: str | None) -> str:
    """The image format by name and content together, or FormatUnclear.

    :param wanted: what the user said; then only its own sign has to be there, and raw may look like anything.
    """
    seen = image_header.detect(head, tail)
    page = image_header.page(head) if seen is None else None
    promised = image_header.extension_format(name)
    if page is not None and wanted != "raw" and (page != "a text" or (wanted or promised) not in ("raw", None)):
        raise UnsupportedImage(f"{name} is not a disk image: it is {page}.", name=name, looks_like=page)
    if wanted is not None:
        if wanted not in ("raw", seen):
            looks = seen or image_header.foreign(head) or "raw"
            raise FormatUnclear(
                f"{name} is no {wanted} image although format says so; its content looks like {looks}. Correct format, or give another"
                " file.",
                name=name,
                format=wanted,
                looks_like=looks,
            )
        return wanted
    foreign = image_header.foreign(head)
    if foreign is not None and seen is None:
        raise UnsupportedImage(
            f"{name} is {foreign}; {', '.join(FORMATS)} can be imported. If it is compressed, say how with compression; else unpack "
            "or convert it first (or set format: raw if these really are the disk's own bytes).",
            name=name,
            looks_like=foreign,
        )
    looks = seen or "raw"
    if promised == looks:
        return looks
    said = f"its name promises {promised}" if promised else "its name says nothing about its format"
    raise FormatUnclear(
        f"{name}: {said}, its content looks like {looks}. A raw disk may contain anything, so this is not guessed: "
        f"set format to {' or '.join(sorted({looks, promised or 'raw'}))}.",
        name=name,
        promised=promised,
        looks_like=looks,
    )


def inspect(name: str, descriptor: int, wanted: str | None, parent: str | None) -> Inspection:
    """Decide about an open image by its own bytes; nothing else is opened and no program runs.

    :param parent: digest of the base that is the image's parent, where the user named one.
    :raises FormatUnclear, UnsafeImage, UnsupportedImage, DamagedImage: why it cannot become a base disk.
    """
    head, tail = image_header.read_ends(descriptor)
    size = os.fstat(descriptor).st_size
    if size == 0:
        raise DamagedImage(f"{name} is empty.", name=name)
    image_format = decide_format(name, head, tail, wanted)
    if image_format == "qcow2":
        return _qcow2(name, size, head, parent)
    if parent is not None:
        raise UnsupportedImage(
            f"{name} is a {image_format} image and cannot have a parent in the store; leave parent out.",
            name=name,
            parent=parent,
        )
    if image_format == "raw":
        if size % _SECTOR:
            raise DamagedImage(
                f"{name} is cut off: a raw disk is a multiple of {_SECTOR} bytes, this one has {size}.",
                name=name,
                size_bytes=size,
            )
        return Inspection("raw", size, True, None, ())
    problem = ""
    if image_format == "vmdk":
        problem = image_header.vmdk_problem(head, os.path.basename(name))
    elif image_format == "vpc":
        problem = image_header.vpc_problem(head, tail)
    if problem:
        raise UnsafeImage(
            f"{name} cannot be imported: {problem}. Convert the original to one file first (qemu-img convert -O qcow2).", name=name
        )
    return Inspection(image_format, size, False, None, ())


def _qcow2(name: str, size: int, head: bytes, parent: str | None) -> Inspection:
    try:
        header = image_header.parse_qcow2(head)
    except HeaderError as error:
        raise DamagedImage(f"{name} is not a sound qcow2 image: {error}.", name=name)
    _refuse(name, header, parent)
    notes = []
    if header.snapshots:
        notes.append(f"{name} has {header.snapshots} internal snapshots; only its present state was imported.")
    keep = not header.snapshots and header.backing is None
    return Inspection("qcow2", size, keep, header.backing, tuple(notes))


def _refuse(name: str, header: Qcow2Header, parent: str | None) -> None:
    if header.external_data:
        raise UnsafeImage(
            f"{name} keeps its data in another file ({header.data_file or 'not named'}), which the host would read "
            "into the guest; convert it to one file first (qemu-img convert -O qcow2).",
            name=name,
            data_file=header.data_file,
        )
    if header.unknown_features:
        raise UnsupportedImage(f"{name} uses qcow2 features that are not understood (0x{header.unknown_features:x}).", name=name)
    if header.encrypted:
        raise UnsupportedImage(f"{name} is encrypted; decrypt it first (qemu-img convert).", name=name)
    if header.corrupt or header.dirty:
        state = "is marked as corrupt" if header.corrupt else "was not closed properly or is in use"
        raise DamagedImage(f"{name} {state}; repair the original with qemu-img check -r all first.", name=name)
    if header.virtual_size_bytes > _MAX_VIRTUAL_BYTES:
        raise DamagedImage(f"{name} claims a size of {header.virtual_size_bytes} bytes.", name=name)
    if header.virtual_size_bytes % _SECTOR or header.virtual_size_bytes == 0:
        raise DamagedImage(f"{name} claims a size of {header.virtual_size_bytes} bytes, no whole sectors.", name=name)
    if header.backing is not None and parent is None:
        raise UnsafeImage(
            f"{name} is a differencing disk: its header names the parent {header.backing!r}, a file that the host would "
            "read into the guest. Import the parent first and give its digest as parent, or flatten the image "
            "(qemu-img convert -O qcow2).",
            name=name,
            backing=header.backing,
        )
    if header.backing is not None and header.snapshots:
        raise UnsupportedImage(f"{name} has a parent and internal snapshots; delete the snapshots first (qemu-img snapshot -d).", name=name)
    if header.backing is None and parent is not None:
        raise UnsupportedImage(
            f"{name} names no parent, so it cannot be the child of {parent}; leave parent out.",
            name=name,
            parent=parent,
        )
