# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils import _controller_files as files


def test_the_first_directory_that_has_it_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    (second / "shop.yml").write_text("ab")
    found = files.find("shop.yml", [str(first), str(second)])
    assert found == (str(second / "shop.yml"), [str(first / "shop.yml"), str(second / "shop.yml")], True, 2, "", ())
    (first / "shop.yml").write_text("abc")
    assert files.find("shop.yml", [str(first), str(second)]).path == str(first / "shop.yml")


def test_a_missing_file_names_every_place(tmp_path: Path) -> None:
    found = files.find("../x/shop.yml", [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "a")])
    assert (found.isreg, found.tried) == (False, [str(tmp_path / "x/shop.yml")])


@pytest.mark.parametrize("path", ["/etc/hostname", "~/x.yml"])
def test_an_absolute_path_is_looked_up_once(path: str) -> None:
    assert files.find(path, ["/a", "/b"]).tried == [os.path.expanduser(path)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "is a directory"),
        (os.mkfifo, "is a pipe"),
        (lambda path: path.symlink_to("/dev/null"), "is a device"),
        (lambda path: path.symlink_to(path.name), "cannot be looked at"),
    ],
    ids=["directory", "pipe", "device", "loop"],
)
def test_what_is_no_file_is_told_as_what_it_is(tmp_path: Path, make: t.Callable[[Path], None], words: str) -> None:
    assert files.find("a", [str(tmp_path), "/"]).other == ""
    make(tmp_path / "a")
    found = files.find("a", [str(tmp_path), "/"])
    assert (found.isreg, found.other.startswith(f"{tmp_path}/a {words}")) == (False, True), found
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a").write_text("")
    assert files.find("a", [str(tmp_path), str(tmp_path / "b")])[2:5] == (True, 0, "")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("images/a.qcow2", True),
        ("link.qcow2", True),  # leads into it
        ("{tmp}/images/below/b.qcow2", True),
        ("images/out.qcow2", False),  # leads out of it
        ("images/../secret", False),
        ("{tmp}/secret", False),
        ("{tmp}/images-too/c.qcow2", False),
        ("images/to-root/etc/hostname", False),
        ("~/secret", False),
        ("a\0b", False),
    ],
)
def test_a_file_lies_below_a_directory_that_is_given_out(tmp_path: Path, path: str, allowed: bool) -> None:
    for name in ("images/below", "images-too"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("images/a.qcow2", "images/below/b.qcow2", "images-too/c.qcow2", "secret"):
        (tmp_path / name).write_text("x")
    (tmp_path / "link.qcow2").symlink_to("images/a.qcow2")
    (tmp_path / "images/out.qcow2").symlink_to("../secret")
    (tmp_path / "images/to-root").symlink_to("/")
    found = files.find(path.format(tmp=tmp_path), [str(tmp_path)], [str(tmp_path / "images")])
    assert (found.isreg, bool(found.outside)) == (allowed, not allowed)
    if allowed:
        assert found.path == os.path.realpath(found.path), "another link in its place later leads nowhere else"


def test_files_outside_are_not_told_apart_from_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "there").write_text("x")
    told = [files.find(f"{tmp_path}/{name}", ["/"], [str(tmp_path / "images")]) for name in ("there", "nowhere")]
    assert [one._replace(path="", tried=[], outside=()) for one in told] == [files.Found("", [], False, 0)] * 2


def test_a_path_that_cannot_be_is_told(tmp_path: Path) -> None:
    assert "cannot be looked at" in files.find("x" * 300, [str(tmp_path)]).other
    assert "cannot be looked at" in files.find("a\0b", [str(tmp_path)]).other


def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    assert files.why_not_writable(str(tmp_path / "report.json")) is None
    assert "is a directory" in str(files.why_not_writable(str(tmp_path)))
    assert "does not exist" in str(files.why_not_writable(str(tmp_path / "none/report.json")))


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert files.sha256_of(str(tmp_path / "a")).startswith("e3b0c442")


def test_relative_paths_are_meant_from_here_or_the_playbook() -> None:
    assert files.directories("/here", ["site.yml", "../b/site.yml", "/c/site.yml"]) == ["/here", "/here", "/here/../b", "/c"]


def test_a_file_is_read_once_until_it_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memory = tmp_path / "x", tmp_path / "home" / "digests"
    path.write_bytes(b"one")
    os.utime(path, (1, 1))
    one = hashlib.sha256(b"one").hexdigest()
    read: list[t.Any] = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: read.append(given) or real(*given))
    assert [files.sha256_of(str(path), str(memory)) for _time in range(3)] == [one] * 3
    assert len(read) == 1
    path.write_bytes(b"two")  # of the same size, and with the old time
    os.utime(path, (1, 1))
    assert files.sha256_of(str(path), str(memory)) == hashlib.sha256(b"two").hexdigest()
    path.write_bytes(b"six")  # only just: it may be written again within the resolution of its times
    assert files.sha256_of(str(path), str(memory)) == files.sha256_of(str(path)) == hashlib.sha256(b"six").hexdigest()
    for note in memory.iterdir():
        note.write_text("[")
    assert files.sha256_of(str(path), str(memory)) == hashlib.sha256(b"six").hexdigest()


@pytest.mark.parametrize("memory", [None, "/dev/null/digests"])
def test_without_a_memory_it_is_read_each_time(tmp_path: Path, memory: str | None) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    assert files.sha256_of(str(path), memory) == hashlib.sha256(b"one").hexdigest()


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    assert not files.holds(str(path), "one")
    files.write(str(path), "one ✓")
    assert path.read_text() == "one ✓" and path.stat().st_mode & 0o777 == 0o600
    assert files.holds(str(path), "one ✓") and not files.holds(str(path), "one") and not files.holds(str(path), "one ✓ and more")


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.html"
    path.write_text("before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(str(path), "after")
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["run.html"]


def test_a_relative_directory_is_where_the_run_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, other = tmp_path / "project", tmp_path / "other"
    for directory in (project, other):
        directory.mkdir()
        (directory / "disk").write_bytes(b"1")
    (project / "link").symlink_to(other / "disk")
    monkeypatch.chdir(project)
    found = {name: files.find(name, [str(project)], ["."]) for name in ("disk", "link", "../other/disk", str(other / "disk"))}
    assert [name for name, one in found.items() if one.isreg] == ["disk"]
    assert all(one.outside for name, one in found.items() if name != "disk")


def test_a_public_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    files.write(str(path), "one", public=True)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o664)
    files.write(str(path), "two", public=True)
    assert path.read_text() == "two" and path.stat().st_mode & 0o777 == 0o664


def test_a_public_file_behind_a_link_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "hosts", tmp_path / "hosts"
    real.parent.mkdir()
    link.symlink_to(real)
    files.write(str(link), "one", public=True, before="")
    assert link.is_symlink() and real.read_text() == "one"


def test_what_another_run_has_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("theirs")
    assert not files.write(str(path), "ours", before="") and not files.write(str(path), "ours", before="older")
    assert path.read_text() == "theirs"
    assert files.write(str(path), "both", before="theirs") and path.read_text() == "both"
    path.unlink()
    assert not files.write(str(path), "ours", before="theirs") and not path.exists()


def test_only_files_are_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert files.why_not_writable(str(tmp_path / "pipe")) == f"{tmp_path}/pipe is a pipe; expected a file"
    assert files.why_not_writable("/dev/null") == "/dev/null is a device; expected a file"
