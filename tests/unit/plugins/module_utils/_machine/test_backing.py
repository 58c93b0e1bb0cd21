# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.backing import Layer, Places, backing_chain

A, B = "a" * 64, "b" * 64


def _create(path: str, *args: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *args, path], check=True, cwd=os.path.dirname(path))


def _raw(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.truncate(1 << 20)


@pytest.fixture
def disk(pool: str) -> str:
    return f"{pool}/machines/s/m/root.qcow2"


@pytest.fixture
def chain(pool: str) -> t.Callable[..., list[Layer]]:
    return lambda path, image_format="qcow2": backing_chain(path, image_format, Places([pool], "s"))


def test_a_chain_is_followed_through_relative_names(pool: str, disk: str, chain: t.Any) -> None:
    root, patch = f"{pool}/bases/{A}/disk", f"{pool}/bases/{B}/disk"
    _raw(root)
    _create(patch, "-b", f"../{A}/disk", "-F", "raw")
    _create(disk, "-b", f"../../../bases/{B}/disk", "-F", "qcow2")
    assert chain(disk) == [Layer(patch, "qcow2"), Layer(root, "raw")]


@pytest.mark.parametrize("image_format", ["qcow2", "raw", None])
def test_a_disk_that_stands_alone(image_format: str | None, disk: str, chain: t.Any) -> None:
    _create(disk, "-o", "size=1M")
    assert chain(disk, image_format) == []


@pytest.mark.parametrize(
    ("backing", "image_format", "told"),
    [
        ("nbd://192.0.2.1/base", "raw", "not a local file"),
        ('json:{"driver":"file","filename":"/etc/shadow"}', "raw", "not a local file"),
        ("http://192.0.2.1/x", "raw", "not a local file"),
        ("fat:/etc", "raw", "not a local file"),
        ("/etc/shadow", "raw", "not a base disk in one of the host's pools"),
        ("file:/etc/shadow", "raw", "not a base disk in one of the host's pools"),
        ("../../../../../../../../etc/shadow", "raw", "not a base disk in one of the host's pools"),
        ("../../other/m/root.raw", "raw", "not a base disk in one of the host's pools"),
        ("../../../bases/.incoming/x", "raw", "not a base disk in one of the host's pools"),
        ("../../../bases/.partial/" + A + "/disk", "raw", "not a base disk in one of the host's pools"),
        ("link", "raw", "not a base disk in one of the host's pools"),
        ("/dev/zero", "raw", "not a base disk in one of the host's pools"),
        ("pipe", "raw", "is not a regular file"),
        ("other.raw", "vmdk", "is said to be 'vmdk'"),
        ("other.raw", "luks", "is said to be 'luks'"),
        ("gone", "qcow2", "Cannot read the disk .*/gone: No such file"),
        ("other.raw", "qcow2", "cannot be used as qcow2"),
        ("root.qcow2", "qcow2", "is a loop"),
    ],
)
def test_a_header_names_no_other_files(backing: str, image_format: str, told: str, pool: str, disk: str, chain: t.Any) -> None:
    _create(disk, "-u", "-b", backing, "-F", image_format, "-o", "size=1M")
    folder = os.path.dirname(disk)
    os.symlink("/etc/shadow", f"{folder}/link")
    os.mkfifo(f"{folder}/pipe")
    for path in (f"{folder}/other.raw", f"{pool}/machines/other/m/root.raw", f"{pool}/bases/.incoming/x"):
        _raw(path)
    with pytest.raises(FleetError, match=told):
        chain(disk)


def test_what_a_layer_below_names_is_refused_too(pool: str, disk: str, chain: t.Any) -> None:
    _create(f"{pool}/bases/{A}/disk", "-u", "-b", "/etc/shadow", "-F", "raw", "-o", "size=1M")
    _create(disk, "-u", "-b", f"../../../bases/{A}/disk", "-F", "qcow2", "-o", "size=1M")
    with pytest.raises(FleetError, match="names the backing file '/etc/shadow'"):
        chain(disk)


def test_data_in_another_file_is_refused(disk: str, chain: t.Any) -> None:
    _create(disk, "-o", f"size=1M,data_file={os.path.dirname(disk)}/data,data_file_raw=on")
    with pytest.raises(FleetError, match="keeps its data in another file"):
        chain(disk)


def test_a_format_that_is_not_written_down_is_refused(disk: str, chain: t.Any) -> None:
    _raw(os.path.dirname(disk) + "/other.raw")
    _create(disk, "-u", "-b", "other.raw", "-F", "raw", "-o", "size=1M")
    with open(disk, "r+b") as file:
        content = file.read(4096)
        file.seek(content.index(b"\xe2\x79\x2a\xca"))
        file.write(b"\x12\x34\x56\x78")
    with pytest.raises(FleetError, match=r"names no format for its backing file 'other.raw'"):
        chain(disk)


def test_a_loop_of_several_and_a_chain_without_end(disk: str, chain: t.Any) -> None:
    folder = os.path.dirname(disk)
    for name, below in (("root.qcow2", "one"), ("one", "two"), ("two", "one")):
        _create(f"{folder}/{name}", "-u", "-b", below, "-F", "qcow2", "-o", "size=1M")
    with pytest.raises(FleetError, match="is a loop"):
        chain(disk)
    with open(f"{folder}/one", "rb") as file:
        content = file.read()
    for number in range(210):
        with open(f"{folder}/{number:03}", "wb") as file:
            file.write(content.replace(b"two", f"{number + 1:03}".encode(), 1))
    with pytest.raises(FleetError, match="has more than 200 layers; flatten it"):
        chain(f"{folder}/000")


@pytest.mark.parametrize("place", ["bases/" + A + "/disk", "machines/other/m/root.raw"])
def test_a_disk_is_the_services_own(place: str, pool: str, chain: t.Any) -> None:
    _raw(f"{pool}/{place}")
    with pytest.raises(FleetError, match=rf"{place} (lies in a base store|belongs to another service)"):
        chain(f"{pool}/{place}", "raw")


@pytest.mark.parametrize("place", ["machines/s/m/root.raw", "machines/s/m", "machines/s", "machines"])
def test_a_planted_link_is_not_followed(place: str, pool: str, tmp_path_factory: t.Any, chain: t.Any) -> None:
    other = tmp_path_factory.mktemp("other")
    for path in ("root.raw", "m/root.raw", "s/m/root.raw"):
        _raw(f"{other}/{path}")
    target = {"machines": f"{other}", "machines/s": f"{other}", "machines/s/m": f"{other}"}.get(place, f"{other}/root.raw")
    os.makedirs(os.path.dirname(f"{pool}/{place}"), exist_ok=True)
    os.symlink(target, f"{pool}/{place}")
    with pytest.raises(FleetError, match="symbolic link"):
        chain(f"{pool}/machines/s/m/root.raw", "raw")
