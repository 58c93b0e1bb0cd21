# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import part_of, with_part

OWNER = Owner("default", "shop", "web-1")
WEB, DB = {"name": "web", "disks": [{"base": "tiny"}], "cloud_init": {"a": 1}}, {"name": "db", "disks": [{"base": "big"}, {}]}
TINY, BIG = {"name": "tiny", "version": "1"}, {"name": "big", "version": "1"}


def record(machines: list[t.Any], bases: list[t.Any]) -> dict[str, t.Any]:
    manifest = {"machines": machines, "bases": bases}
    return {"format": 1, "service": "shop", "tenant": "default", "generation": 3, "assignments": {}, "manifest": manifest}


def test_a_part_has_one_group_and_its_bases() -> None:
    assert part_of(record([WEB, DB], [TINY, BIG]), "web") == {"format": 1, "manifest": {"machines": [WEB], "bases": [TINY]}}
    assert part_of(None, "web") == {}


@pytest.mark.parametrize(
    ("old", "machines", "bases"),
    [
        (None, [WEB], [TINY]),
        (record([DB], [BIG]), [DB, WEB], [BIG, TINY]),
        (record([{**WEB, "cloud_init": None}], [TINY]), [{**WEB, "cloud_init": None}], [TINY]),
    ],
)
def test_a_host_takes_what_it_lacks_and_keeps_what_it_has(old: t.Any, machines: list[t.Any], bases: list[t.Any]) -> None:
    merged = with_part(old, part_of(record([WEB], [TINY]), "web"), OWNER)
    assert merged is not None and merged["manifest"] == {"machines": machines, "bases": bases}
    assert (merged["service"], merged["tenant"]) == ("shop", "default")


def test_without_a_part_nothing_is_made() -> None:
    assert with_part(None, {}, OWNER) is None
    assert with_part(record([DB], [BIG]), {}, OWNER) == record([DB], [BIG])
