# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t
from collections.abc import Iterator

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.basecast.fleet.plugins.filter.choose_host import choose_host
from ansible_collections.basecast.fleet.plugins.filter.choose_storage import choose_storage
from ansible_collections.basecast.fleet.plugins.filter.place_machines import place_machines
from ansible_collections.basecast.fleet.plugins.filter.place_one_more import place_one_more
from ansible_collections.basecast.fleet.plugins.filter.service_plan import service_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_request

REQUEST = {"cpus": 1, "memory_mib": 64, "disks": [{"name": "root", "base": "d"}], "bases": [{"name": "d", "version": "1", "size_bytes": 9}]}
HOST: dict[str, t.Any] = {
    "reachable": True,
    "known": True,
    "capacity": {
        "cpus": 4,
        "memory_mib": 4096,
        "load_1m": 0.1,
        "pools": {"default": {"exists": True, "writable": True, "free_bytes": 10**11, "promised_bytes": 0}},
    },
    "pools": {
        "default": {"bases": [{"sha256": "a" * 64, "names": [{"tenant": "default", "name": "d", "version": "1"}]}], "storage": "s1"},
    },
    "machines": [{"name": "w-1", "group": "machine", "number": 2}],
    "domains": [{"cpus": 1, "memory_mib": 64, "tenant": "default", "disk_bytes": 1}],
    "record": {"service": "request", "generation": 1, "assignments": {"machine-1": {"group": "machine", "number": 1, "host": "kvm1"}}},
    "offers": {"hugepages_mib": {"2M": 64}},
    "site": "east",
    "labels": {"rack": "r1"},
    "maintenance": False,
    "overcommit": {"cpus": 2, "memory": 1, "pools": {"default": 2}},
    "pool_labels": {"default": ["ssd"]},
    "claims": [
        {
            "cpus": 1,
            "memory_mib": 1,
            "machines": 1,
            "disk_bytes": 1,
            "tenant": "default",
            "pools": {"default": {"bytes": 1, "growth_bytes": 1}},
        }
    ],
    "members": {"quorum": 1},
}
WITH_HUGEPAGES = {**REQUEST, "memory": {"hugepages": "2M"}}
QUOTAS = {"default": {"machines": 9, "disk_gib": 100}}
ODD = (None, 5, "x", [], {}, [5], {"a": 5}, True, -1, float("nan"), float("inf"), [None], [[]], {"a": None}, 10**30)


def places(value: t.Any, path: tuple[t.Any, ...] = ()) -> Iterator[tuple[t.Any, ...]]:
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(one, (*path, key))


def changed(path: tuple[t.Any, ...], value: object) -> dict[str, t.Any]:
    host = copy.deepcopy(HOST)
    inner: t.Any = host
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return {"kvm1": host}


@pytest.mark.parametrize("path", list(places(HOST)), ids=lambda path: ".".join(map(str, path)))
def test_no_odd_value_ends_in_anything_but_a_sentence(path: tuple[t.Any, ...]) -> None:
    manifest = parse_request(WITH_HUGEPAGES if "offers" in path else REQUEST)
    for value in ODD:
        hosts = changed(path, value)
        for ask in (
            lambda hosts=hosts: choose_storage(REQUEST, hosts),
            lambda hosts=hosts: choose_host(REQUEST, hosts, "s1"),
            lambda hosts=hosts: place_machines(manifest, hosts, quotas=QUOTAS),
            lambda hosts=hosts: place_one_more(manifest, hosts, quotas=QUOTAS),
        ):
            try:
                assert isinstance(ask(), dict)
            except AnsibleFilterError as error:
                assert "kvm1" in str(error) or "storage" in str(error), (value, error)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("maintenance",), "no", "hosts[kvm1].maintenance: 'no' is not accepted; true or false is wanted"),
        (("capacity", "cpus"), "x", "hosts[kvm1].capacity.cpus: 'x' is not accepted; a number of at least 0 is wanted"),
        (("labels",), 5, "hosts[kvm1].labels: 5 is not accepted; a list of labels, or a mapping of keys to values, is wanted"),
        (("pools", "default", "bases", 0), 7, "hosts[kvm1].pools.default.bases[0]: 7 is not accepted; a mapping with the base's"),
        (("overcommit", "memory"), 0, "hosts[kvm1].overcommit.memory: 0 is not accepted; a number above 0 is wanted"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 9 else "",
)
def test_a_mistake_has_its_place_and_what_is_wanted(path: tuple[t.Any, ...], value: object, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        choose_storage(REQUEST, changed(path, value))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hosts": None}, "hosts: none given; a mapping of host names"),
        ({"hosts": {"kvm1": []}}, "hosts[kvm1]: [] is not accepted; a mapping of what is known of the host is wanted"),
        ({"groups": {"east": "kvm1"}}, "groups[east]: 'kvm1' is not accepted; a list of host names is wanted"),
        ({"bring": {"d": {"kvm1": "soon"}}}, "bring[d].kvm1: 'soon' is not accepted; a number of at least 0 is wanted"),
        ({"bring": {"d": {"kvm1": float("nan")}}}, "bring[d].kvm1: nan is not accepted; a number of at least 0 is wanted"),
        ({"quotas": {"acme": {"cpus": -1}}}, "quotas[acme].cpus: -1 is not accepted; a number of at least 0 is wanted"),
        ({"quotas": {"acme": {"machine": 2}}}, "quotas[acme]: {'machine': 2} is not accepted; a mapping of machines, cpus, memory_mib"),
        *[
            ({"memory_overcommit": odd}, f"memory_overcommit: {odd} is not accepted; a number above 0 is wanted")
            for odd in (0, -1, True, float("nan"))
        ],
        ({"memory_overcommit": "2"}, "memory_overcommit: '2' is not accepted; a number above 0 is wanted"),
    ],
)
def test_the_other_arguments_are_checked(arguments: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        place_machines(parse_request(REQUEST), **{"hosts": {"kvm1": HOST}, **arguments})
    assert message in str(error.value)


def test_a_text_is_no_flag() -> None:
    for ask, option in (
        (lambda: choose_storage(REQUEST, {"kvm1": HOST}, prefer_default="false"), "prefer_default"),  # type: ignore[arg-type]
        (lambda: choose_storage(REQUEST, {"kvm1": HOST}, base_beside_disk="false"), "base_beside_disk"),  # type: ignore[arg-type]
        (lambda: choose_host(REQUEST, {"kvm1": HOST}, "s1", base_beside_disk="false"), "base_beside_disk"),  # type: ignore[arg-type]
    ):
        with pytest.raises(AnsibleFilterError, match=f"{option}: 'false' is not accepted; true or false is wanted"):
            ask()


@pytest.mark.parametrize(
    "manifest", [None, [], "x", {}, {"format": 1}, {"service": "s", "tenant": "t", "bases": [], "machines": ["web"]}, {"machines": [{}]}]
)
def test_what_is_no_parsed_manifest_is_told(manifest: object) -> None:
    for ask in (place_machines, place_one_more, service_plan):
        with pytest.raises(AnsibleFilterError, match=r"basecast\.fleet"):
            ask(manifest, {"kvm1": HOST})


def test_a_request_without_a_machine_is_told() -> None:
    with pytest.raises(AnsibleFilterError, match="request: machines\\[0\\]"):
        choose_storage({"origin": "shop.yml", "machines": []}, {"kvm1": HOST})


def test_the_filter_counts_seconds_from_its_matrix() -> None:
    near, far = copy.deepcopy(HOST), copy.deepcopy(HOST)
    full = {**copy.deepcopy(HOST), "maintenance": True}
    for host, storage in ((near, "n"), (far, "f")):
        host["pools"]["default"] = {"bases": [], "storage": storage}
    matrix = {"format": 1, "hosts": ["full", "far", "near"], "seconds": [[0, 100, 10], [100, 0, 100], [10, 100, 0]], "size_bytes": 9}
    answer = place_machines(parse_request(REQUEST), {"full": full, "far": far, "near": near}, matrix=matrix)
    (machine,) = answer["assignments"]
    assert machine["host"] == "near"
