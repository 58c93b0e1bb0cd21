# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing that others plant below a pool leads elsewhere, blocks, or is taken for a file."""

from __future__ import annotations

import os
import socket
import stat
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_io
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._disk.safe_directory import SafeDirectory


@pytest.fixture
def victim(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("other") / "victim"
    path.write_bytes(b"precious")
    return str(path)


def plant(kind: str, path: str, victim: str) -> None:
    if kind == "link":
        os.symlink(victim, path)
    elif kind == "link to a directory":
        os.symlink(os.path.dirname(victim), path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif kind == "hard link":
        os.link(victim, path)
    else:
        os.mkdir(path)


@pytest.mark.parametrize("kind", ["link", "link to a directory", "pipe", "socket"])
@pytest.mark.parametrize("make", [False, True])
def test_no_step_leads_elsewhere(kind: str, make: bool, victim: str, tmp_path: t.Any) -> None:
    plant(kind, str(tmp_path / "a"), victim)
    with pytest.raises(UnsafePath, match="/a is a symbolic link or a file where a directory is expected; remove it"):
        SafeDirectory.open(str(tmp_path), "a", "b", make=make)
    assert os.listdir(os.path.dirname(victim)) == ["victim"]


@pytest.mark.parametrize("kind", ["link", "link to a directory", "pipe", "socket", "directory"])
def test_only_plain_files_are_read(kind: str, victim: str, tmp_path: t.Any) -> None:
    plant(kind, str(tmp_path / "x"), victim)
    with SafeDirectory.open(str(tmp_path)) as directory:
        for read in (directory.read, directory.tail):
            with pytest.raises(UnsafePath, match=r"/x is a .*, not a regular file; remove it"):
                read("x", 100)
        with pytest.raises(UnsafePath, match="/x is a"):
            directory.check_file("x")


@pytest.mark.parametrize("kind", ["link", "link to a directory", "pipe", "socket", "hard link"])
def test_what_was_planted_is_replaced_and_removed(kind: str, victim: str, tmp_path: t.Any) -> None:
    plant(kind, str(tmp_path / "x"), victim)
    with SafeDirectory.open(str(tmp_path)) as directory:
        directory.replace("x", b"mine", 0o600)
        assert directory.read("x", 100) == b"mine"
        assert directory.names() == ["x"]
        assert directory.remove("x") and not directory.remove("x")
    with open(victim, "rb") as file:
        assert file.read() == b"precious"


@pytest.mark.parametrize("write", ["in a safe directory", "by its path"])
def test_two_hosts_never_write_one_temporary_file(write: str, tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cloned hosts have one name, and processes of both one number."""
    monkeypatch.setattr(socket, "gethostname", lambda: "clone")
    monkeypatch.setattr(os, "getpid", lambda: 7)
    opened: list[str] = []
    real = os.open

    def noted(path: t.Any, flags: int, *rest: t.Any, **named: t.Any) -> int:
        if flags & os.O_EXCL:
            opened.append(os.path.basename(path))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", noted)
    for _host in range(2):
        if write == "by its path":
            file_io.replace_file(str(tmp_path / "x"), b"mine", 0o600)
        else:
            with SafeDirectory.open(str(tmp_path)) as directory:
                directory.replace("x", b"mine", 0o600)
    assert len(set(opened)) == 2
    assert os.listdir(tmp_path) == ["x"]


def test_a_directory_is_not_replaced(tmp_path: t.Any) -> None:
    (tmp_path / "x").mkdir()
    with SafeDirectory.open(str(tmp_path)) as directory:
        for act in (lambda: directory.replace("x", b"", 0o600), lambda: directory.remove("x")):
            with pytest.raises(UnsafePath, match="/x is a directory"):
                act()
        assert directory.names() == ["x"]


def test_a_file_with_another_name_is_no_place_to_write(victim: str, tmp_path: t.Any) -> None:
    os.link(victim, tmp_path / "x")
    with SafeDirectory.open(str(tmp_path)) as directory, pytest.raises(UnsafePath, match="has further names"):
        directory.check_file("x")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd"])
def test_names_are_names(name: str, tmp_path: t.Any) -> None:
    with SafeDirectory.open(str(tmp_path)) as directory:
        for act in (directory.has, directory.remove, lambda name: directory.replace(name, b"", 0o600)):
            with pytest.raises(UnsafePath, match="is not the name of a file"):
                act(name)


def test_directories_are_made_with_their_mode(tmp_path: t.Any) -> None:
    old = os.umask(0o077)
    try:
        SafeDirectory.open(str(tmp_path), "a", "b", make=True).close()
    finally:
        os.umask(old)
    assert [stat.S_IMODE(os.stat(tmp_path / path).st_mode) for path in ("a", "a/b")] == [0o711, 0o711]
    with pytest.raises(FileNotFoundError):
        SafeDirectory.open(str(tmp_path), "c")


def test_a_file_larger_than_any_that_was_written(tmp_path: t.Any) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    with SafeDirectory.open(str(tmp_path)) as directory:
        assert (directory.tail("x", 4), directory.tail("none", 4)) == (b"6789", b"")
        with pytest.raises(UnsafePath, match="has more than 9 bytes"):
            directory.read("x", 9)
