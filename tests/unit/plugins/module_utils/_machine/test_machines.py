# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machine import MachinesFailed
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry, MoveJournal
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

from .conftest import only, plant, refused, say, seeded

NAMED = {"networks": [{"network": "default", "address": "192.0.2.10/24", "dns_entry": True}]}
LAN = "<network><name>default</name><ip address='192.0.2.1'/></network>"


@pytest.mark.parametrize("action", ["ensure", "stop", "remove"])
def test_a_domain_without_our_metadata_is_left_alone(action: str, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    host.define("<domain><name>shop-web-1</name><uuid>u</uuid></domain>", "shop-web-1")
    host.known[0].start()
    told = r"shop-web-1 .UUID u. was not made by this collection and is left alone"
    if action == "ensure":
        refused(host, machines, [wish], told)
    else:
        found = (
            machines().stop([wish.owner], 1, True) if action == "stop" else machines().remove([wish.owner], {wish.owner: wish.directory})
        )
        assert only(found).reason == "foreign_domain"
        assert re.search(told, str(only(found).problem))
    assert host.known[0].running()


@pytest.mark.parametrize("action", ["ensure", "stop", "remove"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_machine_on_its_way_is_left_alone(
    action: str, exists: bool, host: t.Any, machines: t.Any, make_wish: t.Any, tmp_path: Path
) -> None:
    wish, state_dir = make_wish(), str(tmp_path / "state")
    if exists:
        machines().ensure([wish], start=True)
    known = [(domain.xml(), domain.running()) for domain in host.known]
    MoveJournal(state_dir, "default", "shop").write(Entry("source", "leaving", "r", "web-1", "b", True, True, True, "one"))
    here = machines(state_dir=state_dir)
    if action == "ensure":
        with pytest.raises(MachinesFailed, match="its migration to b has not ended") as raised:
            here.ensure([wish], start=True)
        assert [one["reason"] for one in raised.value.fields["failed"]] == ["moving"]
    else:
        found = here.stop([wish.owner], 1, True) if action == "stop" else here.remove([wish.owner], {wish.owner: wish.directory})
        assert (only(found).reason, only(found).actions) == ("moving", [])
    assert [(domain.xml(), domain.running()) for domain in host.known] == known


def test_another_tenants_machine_is_left_alone_without_names(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    theirs = make_wish(owner=Owner("acme", "shop", "web-1"))
    machines().ensure([theirs], start=False)
    refused(host, machines, [make_wish()], "belongs to another tenant")


def test_names_that_meet_in_the_domains_name_are_told_apart(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    machines().ensure([make_wish("b-1", service="shop-a")], start=False)
    refused(host, machines, [make_wish("a-b-1", service="shop")], "belongs to machine b-1 of service shop-a")


def test_query_tells_the_tenants_machines_and_all_domains(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wishes = [seeded(make_wish("web-2", number=2)), make_wish("web-1"), make_wish("db-1", service="data")]
    machines().ensure(wishes, start=False)
    theirs = make_wish(owner=Owner("acme", "theirs", "web-1"))
    machines().ensure([theirs], start=False)
    host.define("<domain><name>mail</name><uuid>u</uuid><memory unit='MiB'>64</memory></domain>", "mail")
    say(wishes[0])
    found = machines().query("default", "shop")
    assert [machine.owner.machine for machine in found] == ["web-1", "web-2"]
    assert [machine.report is not None for machine in found] == [False, True]
    assert [m.owner.machine for m in machines().query("default", None)] == ["db-1", "web-1", "web-2"]
    every = machines().domains.every_domain("default", "shop")
    assert [domain["domain"] for domain in every] == ["data-db-1", None, "shop-web-1", "shop-web-2", None]
    foreign = {
        "domain": None, "uuid": None, "service": None, "tenant": None, "machine": None, "macs": [], "addresses": [], "disk_bytes": None, "hugepages": None,
        "memory_mib": 64, "cpus": 1, "running": False, "problem": None,
    }  # fmt: skip
    assert every[1] == foreign
    assert every[4] == {**foreign, "memory_mib": theirs.memory_mib, "cpus": theirs.cpus, "macs": [theirs.owner.mac(0)]}
    assert (every[0]["service"], every[0]["machine"]) == ("data", "db-1")


@pytest.mark.parametrize("name", ["console.log", "report.log", "seed.json"])
@pytest.mark.parametrize("kind", ["pipe", "link", "directory"])
def test_what_is_planted_later_is_not_read(name: str, kind: str, machines: t.Any, make_wish: t.Any) -> None:
    bad, good = seeded(make_wish()), seeded(make_wish("web-2"))
    machines().ensure([bad, good], start=True)
    say(good)
    plant(os.path.join(bad.directory, name), kind)
    first, second = machines().query("default", "shop")
    assert second.report is not None
    assert "root:" not in json.dumps(first.result())
    assert os.path.join(bad.directory, name) in json.dumps(first.result())
    # It can still be removed, and what was planted goes with it (a directory does not).
    removed = only(machines().remove([bad.owner], {bad.owner: bad.directory}))
    assert (removed.problem is None) is (kind != "directory")
    assert os.path.exists("/etc/passwd")


def test_a_domain_that_libvirt_cannot_read_is_not_absent(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=True)
    host.unreadable.add("shop-web-1")
    with pytest.raises(MachinesFailed, match="may be web-1 or not"):
        machines().ensure([wish], start=True)
    assert "\x1b" not in machines().domains.every_domain("default", "shop")[0]["problem"]


@pytest.mark.parametrize("action", ["ensure", "stop", "remove"])
def test_every_machine_is_told_of_where_one_failed(action: str, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    mine, good = make_wish("web-1"), make_wish("web-2")
    machines().ensure([good], start=True)
    host.define("<domain><name>shop-web-1</name><uuid>u</uuid></domain>", "shop-web-1")
    owners = {wish.owner: wish.directory for wish in (mine, good)}
    if action == "ensure":
        with pytest.raises(MachinesFailed) as error:
            machines().ensure([mine, good], start=True)
        told = error.value.fields["machines"]
        assert [one["running"] for one in told] == [False, True]
        assert error.value.fields["failed"][0]["machine"] == "web-1"
        return
    host.on_shutdown = lambda domain: domain.destroy()
    first, second = machines().stop(list(owners), 1, False) if action == "stop" else machines().remove(list(owners), owners)
    assert first.reason == "foreign_domain"
    assert (second.problem, second.running) == (None, False)


def test_nothing_changes_where_a_name_is_taken(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.live["default"] = LAN.replace("<ip", "<dns><host ip='192.0.2.10'><hostname>printer</hostname></host></dns><ip")
    with pytest.raises(MachinesFailed, match=r"The DNS of the network default has 192\.0\.2\.10 as printer"):
        machines().ensure([make_wish(spec=NAMED)], start=True)
    assert host.known == []


def test_names_of_other_services_are_not_told(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    hosts = "".join(f"<host ip='192.0.2.{at}'><hostname>{name}</hostname></host>" for at, name in ((7, "printer"), (8, "shop-db-1")))
    host.live["default"] = LAN.replace("<ip", f"<dns>{hosts}</dns><ip")
    machines().ensure([make_wish(spec=NAMED)], start=False)
    told = [{"address": "192.0.2.7", "names": []}, {"address": "192.0.2.8", "names": ["shop-db-1"]}]
    assert machines().dns("shop") == {"default": {"problem": "", "entries": told}}
