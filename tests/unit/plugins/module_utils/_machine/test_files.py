# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.files import (
    check_pool,
    make_directory,
    read_tail,
    remove,
    write_whole,
)


def test_directories_can_be_passed_through_whatever_the_umask(pool: str) -> None:
    old = os.umask(0o077)
    try:
        make_directory(os.path.join(pool, "a", "b"))
    finally:
        os.umask(old)
    for path in ("a", "a/b"):
        assert stat.S_IMODE(os.stat(os.path.join(pool, path)).st_mode) == 0o711


def test_a_file_is_replaced_whole_and_private(pool: str) -> None:
    path = os.path.join(pool, "file")
    write_whole(path, b"one")
    os.chmod(path, 0o644)
    write_whole(path, b"two")
    with open(path, "rb") as file:
        assert file.read() == b"two"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(pool) == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(pool: str, monkeypatch: t.Any) -> None:
    path = os.path.join(pool, "file")
    write_whole(path, b"one")

    def fail(*_args: t.Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"two")
    with open(path, "rb") as file:
        assert file.read() == b"one"
    assert os.listdir(pool) == ["file"]


def test_tail_and_removal_of_what_is_not_there(pool: str) -> None:
    path = os.path.join(pool, "file")
    assert read_tail(path, 10) == b""
    assert not remove(path)
    write_whole(path, b"0123456789")
    assert read_tail(path, 4) == b"6789"
    assert remove(path)


def test_a_missing_pool_is_named() -> None:
    with pytest.raises(FleetError, match="/nowhere/pool does not exist"):
        check_pool("/nowhere/pool")
