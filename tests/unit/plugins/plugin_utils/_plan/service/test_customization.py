# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service import customization
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.addresses import network_data
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import drift, drift_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.records import host_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import held, host, manifest

PAGE = (Path(__file__).resolve().parents[6] / "docs" / "customize.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(# \w+\.yml\n.*?)```", PAGE, re.DOTALL)
HASH = "$6$saltsalt$" + "x" * 86
GROUP = """\
format: 1
service: shop
machines:
  - name: web
    count: 1
    disks: [{name: root, size_gib: 1}]
"""
CONFIG = {"ignition": {"version": "3.4.0"}}


def parsed(*lines: str) -> dict[str, t.Any]:
    text = GROUP + "".join(f"    {line}\n" for line in lines)
    return t.cast("dict[str, t.Any]", parse_manifest(text, "shop.yml")["machines"][0])


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_of_the_page_are_manifests(text: str) -> None:
    group = parse_manifest(text)["machines"][0]
    assert customization.content_of(group) and group["seed_digest"]


def test_the_page_has_an_example_of_each() -> None:
    kinds = {customization.kind_of(parse_manifest(text)["machines"][0]) for text in EXAMPLES}
    assert kinds == set(customization.KEYS)


@pytest.mark.parametrize(
    ("lines", "kind", "content"),
    [
        ([], "none", None),
        (["customize: none"], "none", None),
        (["cloud_init: {}"], "cloud_init", {}),
        (["customize: cloud_init"], "cloud_init", {}),
        (["customize: cloud_init", "cloud_init: {user_data: {hostname: a}}"], "cloud_init", {"user_data": {"hostname": "a"}}),
        ([f"ignition: {{config: {json.dumps(CONFIG)}}}"], "ignition", {"config": CONFIG}),
        (["customize: cloudbase"], "cloudbase", {}),
        (["cloudbase: {user_data: 'rem cmd '}"], "cloudbase", {"user_data": "rem cmd "}),
        (["customize: ignition", f"ignition: {{config: '{json.dumps(CONFIG)}'}}"], "ignition", {"config": json.dumps(CONFIG)}),
    ],
)
def test_how_guests_are_customized_follows_from_what_is_given(lines: list[str], kind: str, content: t.Any) -> None:
    group = parsed(*lines)
    assert (customization.kind_of(group), customization.content_of(group)) == (kind, content)
    assert "customize" not in group and (group["seed_digest"] is None) == (content is None)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["customize: kickstart"], "shop.yml:7: machines[0].customize: 'kickstart' is not accepted"),
        (["customize: ignition"], "shop.yml:7: machines[0].customize: 'ignition' is not accepted without the key ignition"),
        (
            ["customize: none", "cloud_init: {}"],
            "shop.yml:8: machines[0].cloud_init: customize is none, and a guest is customized in one way",
        ),
        (["customize: ignition", "cloud_init: {}"], "machines[0].cloud_init: customize is ignition, and"),
        (["cloud_init: {}", f"ignition: {{config: {json.dumps(CONFIG)}}}"], "machines[0].ignition: cloud_init is given too, and a guest"),
        (["cloudbase: {meta_data: {uuid: x}}"], "shop.yml:7: machines[0].cloudbase.meta_data.uuid: it is derived"),
        (["cloudbase: {meta_data: {admin_pass: hunter2}}"], "machines[0].cloudbase.meta_data: admin_pass: a password is not accepted"),
        (["cloudbase: {user_data: Write-Host hunter2}"], "machines[0].cloudbase.user_data: its first line is not one that cloudbase-init"),
        (
            ["cloudbase: {network_data: {}}", "networks: [{network: default, address: 192.0.2.7/24}]"],
            "machines[0].networks[0].address: it is given together with cloudbase.network_data",
        ),
        (["ignition: {}"], "machines[0].ignition: the key config is missing"),
        (["ignition: {config: {variant: fcos, version: 1.5.0}}"], "shop.yml:7: machines[0].ignition.config: it is Butane"),
        (["ignition: {config: {ignition: {version: 3.4}}}"], "machines[0].ignition.config: ignition.version: missing"),
        (
            ["ignition: {config: {ignition: {version: '3.4.0'}, passwd: {users: [{passwordHash: hunter2}]}}}"],
            "shop.yml:7: machines[0].ignition.config: passwd.users[0].passwordHash: a password that is not hashed is not accepted; 'openssl",
        ),
        (
            ["cloud_init: {user_data: {password: hunter2}}"],
            "shop.yml:7: machines[0].cloud_init.user_data: password: a password that is not",
        ),
        (
            ["ignition: {config: {ignition: {version: '3.4.0'}, a: '{{ machine.nam }}'}}"],
            "machines[0].ignition.config.a: '{{ machine.nam }}' is not accepted; did you mean machine.name?",
        ),
        (
            [f"ignition: {{config: {json.dumps(CONFIG)}}}", "networks: [{network: default, address: 192.0.2.7/24}]"],
            "machines[0].networks[0].address: Ignition's guests learn it from their configuration",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(lines: list[str], told: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parsed(*lines)
    assert told in str(caught.value) and "hunter2" not in str(caught.value)


def ignited(config: t.Any) -> dict[str, t.Any]:
    wanted = manifest(hosts=["a"])
    group = parsed(f"ignition: {{config: {json.dumps(config)}}}")
    wanted["machines"][0].update({key: group[key] for key in ("cloud_init", "ignition", "seed_digest")})
    return t.cast("dict[str, t.Any]", wanted)


def test_each_machine_has_a_seed_of_its_own() -> None:
    config = {**CONFIG, "storage": {"files": [{"path": "/etc/hostname", "mode": 420, "contents": {"source": "data:,{{ machine.name }}"}}]}}
    plan = service_plan(ignited(config), {"a": host(held())})
    assert plan["problems"] == []
    seeds = plan["hosts"]["a"]["seeds"]
    assert [seed["machine"] for seed in seeds] == [machine["machine"] for machine in plan["machines"]]
    for seed in seeds:
        assert seed["customize"] == "ignition" and seed["user_data"] is None
        assert seed["config"]["storage"]["files"][0]["contents"] == {"source": f"data:,{seed['machine']}"}
    assert {machine["seeded"] for machine in plan["hosts"]["a"]["machines"]} == {True}


def test_another_configuration_is_drift_that_shows_no_value() -> None:
    plans = [service_plan(ignited({**CONFIG, "systemd": {"units": [{"name": unit}]}}), {"a": host(held())}) for unit in ("one", "two")]
    old, new = (plan["machines"][0]["spec"] for plan in plans)
    assert drift(old, old) == [] and old["customize"] == "ignition" and "one" not in json.dumps(old)
    (change,) = drift(old, new)
    assert change["keys"] == ["config.systemd"]
    assert drift_text([{"machine": "web-1", "drift": [change]}]) == ["drift: web-1: customization has changed: config.systemd"]


def test_fixed_addresses_reach_cloudbase_init() -> None:
    card = {"network": "default", "address": "192.0.2.40-192.0.2.49/24", "gateway": "192.0.2.1", "dns": ["192.0.2.2"]}
    second = {"network": "other", "address6": "2001:db8::7/64", "routes": [{"to": "2001:db8:1::/48", "via": "2001:db8::1"}]}
    networks = [{**card, "address": "192.0.2.40/24"}, {**second}, {"network": "third"}, {"network": "fourth", "dhcp": False}]
    told = network_data(networks, ["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03", "52:54:00:00:00:04"])
    assert [link["ethernet_mac_address"][-1] for link in told["links"]] == ["1", "2", "3", "4"]
    assert told["networks"] == [
        {
            "id": "card0-ipv4",
            "link": "card0",
            "type": "ipv4",
            "ip_address": "192.0.2.40",
            "netmask": "255.255.255.0",
            "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}],
            "services": [{"type": "dns", "address": "192.0.2.2"}],
        },
        {
            "id": "card1-ipv6",
            "link": "card1",
            "type": "ipv6",
            "ip_address": "2001:db8::7",
            "netmask": "ffff:ffff:ffff:ffff::",
            "routes": [{"network": "2001:db8:1::", "netmask": "ffff:ffff:ffff::", "gateway": "2001:db8::1"}],
            "services": [],
        },
        {"id": "card2-dhcp", "link": "card2", "type": "ipv4_dhcp"},
    ]
    wanted = manifest(hosts=["a"])
    wanted["machines"][0].update(
        {key: value for key, value in parsed(f"networks: [{json.dumps(card)}]", "cloudbase: {}").items() if key not in ("disks", "place")},
        hosts=["a"],
    )
    work = service_plan(wanted, {"a": host(held())})["hosts"]["a"]
    for number, seed in enumerate(work["seeds"]):
        assert seed["customize"] == "cloudbase" and seed["network_config"] is None
        assert seed["network_data"]["networks"][0]["ip_address"] == f"192.0.2.{40 + number}"
        assert seed["network_data"]["links"][0]["ethernet_mac_address"] == work["machines"][number]["networks"][0]["mac"]
    assert work["seeds"]


def test_hosts_keep_what_they_need_for_a_clone() -> None:
    wanted = ignited(CONFIG)
    kept = host_manifest(t.cast(t.Any, wanted), {"web": {}}, {base["name"]: base for base in wanted["bases"]})["machines"][0]
    assert customization.content_of(kept) == {"config": CONFIG} and customization.seed_of(kept, {})["config"] == CONFIG
