# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import uploads
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

HOUR = 3600.0


@pytest.mark.parametrize("ahead_s", [0.0, 30 * HOUR, 72 * HOUR, 10_000 * HOUR, -30 * HOUR])
@pytest.mark.parametrize(("place_s", "file_s", "stays"), [(0, 0, True), (47, 47, True), (49, 1, True), (49, 49, False)])
def test_only_places_in_which_nothing_came_for_long_go(
    store: Store, monkeypatch: pytest.MonkeyPatch, ahead_s: float, place_s: float, file_s: float, stays: bool
) -> None:
    """By the storage's clock: this host's own may be off, and a large file may take longer than its place has been there."""
    path = uploads.make(store, "disk.img")
    with open(path, "wb") as file:
        file.write(b"x")
    now = time.time()
    os.utime(path, (now - file_s * HOUR,) * 2)
    os.utime(os.path.dirname(path), (now - place_s * HOUR,) * 2)
    monkeypatch.setattr(time, "time", lambda: now + ahead_s)
    uploads.make(store, "other.img")
    assert os.path.exists(path) is stays
