# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import DamagedImage, FormatUnclear, UnsafeImage, UnsupportedImage
from ansible_collections.basecast.fleet.plugins.module_utils._disk.inspection import Inspection, inspect
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import qcow2

RAW = bytes(4096)
SHA = "a" * 64


def look(tmp_path: t.Any, name: str, data: bytes, wanted: str | None = None, parent: str | None = None) -> Inspection:
    path = tmp_path / name
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return inspect(name, descriptor, wanted, parent)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "data", "wanted", "image_format", "keep"),
    [
        ("a.qcow2", qcow2(), None, "qcow2", True),
        ("a.raw", RAW, None, "raw", True),
        ("a.img", RAW, None, "raw", True),
        ("a", qcow2(), "qcow2", "qcow2", True),
        ("a", qcow2(), "raw", "raw", True),
        ("a.gz", b"\x1f\x8b".ljust(512, b"\0"), "raw", "raw", True),
        ("a.vhdx", b"vhdxfile".ljust(4096, b"\0"), None, "vhdx", False),
        ("a.qcow2", qcow2(snapshots=1), None, "qcow2", False),
    ],
)
def test_accepted(tmp_path: t.Any, name: str, data: bytes, wanted: str | None, image_format: str, keep: bool) -> None:
    seen = look(tmp_path, name, data, wanted)
    assert (seen.image_format, seen.keep) == (image_format, keep)


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        ("a.img", qcow2(), None),
        ("a.raw", qcow2(), None),
        ("a", qcow2(), None),
        ("a", RAW, None),
        ("a.qcow2", RAW, None),
        ("a.img", RAW + b"conectix".ljust(512, b"\0"), None),
        ("a.qcow2", RAW, "qcow2"),
        ("a.vmdk", qcow2(), "vmdk"),
    ],
)
def test_the_format_is_not_guessed(tmp_path: t.Any, name: str, data: bytes, wanted: str | None) -> None:
    with pytest.raises(FormatUnclear) as error:
        look(tmp_path, name, data, wanted)
    assert "format" in error.value.message
    if wanted is not None:
        assert f"is no {wanted} image although format says so; its content looks like" in error.value.message
        assert "Correct format, or give another file" in error.value.message


@pytest.mark.parametrize(
    ("data", "kind", "word"),
    [
        (qcow2(backing="/etc/shadow", backing_format="raw"), UnsafeImage, "/etc/shadow"),
        (qcow2(backing='json:{"driver":"nbd"}'), UnsafeImage, "nbd"),
        (qcow2(version=2, backing="nbd:h:1"), UnsafeImage, "nbd"),
        (qcow2(features=4, data_file="/etc/shadow"), UnsafeImage, "/etc/shadow"),
        (qcow2(data_file="/etc/shadow"), UnsafeImage, "/etc/shadow"),
        (qcow2(features=1 << 5), UnsupportedImage, "0x20"),
        (qcow2(crypt=1), UnsupportedImage, "encrypted"),
        (qcow2(features=2), DamagedImage, "corrupt"),
        (qcow2(features=1), DamagedImage, "not closed properly"),
        (qcow2(size=0), DamagedImage, "0 bytes"),
        (qcow2(size=1000), DamagedImage, "1000 bytes"),
        (qcow2(size=1 << 62), DamagedImage, "claims"),
        (qcow2()[:80], DamagedImage, "cut off"),
    ],
)
def test_qcow2_that_cannot_become_a_base(tmp_path: t.Any, data: bytes, kind: type[t.Any], word: str) -> None:
    with pytest.raises(kind) as error:
        look(tmp_path, "a.qcow2", data)
    assert word in error.value.message


@pytest.mark.parametrize(
    ("name", "data", "kind", "word"),
    [
        ("a.raw", bytes(1000), DamagedImage, "cut off"),
        ("a.raw", b"", DamagedImage, "empty"),
        (
            "a.vmdk",
            b"# Disk DescriptorFile\n".ljust(512, b"\0"),
            UnsafeImage,
            "cannot be imported: it is only a description; its data lies in other files. Convert",
        ),
        (
            "a.vpc",
            b"conectix".ljust(60, b"\0") + b"\0\0\0\4".ljust(452, b"\0"),
            UnsafeImage,
            "it has a parent. Convert the original to one file",
        ),
        ("a.qcow2.xz", b"\xfd7zXZ\0".ljust(512, b"\0"), UnsupportedImage, "xz"),
        ("a.img", b"\x1f\x8b".ljust(512, b"\0"), UnsupportedImage, "gzip"),
    ],
)
def test_others_that_cannot(tmp_path: t.Any, name: str, data: bytes, kind: type[t.Any], word: str) -> None:
    with pytest.raises(kind) as error:
        look(tmp_path, name, data)
    assert word in error.value.message


def test_a_parent_is_for_images_that_name_one(tmp_path: t.Any) -> None:
    assert look(tmp_path, "a.qcow2", qcow2(backing="root.qcow2"), parent=SHA).backing == "root.qcow2"
    with pytest.raises(UnsupportedImage):
        look(tmp_path, "a.qcow2", qcow2(), parent=SHA)
    with pytest.raises(UnsupportedImage):
        look(tmp_path, "a.raw", RAW, parent=SHA)


PAGES = [
    (b"<!DOCTYPE html><html><body>Log in</body></html>", "an HTML page"),
    (b"\xef\xbb\xbf\r\n  <HTML>", "an HTML page"),
    (b"<!-- a comment -->\n<html>", "an HTML page"),
    ("<html>".encode("utf-16"), "an HTML page"),
    (b"<head><title>x</title>" + b"\0" * 600, "an HTML page"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML text"),
    (b'{"error": "token expired"}', "a JSON text"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
    (b"404 Not Found\n", "a text"),
]


@pytest.mark.parametrize(("content", "what"), PAGES)
@pytest.mark.parametrize("wanted", [None, "qcow2", "vmdk"])
def test_a_page_saved_as_an_image_is_told_as_such(tmp_path: t.Any, content: bytes, what: str, wanted: str | None) -> None:
    path = tmp_path / "debian.qcow2"
    path.write_bytes(content)
    with open(path, "rb") as file, pytest.raises(UnsupportedImage, match=f"debian.qcow2 is not a disk image: it is {what}") as raised:
        inspect("debian.qcow2", file.fileno(), wanted, None)
    assert "raw" not in raised.value.message


@pytest.mark.parametrize("name", ["login.img", "login.raw", "login"])
def test_a_page_is_no_raw_disk_unless_it_is_said_to_be(tmp_path: t.Any, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"<!DOCTYPE html>".ljust(1024, b" "))
    with open(path, "rb") as file:
        with pytest.raises(UnsupportedImage, match="an HTML page"):
            inspect(name, file.fileno(), None, None)
        assert inspect(name, file.fileno(), "raw", None).image_format == "raw"
