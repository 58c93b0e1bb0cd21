# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import attributes, needs
from ansible_collections.basecast.fleet.plugins.module_utils._disk.needs import Needs, Unknown, parents_of
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

from .conftest import put_base, qcow2


def put(path: pathlib.Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize(
    ("backing", "found"),
    [
        ("base", ["{here}/base"]),
        ("../base", ["{above}/base"]),
        ("/else/base", ["/else/base"]),
        ("file:base", ["{here}/base"]),
        ("json:" + json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": "/x"}}), ["/x"]),
        ("json:" + json.dumps({"driver": "qcow2", "file.driver": "file", "file.filename": "/x"}), ["/x"]),
        ("json:" + json.dumps({"driver": "quorum", "children": [{"filename": "/x"}, {"filename": "/y"}]}), ["/x", "/y"]),
        ("json:" + json.dumps({"driver": "https", "url": "https://example.org/x"}), []),
        ("https://example.org/x", []),
        ("rbd:pool/image", []),
        ("ssh://host/x", []),
    ],
)  # fmt: skip
def test_parents_as_qemu_reads_them(backing: str, found: list[str], tmp_path: pathlib.Path) -> None:
    path = put(tmp_path / "a.qcow2", qcow2(backing=backing, backing_format="qcow2"))
    wanted = [one.format(here=tmp_path, above=tmp_path.parent) for one in found]
    assert sorted(parents_of(path)) == sorted(map(os.path.realpath, wanted))


@pytest.mark.parametrize(
    "data",
    [
        qcow2(backing="nbd+unix:///?socket=/run/x"),
        qcow2(backing="nbd:localhost:10809"),
        qcow2(backing="fat:rw:/x"),
        qcow2(backing="json:{"),
        qcow2(backing="json:" + json.dumps({"driver": "nbd", "path": "/run/x"})),
        qcow2(cluster_bits=40),
        qcow2()[:20],
        b"QFI\xfb\0\0\0\1".ljust(512, b"\0"),
        b"QED\0".ljust(512, b"\0"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_not_taken_as_nothing(data: bytes, tmp_path: pathlib.Path) -> None:
    with pytest.raises(Unknown):
        list(parents_of(put(tmp_path / "a.img", data)))


@pytest.mark.parametrize("name", ["a.raw", "A.RAW", "seed.iso", "console.log"])
def test_what_a_guest_wrote_to_its_raw_disk_stops_nobody(name: str, tmp_path: pathlib.Path) -> None:
    assert list(parents_of(put(tmp_path / name, qcow2(cluster_bits=40)))) == []


@pytest.mark.parametrize("name", ["gone", "directory", "pipe"])
def test_what_is_no_image_needs_nothing(name: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert list(parents_of(str(tmp_path / name))) == []


def test_data_files_count(tmp_path: pathlib.Path) -> None:
    path = put(tmp_path / "a", qcow2(data_file="data.raw", features=4))
    assert list(parents_of(path)) == [os.path.realpath(tmp_path / "data.raw")]


PLACES = ["machines/shop/web-1/root.qcow2", "child.qcow2", "deep/in/other/directories/of/others/x.img", "x", "x.raw", "machines/x.bak"]


@pytest.mark.parametrize("place", PLACES)
def test_images_are_found_wherever_they_lie(place: str, store: Store) -> None:
    base = put_base(store)
    path = put(pathlib.Path(store.pool_path) / place, qcow2(backing=base.path, backing_format="raw"))
    found = Needs()
    found.add_pool(store, [store])
    assert found.of(base.path, base.sha256) == [path] and found.unknown == []


def test_the_whole_chain_is_needed(pools: dict[str, Store], tmp_path: pathlib.Path) -> None:
    root = put_base(pools["one"], data=b"root".ljust(4096, b"\0"))
    child = put_base(pools["one"], parent=root.sha256)
    middle = put(tmp_path / "elsewhere/middle.qcow2", qcow2(backing=child.path, backing_format="qcow2"))
    top = put(pathlib.Path(pools["two"].pool_path) / "top.qcow2", qcow2(backing=middle, backing_format="qcow2"))
    found = Needs()
    found.add_pool(pools["two"], pools.values())
    for base in (root, child):
        assert found.of(base.path, base.sha256) == [top]


def test_other_names_of_the_file_count(store: Store, tmp_path: pathlib.Path) -> None:
    base = put_base(store)
    found = Needs()
    os.symlink(base.path, tmp_path / "link")
    attributes.set_immutable(base.path, False)
    os.link(base.path, tmp_path / "hard")
    for number, name in enumerate([str(tmp_path / "link"), str(tmp_path / "hard"), f"/other/mount/bases/{base.sha256}/disk"]):
        found.add(put(tmp_path / f"{number}.qcow2", qcow2(backing=name, backing_format="raw")), name)
    assert len(found.of(base.path, base.sha256)) == 3


def test_a_raw_disk_of_a_domain_has_no_parent(store: Store, tmp_path: pathlib.Path) -> None:
    base = put_base(store)
    path = put(tmp_path / "disk.img", qcow2(backing=base.path, backing_format="raw"))
    found = Needs()
    found.add(path, "a domain", "raw")
    assert found.of(base.path, base.sha256) == []
    found.add(base.path, "a domain", "raw")
    assert found.of(base.path, base.sha256) == ["a domain"]


def test_a_loop_ends(tmp_path: pathlib.Path) -> None:
    path = put(tmp_path / "a", qcow2(backing="b", backing_format="qcow2"))
    put(tmp_path / "b", qcow2(backing="a", backing_format="qcow2"))
    found = Needs()
    found.add(path, "x")
    assert found.unknown == []


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_cannot_be_read_is_said(what: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(pathlib.Path(store.pool_path) / "in/x.qcow2", qcow2())
    target, name = (needs.os, "open") if what == "file" else (needs.os, "scandir")
    real = getattr(target, name)

    def broken(path: t.Any, *rest: t.Any) -> t.Any:
        if str(path).endswith("x.qcow2" if what == "file" else "/in"):
            raise OSError(5, "Input/output error", path)
        return real(path, *rest)

    monkeypatch.setattr(target, name, broken)
    found = Needs()
    found.add_pool(store, [store])
    assert len(found.unknown) == 1 and "Input/output error" in found.unknown[0]


def test_a_chain_without_end_is_not_followed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "_LONGEST_CHAIN", 3)
    for number in range(6):
        put(tmp_path / f"{number}", qcow2(backing=f"{number + 1}", backing_format="qcow2"))
    found = Needs()
    found.add(str(tmp_path / "0"), "a domain")
    assert found.unknown == [f"a domain: the chain under {tmp_path}/0 has more than 3 layers; flatten it"]
