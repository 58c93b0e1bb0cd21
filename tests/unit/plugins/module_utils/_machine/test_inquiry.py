# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine import inquiry
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtError, LibvirtMissing
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machines import Machines
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

from .conftest import FakeHost


def test_machines_and_everything_beside_them_are_told(host: FakeHost, make_wish: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Machines(t.cast(t.Any, host)).ensure([make_wish("web-1"), make_wish("db-1", service="other")], start=True)
    monkeypatch.setattr(inquiry, "LibvirtHost", lambda uri: contextlib.nullcontext(host))
    monkeypatch.setattr(inquiry, "bridges", lambda: ["br0"])
    told = inquiry.inquire("test:///", {}, "default", "shop")
    assert told["known"] and [machine["machine"] for machine in told["machines"]] == ["web-1"]
    assert "actions" not in told["machines"][0] and "drift" not in told["machines"][0]
    assert [domain["domain"] for domain in told["domains"]] == ["other-db-1", "shop-web-1"]
    assert told["memory_mib"] == host.memory and told["offers"]["dns"] == {}
    assert (told["networks"], told["bridges"]) == ({"default": True, "lost": False}, ["br0"])


@pytest.mark.parametrize(
    "error, may_have, known",
    [(LibvirtMissing("No."), True, False), (LibvirtMissing("No."), False, True), (LibvirtError("No."), False, False)],
)
def test_no_answer_is_not_taken_as_nothing(error: Exception, may_have: bool, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_uri: str) -> t.NoReturn:
        raise error

    monkeypatch.setattr(inquiry, "LibvirtHost", refuse)
    monkeypatch.setattr(inquiry, "may_have_domains", lambda uri: may_have)
    told = inquiry.inquire("test:///", {}, "default", None)
    assert (told["known"], told["reason"], told["machines"], told["memory_mib"]) == (known, "No.", [], None)


def test_the_roster_has_the_machines_of_a_tenant_or_of_all(host: FakeHost, make_wish: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiry, "LibvirtHost", lambda uri: contextlib.nullcontext(host))
    for tenant, name in (("default", "web-1"), ("other", "db-1")):
        wish = make_wish(name, owner=Owner(tenant, "shop", name))
        Machines(t.cast(t.Any, host)).ensure([wish], start=tenant == "default")
    host.define("<domain><name>theirs</name><memory>1024</memory></domain>", "theirs")
    told = inquiry.roster("test:///", {}, "default")
    (machine,) = told["machines"]
    assert (machine["machine"], machine["state"], machine["running"], len(machine["disks"])) == ("web-1", "running", True, 1)
    assert told["known"] and told["others"] == {"domains": 2, "running": 0, "memory_mib": 0, "unread": 0}
    every = inquiry.roster("test:///", {}, None)
    assert [(one["tenant"], one["state"]) for one in every["machines"]] == [("default", "running"), ("other", "off")]
    host.unreadable.add("theirs")
    assert inquiry.roster("test:///", {}, None)["others"]["unread"] == 1


def test_the_surest_address_comes_first_and_each_once(host: FakeHost, make_wish: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inquiry, "LibvirtHost", lambda uri: contextlib.nullcontext(host))
    Machines(t.cast(t.Any, host)).ensure([make_wish("web-1"), make_wish("web-2")], start=True)
    host.known[1].is_running = False
    name, told = host.known[0].name, {"agent": ["10.0.0.1", "10.0.0.2"], "lease": ["10.0.0.1"], "arp": ["10.0.0.3"]}
    for source, addresses in told.items():
        host.leases[name, source] = [{"mac": "52:54:00:00:00:01", "address": address} for address in addresses]
    found = inquiry.addresses("test:///", "default")
    assert list(found) == [name]
    assert [(one["address"], one["source"]) for one in found[name]] == [("10.0.0.1", "agent"), ("10.0.0.2", "agent"), ("10.0.0.3", "arp")]


@pytest.mark.parametrize(
    "error, may_have, known",
    [(LibvirtMissing("No."), True, False), (LibvirtMissing("No."), False, True), (LibvirtError("No."), False, False)],
)
def test_no_roster_is_not_taken_as_an_empty_one(error: Exception, may_have: bool, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_uri: str) -> t.NoReturn:
        raise error

    monkeypatch.setattr(inquiry, "LibvirtHost", refuse)
    monkeypatch.setattr(inquiry, "may_have_domains", lambda uri: may_have)
    assert inquiry.roster("test:///", {}, None) == {"known": known, "reason": "No.", "machines": [], "others": None}
