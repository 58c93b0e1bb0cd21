# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds of every placement, whatever the fleet."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import Settings, place_machines
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.placement import check, convert, families

FLEETS = st.integers(0, 10_000)


def answer(instance: dict[str, t.Any], prefer: str) -> dict[str, t.Any]:
    wanted = convert.manifest_of(instance)
    wanted["placement"] = {"prefer": prefer, "partial": True}
    return place_machines(wanted, convert.hosts_of(instance), settings=Settings(bring=instance["bring_seconds"], beside=True))


@given(seed=FLEETS, prefer=st.sampled_from(["spread", "pack"]), load=st.floats(0.3, 1.2))
@settings(max_examples=25, deadline=None)
def test_promises_stay_within_the_limits(seed: int, prefer: str, load: float) -> None:
    instance = families.instance(16, 5, seed, load)
    result = answer(instance, prefer)
    broken, vector = check.vector_of(instance, convert.assignment_of(instance, result))
    assert not broken
    assert vector["unplaced"] == len(result["unplaced"])


@given(seed=FLEETS, load=st.floats(0.5, 1.2))
@settings(max_examples=10, deadline=None)
def test_more_room_never_places_fewer(seed: int, load: float) -> None:
    instance = families.instance(12, 4, seed, load)
    larger = copy.deepcopy(instance)
    for host in larger["hosts"]:
        host["mem_mib"] *= 2
        host["cpus"] *= 2
    for pool in larger["pools"]:
        pool["free_gib"] *= 2
    assert len(answer(larger, "spread")["unplaced"]) <= len(answer(instance, "spread")["unplaced"])


@given(order=st.permutations(range(5)), count=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_permuting_equal_hosts_changes_names_only(order: list[int], count: int) -> None:
    def numbers(names: list[int]) -> list[int]:
        hosts = {
            f"h{name}": {
                "reachable": True,
                "capacity": {"cpus": 8, "memory_mib": 16384, "pools": {}},
                "machines": [],
                "domains": [],
                "pools": {"default": {"bases": []}},
            }
            for name in names
        }
        found = [entry["host"] for entry in place_machines(one_group(count), hosts)["assignments"]]
        return [found.count(host) for host in hosts]

    assert numbers(order) == numbers(sorted(order))


@given(holder=st.integers(0, 4), prefer=st.sampled_from(["spread", "pack", "soonest"]))
@settings(max_examples=15, deadline=None)
def test_a_held_base_never_loses_to_an_equal_host(holder: int, prefer: str) -> None:
    base = {"sha256": "a" * 64, "size_bytes": 10**9, "names": [{"tenant": "default", "name": "tiny", "version": "1"}]}
    hosts = {
        f"h{name}": {
            "reachable": True,
            "capacity": {"cpus": 8, "memory_mib": 16384, "pools": {}},
            "machines": [],
            "domains": [],
            "pools": {"default": {"bases": [base] if name == holder else []}},
        }
        for name in range(5)
    }
    wanted = one_group(1)
    wanted["placement"] = {"prefer": prefer}
    assert place_machines(wanted, hosts)["assignments"][0]["host"] == f"h{holder}"


@given(
    storages=st.lists(st.integers(0, 2), min_size=2, max_size=7),
    holder=st.integers(-1, 2),
    size=st.sampled_from([None, 1, 10**8, 10**10]),
    seconds=st.sampled_from([None, 0, 30]),
    count=st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_spread_is_even_whatever_storages_are_shared(
    storages: list[int], holder: int, size: int | None, seconds: int | None, count: int
) -> None:
    """Also where nothing is known of links or of the size of a base, so that bringing it seems to take no time."""
    base = {"sha256": "a" * 64, "size_bytes": size or 1, "names": [{"tenant": "default", "name": "tiny", "version": "1"}]}
    hosts = {
        f"h{at}": {
            "reachable": True,
            "capacity": {"cpus": 64, "memory_mib": 2**20, "pools": {"default": {"free_bytes": 10**13, "size_bytes": 10**13}}},
            "machines": [],
            "domains": [],
            "pools": {"default": {"storage": f"s{storage}", "bases": [base] if storage == holder else []}},
        }
        for at, storage in enumerate(storages)
    }
    wanted = one_group(count)
    if size:
        wanted["bases"][0]["size_bytes"] = size
    bring = None if seconds is None else {"tiny": dict.fromkeys(hosts, seconds)}
    found = [entry["host"] for entry in place_machines(wanted, hosts, settings=Settings(bring=bring))["assignments"]]
    numbers = [found.count(host) for host in hosts]
    assert sum(numbers) == count
    assert max(numbers) - min(numbers) <= 1


def one_group(count: int) -> dict[str, t.Any]:
    return {
        "service": "shop",
        "tenant": "default",
        "bases": [{"name": "tiny", "version": "1", "sha256": None, "source": {}, "place": "bases[0]"}],
        "machines": [
            {
                "name": "web",
                "hosts": None,
                "per_host": None,
                "count": count,
                "cpus": 1,
                "memory_mib": 1024,
                "disks": [{"name": "root", "base": "tiny", "size_bytes": None, "differencing": True, "pool": None}],
                "place": "machines[0]",
                "places": {},
            }
        ],
    }
