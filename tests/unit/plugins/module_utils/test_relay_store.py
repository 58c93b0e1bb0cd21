# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils import _relay_store as relay_store
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PartialInUse, StorageFailed

METADATA = {"sha256": "1" * 64, "chunks_sha256": "2" * 64, "size_bytes": 10, "chunk_bytes": 4096}


def test_a_partial_in_use_is_not_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_store, "LOCK_S", 0.0)
    base = {"metadata": METADATA, "pool_path": str(tmp_path)}
    assert not relay_store.discarded(base)
    partial = Store(str(tmp_path)).partial("1" * 64)
    Path(partial.disk).write_bytes(b"half")
    assert not relay_store.discarded(base)
    assert Path(partial.disk).read_bytes() == b"half"
    partial.close()
    assert relay_store.discarded(base)
    assert not Path(partial.directory).exists()
    assert not relay_store.discarded(base)


def test_what_the_store_refuses_is_a_failure_of_the_pool(tmp_path: Path) -> None:
    shelf = relay_store.StoreShelf()
    claim = shelf.claim(str(tmp_path), "1" * 64)
    with pytest.raises(PartialInUse, match="Another run"):
        shelf.claim(str(tmp_path), "1" * 64)
    Path(claim.disk).write_bytes(b"half")
    with pytest.raises(StorageFailed, match="cannot be published"):
        claim.publish(METADATA, b"")
    claim.discard()
    with pytest.raises(StorageFailed, match="does not exist"):
        shelf.claim(str(tmp_path / "gone"), "1" * 64)
