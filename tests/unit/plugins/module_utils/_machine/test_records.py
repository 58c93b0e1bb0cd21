# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.records import ServiceRecords


def test_records_are_kept_by_tenant_and_service(pool: str) -> None:
    one, other = ServiceRecords(pool, "default"), ServiceRecords(pool, "acme")
    one.write("shop", {"a": 1})
    one.write("blog", {"b": [2]})
    assert one.read("shop") == {"a": 1}
    assert one.read_all() == ({"blog": {"b": [2]}, "shop": {"a": 1}}, {})
    assert other.read("shop") is None
    assert other.read_all() == ({}, {})


def test_records_are_private(pool: str) -> None:
    ServiceRecords(pool, "default").write("shop", {})
    path = os.path.join(pool, "services", "default", "shop.json")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def test_a_record_can_be_removed_once(pool: str) -> None:
    records = ServiceRecords(pool, "default")
    records.write("shop", {})
    assert records.remove("shop")
    assert not records.remove("shop")
    assert records.services() == []


@pytest.mark.parametrize("content", ["{", "[]", "", "[" * 100000, '{"a":1,"a":2}', '{"a":NaN}', "\x00"])
def test_a_damaged_record_is_named(content: str, pool: str) -> None:
    records = ServiceRecords(pool, "default")
    records.write("shop", {})
    path = os.path.join(pool, "services", "default", "shop.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)
    with pytest.raises(FleetError, match=path):
        records.read("shop")
    records.write("blog", {"b": 1})
    known, unreadable = records.read_all()
    assert known == {"blog": {"b": 1}} and path in unreadable["shop"]


@pytest.mark.parametrize("place", ["services", "services/default", "services/default/shop.json"])
def test_planted_links_are_neither_read_nor_written(place: str, pool: str, tmp_path_factory: t.Any) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "default").mkdir()
    for folder in (other, other / "default"):
        (folder / "shop.json").write_text('{"secret": 1}')
    os.makedirs(os.path.join(pool, os.path.dirname(place)), exist_ok=True)
    target = {"services": other, "services/default": other / "default"}.get(place, other / "shop.json")
    os.symlink(target, os.path.join(pool, place))
    records = ServiceRecords(pool, "default")
    with pytest.raises(FleetError, match="symbolic link"):
        records.read("shop")
    if place.endswith(".json"):
        records.write("shop", {"a": 1})  # replaces the link
        assert records.read("shop") == {"a": 1}
    else:
        with pytest.raises(FleetError, match="symbolic link"):
            records.write("shop", {"a": 1})
    assert (other / "shop.json").read_text() == '{"secret": 1}'


@pytest.mark.parametrize("tenant, service", [("..", "shop"), ("default", "../shop"), ("default", "")])
def test_names_stay_inside_of_the_directory(tenant: t.Any, service: t.Any, pool: str) -> None:
    with pytest.raises(InvalidOption):
        ServiceRecords(pool, tenant).read(service)


def test_other_files_are_no_records(pool: str) -> None:
    records = ServiceRecords(pool, "default")
    records.write("shop", {})
    for name in (".new-x", "notes.txt", "a b.json"):
        with open(os.path.join(pool, "services", "default", name), "w", encoding="utf-8"):
            pass
    assert records.services() == ["shop"]
