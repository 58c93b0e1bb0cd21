# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.files import check_pool, make_directory, read_tail


def test_directories_can_be_passed_through_whatever_the_umask(pool: str) -> None:
    old = os.umask(0o077)
    try:
        make_directory(os.path.join(pool, "a", "b"))
    finally:
        os.umask(old)
    for path in ("a", "a/b"):
        assert stat.S_IMODE(os.stat(os.path.join(pool, path)).st_mode) == 0o711


def test_the_tail_of_a_file_that_may_not_be_there(pool: str) -> None:
    path = Path(pool, "file")
    assert read_tail(str(path), 10) == b""
    path.write_bytes(b"0123456789")
    assert read_tail(str(path), 4) == b"6789"


def test_a_missing_pool_is_named() -> None:
    with pytest.raises(FleetError, match="/nowhere/pool does not exist"):
        check_pool("/nowhere/pool")
