# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._report import figures


def names(tree: dict[str, t.Any]) -> list[tuple[str, int]]:
    return [(row["host"], row["depth"]) for row in tree["rows"]]


def test_children_stand_below_their_parent() -> None:
    tree = figures.tree({"b": "a", "c": "a", "d": "b"}, ["a"], {})
    assert names(tree) == [("a", 0), ("b", 1), ("d", 2), ("c", 1)]
    assert tree["rows"][3]["line"][1] == tree["rows"][0]["y"]


@pytest.mark.parametrize(
    ("parents", "roots", "hosts"),
    [
        ({}, ["a"], {"a"}),
        ({"b": "a"}, [], {"a", "b"}),
        ({"b": "c", "c": "b"}, ["a"], {"a", "b", "c"}),
        ({"a": "a"}, [], {"a"}),
        ({"b": "lost"}, ["a"], {"a", "b", "lost"}),
    ],
)  # fmt: skip
def test_every_host_is_drawn_once(parents: dict[str, str], roots: list[str], hosts: set[str]) -> None:
    drawn = [row["host"] for row in figures.tree(parents, roots, {})["rows"]]
    assert len(drawn) == len(set(drawn)) and set(drawn) == hosts


def test_a_chain_of_1000_hosts_is_not_wider_than_a_screen() -> None:
    tree = figures.tree({str(number): str(number - 1) for number in range(1, 1000)}, ["0"], {})
    assert tree["rows"][-1]["depth"] == 999 and tree["width"] < 600


def transfer(host: str, planned: t.Any = (0.0, 10.0), started: float | None = 1.0, ended: float | None = 11.0) -> dict[str, t.Any]:
    return {"to": host, "sha256": "x", "planned": planned, "started_s": started, "ended_s": ended, "attempts": []}


def machine(name: str, host: str, **times: float) -> dict[str, t.Any]:
    return {"machine": name, "host": host, "times": times}


def test_bars_are_as_long_as_their_times() -> None:
    line = figures.timeline([transfer("a"), transfer("b", (0.0, 20.0), 5.0, 20.0)], [], [], {})
    assert line
    a, b = line["rows"]
    assert b["planned"]["w"] == pytest.approx(2 * a["planned"]["w"], abs=0.3)
    assert b["measured"]["w"] == pytest.approx(1.5 * a["measured"]["w"], abs=0.3)
    assert line["ticks"][0]["told"] == "0 s"


@pytest.mark.parametrize("last", [0.3, 1.0, 7.0, 59.0, 61.0, 1000.0, 86_000.0, 400_000.0])
def test_an_axis_has_a_few_round_ticks(last: float) -> None:
    line = figures.timeline([transfer("a", (0.0, last), None, None)], [], [], {})
    assert line
    assert 2 <= len(line["ticks"]) <= 11
    assert all(mark["x"] <= line["width"] for mark in line["ticks"])


def test_marks_of_machines_stand_below_their_host() -> None:
    line = figures.timeline([transfer("a")], [machine("m", "a", disks_s=12.0, reported_s=20.0), machine("n", "b", started_s=3.0)], [], {})
    assert line
    assert [(row["name"], len(row["marks"])) for row in line["rows"]] == [("a", 0), ("m", 2), ("b", 0), ("n", 1)]


def test_of_many_machines_the_first_and_last_are_drawn() -> None:
    machines = [machine(f"m{number}", "a", reported_s=float(number)) for number in range(figures.MOST_MACHINES + 1)]
    line = figures.timeline([transfer("a")], machines, [], {})
    assert line
    assert [(row["name"], [mark["told"] for mark in row["marks"]]) for row in line["rows"][1:]] == [
        ("151 machines", ["first of 151: reported at 0.0 s", "last of 151: reported at 2.5 min"])
    ]


def test_nothing_known_is_no_timeline() -> None:
    assert figures.timeline([transfer("a", None, None, None)], [machine("m", "a")], [], {}) is None


def test_events_that_cover_each_other_share_a_number() -> None:
    events = [{"at_s": at, "text": str(at)} for at in (1.0, 1.1, 9.0)]
    line = figures.timeline([transfer("a")], [], events, {})
    assert line and [event["number"] for event in line["events"]] == ["1–2", "3"]
    # The numbers of the first two take more room than one would.
    later = figures.timeline([transfer("a")], [], [*events[:2], {"at_s": 1.4, "text": "1.4"}, events[2]], {})
    assert later and [event["number"] for event in later["events"]] == ["1–3", "4"]
    assert later["events"][0]["told"] == "1.0 1.1 1.4"


@pytest.mark.parametrize(("hosts", "drawn"), [(1, False), (2, True), (64, True), (65, False)])
def test_a_map_has_a_cell_for_each_link(hosts: int, drawn: bool) -> None:
    order = [f"h{number}" for number in range(hosts)]
    links = [[a, b, 10.0 * (1 + i)] for i, a in enumerate(order) for b in order if a != b]
    found = figures.heat_map(links, order, {("h0", "h1"): 1}) if links else None
    assert (found is not None) == drawn
    if found:
        assert len(found["cells"]) == hosts * (hosts - 1)
        assert sum(cell["used"] for cell in found["cells"]) == 1
        assert {cell["shade"] for cell in found["cells"]} <= {1, 2, 3, 4, 5}


def test_links_that_are_alike_have_one_shade() -> None:
    found = figures.heat_map([["a", "b", 100.0], ["b", "a", 101.0]], ["a", "b"], {})
    assert found and [entry["told"] for entry in found["legend"]] == ["all about 101 Mbit/s"]


def test_sites_have_the_median_of_their_links() -> None:
    links = [["a", "c", 10], ["b", "c", 30], ["a", "d", 20], ["a", "x", 1]]
    assert figures.by_site(links, {"a": "one", "b": "one", "c": "two", "d": "two"}) == [["one", "two", 20.0]]
