# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service import host_work
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.templates import with_templates

from .test_service_plan import A, held, host

CONTENT: dict[str, t.Any] = {
    "cpus": 2,
    "memory_mib": 192,
    "hardware": {"firmware": "uefi", "machine_type": "q35", "xml": [{"path": "devices", "add": "<sound model='ich9'/>"}]},
    "networks": [{"network": "default", "model": "e1000"}],
    "disks": [
        {"name": "root", "base": "shop.web-1", "size_bytes": 2**30, "bus": "scsi"},
        {"name": "data", "base": "shop.web-1.data", "size_bytes": 2**31},
    ],
    "seeded": True,
    "variables": "packed",
}
OF_MACHINE = {"machine": "web-1", "service": "shop"}


def parsed(source: t.Mapping[str, t.Any] | None = None, **group: t.Any) -> dict[str, t.Any]:
    machine = {"name": "twin", "hosts": ["a", "b"], "source": dict(OF_MACHINE if source is None else source), **group}
    return parse_manifest({"format": 1, "service": "twins", "machines": [machine]}, "twins.yml")


def fleet(**told: t.Any) -> dict[str, t.Any]:
    """Hosts a and b; what a tells of the source."""
    whole = {"stored": None, "live": None, "problem": None}
    hosts = {name: host() for name in ("a", "b")}
    for name, facts in hosts.items():
        facts["sources"] = {"twin": {**whole, **(told if name == "a" else {})}}
    domain = {"tenant": "default", "service": "shop", "machine": "web-1", "domain": "shop-web-1", "memory_mib": 192, "running": True}
    hosts["a"]["domains"] = [domain]
    return hosts


def test_three_lines_copy_a_machine_as_a_whole() -> None:
    whole = with_templates(parsed(), fleet(live=CONTENT))
    (group,) = whole["machines"]
    assert (group["cpus"], group["memory_mib"], group["cloud_init"]) == (2, 192, {})
    assert group["hardware"] == {"firmware": "uefi", "machine_type": "q35"}  # no XML: a host could put anything into another's machines
    assert [(disk["name"], disk["base"], disk["size_bytes"], disk.get("bus")) for disk in group["disks"]] == [
        ("root", "shop.web-1", 2**30, "scsi"),
        ("data", "shop.web-1.data", 2**31, None),
    ]
    assert group["networks"] == [{"network": "default", "model": "e1000"}]
    sources = {base["name"]: base["source"] for base in whole["bases"]}
    assert {name: (one["kind"], one["machine"], one["disk"], one["template"]) for name, one in sources.items()} == {
        "shop.web-1": ("machine", "web-1", "root", "shop.web-1"),
        "shop.web-1.data": ("machine", "web-1", "data", "shop.web-1"),
    }


def test_each_host_gets_the_template_and_each_new_machine_the_variables() -> None:
    hosts = fleet(live=CONTENT)
    captured = {**CONTENT, "variables": "as captured"}
    imported = {
        name: {**held(sha256), "host": "a", "pool": "default", "template": captured}
        for name, sha256 in (("shop.web-1", A), ("shop.web-1.data", "d" * 64))
    }
    plan = service_plan(with_templates(parsed(), hosts), hosts, imported=imported)
    assert not plan["problems"] and {base["import_on"] for base in plan["bases"].values()} == {None}
    for name in ("a", "b"):
        work = plan["hosts"][name]
        assert work["variables"] == [{"groups": ["twin"], "firmware": "uefi", "content": "as captured"}]
        told = {one["name"]: one.get("template") for one in work["references"]}
        assert json.loads(told["shop.web-1"]) == captured and told["shop.web-1.data"] is None


def test_the_variables_of_a_template_stand_once_however_many_machines_get_them() -> None:
    given: list[dict[str, t.Any]] = []
    for group, content in (("web", "one"), ("web", "one"), ("db", "one"), ("old", "two")):
        host_work._give_variables(given, group, "uefi", content)
    assert given == [
        {"groups": ["web", "db"], "firmware": "uefi", "content": "one"},
        {"groups": ["old"], "firmware": "uefi", "content": "two"},
    ]


def test_a_template_that_is_stored_stands_and_the_group_over_it() -> None:
    manifest = parsed({"template": "web", "version": "7"}, memory_mib=512, firmware="bios", networks=[], cloud_init={"user_data": {"a": 1}})
    (group,) = with_templates(manifest, fleet(stored=CONTENT))["machines"]
    assert (group["memory_mib"], group["cpus"], group["networks"], group["cloud_init"]["user_data"]) == (512, 2, [], {"a": 1})
    assert "firmware" not in group["hardware"] and group["template"]["variables"] is None  # of another firmware
    both = with_templates(parsed(), fleet(stored=CONTENT, live={**CONTENT, "cpus": 9}))
    assert both["machines"][0]["cpus"] == 2 and {base["source"]["kind"] for base in both["bases"]} == {"held"}


@pytest.mark.parametrize(
    ("source", "told", "words"),
    [
        (OF_MACHINE, {}, "web-1 is on no host that could be asked, and neither is its template shop.web-1 1"),
        ({"template": "web", "version": "7"}, {}, "the template web 7 is on no host that could be asked"),
        (OF_MACHINE, {"problem": "it is a base disk"}, "a: it is a base disk"),
        ({"domain": "old", "host": "z"}, {}, "source.host: 'z' is not a host of this run; these are: a, b"),
        ({"domain": "old", "host": "b"}, {"live": CONTENT}, "old is on no host that could be asked"),
    ],
)
def test_what_is_nowhere_is_said(source: dict[str, str], told: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ManifestError) as refused:
        with_templates(parsed(source), fleet(**told))
    assert words in str(refused.value)


def test_two_hosts_do_not_agree_or_have_one_machine_both() -> None:
    hosts = fleet(stored=CONTENT)
    hosts["b"]["sources"]["twin"]["stored"] = {**CONTENT, "cpus": 4}
    with pytest.raises(ManifestError, match=r"the template shop\.web-1 1 on a is not that on b"):
        with_templates(parsed(), hosts)
    hosts = fleet(live=CONTENT)
    hosts["b"]["sources"]["twin"]["live"] = CONTENT
    with pytest.raises(ManifestError, match="web-1 is on a and on b"):
        with_templates(parsed(), hosts)


def test_two_versions_of_one_template_are_not_mixed_up() -> None:
    groups = [
        {"name": name, "count": 1, "source": {"template": "web", "version": version}} for name, version in (("old", "1"), ("new", "2"))
    ]
    content = {**CONTENT, "disks": [{"name": "root", "base": "web", "size_bytes": 2**30}]}
    hosts = fleet()
    hosts["a"]["sources"] = {name: {"stored": content, "live": None, "problem": None} for name in ("old", "new")}
    with pytest.raises(ManifestError, match="source: version 2 of the base web is wanted here, and version 1 by another group"):
        with_templates(parse_manifest({"format": 1, "service": "twins", "machines": groups}, "twins.yml"), hosts)


def test_a_host_that_cannot_be_asked_is_named() -> None:
    hosts = fleet()
    hosts["b"] = {"reachable": False, "msg": "gone"}
    with pytest.raises(ManifestError, match="not asked: b"):
        with_templates(parsed(), hosts)


def test_a_version_that_a_silent_host_may_have_is_not_captured_again() -> None:
    hosts = fleet(live=CONTENT)
    hosts["b"] = {"reachable": False, "msg": "gone"}
    with pytest.raises(ManifestError, match=r"web-1 1 would be captured, but hosts that could .*: b; .*--limit 'all:!b'"):
        with_templates(parsed(), hosts)
    stored = fleet(stored=CONTENT)
    stored["b"] = hosts["b"]
    assert with_templates(parsed(), stored)["machines"][0]["cpus"] == 2


@pytest.mark.parametrize(
    ("source", "group", "words"),
    [
        ({}, {}, "a group's source has machine, or domain and host, or template and version"),
        ({"machine": "web-1", "domain": "x", "host": "a"}, {}, "a group's source has machine, or domain and host"),
        ({"domain": "x"}, {}, "the key host is missing; which host has the domain x?"),
        ({"template": "x"}, {}, "the key version is missing; which version of the template x?"),
        ({"machine": "web-1", "host": "a"}, {}, "it is only accepted with domain"),
        ({"domain": "a b", "host": "a"}, {}, "its template has no name; give one (template: NAME)"),
        (OF_MACHINE, {"disks": [{"name": "root", "size_gib": 1}]}, "not accepted beside source"),
    ],
)
def test_a_source_that_cannot_be_meant(source: dict[str, str], group: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ManifestError) as refused:
        parsed(source, **group)
    assert words in str(refused.value)


def test_a_group_needs_disks_or_a_source() -> None:
    with pytest.raises(ManifestError, match="at least one of disks and source is wanted"):
        parse_manifest({"format": 1, "service": "x", "machines": [{"name": "a", "count": 1}]})
