# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import measured_links
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement.measured_links import SIZE_BYTES, measured_matrix


def seen(rates: dict[tuple[str, str], float], hosts: str = "abc") -> dict[str, t.Any]:
    """Hosts that have measured the links that leave them."""
    return {
        host: {"measured": {"links": [{"from": a, "to": b, "mbps": mbps} for (a, b), mbps in rates.items() if a == host]}} for host in hosts
    }


def rows_of(hosts: dict[str, t.Any]) -> dict[tuple[str, str], float]:
    matrix = measured_matrix(hosts)
    assert matrix is not None
    names = matrix["hosts"]
    return {(a, b): matrix["seconds"][i][j] for i, a in enumerate(names) for j, b in enumerate(names) if i != j}


def test_links_that_are_nearly_as_fast_are_equally_fast() -> None:
    rows = rows_of(seen({("a", "b"): 100, ("a", "c"): 88, ("b", "c"): 131, ("b", "a"): 95, ("c", "a"): 102, ("c", "b"): 110}))
    assert len(set(rows.values())) == 1
    assert rows["a", "b"] == pytest.approx(SIZE_BYTES * 8e-6 / 101, rel=0.05)


def test_a_link_that_is_much_slower_is_another_one() -> None:
    rows = rows_of(seen({("a", "b"): 10, ("a", "c"): 100, ("b", "c"): 105, ("b", "a"): 95, ("c", "a"): 100, ("c", "b"): 100}))
    assert rows["a", "b"] == pytest.approx(10 * rows["a", "c"], rel=0.1)


def test_links_that_nobody_measured_are_guessed() -> None:
    assert all(seconds > 0 for seconds in rows_of(seen({("a", "b"): 100})).values())


def test_a_link_that_was_dead_is_slow_and_no_obstacle() -> None:
    rows = rows_of(seen({("a", "b"): 0, ("a", "c"): 100, ("b", "c"): 100, ("b", "a"): 100, ("c", "a"): 100, ("c", "b"): 50}))
    assert rows["a", "b"] == pytest.approx(4 * rows["c", "b"])


@pytest.mark.parametrize(
    "hosts",
    [{}, {"a": {}}, {"a": {"measured": {}}, "b": {"measured": None}}, seen({}), seen({("a", "b"): 0})],
    ids=["no hosts", "one host", "nothing", "no links", "a dead link only"],
)
def test_without_measurements_there_is_no_matrix(hosts: dict[str, t.Any]) -> None:
    assert measured_matrix(hosts) is None


def test_links_that_the_user_states_count_alone() -> None:
    hosts = seen({("a", "b"): 100, ("a", "c"): 100}, "abc")
    matrix = measured_matrix(hosts, [{"from": "a", "to": "b", "mbps": 10}, {"from": "a", "to": "c", "mbps": 1000}])
    assert matrix is not None
    assert matrix["seconds"][0][1] > 50 * matrix["seconds"][0][2]


def test_a_link_that_takes_no_time_is_accepted() -> None:
    matrix = measured_matrix(seen({}, "ab"), [{"from": "a", "to": "b", "seconds": 0}, {"from": "b", "to": "a", "seconds": 8}])
    assert matrix is not None
    assert matrix["seconds"] == [[0, 0], [8, 0]]


def test_the_usual_time_of_a_class_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    monkeypatch.setattr(measured_links.statistics, "median", lambda mates: computed.append(mates) or mates[0])
    assert measured_links._classes([1.0, 1.1, 1.2, 9.0]) == {1.0: 1.0, 1.1: 1.0, 1.2: 1.0, 9.0: 9.0}
    assert computed == [[1.0, 1.1, 1.2], [9.0]]


def test_a_large_fleet_is_placed_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_links, "MOST_HOSTS", 2)
    assert measured_matrix(seen({("a", "b"): 100})) is None


def test_a_host_that_says_its_link_takes_for_ever_rules_no_other_out() -> None:
    rows = rows_of(seen({("a", "b"): 1e-300, ("a", "c"): 100}))
    assert max(rows.values()) <= 4e9


def test_of_another_hosts_links_that_host_tells() -> None:
    hosts = {"a": {"measured": {"links": [{"from": "b", "to": "a", "mbps": 9e6}]}}, "b": {}}
    assert measured_matrix(hosts) is None
    hosts["b"] = {"measured": {"links": [{"from": "b", "to": "a", "mbps": 100}]}}
    honest = measured_matrix({"a": {}, "b": hosts["b"]})
    assert honest is not None and measured_matrix(hosts) == honest
