# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import candidates, in_use, transfer
from ansible_collections.basecast.fleet.plugins.module_utils._disk.candidates import Wanted
from ansible_collections.basecast.fleet.plugins.module_utils._disk.sources import Rules
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

from .conftest import put_base, qcow2

CONTENT = b"wanted".ljust(4096, b"\0")
SHA256 = hashlib.sha256(CONTENT).hexdigest()
WANTED = [Wanted(SHA256, len(CONTENT), "raw")]


def put(path: pathlib.Path, data: bytes = CONTENT) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1, 1))
    return path


def found(pools: dict[str, Store], *dirs: str) -> list[str]:
    return [item["path"] for item in candidates.find(pools, WANTED, Rules(dirs))]


PLACES = [
    ("one/x.raw", (), True),
    ("two/images/old/name", (), True),
    ("listed/x", ("{}/listed",), True),
    ("listed/x", (), False),
    ("one/x", ("images",), False),
    ("one/.hidden/x", (), False),
    ("one/1/2/3/4/5/6/7/x", (), False),
    ("one/machines/shop/web-1/x.raw", (), False),
    ("one/bases/x/disk", ("/",), False),
]


@pytest.mark.parametrize(("place", "dirs", "there"), PLACES)
def test_where_it_is_looked_for(pools: dict[str, Store], tmp_path: pathlib.Path, place: str, dirs: tuple[str, ...], there: bool) -> None:
    path = put(tmp_path / place)
    roots = tuple(str(tmp_path) if one == "/" else one.format(tmp_path) for one in dirs)
    assert found(pools, *roots) == ([str(path)] if there else [])


def test_only_files_of_the_size_are_read_and_only_once(
    pools: dict[str, Store], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "one" / "a", b"x" * 4096)
    put(tmp_path / "one" / "b", CONTENT + b"x")
    put(tmp_path / "one" / "c")
    put(tmp_path / "one" / "d")
    (tmp_path / "one" / "aa").symlink_to(tmp_path / "one" / "c")
    os.mkfifo(tmp_path / "one" / "e")
    read: list[int] = []
    real = transfer.hash_open

    def counted(descriptor: int) -> t.Any:
        read.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(transfer, "hash_open", counted)
    for _run in range(2):
        assert found(pools) == [str(tmp_path / "one" / "c")]
    assert len(read) == 2
    put(tmp_path / "one" / "a")
    assert found(pools) == [str(tmp_path / "one" / "a")]
    assert len(read) == 3


def test_nothing_is_remembered_in_check_mode(pools: dict[str, Store], tmp_path: pathlib.Path) -> None:
    put(tmp_path / "one" / "c")
    assert candidates.find(pools, WANTED, Rules(), remember=False)
    assert not (tmp_path / "one" / "bases").exists()


@pytest.mark.parametrize(
    ("data", "image_format", "adopted"),
    [
        (CONTENT, "raw", True),
        (CONTENT, None, False),  # neither its name nor its content says what it is
        (CONTENT[:-1], "raw", False),
        (qcow2(), "qcow2", True),
        (qcow2(), "vmdk", False),
        (qcow2(backing="/etc/shadow", backing_format="raw"), "qcow2", False),
    ],
    ids=["raw", "unclear", "cut off", "qcow2", "another format", "with a parent"],
)
def test_only_what_needs_no_conversion_is_a_candidate(
    pools: dict[str, Store], tmp_path: pathlib.Path, data: bytes, image_format: str | None, adopted: bool
) -> None:
    path = put(tmp_path / "one" / "name", data)
    wanted = [Wanted(hashlib.sha256(data).hexdigest(), len(data), image_format)]
    assert [item["path"] for item in candidates.find(pools, wanted, Rules())] == ([str(path)] if adopted else [])


def test_what_somebody_writes_is_no_candidate(pools: dict[str, Store], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "one" / "c")
    monkeypatch.setattr(in_use, "look", lambda descriptor: in_use.Use(True, ("domain web-1",)))
    assert found(pools) == []


def test_sources(pools: dict[str, Store], tmp_path: pathlib.Path) -> None:
    put(tmp_path / "one" / "images" / "x.raw")
    put(tmp_path / "other" / "x.raw")
    base = put_base(pools["one"])

    def look(path: str) -> dict[str, t.Any]:
        return candidates.look_at_path(pools, "one", path, Rules()).as_dict()

    nothing = {"problem": "", "note": "", "sha256": None, "etag": None, "last_modified": None, "listed": None, "compression": "none"}
    assert look("images/x.raw") == {"isreg": True, "size": 4096, **nothing}
    assert look("none.raw")["isreg"] is False
    assert look("images")["problem"] == "" and look("images")["isreg"] is False
    assert look("images/x.raw/y")["isreg"] is False
    assert look("a\0b")["isreg"] is False
    assert "lies outside" in look(str(tmp_path / "other/x.raw"))["problem"]
    assert "lies outside" in look("../other/x.raw")["problem"]
    assert "base store" in look(base.path)["problem"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://127.0.0.1:1/x?sig=secret", "loopback"),
        ("http://[::1", "not accepted"),
        ("file:///etc/shadow", "not accepted"),
        ("ftp://x/y", "not accepted"),
    ],
)
def test_urls_that_would_be_refused(pools: dict[str, Store], url: str, problem: str) -> None:
    seen = candidates.look_at_url(pools, "one", candidates.Web(url), Rules())
    assert problem in seen.problem
    assert "secret" not in seen.problem


def test_a_server_that_cannot_be_asked_is_no_problem_yet(pools: dict[str, Store]) -> None:
    seen = candidates.look_at_url(pools, "one", candidates.Web("http://127.0.0.1:1/x"), Rules(hosts=("127.0.0.1",)))
    assert (seen.there, seen.size_bytes, seen.problem) == (True, None, "")
    assert "cannot be fetched" in seen.note
