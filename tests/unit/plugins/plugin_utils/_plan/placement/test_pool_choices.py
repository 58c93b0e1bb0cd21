# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import time
import types
import typing as t

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import pool_choices
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement.fleet import MIB, Pool
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement.pool_choices import MOST, first_pools, pools_for
from hypothesis import given, settings
from hypothesis import strategies as st

LABELS = ("fast", "large")


def a_host(*labels: t.Iterable[str], free: int = 1000) -> t.Any:
    names = ["default", *(f"p{number}" for number in range(1, len(labels)))]
    pools = {name: Pool(name, f"kvm1:{name}", free, 0, 100, frozenset(mine), frozenset()) for name, mine in zip(names, labels, strict=True)}
    return types.SimpleNamespace(name="kvm1", pools=pools)


def a_disk(labels: t.Sequence[str] = (), pool: str | None = None, mib: int = 10, base: str | None = None) -> dict[str, t.Any]:
    more = {"differencing": True, "backend": "qcow2"}
    return {"pool": pool, "pool_labels": list(labels), "size_bytes": mib * MIB, "base": base, **more}


def every(group: t.Mapping[str, t.Any], host: t.Any) -> list[pool_choices.Chosen]:
    """What is meant, by plain enumeration: the product of all pools of each disk, once for each pool that disks left open may share."""
    choices: list[list[Pool]] = []
    for disk in group["disks"]:
        if disk["pool"] is not None:
            choices.append([host.pools[disk["pool"]]] if disk["pool"] in host.pools else [])
        else:
            choices.append([pool for pool in host.pools.values() if disk["pool_labels"] and pool.labels >= set(disk["pool_labels"])])
    spots = [at for at, disk in enumerate(group["disks"]) if disk["pool"] is None and not disk["pool_labels"]]
    if not spots:
        return list(itertools.product(*choices))
    found: list[pool_choices.Chosen] = []
    for pool in host.pools.values():
        for at in spots:
            choices[at] = [pool]
        found += itertools.product(*choices)
    return found


def takes(group: t.Mapping[str, t.Any], pools: pool_choices.Chosen) -> t.Any:
    """What a choice takes: disks of each kind in each pool, and where each base goes, which is where its first disk is."""
    homes: dict[str, str] = {}
    taken = []
    for disk, pool in zip(group["disks"], pools, strict=True):
        if disk["base"]:
            homes.setdefault(disk["base"], pool.name)
        taken.append((pool.name, disk["size_bytes"], disk["base"] or ""))
    return tuple(sorted(taken)), tuple(sorted(homes.items()))


DISKS = st.lists(
    st.builds(
        a_disk,
        st.sampled_from([(), ("fast",), ("large",), LABELS]),
        st.sampled_from([None, None, None, "default", "p1", "p9"]),
        st.sampled_from([10, 20]),
        st.sampled_from([None, None, "debian", "alpine"]),
    ),
    min_size=1,
    max_size=4,
)
HOSTS = st.builds(lambda labels: a_host(*labels), st.lists(st.sets(st.sampled_from(LABELS)), min_size=1, max_size=4))


@settings(deadline=None, max_examples=300)
@given(DISKS, HOSTS)
def test_what_is_left_out_takes_the_same_as_one_that_stands_before(disks: list[dict[str, t.Any]], host: t.Any) -> None:
    group = {"disks": disks}
    first: dict[t.Any, pool_choices.Chosen] = {}
    for pools in every(group, host):
        first.setdefault(takes(group, pools), pools)
    found = pools_for(group, host)
    # Each kind of choice once at least, by its first; and in the order of the product.
    assert set(first.values()) <= set(found)
    assert found == [pools for pools in every(group, host) if pools in set(found)] and len(found) == len(set(found))
    assert first_pools(group, host) == next(iter(every(group, host)), None)


def test_disks_that_are_alike_are_told_once() -> None:
    group = {"disks": [a_disk(["fast"]) for _number in range(8)]}
    found = pools_for(group, a_host(*([["fast"]] * 4)))
    assert len(found) == 165  # of 65,536


def test_many_pools_and_disks_give_a_bounded_number_of_even_choices() -> None:
    group = {"disks": [a_disk(["fast"], mib=100 + number) for number in range(12)]}
    host = a_host(*([["fast"]] * 20), free=250)
    began = time.process_time()
    found = pools_for(group, host)
    assert time.process_time() - began < 10 and 0 < len(found) <= MOST
    # A pool takes two of them; and every pool is used by some choice, so that further machines find room.
    for pools in found:
        assert max([pool.name for pool in pools].count(name) for name in host.pools) <= 2
    assert {pool.name for pools in found for pool in pools} == set(host.pools)
    assert first_pools(group, host) == (host.pools["default"],) * 12


def test_disks_left_open_share_one_pool_however_many_there_are() -> None:
    group = {"disks": [a_disk(), *(a_disk(["fast"], mib=100 + number) for number in range(6))]}
    host = a_host(*([["fast"]] * 12))
    found = pools_for(group, host)
    assert 0 < len(found) <= MOST and {pools[0].name for pools in found} == set(host.pools)
    assert found[0][0].name == "default"
