# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_io, file_trees, references
from ansible_collections.basecast.fleet.plugins.module_utils._disk.glance import Glance
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._disk.survey import pool_contents

from .conftest import put_base


def test_a_look_at_a_pool_reads_each_file_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where bases have the same parents, and some are another tenant's."""
    parent, chain = None, []
    for number in range(4):
        owner = references.tenant_of("other" if number < 3 else "default")
        base = put_base(store, b"%d" % number, "qcow2", parent, refer=[owner])
        parent = base.sha256
        chain.append(parent)
    read, files = file_io.read_file, []
    monkeypatch.setattr(file_io, "read_file", lambda path, *rest: files.append(path) or read(path, *rest))
    seen = pool_contents(store, (), False, {}, "default")
    assert {base["sha256"] for base in seen["bases"]} == set(chain)
    assert len(files) == len(set(files)) > 8


def test_it_tells_what_the_store_tells(store: Store) -> None:
    base = put_base(store, refer=[references.pin_of("p")])
    glance = Glance(store)
    assert glance.bases() == store.bases() == [base] and glance.references(base.sha256) == [references.pin_of("p")]
    file_trees.remove_tree(base.directory)
    assert glance.bases() == [] and store.bases() == [], "what is not there any more is not listed"
