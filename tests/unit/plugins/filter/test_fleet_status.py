# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.basecast.fleet.plugins.filter.fleet_status import fleet_status
from ansible_collections.basecast.fleet.plugins.filter.machine_hosts import machine_hosts
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_fleet_status import SILENT, look


@pytest.mark.parametrize("as_text", [True, False])
def test_a_text_and_a_structure_say_the_same(as_text: bool) -> None:
    told = look("web-1")
    status: t.Any = json.dumps(told["status"]) if as_text else told["status"]
    made = fleet_status({"a": {"status": status, "changed": False}, "b": SILENT}, addresses={"a": "192.0.2.9"})
    packed = fleet_status({"a": {"status": status}, "b": SILENT}, addresses={"a": "192.0.2.9"}, packed=True)
    assert json.loads(packed["json"]) == made and sorted(packed) == ["failures", "json", "ok", "text"]
    assert made["machines"][0]["host_address"] == "192.0.2.9" and not packed["ok"]
    assert machine_hosts(packed["json"]) == machine_hosts(made) and len(machine_hosts(made)) == 1


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "7", "null"])
def test_a_text_that_is_no_status_is_its_hosts_failure(text: str) -> None:
    made = fleet_status({"a": {"status": text}, "b": look("web-2")})
    assert list(made["unknown"]) == ["a"] and [one["machine"] for one in made["machines"]] == ["web-2"]


def test_an_unreachable_host_is_called_that() -> None:
    assert fleet_status({"a": {"unreachable": True, "msg": "no route"}})["unknown"] == {"a": "cannot be reached: no route"}


def test_a_misspelt_option_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match="adresses: unknown option"):
        fleet_status({}, adresses={})


def test_what_is_no_status_is_refused() -> None:
    for told in ("{", "[]", {}):
        with pytest.raises(AnsibleFilterError):
            machine_hosts(told)
