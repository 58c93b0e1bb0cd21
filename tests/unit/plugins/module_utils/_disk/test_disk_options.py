# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.disk_options import checked_disk, disk_arguments, disk_difference
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption

POOLS = {"default": "/p", "fast": "/f"}


def entry(**changes: t.Any) -> dict[str, t.Any]:
    return {**{name: spec.get("default") for name, spec in disk_arguments().items()}, "machine": "web-1", "name": "root", **changes}


def test_defaults_are_filled_in() -> None:
    wish = checked_disk(entry(), POOLS)
    assert (wish.pool, wish.differencing, wish.backend) == ("default", True, "qcow2")
    assert checked_disk(entry(name=None), POOLS, "absent").pool is None


@pytest.mark.parametrize(
    "changes, option",
    [
        ({"machine": "../x"}, "disks[].machine"),
        ({"name": None}, "disks[].name"),
        ({"name": "a/b"}, "disks[].name"),
        ({"pool": "slow"}, "disks[].pool"),
        ({"base_pool": "slow"}, "disks[].base_pool"),
        ({"base": "xyz"}, "disks[].base"),
        ({"size_bytes": 0}, "disks[].size_bytes"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, t.Any], option: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        checked_disk(entry(**changes), POOLS)
    assert caught.value.fields["option"] == option


def test_a_diff_shows_what_changes() -> None:
    shown = {"machine": "m", "name": "root", "pool": "p", "base": None, "virtual_size_bytes": 8, "image_format": "qcow2", "backing": None}
    results = [
        {**shown, "path": path, "action": action}
        for path, action in (("/a", "created"), ("/b", "resized"), ("/c", "none"), ("/d", "removed"))
    ]
    diff = disk_difference(results, {"/b": 4, "/c": 8, "/d": 8})
    assert [(disk["path"], disk["virtual_size_bytes"]) for disk in diff["before"]["disks"]] == [("/b", 4), ("/d", 8)]
    assert [disk["path"] for disk in diff["after"]["disks"]] == ["/a", "/b"]
