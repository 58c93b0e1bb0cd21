# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import struct

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import image_header
from ansible_collections.basecast.fleet.plugins.module_utils._disk.image_header import HeaderError, parse_qcow2
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import qcow2

VPC = b"conectix".ljust(60, b"\0")


def vmdk(descriptor: str, capacity: int = 1000, at: int = 1, sectors: int = 20, version: int = 1) -> bytes:
    head = b"KDMV" + struct.pack("<IIQQQQ", version, 3, capacity, 128, at, sectors)
    return head.ljust(512 * max(min(at, 100), 1), b"\0") + descriptor.encode().ljust(512 * sectors, b"\0")


def described(extent: str = 'RW 1000 SPARSE "disk.vmdk"', kind: str = "monolithicSparse", parent: str = "ffffffff") -> str:
    return f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID={parent}\ncreateType="{kind}"\n{extent}\n'


def test_qcow2_header() -> None:
    header = parse_qcow2(qcow2(size=5 << 30))
    assert (header.version, header.virtual_size_bytes, header.cluster_bytes) == (3, 5 << 30, 65536)
    assert header.backing is None
    assert not header.external_data


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["../base", 'json:{"driver":"nbd"}', "nbd:127.0.0.1:10809", "/etc/shadow"])
def test_backing_is_read_as_it_stands(version: int, name: str) -> None:
    header = parse_qcow2(qcow2(version=version, backing=name, backing_format="raw"))
    assert (header.backing, header.backing_format) == (name, "raw")


def extended(*extensions: tuple[int, int], cluster_bits: int = 16, end: bool = True) -> bytes:
    """A header with extensions of these kinds and lengths."""
    body = b"".join(struct.pack(">II", kind, length) + bytes(length) for kind, length in extensions)
    body += struct.pack(">II", 0, 0) if end else b""
    return (qcow2(cluster_bits=cluster_bits)[:104] + body).ljust(image_header.HEAD_BYTES, b"\0" if end else b"\1")[
        : image_header.HEAD_BYTES
    ]


@pytest.mark.parametrize("head_bytes", [4096, image_header.HEAD_BYTES])
@pytest.mark.parametrize("left", [0, 4])
def test_extensions_behind_what_was_read_are_not_missed(head_bytes: int, left: int) -> None:
    """A file could say raw where we look, and qcow2 where QEMU does."""
    image = extended((0x12345678, head_bytes - 104 - 8 - left - left % 8), cluster_bits=21, end=False)
    with pytest.raises(HeaderError, match=r"go on behind|outside"):
        parse_qcow2(image[:head_bytes])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("../base\0/disk", "../base"), ("../base\0", "../base"), ("\0/etc/shadow", None), ("a\0\0b", "a")],
)
def test_a_backing_name_ends_where_qemu_ends_it(name: str, wanted: str | None) -> None:
    assert parse_qcow2(qcow2(backing=name, backing_format="raw")).backing == wanted


@pytest.mark.parametrize("image", [qcow2(features=4), qcow2(data_file="/etc/shadow"), qcow2(features=4, data_file="x")])
def test_external_data_is_seen_with_or_without_its_flag(image: bytes) -> None:
    assert parse_qcow2(image).external_data


def test_flags() -> None:
    assert parse_qcow2(qcow2(features=1)).dirty
    assert parse_qcow2(qcow2(features=2)).corrupt
    assert parse_qcow2(qcow2(features=1 << 40)).unknown_features == 1 << 40
    assert parse_qcow2(qcow2(features=8 | 16)).unknown_features == 0
    assert parse_qcow2(qcow2(crypt=2)).encrypted
    assert parse_qcow2(qcow2(snapshots=3)).snapshots == 3
    assert parse_qcow2(qcow2(version=2, features=4)).external_data is False


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"QFI\xfb",
        qcow2()[:100],
        qcow2(version=1),
        qcow2(version=4),
        qcow2(cluster_bits=8),
        qcow2(cluster_bits=40),
        qcow2(backing="x" * 1024),
        qcow2()[:100] + struct.pack(">I", 1 << 30) + qcow2()[104:],
        qcow2()[:8] + struct.pack(">Q", 1 << 40) + struct.pack(">I", 10) + qcow2()[20:],
        qcow2()[:104] + struct.pack(">II", 0xE2792ACA, 1 << 30) + qcow2()[112:],
    ],
)
def test_a_header_that_contradicts_itself_is_refused(image: bytes) -> None:
    with pytest.raises(HeaderError):
        parse_qcow2(image)


def test_vmdk_alone() -> None:
    assert image_header.vmdk_problem(vmdk(described()), "disk.vmdk") == ""
    assert image_header.vmdk_problem(vmdk(described(kind="streamOptimized"), version=3), "disk.vmdk") == ""


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (described().encode(), "only a description"),
        (b"COWD" + bytes(600), "COWD"),
        (vmdk(described(), capacity=0), "no capacity"),
        (vmdk(described(), version=9), "version 9"),
        (vmdk(described(parent="12345678")), "has a parent"),
        (vmdk(described('parentFileNameHint="/etc/shadow"')), "has a parent"),
        (vmdk(described('RW 1000 FLAT "/etc/shadow" 0')), "other files"),
        (vmdk(described('RW 1 SPARSE "a"\nRW 1 SPARSE "b"')), "other files"),
        (vmdk(described(kind="monolithicFlat")), "monolithicFlat"),
        (vmdk(described(), at=1 << 40), "outside"),
        # The header points elsewhere, but qemu looks for a parent at the second sector all the same.
        (vmdk("", at=0, sectors=0)[:512] + b'parentFileNameHint="/etc/shadow"'.ljust(20480, b"\0"), "has a parent"),
    ],
)
def test_vmdk_that_names_other_files(image: bytes, word: str) -> None:
    assert word in image_header.vmdk_problem(image, "disk.vmdk")


@pytest.mark.parametrize(("kind", "word"), [(2, ""), (3, ""), (4, "has a parent"), (9, "type 9")])
def test_vpc_kinds(kind: int, word: str) -> None:
    footer = (VPC + struct.pack(">I", kind)).ljust(512, b"\0")
    assert (word in image_header.vpc_problem(footer + bytes(1000), bytes(512))) == bool(word) or not word
    assert bool(image_header.vpc_problem(bytes(1000), footer)) == bool(word)


@pytest.mark.parametrize(
    ("head", "tail", "wanted"),
    [
        (qcow2(), b"", "qcow2"),
        (b"KDMV", b"", "vmdk"),
        (b"# Disk DescriptorFile\n", b"", "vmdk"),
        (b"vhdxfile", b"", "vhdx"),
        (b"conectix", b"", "vpc"),
        (bytes(600), b"conectix".ljust(512, b"\0"), "vpc"),
        (bytes(600), bytes(512), None),
    ],
)
def test_detection(head: bytes, tail: bytes, wanted: str | None) -> None:
    assert image_header.detect(head, tail) == wanted


@pytest.mark.parametrize(("name", "wanted"), [("a.qcow2", "qcow2"), ("a.IMG", "raw"), ("a.vhd", "vpc"), ("a", None), ("a.tar", None)])
def test_extensions(name: str, wanted: str | None) -> None:
    assert image_header.extension_format(name) == wanted
