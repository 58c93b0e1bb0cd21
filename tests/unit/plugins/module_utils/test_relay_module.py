# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.basecast.fleet.plugins.module_utils import _relay_module as relay_module


def test_the_fleet_stands_beside_the_node_and_not_in_it() -> None:
    told = {"run": "r", "bases": {}, "fleet": {"kvm1": {}}, "fleet_settled": True}
    node = {"run": "r", "bases": {}}
    assert relay_module.answer(told) == {"changed": False, "node": node, "fleet": {"kvm1": {}}, "fleet_settled": True}
    assert relay_module.answer({"run": "r"}, True) == {"changed": True, "node": {"run": "r"}}
