# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.addresses import (
    address_of,
    address_problems,
    block_of,
    network_config,
)
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.clone_plan import clone_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import drift_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.fleet_status import _spec
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_text import plan_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import held, host, manifest

PAGE = (Path(__file__).resolve().parents[6] / "docs" / "hardware.md").read_text()
LAN = {"bridge": "br0"}


@pytest.mark.parametrize(
    ("given", "version", "found"),
    [
        ("192.0.2.7/24", 4, ["192.0.2.7/24", None]),
        ("192.0.2.254/24", 4, ["192.0.2.254/24", None]),
        ("192.0.2.7-192.0.2.8/24", 4, ["192.0.2.7/24", "192.0.2.8/24", None]),
        (" 192.0.2.7 - 192.0.2.8/24 ", 4, ["192.0.2.7/24", "192.0.2.8/24", None]),
        (["192.0.2.9/24", "10.0.0.1-10.0.0.2/8", "192.0.2.1/30"], 4, ["192.0.2.9/24", "10.0.0.1/8", "10.0.0.2/8", "192.0.2.1/30", None]),
        ("192.0.2.1{{ machine.number }}/24", 4, ["192.0.2.11/24", "192.0.2.12/24"]),
        ("192.0.2.0-192.0.2.1/31", 4, ["192.0.2.0/31", "192.0.2.1/31", None]),
        ("192.0.2.5/32", 4, ["192.0.2.5/32", None]),
        ("10.0.255.254-10.1.0.1/8", 4, ["10.0.255.254/8", "10.0.255.255/8", "10.1.0.0/8", "10.1.0.1/8", None]),
        ("2001:db8::9-2001:db8::a/64", 6, ["2001:db8::9/64", "2001:db8::a/64", None]),
        ("2001:db8::ffff:ffff:ffff:ffff/64", 6, ["2001:db8::ffff:ffff:ffff:ffff/64", None]),
        ("::1:{{ machine.number }}/64", 6, ["::1:1/64", "::1:2/64"]),
    ],
)
def test_each_machine_has_the_address_of_its_number(given: t.Any, version: int, found: list[str | None]) -> None:
    assert [address_of(given, version, f"web-{number}") for number in range(1, len(found) + 1)] == found


@pytest.mark.parametrize(
    ("text", "version", "told"),
    [
        ("192.0.2.7", 4, "it needs the length of its network's prefix"),
        ("192.0.2.7/", 4, "prefix"),
        ("192.0.2.7/33", 4, "expected an address such as"),
        ("192.0.2.7/255.255.255.0", 4, "prefix"),
        ("192.0.2.300/24", 4, "expected an address such as 192.0.2.10/24"),
        ("192.0.2.07/24", 4, "expected an address"),
        ("web-1/24", 4, "expected an address"),
        ("192.0.2.9-192.0.2.8/24", 4, "it ends before it begins"),
        ("192.0.2.9-192.0.3.8/24", 4, "192.0.3.8 is outside of the network 192.0.2.0/24"),
        ("192.0.2.0/24", 4, "192.0.2.0 is the network 192.0.2.0/24 itself"),
        ("192.0.2.250-192.0.2.255/24", 4, "192.0.2.255 is the broadcast address of 192.0.2.0/24"),
        ("224.0.0.5/24", 4, "a multicast address"),
        ("127.0.0.1/8", 4, "a loopback address"),
        ("2001:db8::1/64", 4, "expected an address such as 192.0.2.10/24"),
        ("192.0.2.1/24", 6, "expected an address such as 2001:db8::10/64"),
        ("2001:db8::/64", 6, "itself"),
        ("fe80::1%eth0/64", 6, "expected an address"),
        ("192.0.2.1-/24", 4, "expected an address"),
        ("192.0.2.1-5/24", 4, "or a range such as 192.0.2.10-192.0.2.30/24"),
    ],
)
def test_an_address_that_no_machine_can_have(text: str, version: int, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        block_of(text, version)
    assert str(caught.value).startswith(repr(text))


def errors(*groups: dict[str, t.Any]) -> list[str]:
    usual = {"count": 2, "cloud_init": {}, "disks": [{"name": "root", "size_gib": 1}]}
    whole = [{"name": f"g{index}", **usual, **group} for index, group in enumerate(groups)]
    try:
        parse_manifest({"format": 1, "service": "shop", "machines": whole}, "m")
    except ManifestError as error:
        return t.cast("list[str]", error.fields["errors"])
    return []


RANGE = "192.0.2.10-192.0.2.19/24"


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ({"address": ["192.0.2.10/24"]}, "machines[0].networks[0].address: 1 address for 2 machines; give one for each"),
        ({"address": []}, "networks[0].address: [] is not accepted; addresses of IPv4 are a list"),
        ({"address": 5}, "address: 5 is not accepted"),
        ({"address": [5, 6]}, "address: [5, 6] is not accepted"),
        ({"address": "192.0.2.{{ machine.nmber }}/24"}, "'{{ machine.nmber }}' is not accepted; did you mean machine.number?"),
        ({"address": "192.0.2.{{ host }}/24"}, "'{{ host }}' is not accepted"),
        ({"address": "192.0.2.25{{ machine.number }}/24"}, ""),
        ({"address": "192.0.2.9{{ machine.number }}9/24"}, "address: of g0-1: '192.0.2.919/24' is not accepted"),
        ({"address": "{{ machine.name }}/24"}, "address: of g0-1: 'g0-1/24' is not accepted"),
        ({"address": "192.0.2.{{ machine.number }}-192.0.2.9/24"}, "a template makes one address"),
        ({"address": ["192.0.2.10/24", "192.0.2.10/24"]}, "192.0.2.10 is given twice (networks[0] of g0, networks[0] of g0)"),
        ({"address": [RANGE, "192.0.2.15/24"]}, "192.0.2.15 is given twice"),
        ({"address": [RANGE, "192.0.2.15/28"]}, "is not accepted; 192.0.2.15 is the broadcast address of 192.0.2.0/28"),
        ({"address": RANGE, "dhcp": True}, "networks[0].dhcp: it is true, and the card has an address of its own"),
        ({"address": RANGE, "dhcp": "yes"}, "networks[0].dhcp: it is true"),
        ({"address": RANGE, "dhcp": False}, ""),
        ({"address6": "2001:db8::{{ machine.number }}/64", "dhcp": True}, ""),
        (
            {"address": RANGE, "gateway": "192.0.3.1"},
            "gateway: '192.0.3.1' is not accepted; it is outside of the network 192.0.2.0/24 of the machines",
        ),
        ({"address": RANGE, "gateway": "192.0.2.255"}, "gateway: '192.0.2.255' is not accepted; it is the broadcast address"),
        ({"address": RANGE, "gateway": "192.0.2.12"}, "gateway: '192.0.2.12' is not accepted; it is among the addresses of the machines"),
        ({"address": RANGE, "gateway": "2001:db8::1"}, "gateway: '2001:db8::1' is not accepted; an address of IPv4 is expected"),
        ({"address": RANGE, "gateway": "router"}, "gateway: 'router' is not accepted"),
        ({"address": RANGE, "gateway": "192.0.2.1"}, ""),
        ({"address6": "2001:db8::5-2001:db8::9/64", "gateway6": "fe80::1"}, ""),
        ({"gateway": "192.0.2.1"}, "gateway: there is no address to go with it"),
        ({"address6": "2001:db8::5-2001:db8::9/64", "gateway": "192.0.2.1"}, "gateway: there is no address to go with it"),
        ({"address": RANGE, "dns": ["192.0.2.999"]}, "dns: '192.0.2.999' is not accepted; the address of a name server"),
        ({"address": RANGE, "dns": "192.0.2.3"}, "dns: '192.0.2.3' is not accepted"),
        ({"address": RANGE, "search": ["-x"]}, "search[0]: '-x' is not accepted"),
        (
            {"address": RANGE, "routes": [{"to": "198.51.100.7/24", "via": "192.0.2.1"}]},
            "routes: '198.51.100.7/24' is not accepted; a network such as 198.51.100.0/24 is expected",
        ),
        (
            {"address": RANGE, "routes": [{"to": "198.51.100.0/24", "via": "192.0.9.1"}]},
            "routes: '192.0.9.1' is not accepted; it is outside of the network",
        ),
        ({"address": RANGE, "routes": [{"to": "198.51.100.0/24"}]}, "the key via is missing"),
        ({"address": RANGE, "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.12"}]}, ""),
        ({"dhcp": True, "routes": [{"to": "198.51.100.0/24", "via": "2001:db8::1"}]}, "routes: '2001:db8::1' is not accepted"),
        ({"adress": RANGE}, "networks[0].adress: unknown key (did you mean address?)"),
    ],
)
def test_mistakes_of_a_card(card: dict[str, t.Any], told: str) -> None:
    found = errors({"networks": [{**LAN, **card}]})
    assert told in "\n".join(found) and bool(told) == bool(found), found


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ([{"networks": [{**LAN, "address": RANGE}], "cloud_init": None}], "m: machines[0].cloud_init"),
        ([{"networks": [{**LAN, "address": RANGE}], "cloud_init": {"network_config": {"version": 2}}}], "together with cloud_init.network_config"),
        (
            [{"networks": [{**LAN, "address": RANGE}]}, {"networks": [{**LAN, "address": "192.0.2.19-192.0.2.22/24"}]}],
            "machines[1].networks[0].address: 192.0.2.19 is given twice (networks[0] of g0, networks[0] of g1)",
        ),
        (
            [{"networks": [{**LAN, "address": RANGE}]}, {"networks": [{**LAN, "address": "192.0.2.1{{ machine.number }}/24"}]}],
            "machines[1].networks[0].address: 192.0.2.11 is given twice",
        ),
        (
            [{"networks": [{**LAN, "address": RANGE, "gateway": "192.0.2.1"}, {**LAN, "address": "10.0.0.1-10.0.0.9/8", "gateway": "10.0.0.99"}]}],
            "machines[0].networks[1].gateway: another card of the machine has one",
        ),
    ],
)  # fmt: skip
def test_mistakes_of_groups(groups: list[dict[str, t.Any]], told: str) -> None:
    found = errors(*groups)
    assert told in "\n".join(found), found


def test_networks_that_are_apart_may_have_the_same_addresses() -> None:
    apart = [{"bridge": "br0"}, {"bridge": "br1"}, {"open_vswitch": "br0"}, {"open_vswitch": "br0", "vlan": 5}, {"network": "br0"}]
    assert errors(*({"networks": [{**card, "address": RANGE}]} for card in apart)) == []
    together = errors(*({"networks": [{**card, "address": RANGE}]} for card in (*apart, apart[3])))
    assert len(together) == 1 and "192.0.2.10 is given twice (networks[0] of g3, networks[0] of g5)" in together[0]


def test_addresses_without_a_seed_are_a_mistake() -> None:
    group = {"name": "web", "count": 1, "disks": [{"name": "r", "size_gib": 1}], "networks": [{**LAN, "address": RANGE}]}
    with pytest.raises(ManifestError, match=r"machines\[0\]\.networks\[0\]\.address: guests learn it from their seed"):
        parse_manifest({"format": 1, "service": "shop", "machines": [group]})


def asked(address: t.Any = RANGE, **more: t.Any) -> dict[str, t.Any]:
    return manifest(networks=[{"network": "lan", "address": address, **more}, {"network": "default"}], cloud_init={})


def fleet(**more: t.Any) -> dict[str, t.Any]:
    return {name: host(held(), networks={"lan": True, "default": True}, **more) for name in ("a", "b")}


def test_a_guest_is_told_of_all_of_its_cards() -> None:
    plan = service_plan(asked(gateway="192.0.2.1", dns=["192.0.2.53"], routes=[{"to": "10.0.0.0/8", "via": "192.0.2.2"}]), fleet())
    assert plan["problems"] == []
    work = plan["hosts"]["b"]
    (machine,), (seed,) = work["machines"], work["seeds"]
    macs = [Owner("default", "shop", machine["machine"]).mac(index) for index in range(2)]
    assert machine["networks"] == [
        {"network": "lan", "model": "virtio", "mac": macs[0]},
        {"network": "default", "model": "virtio", "mac": macs[1]},
    ]
    assert seed["network_config"] == {
        "version": 2,
        "ethernets": {
            "card0": {
                "match": {"macaddress": macs[0]},
                "dhcp4": False,
                "addresses": ["192.0.2.11/24"],
                "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}, {"to": "10.0.0.0/8", "via": "192.0.2.2"}],
                "nameservers": {"addresses": ["192.0.2.53"]},
            },
            "card1": {"match": {"macaddress": macs[1]}, "dhcp4": True},
        },
    }  # fmt: skip
    assert machine["spec"]["networks"][0] == {
        "network": "lan", "model": "virtio", "address": "192.0.2.11/24", "gateway": "192.0.2.1", "dns": ["192.0.2.53"],
        "routes": [{"to": "10.0.0.0/8", "via": "192.0.2.2"}],
    }  # fmt: skip


def test_without_addresses_nothing_is_said_to_the_guest() -> None:
    work = service_plan(manifest(cloud_init={}), {"a": host(held()), "b": host(held())})["hosts"]["a"]
    assert work["seeds"][0]["network_config"] is None and work["machines"][0]["networks"] == [{"network": "default", "model": "virtio"}]


def test_cards_without_dhcp_and_with_both_protocols() -> None:
    cards = [
        {"bridge": "b", "dhcp": False},
        {"bridge": "b", "address6": "2001:db8::1/64", "gateway6": "fe80::1", "dhcp": True, "search": ["x.org"]},
    ]
    found = network_config(cards, ["m0", "m1"])["ethernets"]
    assert found["card0"] == {"match": {"macaddress": "m0"}, "dhcp4": False}
    assert found["card1"] == {
        "match": {"macaddress": "m1"}, "dhcp4": True, "addresses": ["2001:db8::1/64"], "routes": [{"to": "::/0", "via": "fe80::1"}],
        "nameservers": {"search": ["x.org"]},
    }  # fmt: skip


def made(plan: dict[str, t.Any], hosts: dict[str, t.Any]) -> dict[str, t.Any]:
    """The fleet after the deployment."""
    return {
        name: {
            **hosts[name],
            "machines": [{**one, "running": True, "domain": f"shop-{one['machine']}"} for one in plan["hosts"][name]["machines"]],
            "record": plan["hosts"][name]["record"],
        }
        for name in hosts
    }


def test_an_address_stays_with_its_machine() -> None:
    hosts = fleet()
    after = made(service_plan(asked(), hosts), hosts)
    assert [machine["drift"] for machine in service_plan(asked(), after)["machines"]] == [[], []]
    after["a"]["machines"] = []  # web-1 is removed by hand
    again = service_plan(asked(), after)
    assert {machine["machine"]: (machine["state"], machine["spec"]["networks"][0]["address"]) for machine in again["machines"]} == {
        "web-1": ("create", "192.0.2.10/24"), "web-2": ("exists", "192.0.2.11/24"),
    }  # fmt: skip


def test_a_changed_address_is_drift_of_its_machine() -> None:
    hosts = fleet()
    after = made(service_plan(asked(), hosts), hosts)
    changed = service_plan(asked(["192.0.2.10/24", "192.0.2.99/24"]), after)
    assert drift_text(changed["machines"]) == [
        "drift: web-2: networks lan (address 192.0.2.11/24), default → lan (address 192.0.2.99/24), default"
    ]
    group = asked()["machines"][0]
    one = after["b"]["machines"][0]
    assert _spec({**one, "spec": one["spec"]}, group, asked())["networks"] == one["spec"]["networks"]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (["192.0.2.10/24"], "networks[0].address: 1 address, and web-2 needs number 2; give more"),
        ("192.0.2.20/24", "1 address, and web-2 needs number 2"),
    ],
)
def test_too_few_addresses_for_numbers_of_a_host(address: t.Any, told: str) -> None:
    """How many machines there are follows from the inventory here."""
    try:
        problems = service_plan(asked(address), fleet())["problems"]
    except ManifestError as error:
        problems = error.fields["errors"]
    assert told in "\n".join(problems)


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        ({"tenant": "default", "service": "blog", "domain": "blog-x-1"}, "the domain blog-x-1 on b has it, and web-1 would get it too"),
        ({"tenant": None, "service": None, "domain": None}, "'192.0.2.10' is not accepted; another tenant's machine on b has it"),
        ({"tenant": "default", "service": "shop", "domain": "shop-old-9", "machine": "old-9"}, "the domain shop-old-9 on b has it"),
    ],
)
def test_an_address_of_another_service_is_not_given_again(theirs: dict[str, t.Any], told: str) -> None:
    hosts = fleet()
    hosts["b"]["domains"] = [{**theirs, "addresses": [{"network": "network lan", "address": "192.0.2.10/28"}]}]
    problems = "\n".join(service_plan(asked(), hosts)["problems"])
    assert told in problems and bool(told) == bool(problems)
    hosts["b"]["domains"][0]["addresses"][0]["network"] = "network elsewhere"
    assert service_plan(asked(), hosts)["problems"] == []


def test_a_clone_gets_the_address_of_its_number() -> None:
    for count, told in ((19, ""), (11, "2 addresses, and web-3 needs number 3; give more")):
        hosts = {"a": host(held(), networks={"lan": True, "default": True}, known=True)}
        wanted = manifest(
            networks=[{"network": "lan", "address": f"192.0.2.10-192.0.2.{count}/24"}], cloud_init={}, hosts=["a"], per_host=2
        )  # fmt: skip
        after = made(service_plan(wanted, hosts), hosts)
        clone = clone_plan(after, {"service": "shop", "tenant": "default", "machine": "web-1"})
        assert told in "\n".join(clone["problems"]) and bool(told) == bool(clone["problems"])
        if not told:
            work = clone["hosts"]["a"]
            assert work["seeds"][0]["network_config"]["ethernets"]["card0"]["addresses"] == ["192.0.2.12/24"]
            assert work["machines"][0]["spec"]["networks"][0]["address"] == "192.0.2.12/24"


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (2, "    addresses: web-1 192.0.2.10/24, 2001:db8::1/64; web-2 192.0.2.11/24, 2001:db8::2/64"),
        (23, "web-20 192.0.2.29/24, 2001:db8::14/64; and 3 more"),
    ],
)
def test_the_plan_shows_who_gets_which(count: int, told: str) -> None:
    pool = f"2001:db8::1-2001:db8::{count:x}/64"
    wanted = manifest(
        networks=[{**LAN, "address": "192.0.2.10-192.0.2.99/24", "address6": pool}], cloud_init={}, count=count, memory_mib=16
    )
    text = "\n".join(plan_text(service_plan(wanted, fleet())))
    assert told in re.sub(r"\n {6,}", " ", text) and max(len(line) for line in text.splitlines()) <= 100


def test_the_example_of_the_page_is_what_it_says() -> None:
    (text,) = re.findall(r"```yaml\n# tiers\.yml\n(.*?)```", PAGE, re.S)
    parsed = parse_manifest(text.replace('bases:\n  - {name: debian-12, version: "20261101"}\n', "").replace("base: debian-12, ", ""))
    plan = service_plan(parsed, {"kvm1": host()})
    found = [machine["spec"]["networks"][0] for machine in plan["machines"]]
    assert [card["address"] for card in found] == ["192.0.2.10/24", "192.0.2.20/24", "192.0.2.21/24"]
    assert [card["address6"] for card in found] == ["2001:db8::1:80/64", "2001:db8::2:80/64", "2001:db8::3:80/64"]


def test_a_machine_whose_cards_are_not_recorded_is_no_problem() -> None:
    networks = [{"network": "default", "address": "192.0.2.10-192.0.2.20/24"}]
    group = {"name": "web", "place": "shop.yml: machines[0]", "networks": networks}
    machine = {"machine": "web-1", "group": "web", "state": "create", "spec": {}}
    assert address_problems({"machines": [group]}, [machine], {}) == []


def test_a_domain_without_a_name_still_has_its_address() -> None:
    group = {"name": "web", "place": "shop.yml: machines[0]", "networks": [{"network": "default", "address": "192.0.2.10/24"}]}
    machine = {
        "machine": "web-1",
        "group": "web",
        "state": "create",
        "spec": {"networks": [{"network": "default", "address": "192.0.2.10/24"}]},
    }
    nameless = {"tenant": "default", "addresses": [{"network": "network default", "address": "192.0.2.10/24"}]}
    (problem,) = address_problems({"machines": [group]}, [machine], {"kvm1": {"domains": [nameless]}})
    assert "'192.0.2.10' is not accepted; the domain ? on kvm1 has it" in problem
