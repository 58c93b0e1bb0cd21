# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a running relay is planned again, and what follows: the worked examples, and what must not happen."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.filter import relay_rescue as relay_rescue_module
from ansible_collections.basecast.fleet.plugins.filter.relay_rescue import relay_rescue
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.monitor import recover
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.monitor import state as values
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.monitor.step import step
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.network import matrix as mx
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.fleet import Network, relay_plans

DIGEST = "1" * 64
SIZE = 600_000_000
BEGAN = 1000.0
# Minutes, as in the examples; here they count as seconds.
EXAMPLE_1 = {"S>1": 10, "S>2": 30, "S>3": 45, "1>2": 10, "2>1": 10, "1>3": 15, "3>1": 15, "2>3": 5, "3>2": 5}
SETTINGS = {"patience_s": 5.0, "retry_s": 10.0, "measure_s": 1.0, "timeout_s": 500.0}


class Answers(t.NamedTuple):
    """What came of asking hosts."""

    alive: dict[str, t.Any]
    lost: dict[str, str]


class Measured(t.NamedTuple):
    """What was measured."""

    links: t.Sequence[t.Mapping[str, t.Any]] = ()
    hosts: t.Mapping[str, t.Mapping[str, t.Any]] = {}


NOTHING_MEASURED = Measured()


def stepped(state: dict[str, t.Any], event: values.Event) -> dict[str, t.Any]:
    """A step as between two tasks: the watch is plain data before and after, and what it was made from stays as it is."""
    before = json.dumps(state)
    after = json.loads(json.dumps(values.data_of(*step(values.watch_of(state), event))))
    assert json.dumps(state) == before
    return t.cast("dict[str, t.Any]", after)


def look(state: dict[str, t.Any], told: dict[str, t.Any], at: float) -> dict[str, t.Any]:
    return stepped(state, values.News(told.get("fleet") or {}, at))


def decide(state: dict[str, t.Any], answers: Answers, at: float, measured: Measured = NOTHING_MEASURED) -> dict[str, t.Any]:
    return stepped(state, values.Answers(*answers, at, *measured))


def mbps(seconds: float) -> float:
    return SIZE * 8e-6 / seconds


def rows(links: dict[str, float]) -> list[dict[str, t.Any]]:
    return [{"from": link[0], "to": link[2], "mbps": mbps(seconds)} for link, seconds in links.items()]


def begin(links: dict[str, float], targets: str = "123", **options: t.Any) -> dict[str, t.Any]:
    relay = {
        "base": "image 1", "sha256": DIGEST, "size_bytes": SIZE, "metadata": {"sha256": DIGEST},
        "sources": {"S": "default"}, "targets": dict.fromkeys(targets, "default"),
    }  # fmt: skip
    usual = {"mode": "staged", "strategy": "preferred_paths", "contention": "independent"}
    plans = relay_plans([relay], Network(rows(links)), **{**usual, **options})
    return {"relays": [relay], "plans": plans, "began": BEGAN, "measured": rows(links), "settings": SETTINGS, "watcher": "S", "paths": True}


def table(state: dict[str, t.Any]) -> dict[str, str]:
    """What the table of preferred paths says, by link."""
    lines = state["lines"][state["lines"].index("Preferred paths:") + 2 : state["lines"].index("Whole paths:") - 1]
    return {"".join(line.split()[:3]): " ".join(line.split()[5:-1]) for line in lines}


def base(state: str, share: float = 1.0, parent: str = "", rate: float = 0.0) -> dict[str, t.Any]:
    remaining = (1 - share) * SIZE * 8e-6 / rate if rate else None
    return {
        "state": state, "bytes": int(share * SIZE), "size_bytes": SIZE, "rate_mbps": rate, "remaining_s": remaining,
        "parents": [parent] if parent else [], "msg": "",
    }  # fmt: skip


def news(hosts: dict[str, dict[str, t.Any]], stale: str = "") -> dict[str, t.Any]:
    return {
        "fleet": {host: {"started": True, "age_s": 0.0, "stale": host in stale, "bases": {DIGEST: told}} for host, told in hosts.items()}
    }


def node(parent: str = "", *errors: str) -> dict[str, t.Any]:
    attempts = [{"parent": error.split()[0], "error": error} for error in errors]
    return {"bases": {DIGEST: {"state": "fetching", "from": parent or None, "attempts": attempts}}}


def first_parents(state: dict[str, t.Any]) -> dict[str, str]:
    """From whom each host that has a new part fetches."""
    heads = {}
    for host, (part,) in state["parts"].items():
        choices = part["parents"]
        if choices:
            heads[host] = choices[0][0]
    return heads


def test_as_long_as_all_goes_as_planned_nothing_is_done() -> None:
    state = begin(EXAMPLE_1)
    waiting = {
        "S": base("holding"),
        "1": base("fetching", 0.2, "S", mbps(10)),
        "2": base("fetching", 0.0, "1"),
        "3": base("fetching", 0.0, "1"),
    }
    assert not look(state, news(waiting), BEGAN + 0.5)["act"]
    served = {"S": base("holding"), **{host: base("holding") for host in "123"}}
    over = look(state, news(served), BEGAN + 26)
    assert (over["act"], over["done"]) == (True, True)


def test_example_2_a_link_that_nobody_uses_is_measured_quicker() -> None:
    state = begin(EXAMPLE_1)
    at_2 = {
        "S": base("holding"),
        "1": base("fetching", 0.2, "S", mbps(10)),
        "2": base("fetching", 0.0, "1"),
        "3": base("fetching", 0.0, "1"),
    }
    state = look(state, news(at_2), BEGAN + 2)
    assert {tuple(pair) for r in state["rounds"] for pair in r} == {("S", "2"), ("S", "3")}
    assert all(len(r) == len({h for pair in r for h in pair}) / 2 for r in state["rounds"])
    state = decide(
        state,
        Answers({}, {}),
        BEGAN + 2,
        Measured([{"from": "S", "to": "3", "mbps": mbps(10)}, {"from": "S", "to": "2", "mbps": mbps(30)}]),
    )
    assert first_parents(state) | {"1": "S"} == {"1": "S", "3": "S", "2": "3"}
    assert "the link from S to 3 was measured" in state["lines"][0]
    assert "Planned again: 2 from 3, 3 from S; the last host" in state["lines"][0]
    assert state["plans"][0]["predicted_s"] == pytest.approx(17, abs=0.1)
    shown = table(state)
    assert {link for link, word in shown.items() if word.startswith("yes")} == {"S>1", "S>3", "3>2"}
    assert shown["3>2"] == "yes after 3"
    assert set(shown) == set(EXAMPLE_1)


def test_example_3_a_link_fails_and_its_child_is_resumed_from_another() -> None:
    state = {**begin({**EXAMPLE_1, "1>3": 25, "S>2": 45}), "settings": {**SETTINGS, "measure_s": 0}}
    at_18 = {"S": base("holding"), "1": base("holding"), "2": base("fetching", 0.1, "S", 1.0), "3": base("fetching", 0.0, "2")}
    state = look(state, news(at_18), BEGAN + 18)
    assert state["ask"] == ["2"]
    state = decide(state, Answers({"2": node("S", "1 has been silent for 6.0 s.")}, {}), BEGAN + 18)
    assert sorted(state["lost_links"]) == [["1", "2"], ["2", "1"]]
    assert first_parents(state) == {"3": "1", "2": "3"}
    assert "the link between 1 and 2 is lost" in state["lines"][0]
    assert state["history"] == [
        {"at_s": 18.0, "kind": "stall", "text": "2 fetches from S instead of 1."},
        {"at_s": state["plans"][0]["at_s"], "kind": "replan", "text": state["lines"][0].removeprefix("After 18 s: ")},
    ]
    assert table(state) == {"S>2": "no -", "S>3": "no -", "1>3": "yes -", "2>3": "no -", "3>2": "yes after 3"}
    # The same news again is no reason to do anything.
    assert not look(state, news({**at_18, "3": base("fetching", 0.01, "1"), "2": base("fetching", 0.1, "3")}), BEGAN + 19)["act"]


@pytest.mark.parametrize(("mbps_at_last", "lost"), [(0.0, True), (1.2, False), (None, False)], ids=["nothing", "little", "unknown"])
def test_a_parent_that_was_left_while_nothing_came_from_it_is_a_lost_link(mbps_at_last: float | None, lost: bool) -> None:
    """Its child does not wait until silence is sure."""
    state = {**begin({**EXAMPLE_1, "1>3": 25, "S>2": 45}), "settings": {**SETTINGS, "measure_s": 0}}
    at_18 = {"S": base("holding"), "1": base("holding"), "2": base("fetching", 0.1, "S", 1.0), "3": base("fetching", 0.0, "2")}
    state = look(state, news(at_18), BEGAN + 18)
    told = node("S", "1 delivered 2.4 Mbit/s where S delivers 8.0: it was left.")
    told["bases"][DIGEST]["attempts"][0]["mbps"] = mbps_at_last
    state = decide(state, Answers({"2": told}, {}), BEGAN + 18)
    assert sorted(state["lost_links"]) == ([["1", "2"], ["2", "1"]] if lost else [])
    assert (first_parents(state) == {"3": "1", "2": "3"}) is lost


def test_example_4_the_source_dies_after_one_host_has_it() -> None:
    state = begin(dict.fromkeys(EXAMPLE_1, 15) | {"S>1": 10, "S>2": 20, "S>3": 20})
    at_12 = {"S": base("holding"), "1": base("holding"), "2": base("fetching", 0.6, "S"), "3": base("fetching", 0.6, "S")}
    state = look(state, {"unreachable": True, "msg": "no route"}, BEGAN + 12)
    assert (state["ask"], state["watcher"]) == (["S"], "1")
    state = decide(state, Answers({}, {"S": "no route"}), BEGAN + 12)
    assert (state["concerned"], state["failed"]) == ([], None)  # nobody has told yet who holds what
    state = look(state, news(at_12, stale="S"), BEGAN + 13)
    assert state["act"]
    state = decide(state, Answers({}, {}), BEGAN + 13)
    assert "S is lost" in state["lines"][0]
    assert first_parents(state) == {"2": "1", "3": "1"}
    assert (state["failed"], state["done"]) == (None, False)


def test_example_4_the_source_dies_before_anybody_has_it() -> None:
    state = begin(EXAMPLE_1)
    at_5 = {"S": base("holding"), "1": base("fetching", 0.5), "2": base("fetching"), "3": base("fetching")}
    state = look({**state, "watcher": "1"}, news(at_5, stale="S"), BEGAN + 5)
    assert "S" in state["ask"]
    state = decide(state, Answers({}, {"S": "no route"}), BEGAN + 5)
    assert (state["done"], state["failed"]) == (False, None)  # it may come back within the patience of the nodes
    assert state["lost"]["S"]["next"] <= BEGAN + 8
    state = look(state, news(at_5, stale="S"), BEGAN + 11)
    state = decide(state, Answers({}, {"S": "no route"}), BEGAN + 11)
    assert state["done"]
    assert "no host that can still be reached holds the base" in state["failed"]


def all_lost(at: float) -> dict[str, t.Any]:
    """Every host has stopped answering, the watcher first."""
    state = look(begin(EXAMPLE_1), {"unreachable": True, "msg": "no route"}, at)
    return decide(state, Answers({}, dict.fromkeys("S123", "it has ended")), at)


def test_a_relay_of_which_every_host_is_lost_is_given_up() -> None:
    state = all_lost(BEGAN + 5)
    assert (state["done"], state["failed"], state["watcher"]) == (False, None, None)
    state = look(state, {"unreachable": True, "msg": "no route"}, BEGAN + 8)
    assert state["ask"], "they are asked again before that"
    state = decide(state, Answers({}, dict.fromkeys(state["ask"], "it has ended")), BEGAN + 8)
    assert not state["done"]
    state = look(state, {"unreachable": True, "msg": "no route"}, BEGAN + 12)
    state = decide(state, Answers({}, dict.fromkeys(state["ask"], "it has ended")), BEGAN + 12)
    assert state["done"] and "no host that can still be reached holds the base (lost: S, 1, 2, 3)" in state["failed"]


def test_a_relay_goes_on_with_a_host_that_is_back_in_time() -> None:
    state = look(all_lost(BEGAN + 5), {"unreachable": True, "msg": "no route"}, BEGAN + 8)
    state = decide(state, Answers({"S": node()}, dict.fromkeys("123", "it has ended")), BEGAN + 8)
    state = look(state, news({"S": base("holding"), "1": base("fetching", 0.5, "S")}), BEGAN + 9)
    state = decide(state, Answers({"1": node("S")}, {}), BEGAN + 9)
    state = decide(state, Answers({}, {}), BEGAN + 30)
    assert (state["done"], state["failed"]) == (False, None)


def test_the_patience_begins_anew_each_time_that_every_host_is_lost() -> None:
    silence = {"unreachable": True, "msg": "no route"}
    state = all_lost(BEGAN + 5)
    state = {**state, "settings": {**state["settings"], "most_plans": 0}}
    state = decide(look(state, silence, BEGAN + 8), Answers({"S": node()}, dict.fromkeys("123", "it has ended")), BEGAN + 8)
    state = look(state, news({"S": base("holding"), "1": base("fetching", 0.5, "S")}), BEGAN + 9)
    state = decide(state, Answers({}, {}), BEGAN + 9)
    state = decide(look(state, silence, BEGAN + 60), Answers({}, {"S": "it has ended"}), BEGAN + 60)
    assert (state["done"], state["failed"], state["watcher"]) == (False, None, None)


@pytest.mark.parametrize("holder", ["", "3"], ids=["nobody", "a target"])
def test_example_4_when_the_nodes_give_up_before_the_watch_does(holder: str) -> None:
    """What they leave is of use only if somebody holds the base."""
    state = begin(EXAMPLE_1)
    given_up = {"S": base("holding"), **{host: base("holding" if host == holder else "failed", 0.5) for host in "123"}}
    state = look({**state, "watcher": "1"}, news(given_up, stale="S"), BEGAN + 14)
    state = decide(state, Answers({}, {"S": "no route"}), BEGAN + 14)
    state = look(state, news(given_up, stale="S"), BEGAN + 15)
    state = look(decide(state, Answers({}, {"S": "no route"}), BEGAN + 15), news(given_up, stale="S"), BEGAN + 16)
    assert state["done"]
    assert ("no host that can still be reached holds the base (lost: S)" in str(state["failed"])) is (not holder)


def test_a_host_that_is_back_is_planned_for_and_gets_its_part() -> None:
    state = begin(EXAMPLE_1)
    running = {
        "S": base("holding"),
        "1": base("fetching", 0.5, "S", mbps(10)),
        "2": base("fetching", 0.0, "1"),
        "3": base("fetching", 0.0, "1"),
    }
    state = look(state, news(running, stale="3"), BEGAN + 5)
    state = decide(state, Answers({}, {"3": "no route"}), BEGAN + 5)
    assert state["plans"][0]["targets"] == ["1", "2"]
    assert look(state, news(running, stale="3"), BEGAN + 6)["ask"] == []
    state = look(state, news(running, stale="3"), BEGAN + 16)
    assert state["ask"] == ["3"]
    state = decide(state, Answers({"3": {"bases": {}}}, {}), BEGAN + 16)
    assert "3 is back" in state["lines"][0]
    assert "3" in state["concerned"]
    assert "3" in state["plans"][0]["targets"]


def test_a_node_whose_process_had_ended_is_given_its_part_again() -> None:
    state = {**begin(EXAMPLE_1), "settings": {**SETTINGS, "measure_s": 0}}
    running = {
        "S": base("holding"),
        "1": base("fetching", 0.5, "S", mbps(10)),
        "2": base("fetching", 0.0, "1"),
        "3": base("fetching", 0.0, "1"),
    }
    state = look(state, news(running, stale="1"), BEGAN + 5)
    state = decide(state, Answers({"1": {"started": False, "bases": {}}}, {}), BEGAN + 5)
    assert "the relay node of 1 had to be started again" in state["lines"][0]
    assert state["lost"] == {}
    assert state["concerned"] == ["1"]
    assert state["parts"]["1"][0]["parents"][0][0] == "S"
    assert not look(state, news(running, stale="1"), BEGAN + 6)["act"]


def test_before_the_end_a_lost_host_is_tried_once_more() -> None:
    state = begin(EXAMPLE_1)
    served = {"S": base("holding"), "1": base("holding"), "2": base("holding"), "3": base("fetching")}
    state = decide(look(state, news(served, stale="3"), BEGAN + 20), Answers({}, {"3": "no route"}), BEGAN + 20)
    state = look(state, news(served, stale="3"), BEGAN + 21)
    assert (state["ask"], state["done"]) == (["3"], False)
    state = decide(state, Answers({}, {"3": "no route"}), BEGAN + 22)
    assert look(state, news(served, stale="3"), BEGAN + 23)["done"]


@pytest.mark.parametrize(
    ("rate", "acts"), [(mbps(40) * 0.4, True), (mbps(40) * 0.8, False), (mbps(40) * 2, True)], ids=["slow", "noise", "quick"]
)
def test_a_transfer_that_is_not_as_quick_as_planned(rate: float, acts: bool) -> None:
    state = begin({"S>1": 40, "S>2": 60, "1>2": 60})
    running = {"S": base("holding"), "1": base("fetching", 0.2, "S", rate), "2": base("fetching", 0.2, "S", mbps(60))}
    state["settings"] = {**SETTINGS, "measure_s": 0}
    state = look(state, news(running), BEGAN + 15)
    assert state["act"] == acts
    if acts:
        state = decide(state, Answers({}, {}), BEGAN + 15)
        assert "the link from S to 1 carries" in state["lines"][0]
        # It is known now, and no reason any more.
        assert not look(state, news(running), BEGAN + 35)["act"]


def test_a_child_that_waits_for_its_parents_chunks_does_not_blame_the_link() -> None:
    state = begin({"S>1": 40, "S>2": 200, "1>2": 30}, targets="12", mode="cut_through", contention="port", strategy="best")
    slow = mbps(40) * 0.3
    running = {"S": base("holding"), "1": base("fetching", 0.2, "S", slow), "2": base("fetching", 0.199, "1", slow)}
    assert [row[:2] for row in look(state, news(running), BEGAN + 15)["observed_rates"]] == [["S", "1"]]


def test_two_watchers_that_do_not_answer_in_turn() -> None:
    state = look(begin(EXAMPLE_1), {"failed": True}, BEGAN + 1)
    state = decide(state, Answers({}, {"S": "no route"}), BEGAN + 1)
    assert state["watcher"] == "1"
    state = decide(look(state, {"failed": True}, BEGAN + 2), Answers({}, {"1": "no route"}), BEGAN + 2)
    assert state["watcher"] == "2"


def test_a_host_that_shares_its_pool_with_a_receiver_needs_no_parent() -> None:
    state = begin(EXAMPLE_1)
    (plan,) = state["plans"]
    shared = {**state, "plans": [{**plan, "shares": {"2": "1"}}]}
    at_20 = {"S": base("holding"), "1": base("fetching", 0.2, "S", mbps(10)), "2": base("fetching", 0.2), "3": base("holding")}
    assert look(state, news(at_20), BEGAN + 20)["ask"] == ["2"]
    assert look(shared, news(at_20), BEGAN + 20)["ask"] == []


def test_a_host_that_has_no_parent_yet_is_given_time() -> None:
    state = {**begin(EXAMPLE_1), "watched_from": BEGAN + 20, "settings": {**SETTINGS, "measure_s": 0}}
    starting = {"S": base("holding"), "1": base("fetching"), "2": base("fetching"), "3": base("fetching")}
    assert not look(state, news(starting), BEGAN + 25)["act"]
    assert look(state, news(starting), BEGAN + 31)["ask"] == ["1", "2", "3"]


def test_the_overview_of_a_plan_says_who_gets_how_much_from_whom_and_when() -> None:
    plan = begin(EXAMPLE_1)["plans"][0]
    assert {(link["from"], link["to"]): round(link["seconds"], 3) for link in plan["links"]} == {
        ("S", "1"): 10,
        ("1", "2"): 10,
        ("1", "3"): 15,
    }
    assert {link["bytes"] for link in plan["links"]} == {SIZE}
    assert plan["arrivals"]["3"] == {"at_s": pytest.approx(25), "from": ["1"]}


def rows_of(*links: tuple[str, float]) -> Measured:
    return Measured([{"from": link[0], "to": link[2], "mbps": mbps(seconds) if seconds else 0} for link, seconds in links])


def test_example_2_happens_chunk_by_chunk_too() -> None:
    """In the default mode, links that no transfer uses are measured and used once they are better."""
    state = begin(EXAMPLE_1, mode="cut_through", contention="port", strategy="best")
    before = state["plans"][0]["predicted_s"]
    running = {"S": base("holding"), "1": base("fetching", 0.2, "S", mbps(10)), "2": base("fetching", 0.1, "1", mbps(10)),
               "3": base("fetching", 0.1, "2", mbps(10))}  # fmt: skip
    state = look(state, news(running), BEGAN + 2.5)
    assert ["S", "3"] in [pair for pairs in state["rounds"] for pair in pairs]
    state = decide(state, Answers({}, {}), BEGAN + 2.5, rows_of(("S>3", 1.0)))
    assert "the link from S to 3 was measured" in state["lines"][0]
    assert "S" in {edge["from"] for tree in state["plans"][0]["trees"] for edge in tree["edges"] if edge["to"] == "3"}
    assert state["plans"][0]["predicted_s"] < before + 2.5


def test_a_busy_link_that_measures_slow_is_no_reason() -> None:
    state = begin(EXAMPLE_1, mode="cut_through", contention="port", strategy="best")
    running = {"S": base("holding"), **{host: base("fetching", 0.1, "S", mbps(10)) for host in "123"}}
    state = look(state, news(running), BEGAN + 2.5)
    assert decide(state, Answers({}, {}), BEGAN + 2.5, rows_of(("2>1", 500)))["lines"] == []


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_lost_link_is_measured_again_and_used(mode: str) -> None:
    state = begin({**EXAMPLE_1, "1>3": 25, "S>2": 45}, mode=mode, contention="port", strategy="best")
    state = {**state, "lost_links": [["S", "1"], ["1", "S"]]}
    running = {"S": base("holding"), "1": base("fetching", 0.0, "3"), "2": base("fetching", 0.0, "3"), "3": base("fetching", 0.1, "S", 1)}
    state = look(state, news(running), BEGAN + 3)
    assert state["rounds"][0][0] == ["S", "1"]
    still = decide(state, Answers({}, {}), BEGAN + 3, rows_of(("S>1", 0)))
    assert (still["lines"], len(still["lost_links"])) == ([], 2)
    crawls = decide(state, Answers({}, {}), BEGAN + 3, rows_of(("S>1", 3000)))
    assert "the link between S and 1 is back (1.6 Mbit/s)" in crawls["lines"][0]
    back = decide(state, Answers({}, {}), BEGAN + 3, rows_of(("S>1", 10)))
    assert back["lost_links"] == []
    assert "the link between S and 1 is back" in back["lines"][0]
    assert "S" in {edge["from"] for tree in back["plans"][0]["trees"] for edge in tree["edges"] if edge["to"] == "1"}


@pytest.mark.parametrize("mode", ["staged", "cut_through"])
def test_a_new_plan_over_links_that_nobody_measured_promises_no_time(mode: str) -> None:
    """Until a link of it is measured; then what was measured counts."""
    links = {link: seconds for link, seconds in EXAMPLE_1.items() if link not in ("1>3", "2>3", "3>2")}
    state = begin({**links, "S>2": 12}, mode=mode, contention="port", strategy="best")
    at_2 = {
        "S": base("holding"),
        "1": base("fetching", 0.2, "S", mbps(10)),
        "2": base("fetching", 0.0, "1"),
        "3": base("fetching", 0.0, "1"),
    }
    state = look(state, news(at_2), BEGAN + 2)
    guessed = decide(state, Answers({}, {}), BEGAN + 2, rows_of(("S>3", 500)) if mode == "staged" else rows_of(("S>2", 5)))
    (plan,) = guessed["plans"]
    used = {tuple(link) for link in plan["estimated_links"]}
    assert used and used <= {("1", "3"), ("2", "3"), ("3", "2")}
    assert {(link["from"], link["to"]) for link in plan["links"] if link.get("estimated")} == used
    assert not plan["proven_optimal"]
    assert "after ~" in guessed["lines"][0], guessed["lines"]
    ((a, b),) = used
    known = decide({**guessed, "rates": [*guessed["rates"], [a, b, mbps(4)]], "pending": ["news"]}, Answers({}, {}), BEGAN + 2.5)
    assert "estimated_links" not in known["plans"][0], known["plans"][0]["estimated_links"]
    assert "after ~" not in known["lines"][0]


def test_what_was_measured_on_the_way_counts_in_large_fleets_too() -> None:
    hosts = [f"h{k}" for k in range(300)]
    relay = {"base": "x", "sha256": DIGEST, "size_bytes": SIZE, "metadata": {"sha256": DIGEST}, "sources": {"h0": "p"},
             "targets": dict.fromkeys(hosts[1:], "p")}  # fmt: skip
    known = {h: {"links": [{"from": h, "to": hosts[(k + d) % 300], "mbps": 800 + d} for d in (1, 2, 7)]} for k, h in enumerate(hosts)}
    sites = {h: f"site {k % 3}" for k, h in enumerate(hosts)}
    plans = relay_plans([relay], Network(known, sites), mode="staged")
    assert not plans[0]["proven_optimal"]
    assert ["h0", "h1"] not in plans[0]["estimated_links"]
    assert len(plans[0]["estimated_links"]) > 100
    state = {"relays": [relay], "plans": plans, "began": BEGAN, "measured": known, "sites": sites, "settings": SETTINGS, "watcher": "h0"}
    watch = values.watch_of({**state, "rates": [["h0", "h1", 5.0]]})
    matrix = recover._matrix(watch, watch.relays[0], watch.plans[0])
    parsed = mx.parse(matrix)
    assert parsed.seconds(0, 1) == pytest.approx(mx.mbps_seconds(SIZE, 5.0))
    assert not parsed.is_estimated(0, 1)
    assert parsed.is_estimated(0, 100)


def test_of_many_idle_links_each_is_measured_in_turn() -> None:
    hosts = [f"h{k}" for k in range(40)]
    links = {}
    relay = {"base": "x", "sha256": DIGEST, "size_bytes": SIZE, "metadata": {"sha256": DIGEST}, "sources": {"h0": "p"},
             "targets": dict.fromkeys(hosts[1:], "p")}  # fmt: skip
    plans = relay_plans([relay], mode="staged")
    state = {"relays": [relay], "plans": plans, "began": BEGAN, "settings": {**SETTINGS, "timeout_s": 5000}, "watcher": "h0"}
    fleet = {"h0": base("holding"), **{host: base("waiting") for host in hosts[1:]}}
    for k in range(12):
        state = look(state, news(fleet), BEGAN + 100 * (k + 1))
        for pairs in state["rounds"]:
            assert len({host for pair in pairs for host in pair}) == 2 * len(pairs)
            links.update(dict.fromkeys(map(tuple, pairs)))
    assert {pair[1] for pair in links} == set(hosts[1:])


def test_what_a_probe_reads_of_a_host_counts_from_then_on() -> None:
    state = begin(EXAMPLE_1)
    state["measured"] = {"S": {"links": rows(EXAMPLE_1), "disk_read_mbps": 1e6, "disk_write_mbps": 1e6, "cpus": 2, "load_1m": 0.1}}
    state = look(state, news({"S": base("holding"), **{host: base("waiting") for host in "123"}}), BEGAN + 3)
    state = decide(state, Answers({}, {}), BEGAN + 3, Measured(hosts={"S": {"load_1m": 20.0, "links": []}}))
    assert state["measured"]["S"]["load_1m"] == 20.0
    assert state["measured"]["S"]["links"] == rows(EXAMPLE_1)


@pytest.mark.parametrize(
    "settings", [{"patience": 3}, {"retry_s": -1}, {"retry_s": "soon"}, {"changed_factor": 0.5}, {"worth_s": True}, "fast"]
)
def test_settings_that_a_watch_does_not_have(settings: t.Any) -> None:
    with pytest.raises(InvalidOption, match=r"^settings.* is not accepted; .* is wanted$"):
        look({**begin(EXAMPLE_1), "settings": settings}, news({}), BEGAN)


def test_a_threshold_is_what_the_user_sets() -> None:
    state = begin({"S>1": 40, "S>2": 60, "1>2": 60})
    running = {"S": base("holding"), "1": base("fetching", 0.2, "S", mbps(40) * 0.4), "2": base("fetching", 0.2, "S", mbps(60))}
    for factor, acts in ((2, True), (3, False)):
        settings = {**SETTINGS, "measure_s": 0, "changed_factor": factor}
        assert look({**state, "settings": settings}, news(running), BEGAN + 15)["act"] == acts


def test_a_new_plan_keeps_limits_copies_and_helpers() -> None:
    relay = {
        "base": "image 1", "sha256": DIGEST, "size_bytes": SIZE, "metadata": {"sha256": DIGEST}, "sources": {"S": "p"},
        "targets": {"1": "p", "2": "p"}, "helpers": {"x": "p", "y": "p"}, "copies": {"2": {"p": 2}},
    }  # fmt: skip
    known = rows({"S>1": 40, "S>2": 40, "S>x": 4, "x>1": 4, "x>2": 4, "1>2": 40, "2>1": 40})
    settings = {host: {"rate_mbps": 5000, "streams": 3} for host in ["S", "1", "2", "x", "y"]}
    plans = relay_plans([relay], Network(known, settings=settings), mode="staged")
    assert plans[0]["helpers"] == ["x"]
    state = {"relays": [relay], "plans": plans, "began": BEGAN, "measured": known, "settings": SETTINGS, "watcher": "S"}
    running = {"S": base("holding"), "x": base("fetching", 0.5, "S", mbps(4)), "1": base("waiting"), "2": base("waiting")}
    state = look(state, news(running, stale="x"), BEGAN + 2)
    state = decide(state, Answers({}, {"x": "no route"}), BEGAN + 2)
    assert "x is lost" in state["lines"][0]
    assert {edge["from"] for tree in state["plans"][0]["trees"] for edge in tree["edges"]} <= {"S", "1", "2"}
    assert state["plans"][0]["limits"]["hosts"]["S"] == {"up_mbps": 5000, "down_mbps": 5000, "streams": 3}
    assert state["plans"][0]["local"][0]["host"] == "2"


def test_a_stall_is_remembered_once_for_the_report() -> None:
    state = {**begin(EXAMPLE_1), "settings": {**SETTINGS, "measure_s": 0}}
    told = {"S": base("holding"), "1": base("fetching", 0.5, "S"), "2": base("waiting"), "3": base("waiting")}
    for at in (5, 6, 7):
        state = look(state, news(told, stale="1"), BEGAN + at)
    assert state["history"] == [{"at_s": 5.0, "kind": "stall", "text": "1 is silent."}]
    state = look(state, news(told), BEGAN + 8)
    state = look(state, news(told, stale="1"), BEGAN + 9)
    assert [entry["at_s"] for entry in state["history"]] == [5.0, 9.0]


@pytest.mark.parametrize("why", [{"a": [1]}, ["no", "way"], 7, None])
def test_a_host_that_fails_in_its_own_words_ends_no_relay(why: object) -> None:
    """What a module says of its failure is the host's own, of any form."""
    state = relay_rescue(begin(EXAMPLE_1), {}, {"2": why}, BEGAN + 5)
    assert state["lost"]["2"]["why"] == str(why) and not state["done"]


def test_a_long_sentence_is_told_in_lines_that_a_terminal_shows_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "After 30 s: " + "; ".join(f"the link from kvm{n} to kvm{n + 1} is lost" for n in range(9)) + ". The order stays."
    tables = ["Preferred paths:", "  " + "kvm1   kvm2 " * 20]
    monkeypatch.setattr(relay_rescue_module, "step", lambda watch, _answers: (watch, values.Actions(lines=[sentence, *tables])))
    lines = relay_rescue(begin(EXAMPLE_1), {}, {}, BEGAN + 5)["lines"]
    assert lines[-2:] == tables and len(lines) > 4 and max(map(len, lines[:-2])) <= 100
    assert " ".join(line.strip() for line in lines[:-2]) == sentence
    monkeypatch.setattr(relay_rescue_module, "step", lambda watch, _answers: (watch, values.Actions()))
    assert relay_rescue(begin(EXAMPLE_1), {}, {}, BEGAN + 5)["lines"] == []
