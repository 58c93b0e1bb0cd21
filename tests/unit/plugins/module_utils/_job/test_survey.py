# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import references
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._disk.survey import survey as pools_survey
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job import survey
from ansible_collections.basecast.fleet.plugins.module_utils._job.claims import Claim, Claims
from ansible_collections.basecast.fleet.plugins.module_utils._job.resources import Permits
from ansible_collections.basecast.fleet.plugins.module_utils._job.survey import Request, observe
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry, MoveJournal
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._machine.records import ServiceRecords
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base, qcow2

from .conftest import Site

NOTHING: dict[str, t.Any] = {
    "known": True, "reason": None, "machines": [], "domains": [], "uuids": [], "networks": {}, "bridges": [],
    "offers": {"firmware": ["bios"]}, "memory_mib": None
}  # fmt: skip


@pytest.fixture(autouse=True)
def libvirt(monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """What libvirt tells."""
    told = dict(NOTHING)
    monkeypatch.setattr(survey.inquiry, "inquire", lambda *_args: told)
    return told


def request(site: Site, **changes: t.Any) -> Request:
    asked: dict[str, t.Any] = {
        "pools": site.pools,
        "tenant": "default",
        "service": "shop",
        "uri": "test:///default",
        "state_dir": os.path.join(site.directory, "state"),
        "address": "127.0.0.1",
        "ports": (47700, 47701),
        "port_range": "47700-47701",
        "limit_s": 10.0,
    }
    return Request(**{**asked, **changes})


def test_what_is_there_already_is_looked_at_where_that_is_permitted(site: Site) -> None:
    path = os.path.realpath(site.pools["one"]) + "/mine.raw"
    with open(path, "wb") as file:
        file.write(bytes(512))
    asked = [{"kind": "volume", "name": "mine.raw", "pool": "one", "format": "raw"}]
    permits = Permits({"volume": (path,)})
    assert [one["path"] for one in observe(request(site, resources=asked, permits=permits))["resources"]] == [path]
    assert observe(request(site, resources=asked))["resources"] == observe(request(site))["resources"] == []


def put_disk(pool: str, service: str, base: str, tenant: str = "default") -> str:
    directory = os.path.join(pool, "machines", service, "m-1")
    os.makedirs(directory)
    with open(os.path.join(os.path.dirname(directory), ".owner.json"), "w", encoding="utf-8") as file:
        json.dump({"format": 1, "tenant": tenant}, file)
    path = os.path.join(directory, "root.qcow2")
    with open(path, "wb") as file:
        file.write(qcow2(backing=base, backing_format="raw"))
    return path


@pytest.mark.parametrize("counted, told", [(14_336, 14_336), (40_960, 24_576), (None, 24_576), (0, 24_576)])
def test_the_lesser_of_what_libvirt_and_the_kernel_call_memory_counts(
    site: Site, libvirt: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch, counted: int | None, told: int
) -> None:
    monkeypatch.setattr(survey.capacity, "_memory", lambda: {"MemTotal": 24_576, "MemAvailable": 20_000})
    libvirt["memory_mib"] = counted
    assert observe(request(site))["capacity"]["memory_mib"] == told


def test_pools_are_told_as_the_small_module_tells_them(site: Site) -> None:
    base = put_base(site.stores["one"], refer=[references.tenant_of("default"), references.tenant_of("other")])
    mine = put_disk(site.pools["one"], "shop", f"../../../bases/{base.sha256}/disk")
    across = put_disk(site.pools["two"], "web", base.path)
    put_disk(site.pools["two"], "theirs", base.path, tenant="other")
    seen = observe(request(site))
    wanted = pools_survey(site.stores, tenant="default")["pools"]
    for name, pool in wanted.items():
        assert seen["pools"][name] == {**pool, "known": True, "error": None}
    assert seen["pools"]["one"]["bases"][0]["users"] == sorted([mine, across])
    assert seen["capacity"]["pools"]["one"]["promised_bytes"] > 0
    assert (seen["format"], seen["reachable"], seen["known"], seen["reason"]) == (1, True, True, "")
    assert abs(seen["clock_s"] - time.time()) < 60
    assert seen["ports_free"] and seen["address_local"] and seen["capacity"]["cpus"] > 0


def test_the_record_and_the_absence_of_one(site: Site) -> None:
    assert observe(request(site))["record"] is None
    ServiceRecords(os.path.join(site.directory, "state"), "default").write("shop", {"format": 1, "x": "\x1b[0m"})
    assert observe(request(site))["record"] == {"format": 1, "x": "\x1b[0m"}


def test_machines_on_their_way_are_told(site: Site) -> None:
    assert observe(request(site))["moves"] == []
    journal = MoveJournal(site.state_dir, "default", "shop")
    journal.write(Entry("source", "leaving", "r", "web-1", "b", True, True, True, "one"))
    assert observe(request(site))["moves"] == [{"machine": "web-1", "side": "source", "peer": "b"}]
    assert observe(request(site, tenant="acme"))["moves"] == []


def _hang(*_args: t.Any) -> t.NoReturn:
    time.sleep(60)
    raise AssertionError


def _break(*_args: t.Any) -> t.NoReturn:
    raise FleetError("It is broken.")


@pytest.mark.parametrize("how, reason", [(_hang, "no answer within 3 s"), (_break, "It is broken.")])
@pytest.mark.parametrize("part", ["pool", "machines", "record", "moves", "host"])
def test_what_cannot_be_known_is_said_and_hides_nothing(
    part: str, how: t.Any, reason: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = put_base(site.stores["one"])
    if part == "pool":
        scan = survey.users.scan
        monkeypatch.setattr(survey.users, "scan", lambda stores: how() if "two" in stores else scan(stores))
    else:
        target, name = {
            "machines": (survey.inquiry, "inquire"),
            "record": (survey.ServiceRecords, "read"),
            "moves": (survey.MoveJournal, "machines"),
            "host": (survey.capacity, "packages"),
        }[part]
        monkeypatch.setattr(target, name, how)
    seen = observe(request(site, limit_s=3.0 if how is _hang else 10.0))
    assert not seen["known"] and reason in seen["reason"]
    assert [one["sha256"] for one in seen["pools"]["one"]["bases"]] == [base.sha256]
    if part == "pool":
        for told in (seen["pools"]["two"], seen["capacity"]["pools"]["two"]):
            assert (told["known"], told["exists"], reason in told["error"]) == (False, None, True)
    parts = {name: told["known"] for name, told in seen["parts"].items()}
    assert [name for name, known in parts.items() if not known] == ["pool:two" if part == "pool" else part]


def test_libvirt_that_cannot_be_asked_is_not_taken_as_empty(site: Site, libvirt: dict[str, t.Any]) -> None:
    libvirt.update(known=False, reason="Cannot connect to libvirt.", networks=None)
    seen = observe(request(site))
    assert (seen["known"], seen["reason"], seen["networks"]) == (False, "Cannot connect to libvirt.", None)


def test_a_machine_that_is_there_already_is_not_counted_as_claimed(site: Site, libvirt: dict[str, t.Any]) -> None:
    """Its run gives its part back a little after the domain is there. What it takes of pools stays claimed: they were looked at by then."""
    pools = {"one": {"bytes": 10, "growth_bytes": 20}}
    uses = [{"name": f"m-{n}", "cpus": 2, "memory_mib": 100, "disk_bytes": 5, "pools": pools} for n in (1, 2)]
    claims = Claims(os.path.join(site.directory, "state"))
    assert not claims.take(Claim("default", "other", "r1", uses), 60)
    (all_of_it,) = observe(request(site))["claims"]
    assert (all_of_it["machines"], all_of_it["cpus"], all_of_it["memory_mib"], all_of_it["disk_bytes"]) == (2, 4, 200, 10)
    libvirt["uuids"] = [Owner("default", "other", "m-1").domain_uuid, Owner("default", "shop", "m-2").domain_uuid]
    (rest,) = observe(request(site))["claims"]
    assert (rest["machines"], rest["cpus"], rest["memory_mib"], rest["disk_bytes"]) == (1, 2, 100, 5)
    assert rest["pools"] == all_of_it["pools"] == {"one": {"bytes": 20, "growth_bytes": 40}}


def test_xml_of_a_manifest_is_judged_where_it_is_asked_for(site: Site) -> None:
    group = {"name": "web", "cpus": 1, "memory_mib": 512, "hardware": {"xml": [{"path": "devices", "add": "<sund/>"}]}}
    asked = request(site, check_xml=[group], run=lambda command: (1, "", "no such element"))
    assert "no such element" in observe(asked)["xml_problems"]["web"]
    assert observe(request(site))["xml_problems"] == {}


def test_no_base_costs_a_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each part, and no program."""
    for number in range(5):
        put_disk(site.pools["one"], f"s{number}", put_base(Store(site.pools["one"], pool="one"), b"%d" % number).path)
    began: list[int] = []
    fork = os.fork
    monkeypatch.setattr(survey.os, "fork", lambda: began.append(1) or fork())
    seen = observe(request(site, run=lambda arguments: pytest.fail(arguments[0])))
    assert len(seen["pools"]["one"]["bases"]) == 5 and len(began) == len(seen["parts"])
