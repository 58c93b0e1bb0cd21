# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import outside
from ansible_collections.basecast.fleet.plugins.module_utils._disk.outside import Outside
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._job.resources import checked_permits, resources
from ansible_collections.basecast.fleet.plugins.module_utils._machine import host_devices
from ansible_collections.basecast.fleet.plugins.module_utils._machine.host_devices import Found

from .conftest import Site

ALL = {"volume": ["/*", "/*/*", "/*/*/*", "/*/*/*/*", "/*/*/*/*/*", "/*/*/*/*/*/*", "/*/*/*/*/*/*/*", "/*/*/*/*/*/*/*/*"]}


def ask(site: Site, name: str, permitted: t.Any, tenant: str = "default", **more: t.Any) -> list[dict[str, t.Any]]:
    asked = {"kind": "volume", "name": name, "pool": "one", "format": "raw", **more}
    return resources([asked], checked_permits(permitted, tenant), site.stores, "shop")


def put(site: Site, name: str) -> str:
    path = os.path.join(site.pools["one"], name)
    with open(path, "wb") as file:
        file.write(bytes(512))
    return os.path.realpath(path)


def test_what_is_permitted_and_there_is_told(site: Site) -> None:
    path = put(site, "a.raw")
    told = {"kind": "volume", "name": "a.raw", "pool": "one", "path": path, "size_bytes": 512, "problem": "", "used_by": []}
    assert ask(site, "a.raw", {"volume": [path]}) == [told]
    assert ask(site, "a.raw", {"volume": {"shop": [path]}}, tenant="shop") == [told]
    assert ask(site, "a.raw", {"volume": {"*": [path]}}, tenant="shop") == [told]


@pytest.mark.parametrize("permitted", [{}, {"block": ["/*"]}, {"volume": ["/a.raw"]}, {"volume": {"other": ["{}"]}}, {"volume": None}])
def test_nothing_is_told_of_what_is_not_permitted(site: Site, permitted: t.Any) -> None:
    path = put(site, "a.raw")
    given = {kind: {"other": [path]} if isinstance(one, dict) else one for kind, one in permitted.items()}
    assert ask(site, "a.raw", given) == []


def test_a_link_is_judged_by_where_it_leads(site: Site) -> None:
    path = put(site, "a.raw")
    link = os.path.join(site.pools["one"], "link.raw")
    os.symlink(path, link)
    assert ask(site, "link.raw", {"volume": [link]}) == []
    assert ask(site, "link.raw", {"volume": [path]})[0]["path"] == path


def test_a_star_finds_what_each_machine_has(site: Site) -> None:
    for number in (1, 2):
        put(site, f"web-{number}.raw")
    put(site, "db-1.raw")
    assert [one["name"] for one in ask(site, "web-*.raw", ALL)] == ["web-1.raw", "web-2.raw"]
    assert ask(site, "no-*.raw", ALL) == ask(site, "none", ALL) == ask(site, "a.raw", ALL, pool="no-pool") == []


def test_a_device_keeps_the_name_that_lasts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.path.join(site.directory, "by-id")
    os.symlink("/dev/null", link)
    users = ("domain shop-web-1", "domain crm-db-1", "process 7 (dd)")
    monkeypatch.setattr(outside, "look", lambda *_: Outside("/dev/null", 7, "is odd", users))
    (told,) = ask(site, link, {"block": [link]}, kind="block", pool=None)
    assert (told["name"], told["path"], told["problem"]) == (link, link, "is odd")
    assert told["used_by"] == ["another machine or program", "domain shop-web-1"], "others keep their names to themselves"
    assert ask(site, link, {"block": ["/dev/null"]}, kind="block", pool=None) == [], "after a restart it may lead elsewhere"
    monkeypatch.setattr(outside, "look", lambda *_: None)
    assert ask(site, link, {"block": [link]}, kind="block", pool=None) == []


@pytest.mark.parametrize("pattern", ["usb/3/7", "usb/3/*", "usb/*/*"])
def test_a_device_is_permitted_by_the_name_it_is_asked_by(site: Site, monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    found = Found("/sys/x", ("usb/0951:1666", "usb/3/7"), "is odd", ("domain crm-db-1",), ("0000:65:00.1",))
    monkeypatch.setattr(host_devices, "look", lambda name: found if name == "usb/3/7" else None)
    asked = {"kind": "device", "name": "usb/3/7", "pool": None}
    (told,) = resources([asked], checked_permits({"device": {"shop": [pattern]}}, "shop"), site.stores, "shop")
    assert (told["name"], told["path"], told["problem"], told["beside"]) == ("usb/3/7", "/sys/x", "is odd", ["0000:65:00.1"])
    assert told["used_by"] == ["another machine or program"]
    # After a restart another device may be 3/7.
    for permitted in ({}, {"device": ["usb/0951:1666", "usb/*", "pci/*"]}, {"device": {"crm": [pattern]}}):
        assert resources([asked], checked_permits(permitted, "shop"), site.stores, "shop") == []
    assert resources([{**asked, "name": "usb/3/8"}], checked_permits({"device": ["usb/*/*"]}, "shop"), site.stores, "shop") == []


def test_a_directory_is_permitted_by_its_true_path(site: Site, tmp_path: Path) -> None:
    (tmp_path / "shared/media/below").mkdir(parents=True)
    (tmp_path / "shared/link").symlink_to("/etc")
    top = os.path.realpath(tmp_path / "shared")

    def told(name: str, *patterns: str) -> list[str]:
        asked = {"kind": "share", "name": os.path.join(top, name), "pool": None}
        found = resources([asked], checked_permits({"share": list(patterns)}, "shop"), site.stores, "shop")
        return [os.path.relpath(one["name"], top) for one in found]

    assert told("media", f"{top}/media") == told("media", f"{top}/*") == ["media"]
    assert told("media", top) == told("media/below", f"{top}/*") == told("link", f"{top}/*") == told("media") == []
    assert told("*", f"{top}/*") == ["media"]


def test_permits_of_devices_begin_with_their_kind() -> None:
    with pytest.raises(InvalidOption, match=r"a list of patterns of devices, such as pci/0000:65:00.\*") as caught:
        checked_permits({"device": ["0000:65:00.0"]}, "default")
    assert "basecast_host_devices" in caught.value.message


@pytest.mark.parametrize("given", ["/dev/*", [1], ["dev/sda"], {"a": "/dev/*"}, {"a": [None]}])
def test_permits_that_are_no_patterns_are_refused(given: t.Any) -> None:
    with pytest.raises(InvalidOption, match="a list of patterns of absolute paths, or a mapping of tenants") as caught:
        checked_permits({"block": given}, "default")
    assert "basecast_block_devices" in caught.value.message
