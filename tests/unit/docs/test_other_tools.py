# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/other-tools.md: each row's keys are keys of a manifest that is read and planned."""

from __future__ import annotations

import copy
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from tests.unit.plugins.plugin_utils._plan.service.test_service_plan import held, host

PAGE = Path(__file__).resolve().parents[3] / "docs/other-tools.md"
KEYS, COMMANDS = PAGE.read_text().split("\n## ")[1:3]
BASE = held(names=[{"tenant": "default", "name": "debian-12", "version": "1"}])
PLAIN: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "debian-12", "version": "1"}],
    "machines": [
        {"name": "web", "count": 1, "memory_mib": 512, "disks": [{"name": "root", "base": "debian-12"}]},
        {"name": "db", "count": 1, "memory_mib": 512, "disks": [{"name": "root", "size_gib": 1}]},
    ],
}


def rows(section: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")]
    return {cells[0]: cells for cells in lines[1:]}


def planned(group: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    document = copy.deepcopy(PLAIN)
    document["machines"][0] |= group
    read = parse_manifest(document, "other-tools.md")
    there = [{**asked, "path": asked["name"], "size_bytes": 0, "problem": "", "used_by": []} for asked in read.get("resources", [])]
    return read, service_plan(read, {name: host(BASE, machine_xml=True, resources=there) for name in ("kvm1", "kvm2")})


def test_the_page_has_rows() -> None:
    assert len(rows(KEYS)) > 30
    assert len(rows(COMMANDS)) > 6
    assert {len(cells) for cells in [*rows(KEYS).values(), *rows(COMMANDS).values()]} == {7}


@pytest.mark.parametrize("what", rows(KEYS))
def test_a_row_is_read_and_planned(what: str) -> None:
    group = yaml.safe_load(f"{{{rows(KEYS)[what][-1].strip('`')}}}")
    read, plan = planned(group)
    assert plan["problems"] == []
    assert {machine["machine"] for machine in plan["machines"]} >= {"web-1", "db-1"}
    # What the row says is not what a group has without it, but for the row of the base itself.
    plain, _plan = planned({})
    assert (read["machines"][0] == plain["machines"][0]) == (group == {"disks": PLAIN["machines"][0]["disks"]})


@pytest.mark.parametrize("what", rows(COMMANDS))
def test_a_row_of_commands_is_one_of_ours(what: str) -> None:
    assert re.search(r"`ansible-(playbook -i inventory.yml basecast\.fleet|inventory)", rows(COMMANDS)[what][-1])
