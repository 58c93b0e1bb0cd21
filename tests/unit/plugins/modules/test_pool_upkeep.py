# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._disk import upkeep
from ansible_collections.basecast.fleet.plugins.module_utils._disk.upkeep import Fault
from ansible_collections.basecast.fleet.plugins.modules import pool_upkeep

OURS = Fault("disk_record_stale", "one", "/x", "a record of /x", "drop the record", True, False)
THEIRS = Fault("parent_format", "one", "/y", "/y says raw", "qemu-img rebase", False, True)


@pytest.mark.parametrize(("check", "changed", "mended"), [(False, True, True), (True, True, False)])
def test_what_is_found_and_mended(check: bool, changed: bool, mended: bool, capsys: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "look", lambda stores: [OURS, THEIRS])
    monkeypatch.setattr(upkeep, "mend", lambda stores, faults: [(one, one.mends) for one in faults])
    with patch_module_args({"pools": {"one": "/one"}, "_ansible_check_mode": check, "_ansible_diff": True}), pytest.raises(SystemExit):
        pool_upkeep.main()
    told = json.loads(capsys.readouterr().out)
    assert told["changed"] is changed and told["diff"] == {"before": {"faults": ["a record of /x"]}, "after": {"faults": []}}
    assert [(one["kind"], one["mended"]) for one in told["faults"]] == [("disk_record_stale", mended), ("parent_format", False)]
    assert set(told["faults"][0]) == {"kind", "pool", "place", "found", "repair", "mends", "is_wrong", "mended"}
