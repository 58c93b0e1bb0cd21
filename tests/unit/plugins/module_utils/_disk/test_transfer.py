# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import access, references, transfer
from ansible_collections.basecast.fleet.plugins.module_utils._disk.access import User
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError

from .conftest import put_base


def test_a_base_that_was_removed_meanwhile_is_not_copied(pools: dict[str, Store]) -> None:
    base = put_base(pools["one"])
    pools["one"].remove(base.sha256)
    with pytest.raises(FleetError, match="was removed from pool one while it was copied; run again"):
        transfer.clone_base(base, pools["one"], pools["two"], [references.tenant_of("blue")], 0.0)
    assert pools["two"].ids() == pools["two"].referred_ids() == []


def test_reading_a_base_opens_no_directory(pools: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    store = pools["one"]
    base = put_base(store)
    os.chmod(store.directory, 0o700)
    monkeypatch.setattr(access, "qemu_user", lambda: User("libvirt-qemu", 64055, frozenset()))
    assert transfer.verify(base, store) == "" and os.path.exists(store.record_path(base.sha256))
    assert os.stat(store.directory).st_mode & 0o777 == 0o700
