# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import references, uploads
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job import half_clones, status
from ansible_collections.basecast.fleet.plugins.module_utils._job.alone import alone
from ansible_collections.basecast.fleet.plugins.module_utils._job.journal import Journal
from ansible_collections.basecast.fleet.plugins.module_utils._job.status import Request, look
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry, MoveJournal
from ansible_collections.basecast.fleet.plugins.module_utils._machine.records import ServiceRecords
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

from .conftest import Site
from .test_survey import put_disk

MACHINE: dict[str, t.Any] = {
    "tenant": "default",
    "service": "shop",
    "machine": "m-1",
    "domain": "shop-m-1",
    "running": True,
    "stands": False,
    "report": None,
    "problem": None,
}


@pytest.fixture(autouse=True)
def libvirt(monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """What libvirt tells, and of which tenant it was asked."""
    others = {"domains": 0, "running": 0, "memory_mib": 0, "unread": 0}
    told: dict[str, t.Any] = {"known": True, "reason": None, "machines": [dict(MACHINE)], "others": others}
    monkeypatch.setattr(status.inquiry, "roster", lambda *_args: told)
    monkeypatch.setattr(status.inquiry, "addresses", lambda *_args: {})
    return told


def request(site: Site, **changes: t.Any) -> Request:
    asked = Request(site.pools, "default", "test:///default", os.path.join(site.directory, "state"), site.runtime_dir, 10.0)
    return asked._replace(**changes)


def test_disks_are_told_with_what_they_are_based_on(site: Site) -> None:
    base = put_base(site.stores["one"], refer=[references.name_of("default", "tiny", "1")])
    mine = put_disk(site.pools["one"], "shop", f"../../../bases/{base.sha256}/disk")
    across = put_disk(site.pools["two"], "web", base.path)
    put_disk(site.pools["two"], "theirs", base.path, tenant="other")
    pools = look(request(site))["pools"]
    (one,), (two,) = pools["one"]["disks"], pools["two"]["disks"]
    assert (one["path"], one["service"], one["machine"], one["name"], one["base"]) == (mine, "shop", "m-1", "root", base.sha256)
    assert (two["path"], two["base"], two["in_store"]) == (across, base.sha256, False)
    assert pools["two"]["others"]["disks"] == 1
    every = look(request(site, tenant=None))["pools"]["two"]
    assert [disk["tenant"] for disk in every["disks"]] == ["other", "default"] and every["others"] == {"disks": 0, "bytes": 0}


HALF: dict[str, t.Any] = {
    "m-2": {"host": "a", "group": "m"},
    "m-3": {"host": None, "group": "m", "number": 3},
    "m-4": {"host": "a", "group": "m", "number": -1},
    "m-5": {"host": "a", "group": "m", "number": "5"},
}


def test_records_are_told_without_what_may_be_secret(site: Site) -> None:
    for tenant in ("default", "other"):
        record = {
            "generation": 3,
            "assignments": {"m-1": {"host": "a", "group": "m", "number": 1, "x": "secret"}, "../x": {}, **HALF},
            "manifest": {"bases": [{"name": "tiny", "version": "1", "sha256": "0" * 64}], "machines": [{"cloud_init": "secret"}]},
        }
        ServiceRecords(os.path.join(site.directory, "state"), tenant).write("shop", record)
    seen = look(request(site))
    assert "secret" not in str(seen)
    assert seen["services"] == [
        {
            "tenant": "default",
            "service": "shop",
            "generation": 3,
            "assignments": {"m-1": {"host": "a", "group": "m", "number": 1}},
            "bases": [{"name": "tiny", "version": "1", "sha256": "0" * 64}],
            "problem": None,
        }
    ]
    assert [one["tenant"] for one in look(request(site, tenant=None))["services"]] == ["default", "other"]


@pytest.mark.parametrize("content", ["[]", "{", '{"generation": true, "assignments": [1], "manifest": {"bases": 7}}'])
def test_a_strange_record_hides_nothing_else(content: str, site: Site) -> None:
    ServiceRecords(os.path.join(site.directory, "state"), "default").write("shop", {})
    with open(os.path.join(site.directory, "state/services/default/shop.json"), "w", encoding="utf-8") as file:
        file.write(content)
    seen = look(request(site))
    assert [one["assignments"] for one in seen["services"]] == [{}] and seen["machines"]
    assert seen["known"] is content.endswith("7}}")


def test_what_is_left_of_uploads_and_references(site: Site) -> None:
    store = site.stores["one"]
    store.refer("1" * 64, [references.name_of("default", "gone", "2"), references.tenant_of("default")])
    store.refer("2" * 64, [references.tenant_of("other")])
    path = uploads.make(store, "disk.img")
    with open(path, "wb") as file:
        file.write(b"x" * 8192)
    mine, every = (look(request(site, tenant=tenant))["pools"]["one"] for tenant in ("default", None))
    assert mine["references"] == [{"sha256": "1" * 64, "names": ["gone 2"]}] and mine["unfinished"] == []
    assert [one["sha256"] for one in every["references"]] == ["1" * 64, "2" * 64]
    assert [(one["path"], one["bytes"] >= 8192) for one in every["unfinished"]] == [(os.path.dirname(path), True)]


@pytest.mark.parametrize("running, wanted", [(True, [("10.0.0.7", "lease"), ("10.0.0.8", "report")]), (False, [("10.0.0.7", "lease")])])
def test_a_report_adds_addresses_that_nobody_else_knows(
    running: bool, wanted: list[tuple[str, str]], site: Site, libvirt: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    libvirt["machines"][0].update(running=running, report={"addresses": ["10.0.0.7", "10.0.0.8"]})
    leased = [{"address": "10.0.0.7", "mac": "52:54:00:00:00:01", "source": "lease"}]
    monkeypatch.setattr(status.inquiry, "addresses", lambda *_args: {"shop-m-1": leased})
    (machine,) = look(request(site))["machines"]
    assert [(one["address"], one["source"]) for one in machine["addresses"]] == wanted


def _break(*_args: t.Any) -> t.NoReturn:
    raise FleetError("It is broken.")


@pytest.mark.parametrize("part", ["machines", "addresses", "records", "host", "pool"])
def test_what_cannot_be_known_is_said(part: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    target, name = {
        "machines": (status.inquiry, "roster"),
        "addresses": (status.inquiry, "addresses"),
        "records": (status.ServiceRecords, "services"),
        "host": (status.capacity, "survey"),
        "pool": (status, "listing_problem"),
    }[part]
    broken = (lambda store: "It is broken." if store.pool == "two" else "") if part == "pool" else _break
    monkeypatch.setattr(target, name, broken)
    seen = look(request(site))
    # Machines whose addresses are not known are all the same known.
    assert seen["known"] is (part == "addresses")
    assert ("It is broken." in seen["reason"]) is (part != "addresses")
    assert seen["pools"]["one"]["known"] and seen["pools"]["two"]["known"] is (part != "pool")


def test_a_domain_that_cannot_be_read_may_be_a_machine(site: Site, libvirt: dict[str, t.Any]) -> None:
    libvirt["others"]["unread"] = 2
    seen = look(request(site))
    assert not seen["known"] and "2 domains cannot be read" in seen["reason"]


def test_clones_that_were_interrupted_are_told(site: Site) -> None:
    put_disk(site.pools["one"], "shop", "../parent")
    directory = os.path.join(site.pools["one"], "machines", "shop", "m-5")
    os.makedirs(directory)
    half_clones.write_note(directory, "m-1", False)
    (found,) = look(request(site))["pools"]["one"]["half_clones"]
    assert {**found, "bytes": 0} == {
        "path": directory, "bytes": 0, "tenant": "default", "service": "shop", "machine": "m-5", "of": "m-1"
    }  # fmt: skip
    assert look(request(site, tenant="other"))["pools"]["one"]["half_clones"] == []
    journal = Journal(site.runtime_dir, "default", "shop")
    with alone(journal, "shop", 1.0):
        assert look(request(site))["pools"]["one"]["half_clones"] == [], "a run is at work on it"


def test_a_machine_on_its_way_is_told_as_such(site: Site) -> None:
    MoveJournal(site.state_dir, "default", "shop").write(Entry("target", "arrived", "r", "m-1", "b", True, True, True, "one"))
    (machine,) = look(request(site))["machines"]
    assert machine["problem"].startswith("m-1: its migration from b has not ended")


def test_a_guest_that_was_left_standing_is_told(site: Site, libvirt: dict[str, t.Any]) -> None:
    libvirt["machines"] = [{**MACHINE, "stands": True}]
    with alone(Journal(site.runtime_dir, "default", "shop"), "shop", 1.0):
        assert look(request(site))["machines"][0]["problem"] is None, "a run is at work on it"
    libvirt["machines"] = [{**MACHINE, "stands": True}]
    (machine,) = look(request(site))["machines"]
    assert "stands still since a clone or a capture of it was interrupted" in machine["problem"] and "stands" not in machine
