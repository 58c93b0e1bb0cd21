# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the first bytes of an image say, read here and not by qemu: an image that names other files is only safe to
open once it is known to name none.
"""

from __future__ import annotations

import os
import struct
import typing as t

from . import file_io

QCOW2_MAGIC = b"QFI\xfb"
_VMDK_SPARSE = b"KDMV"
_VMDK_OLD = b"COWD"
_VPC_COOKIE = b"conectix"
_VHDX_MAGIC = b"vhdxfile"

_PRINTABLE = bytes([9, 10, 13, *range(0x20, 0x7F)])
HEAD_BYTES = 64 * 1024
_SECTOR = 512

#: What a file is called when it is none of the formats that an import understands.
_FOREIGN = (
    (b"QED\0", 0, "a QED image"),
    (b"LUKS\xba\xbe", 0, "a LUKS encrypted volume"),
    (b"WithoutFreeSpace", 0, "a Parallels image"),
    (b"WithouFreSpacExt", 0, "a Parallels image"),
    (b"\x7f\x10\xda\xbe", 0x40, "a VirtualBox image (VDI)"),
    (b"\x1f\x8b", 0, "compressed with gzip"),
    (b"\xfd7zXZ\0", 0, "compressed with xz"),
    (b"BZh", 0, "compressed with bzip2"),
    (b"\x28\xb5\x2f\xfd", 0, "compressed with zstd"),
    (b"\x04\x22\x4d\x18", 0, "compressed with lz4"),
    (b"PK\x03\x04", 0, "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive"),
    (b"ustar", 257, "a tar archive (or an OVA)"),
)

EXTENSIONS = {
    ".qcow2": "qcow2",
    ".raw": "raw",
    ".img": "raw",
    ".bin": "raw",
    ".dd": "raw",
    ".iso": "raw",
    ".vmdk": "vmdk",
    ".vhd": "vpc",
    ".vpc": "vpc",
    ".vhdx": "vhdx",
}

# qcow2: incompatible features that every qemu of the last ten years reads, and those that name other files.
_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION, _EXTENDED_L2 = 1, 2, 4, 8, 16
_KNOWN_FEATURES = _DIRTY | _CORRUPT | _EXTERNAL_DATA | _COMPRESSION | _EXTENDED_L2
_EXTENSION_END, _EXTENSION_BACKING_FORMAT, _EXTENSION_DATA_FILE = 0, 0xE2792ACA, 0x44415441
_V2_HEADER_BYTES, _V3_HEADER_BYTES = 72, 104
_MAX_BACKING_NAME = 1023


class Qcow2Header(t.NamedTuple):
    """``backing`` and ``data_file`` as they stand in the header; None where the image names none."""

    version: int
    virtual_size_bytes: int
    cluster_bytes: int
    backing: str | None
    backing_format: str | None
    data_file: str | None
    external_data: bool
    encrypted: bool
    snapshots: int
    dirty: bool
    corrupt: bool
    unknown_features: int


class HeaderError(ValueError):
    """The header contradicts itself or its format."""


def parse_qcow2(head: bytes) -> Qcow2Header:
    """The header of a qcow2 image from the file's first 64 KiB. HeaderError for anything else."""
    if head[:4] != QCOW2_MAGIC:
        raise HeaderError("it does not begin as a qcow2 image does")
    if len(head) < _V2_HEADER_BYTES:
        raise HeaderError("its header is cut off")
    (version, backing_at, backing_length, cluster_bits, size, crypt) = struct.unpack_from(">IQIIQI", head, 4)
    snapshots = struct.unpack_from(">I", head, 60)[0]
    if version not in (2, 3):
        raise HeaderError(f"it is qcow version {version}; 2 and 3 are understood")
    if not 9 <= cluster_bits <= 21:
        raise HeaderError(f"it has clusters of 2^{cluster_bits} bytes")
    features, header_bytes = 0, _V2_HEADER_BYTES
    if version == 3:
        if len(head) < _V3_HEADER_BYTES:
            raise HeaderError("its header is cut off")
        features = struct.unpack_from(">Q", head, 72)[0]
        header_bytes = struct.unpack_from(">I", head, 100)[0]
        if not _V3_HEADER_BYTES <= header_bytes <= 1 << cluster_bits:
            raise HeaderError(f"it has a header of {header_bytes} bytes")
    backing = None
    extensions_end = 1 << cluster_bits
    if backing_at:
        if not 0 < backing_length <= _MAX_BACKING_NAME or backing_at + backing_length > len(head):
            raise HeaderError("the name of its parent lies outside of its header")
        # As far as QEMU reads it, which takes it as a string of C; an empty one names nothing.
        name = head[backing_at : backing_at + backing_length].partition(b"\0")[0]
        backing = name.decode("utf-8", "surrogateescape") or None
        extensions_end = min(extensions_end, backing_at)
    found = _extensions(head, header_bytes, extensions_end)
    data_file = found.get(_EXTENSION_DATA_FILE)
    return Qcow2Header(
        version=version,
        virtual_size_bytes=size,
        cluster_bytes=1 << cluster_bits,
        backing=backing,
        backing_format=found.get(_EXTENSION_BACKING_FORMAT) if backing is not None else None,
        data_file=data_file,
        external_data=bool(features & _EXTERNAL_DATA) or data_file is not None,
        encrypted=crypt != 0,
        snapshots=snapshots,
        dirty=bool(features & _DIRTY),
        corrupt=bool(features & _CORRUPT),
        unknown_features=features & ~_KNOWN_FEATURES,
    )


def _extensions(head: bytes, start: int, end: int) -> dict[int, str]:
    """:param end: where they end at the latest. HeaderError where that lies behind what is known of the file."""
    found = {}
    position = start
    while position < end:
        if position + 8 > len(head):
            raise HeaderError("its header extensions go on behind the part that is read")
        kind, length = struct.unpack_from(">II", head, position)
        if kind == _EXTENSION_END:
            break
        position += 8
        if position + length > min(end, len(head)):
            raise HeaderError("a header extension lies outside of its header")
        if kind in (_EXTENSION_BACKING_FORMAT, _EXTENSION_DATA_FILE):
            found[kind] = head[position : position + length].rstrip(b"\0").decode("utf-8", "surrogateescape")
        position += (length + 7) & ~7
    return found


class VmdkDescriptor(t.NamedTuple):
    """``files`` are the names that its extents give, ``has_parent`` whether it is a differencing disk."""

    create_type: str
    files: tuple[str, ...]
    has_parent: bool


def parse_vmdk_descriptor(text: str) -> VmdkDescriptor:
    create_type, parent_cid, hint = "", "ffffffff", False
    files = []
    for raw_line in text.split("\0", 1)[0].splitlines():
        line = raw_line.strip()
        key, _equals, value = line.partition("=")
        key = key.strip().lower()
        if key == "createtype":
            create_type = value.strip().strip('"')
        elif key == "parentcid":
            parent_cid = value.strip().lower()
        elif key == "parentfilenamehint":
            hint = True
        elif line.split(" ", 1)[0].upper() in ("RW", "RDONLY", "NOACCESS") and '"' in line:
            files.append(line.split('"')[1])
    return VmdkDescriptor(create_type, tuple(files), hint or parent_cid != "ffffffff")


def vmdk_problem(head: bytes, file_name: str) -> str:
    """Why a vmdk file must not be opened: it consists of several files or has a parent. Empty when it stands alone."""
    if head[:4] == _VMDK_OLD:
        return "it is of the old ESX format (COWD)"
    if head[:4] != _VMDK_SPARSE:
        return "it is only a description; its data lies in other files"
    if len(head) < _SECTOR:
        return "its header is cut off"
    version, _flags, capacity = struct.unpack_from("<IIQ", head, 4)
    descriptor_at, descriptor_sectors = struct.unpack_from("<QQ", head, 28)
    if version not in (1, 2, 3):
        return f"it is vmdk version {version}; 1 to 3 are understood"
    if capacity == 0:
        return "its header gives no capacity, so that it could name other files as its data"
    # qemu reads the parent's name at the second sector, wherever the header says that the description is.
    places = {_SECTOR, descriptor_at * _SECTOR}
    for place in places:
        if place == 0:
            continue
        if place + descriptor_sectors * _SECTOR > len(head):
            return "its description lies outside of its header"
        text = head[place : place + max(descriptor_sectors, 20) * _SECTOR].decode("latin-1")
        if "parentFileNameHint" in text:
            return "it is a differencing disk: it has a parent"
        if descriptor_sectors == 0 or place != descriptor_at * _SECTOR:
            continue
        described = parse_vmdk_descriptor(text)
        if described.has_parent:
            return "it is a differencing disk: it has a parent"
        if described.create_type not in ("monolithicSparse", "streamOptimized"):
            return f"it is of the type {described.create_type or 'unknown'}; only monolithicSparse and streamOptimized are one file"
        if len(described.files) != 1 or "/" in described.files[0]:
            return f"its data lies in other files: {', '.join(described.files) or 'none named'} beside {file_name}"
    return ""


def vpc_problem(head: bytes, tail: bytes) -> str:
    """Why a VHD must not be opened; only fixed and dynamic ones stand alone."""
    footer = head[:_SECTOR] if head[:8] == _VPC_COOKIE else tail[-_SECTOR:]
    if footer[:8] != _VPC_COOKIE:
        return "it has no VHD footer, neither at its begin nor at its end"
    if len(footer) < _SECTOR:
        return "its VHD footer is cut off"
    kind = struct.unpack_from(">I", footer, 60)[0]
    if kind == 4:
        return "it is a differencing disk: it has a parent"
    if kind not in (2, 3):
        return f"it is of the VHD type {kind}; 2 (fixed) and 3 (dynamic) are understood"
    return ""


def detect(head: bytes, tail: bytes) -> str | None:
    """The format that the bytes look like, None for no known sign (which is what a raw image looks like).

    Never enough to open a file by: a guest can write any sign into its own raw disk.
    """
    if head[:4] == QCOW2_MAGIC:
        return "qcow2"
    if head[:4] in (_VMDK_SPARSE, _VMDK_OLD) or b"# Disk DescriptorFile" in head[:512]:
        return "vmdk"
    if head[:8] == _VHDX_MAGIC:
        return "vhdx"
    if head[:8] == _VPC_COOKIE or tail[-_SECTOR : -_SECTOR + 8] == _VPC_COOKIE:
        return "vpc"
    return None


def foreign(head: bytes) -> str | None:
    """What the bytes look like when that is something no import understands."""
    for magic, offset, what in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return what
    return None


def page(head: bytes) -> str | None:
    """What a text in the place of an image is; None for what may be an image."""
    text = head[:4096]
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if text.startswith(mark):
            text = text[2 : len(text) // 2 * 2].decode(encoding, "replace").encode()
    start = text.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    while start.startswith(b"<!--") and b"-->" in start:
        start = start.partition(b"-->")[2].lstrip()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<meta", b"<title")):
        return "an HTML page, such as a login or an error page of the server it came from"
    if start.startswith((b"<?xml", b"<error")):
        return "an XML text, such as an error of the server it came from"
    printable = bool(head) and not head[:4096].translate(None, _PRINTABLE)
    if printable and start.startswith((b"{", b"[")):
        return "a JSON text, such as an error of the server it came from"
    if printable and start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself"
    return "a text" if printable else None


def extension_format(name: str) -> str | None:
    """The format that a file's name promises; None for an unknown or missing extension."""
    return EXTENSIONS.get(os.path.splitext(name)[1].lower())


def read_ends(descriptor: int) -> tuple[bytes, bytes]:
    """The first 64 KiB and the last 512 bytes of an open file."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, HEAD_BYTES, 0), os.pread(descriptor, _SECTOR, max(0, size - _SECTOR))


def read_qcow2(path: str) -> Qcow2Header:
    """The header of a qcow2 file. HeaderError when it is none."""
    descriptor = file_io.open_regular(path)
    try:
        head = os.pread(descriptor, 4096, 0)
        try:
            return parse_qcow2(head)
        except HeaderError:
            if len(head) < 4096:
                raise
            return parse_qcow2(os.pread(descriptor, HEAD_BYTES, 0))
    finally:
        os.close(descriptor)
