# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.network_dns import Entry
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.dns_entries import conflicts
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import drift_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.update_plan import update_plan

from .test_service_plan import held, host, manifest

CARD = {"network": "default", "address": "192.0.2.10-192.0.2.20/24", "dns_entry": True}


def named(*cards: dict[str, t.Any], **more: t.Any) -> t.Any:
    return manifest(networks=list(cards) or [CARD], cloud_init={}, **more)


def planned(problem: str = "", entries: t.Sequence[dict[str, t.Any]] = ()) -> dict[str, t.Any]:
    facts = held(), {"networks": {"default": True}, "offers": {"dns": {"default": {"problem": problem, "entries": list(entries)}}}}
    return service_plan(named(), {name: host(facts[0], **facts[1]) for name in ("a", "b")})


def test_machines_are_recorded_with_their_entries() -> None:
    plan = planned()
    assert plan["problems"] == []
    assert plan["machines"][0]["spec"]["networks"][0] == {
        "network": "default",
        "model": "virtio",
        "address": "192.0.2.10/24",
        "dns_entry": True,
    }
    cards = [card for work in plan["hosts"].values() for machine in work["machines"] for card in machine["networks"]]
    assert all("dns_entry" not in card for card in cards), "the host has it from the record"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"address": "192.0.2.10", "names": ["printer"]}, "has 192.0.2.10 as printer, which is not an entry of web-1"),
        ({"address": "192.0.2.10", "names": []}, "has 192.0.2.10 as another name, which is not an entry of web-1"),
        ({"address": "192.0.2.77", "names": ["shop-web-1"]}, "has 192.0.2.77 as shop-web-1, which is not an entry of web-1"),
        ({"address": "192.0.2.77", "names": ["web-2.shop.internal"]}, "which is not an entry of web-2"),
    ],
)
def test_an_entry_of_somebody_else_is_foreseen(entry: dict[str, t.Any], told: str) -> None:
    problems = planned(entries=[entry])["problems"]
    assert problems and all("machines[0].networks: " in problem and told in problem for problem in problems)
    assert "virsh net-update default delete dns-host" in problems[0]


@pytest.mark.parametrize(
    "entry", [{"address": "192.0.2.10", "names": ["shop-web-1", "web-1.shop.internal"]}, {"address": "192.0.2.77", "names": ["printer"]}]
)
def test_what_is_in_nobodys_way_is_no_problem(entry: dict[str, t.Any]) -> None:
    assert planned(entries=[entry])["problems"] == []


def test_a_network_without_dns_is_foreseen() -> None:
    plan = planned("has its DNS switched off (<dns enable='no'>)")
    told = [*plan["problems"], *(machine["reason"] for machine in plan["machines"])]
    assert "cannot give its machines an entry in the DNS of the network 'default', which has its DNS switched off" in str(told)


@pytest.mark.parametrize("service", ["-".join(["long"] * 13), "shop."])
def test_a_name_that_is_none_in_the_dns(service: str) -> None:
    entry = Entry("default", "192.0.2.10", (f"{service}-web-1", f"web-1.{service}.internal"))
    assert "cannot be a name in the DNS" in next(conflicts([entry], "web-1", "a", {}))


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ({"bridge": "br0", "address": "192.0.2.10/24"}, "only libvirt's networks have a DNS, and the card is on a bridge"),
        ({"network": "default"}, "the card has no address that is known before its machine runs"),
    ],
)
def test_a_card_that_can_have_none(card: dict[str, t.Any], told: str) -> None:
    with pytest.raises(ManifestError, match=told):
        named({**card, "dns_entry": True})


def test_no_entry_is_the_same_as_nothing_said() -> None:
    plain = {"network": "default"}
    assert manifest(networks=[{**plain, "dns_entry": False}])["machines"] == manifest(networks=[plain])["machines"]


def test_a_missing_entry_is_a_note_and_no_reason_to_rebuild() -> None:
    first = planned()
    hosts = {name: host(held(), machines=[{**one, "running": True} for one in work["machines"]]) for name, work in first["hosts"].items()}
    for facts in hosts.values():
        for machine in facts["machines"]:
            machine["dns_missing"] = ["192.0.2.10"] if machine["machine"] == "web-1" else []
    again = service_plan(named(), hosts)
    assert "web-1 on a gets its entry in the DNS of its network again (192.0.2.10)" in again["notes"]
    assert drift_text(again["machines"]) == [] and update_plan(named(), hosts, {})["machines"] == []
