# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._version import version


def test_a_checkout_tells_its_own() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", version())


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"MANIFEST.json": '{"collection_info": {"version": "1.2.3"}}', "galaxy.yml": "version: 0.1.0"}, "1.2.3"),
        ({"galaxy.yml": "name: fleet\nversion: 0.1.0\n"}, "0.1.0"),
        ({"MANIFEST.json": "{", "galaxy.yml": "version: 0.1.0"}, "0.1.0"),
        ({"MANIFEST.json": "[]"}, ""),
        ({"galaxy.yml": "name: fleet"}, ""),
        ({}, ""),
    ],
)
def test_what_is_installed_comes_first(tmp_path: Path, files: dict[str, str], told: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert version(tmp_path) == told
