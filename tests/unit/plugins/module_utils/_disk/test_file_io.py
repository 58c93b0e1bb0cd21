# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_io
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import UnsafePath


def test_links_and_devices_are_not_opened(tmp_path: t.Any) -> None:
    os.symlink("/etc/hostname", tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    for name, told in (("link", "is a symbolic link where a file of the store is expected; remove it"), ("fifo", "is not a regular file")):
        with pytest.raises(UnsafePath, match=f"/{name} {told}"):
            file_io.open_regular(str(tmp_path / name))


def test_replacing_is_whole_or_nothing(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"older")
    file_io.replace_file(str(path), b"old", 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(file_io.os, "rename", fail)
    with pytest.raises(OSError, match="full"):
        file_io.replace_file(str(path), b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_directory_that_is_a_link_is_refused(tmp_path: t.Any) -> None:
    os.symlink(tmp_path, tmp_path / "link")
    with pytest.raises(UnsafePath):
        file_io.ensure_directory(str(tmp_path / "link"))
    assert file_io.ensure_directory(str(tmp_path / "new")) is True
    assert file_io.ensure_directory(str(tmp_path / "new")) is False
