# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import MoveFailed, check_off, part_of, with_part
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._move.conftest import FakeDomain, Known

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


@pytest.mark.parametrize("link", ["machines", "machines/shop", "machines/shop/web-1"])
def test_no_step_of_a_migration_goes_through_a_link(known: t.Callable[..., Known], tmp_path: Path, link: str) -> None:
    here = known(None, None)
    place = tmp_path / "pool" / link
    place.parent.mkdir(parents=True, exist_ok=True)
    with here.host.alone(OWNER):
        pass
    place.symlink_to(tmp_path)
    with pytest.raises(UnsafePath, match=f"{place} is a symbolic link"):
        here.host.alone(OWNER)


def test_a_machine_that_was_started_is_not_moved() -> None:
    check_off(t.cast(t.Any, FakeDomain("off")), "web-1")
    with pytest.raises(MoveFailed, match=r"^web-1 was started before it could be moved"):
        check_off(t.cast(t.Any, FakeDomain("running")), "web-1")
