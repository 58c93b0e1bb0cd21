# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A path is what was written: Ansible's type path would replace $NAME and ~ in it, after templates and by the host's own
environment."""

from __future__ import annotations

import pathlib

import pytest

PLUGINS = pathlib.Path(__file__).resolve().parents[4] / "plugins"


@pytest.mark.parametrize("path", sorted([*PLUGINS.glob("modules/*.py"), *PLUGINS.glob("module_utils/**/*.py")]), ids=lambda path: path.stem)
def test_no_option_is_expanded(path: pathlib.Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in ('"type": "path"', "type: path\n", "expandvars", "expanduser"):
        assert word not in text
