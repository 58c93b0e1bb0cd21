# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible_collections.basecast.fleet.plugins.module_utils._disk import attributes, file_trees


def test_removing_a_tree_follows_no_links(tmp_path: t.Any) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "file").write_bytes(b"x")
    (tmp_path / "tree").mkdir()
    os.symlink(tmp_path / "keep", tmp_path / "tree" / "link")
    (tmp_path / "tree" / "file").write_bytes(b"x")
    attributes.set_immutable(str(tmp_path / "tree" / "file"), True)
    file_trees.remove_tree(str(tmp_path / "tree"))
    assert sorted(os.listdir(tmp_path)) == ["keep"]
    assert os.listdir(tmp_path / "keep") == ["file"]
