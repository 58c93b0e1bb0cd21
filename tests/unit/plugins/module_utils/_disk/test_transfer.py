# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import references, transfer
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError

from .conftest import put_base


def test_a_base_that_was_removed_meanwhile_is_not_copied(pools: dict[str, Store]) -> None:
    base = put_base(pools["one"])
    pools["one"].remove(base.sha256)
    with pytest.raises(FleetError, match="was removed from pool one while it was copied; run again"):
        transfer.clone_base(base, pools["one"], pools["two"], [references.tenant_of("blue")], 0.0)
    assert pools["two"].ids() == pools["two"].referred_ids() == []
