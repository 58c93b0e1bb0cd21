# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import socket
import stat

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.regular_file import open_regular


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT], ids=["read", "made"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "directory", "socket", "device"])
def test_nothing_else_is_opened(tmp_path: pathlib.Path, kind: str, flags: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path, victim = tmp_path / "x", tmp_path / "victim"
    victim.write_bytes(b"mine")
    if kind in ("link", "dangling"):
        path.symlink_to(victim if kind == "link" else tmp_path / "new")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x")
    else:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(str(path), flags)
    assert sorted(os.listdir(tmp_path)) == ["victim", "x"] and victim.read_bytes() == b"mine"


def test_a_file_is_made_only_where_that_is_wanted(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(str(tmp_path / "x"))
    os.close(open_regular(str(tmp_path / "x"), os.O_RDWR | os.O_CREAT, 0o600))
    descriptor = open_regular(str(tmp_path / "x"), os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"ours")
    os.close(descriptor)
    assert (tmp_path / "x").read_bytes() == b"ours"
