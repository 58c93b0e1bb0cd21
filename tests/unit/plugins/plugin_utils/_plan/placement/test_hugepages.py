# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Huge pages of hosts, which are counted as their memory is."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import place_machines
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement.fleet import hugepages_of
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from ..service.test_service_plan import held
from ..service.test_service_plan import host as service_host
from ..service.test_service_plan import manifest as service_manifest
from .test_place import host, manifest, placed

HUGE = {"hugepages": "2M"}


def with_pages(pages: dict[str, int] | None, *taken: tuple[str, int], **facts: t.Any) -> dict[str, t.Any]:
    domains = [{"hugepages": size or None, "memory_mib": mib, "cpus": 1} for size, mib in taken]
    return host(offers=None if pages is None else {"hugepages_mib": pages}, domains=domains, **facts)


@pytest.mark.parametrize(
    ("pages", "taken", "left"),
    [
        (None, (), None),
        ({}, (), {}),
        ({"2M": 1024}, (), {"2M": 1024}),
        ({"2M": 1024}, (("2M", 256), ("", 4096)), {"2M": 768}),
        ({"2M": 1024, "1G": 2048}, (("default", 512), ("2M", 512)), {"2M": 512, "1G": 1536}),
        ({"2M": 1024}, (("2M", 4096),), {"2M": 0}),
    ],
)
def test_what_is_left_of_the_pages(pages: t.Any, taken: t.Any, left: t.Any) -> None:
    assert hugepages_of(with_pages(pages, *taken)) == left


@pytest.mark.parametrize(
    ("claimed", "left"),
    [
        ({"2M": 256}, {"2M": 768, "1G": 2048}),
        ({"default": 1024, "2M": 1024}, {"2M": 0, "1G": 1024}),
        ({"16M": 1}, {"2M": 1024, "1G": 2048, "16M": 0}),
    ],
)
def test_what_other_deployments_claim_of_the_pages_is_taken(claimed: dict[str, int], left: dict[str, int]) -> None:
    claims = [
        {"cpus": 0, "memory_mib": sum(claimed.values()), "hugepages_mib": claimed, "pools": {}},
        {"cpus": 1, "memory_mib": 5, "pools": {}},
    ]
    assert hugepages_of(with_pages({"2M": 1024, "1G": 2048}, claims=claims)) == left


def test_two_deployments_are_not_promised_the_same_pages() -> None:
    claims = [{"cpus": 1, "memory_mib": 512, "hugepages_mib": {"2M": 512}, "pools": {}}]
    assert placed(where({"a": with_pages({"2M": 1023}, claims=claims), "b": with_pages({"2M": 512})}, 1)) == {"web-1": "b"}


def where(hosts: dict[str, t.Any], count: int, pages: str = "2M") -> dict[str, t.Any]:

    return place_machines(manifest(count=count, memory_mib=512, memory={"hugepages": pages}), hosts)


@pytest.mark.parametrize("pages", ["2M", "default"])
def test_machines_go_where_pages_are(pages: str) -> None:
    hosts = {"a": with_pages({}), "b": with_pages({"2M": 512}), "c": with_pages({"2M": 1024}), "d": with_pages({"2M": 511})}
    result = where(hosts, 3, pages)
    assert result["problems"] == []
    assert sorted(placed(result).values()) == ["b", "c", "c"]


def test_pages_of_other_machines_are_taken() -> None:
    result = where({"a": with_pages({"2M": 1024}, ("2M", 600)), "b": with_pages({"2M": 1024}, ("2M", 512))}, 1)
    assert placed(result) == {"web-1": "b"}


def test_more_machines_than_pages_do_not_fit() -> None:
    result = where({"a": with_pages({"2M": 1024}), "b": with_pages({"1G": 4096})}, 3)
    told = " ".join(map(str, [*result["problems"], *result["unplaced"]]))
    assert "memory: 0 MiB of huge pages of 2M are free, 512 are needed" in told, told
    assert len([one for one in result["assignments"] if one["host"] == "a"]) <= 2


def test_a_host_that_does_not_tell_is_not_judged() -> None:
    assert placed(where({"a": with_pages(None)}, 1)) == {"web-1": "a"}


def test_machines_without_huge_pages_need_none() -> None:
    result = place_machines(manifest(count=1, memory_mib=512), {"a": with_pages({"2M": 0})})
    assert placed(result) == {"web-1": "a"}


def test_machines_of_named_hosts_are_added_up() -> None:
    asked = service_manifest(hosts=["a"], per_host=2, memory=HUGE, memory_mib=512)
    facts = service_host(held())
    for mib, fits in ((1024, True), (1023, False)):
        plan = service_plan(asked, {"a": {**facts, "offers": {"hugepages_mib": {"2M": mib}}}})
        told = " ".join([*plan["problems"], *(one for reasons in plan["bad_hosts"].values() for one in reasons)])
        assert ("does not fit on a: of its 1023 MiB of huge pages of 2M, 511 MiB are left" in told) is not fits


def test_a_plan_claims_its_pages_and_counts_those_of_another_run_of_the_service() -> None:
    asked = service_manifest(hosts=["a"], per_host=1, memory=HUGE, memory_mib=512)
    facts = {**service_host(held()), "offers": {"hugepages_mib": {"2M": 1023}}}
    assert [use["hugepages"] for use in service_plan(asked, {"a": facts})["claims"]["a"]["uses"]] == ["2M"]
    use = {"name": "db-1", "cpus": 1, "memory_mib": 512, "hugepages": "2M", "disk_bytes": 0, "pools": {}}
    rival = {"run": "r2", "uses": [use], "places": {"db-1": {"host": "a", "group": "db", "number": 1, "pools": {}}}}
    plan = service_plan(asked, {"a": {**facts, "own_claims": [rival]}})
    told = " ".join([*plan["problems"], *(one for reasons in plan["bad_hosts"].values() for one in reasons)])
    assert "does not fit on a: of its 1023 MiB of huge pages of 2M, 511 MiB are left" in told
