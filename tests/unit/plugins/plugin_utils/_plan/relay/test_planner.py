# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for every plan, over drawn networks; replayed by the checker, which shares no code with the planner."""

from __future__ import annotations

import importlib.util
import json
import math
import pathlib
import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay import request
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.planner import relay_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.replan import relay_replan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.staged import schedule, search
from hypothesis import given, settings
from hypothesis import strategies as some

PLAN_TESTS = pathlib.Path(__file__).resolve().parents[5] / "plan"


def _checker() -> t.Any:
    spec = importlib.util.spec_from_file_location("plan_check", PLAN_TESTS / "check.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["plan_check"] = module
    spec.loader.exec_module(module)
    return module


check = _checker()
SECONDS = some.one_of(some.none(), some.integers(1, 60), some.floats(0.5, 500, allow_nan=False))


@some.composite
def networks(draw: t.Any, least: int = 2, most: int = 6) -> tuple[dict[str, t.Any], list[str]]:
    n = draw(some.integers(least, most))
    names = draw(some.lists(some.text(min_size=1, max_size=6), min_size=n, max_size=n, unique=True))
    seconds = [[0 if i == j else draw(SECONDS) for j in range(n)] for i in range(n)]
    sources = draw(some.lists(some.sampled_from(names), min_size=1, max_size=2, unique=True))
    return {"format": 1, "hosts": names, "seconds": seconds}, sources


OPTIONS = some.fixed_dictionaries(
    {
        "strategy": some.sampled_from(["best", "preferred_paths"]),
        "contention": some.sampled_from(["port", "independent"]),
    }
)
QUICK = settings(max_examples=30, deadline=None)
# Searches take their steps, however busy the machine.
pytestmark = pytest.mark.timeout(400)


def reachable(matrix: dict[str, t.Any], sources: list[str]) -> set[str]:
    found, todo = set(sources), list(sources)
    while todo:
        row = matrix["seconds"][matrix["hosts"].index(todo.pop())]
        for host, seconds in zip(matrix["hosts"], row, strict=True):
            if seconds is not None and host not in found:
                found.add(host)
                todo.append(host)
    return found


@QUICK
@given(networks(), OPTIONS)
def test_staged_serves_everybody_once_from_holders(drawn: tuple[dict[str, t.Any], list[str]], options: t.Any) -> None:
    matrix, sources = drawn
    plan = relay_plan(matrix, sources, **options)
    assert check.staged(matrix, plan) == pytest.approx(plan["predicted_s"])
    assert plan["lower_bound_s"] <= plan["predicted_s"] * (1 + 1e-9)
    assert set(plan["unreachable"]) == set(matrix["hosts"]) - reachable(matrix, sources)
    json.dumps(plan)


@QUICK
@given(networks(least=3, most=7), some.sampled_from(["staged", "cut_through"]), some.data())
def test_with_shared_pools_everybody_is_served_whom_the_network_can_serve(
    drawn: tuple[dict[str, t.Any], list[str]], mode: str, data: t.Any
) -> None:
    matrix, sources = drawn
    order = data.draw(some.permutations(matrix["hosts"]))
    cut = data.draw(some.integers(2, len(order)))
    shared = {**matrix, "shared_pools": [order[:cut], order[cut:]]}
    plan = relay_plan(shared, sources, mode=mode, size_bytes=2**26)
    finish = check.staged(shared, plan) if mode == "staged" else check.cut_through(shared, plan, 256)[0]
    assert finish == pytest.approx(plan["predicted_s"], rel=1e-6)
    # Nobody is left out whom another of the group would have had the base for.
    within = reachable(matrix, [host for group in shared["shared_pools"] if set(sources) & set(group) for host in group])
    assert set(plan["unreachable"]) == {h for group in shared["shared_pools"] if not within & set(group) for h in group}


@QUICK
@given(networks(), some.sampled_from(["best", "preferred_paths"]))
def test_staged_is_never_worse_than_the_direct_star(drawn: tuple[dict[str, t.Any], list[str]], strategy: str) -> None:
    matrix, sources = drawn
    row = matrix["seconds"][matrix["hosts"].index(sources[0])]
    if None in row:
        return
    plan = relay_plan(matrix, sources[:1], strategy=strategy)
    assert plan["predicted_s"] <= math.fsum(row) * (1 + 1e-9)


@QUICK
@given(networks())
def test_the_bounds_hold_for_the_best_plan(drawn: tuple[dict[str, t.Any], list[str]]) -> None:
    matrix, sources = drawn
    asked = request.check(matrix, sources)
    view = request.problem(asked, dict.fromkeys(sources, 0.0), asked.targets)[0]
    parents, found = schedule.by_paths(view.rows, view.ready)
    bound = max(schedule.path_bound(found), schedule.growth_bound(view.rows, view.ready, found))
    assert bound <= schedule.finish(view.rows, parents, view.ready) * (1 + 1e-9)
    tree = search.best(view.rows, view.ready, found, bound)[0]
    assert bound <= schedule.finish(view.rows, tree, view.ready) * (1 + 1e-9)


@QUICK
@given(networks(), some.randoms(use_true_random=False), some.sampled_from(["staged", "cut_through"]))
def test_order_and_names_of_hosts_change_nothing_else(drawn: tuple[dict[str, t.Any], list[str]], random: t.Any, mode: str) -> None:
    matrix, sources = drawn
    n = len(matrix["hosts"])
    order = list(range(n))
    random.shuffle(order)
    rename = {host: f"host {k}" for k, host in enumerate(matrix["hosts"])}
    other = {
        "format": 1,
        "hosts": [rename[matrix["hosts"][i]] for i in order],
        "seconds": [[matrix["seconds"][i][j] for j in order] for i in order],
    }
    first = relay_plan(matrix, sources, mode=mode, size_bytes=2**26)
    second = relay_plan(other, [rename[h] for h in sources], mode=mode, size_bytes=2**26)
    assert second["predicted_s"] == pytest.approx(first["predicted_s"])
    assert second["lower_bound_s"] == pytest.approx(first["lower_bound_s"])
    same = {**matrix, "hosts": [rename[h] for h in matrix["hosts"]]}
    text = json.dumps(relay_plan(same, [rename[h] for h in sources], mode=mode, size_bytes=2**26)["trees"])
    renamed = json.dumps(
        [
            {"weight": tree["weight"], "edges": [{k: rename[h] for k, h in edge.items()} for edge in tree["edges"]]}
            for tree in first["trees"]
        ]
    )
    assert text == renamed


@QUICK
@given(networks(), some.sampled_from(["staged", "cut_through"]))
def test_the_same_input_gives_the_same_plan(drawn: tuple[dict[str, t.Any], list[str]], mode: str) -> None:
    assert relay_plan(*drawn, mode=mode, size_bytes=2**26) == relay_plan(*drawn, mode=mode, size_bytes=2**26)


@QUICK
@given(networks(), OPTIONS)
def test_cut_through_is_simulated_as_predicted(drawn: tuple[dict[str, t.Any], list[str]], options: t.Any) -> None:
    matrix, sources = drawn
    size, chunk = 2**26, 2**20
    plan = relay_plan(matrix, sources, mode="cut_through", size_bytes=size, chunk_bytes=chunk, **options)
    ports = dict.fromkeys(matrix["hosts"], (0.0, 0.0)) if options["contention"] == "independent" else None
    finish, load = check.cut_through(matrix, plan, size // chunk, ports)
    # Of two that are equally far behind either may be served first: that may cost a chunk here and there.
    times = [x for row in matrix["seconds"] for x in row if x]
    assert abs(finish - plan["predicted_s"]) <= len(matrix["hosts"]) * max(times, default=0) * chunk / size + 1e-6
    assert plan["lower_bound_s"] <= load * (1 + 1e-6)
    json.dumps(plan)


@QUICK
@given(networks(least=3), OPTIONS, some.floats(0, 1), some.data())
def test_replanning_serves_what_is_left(
    drawn: tuple[dict[str, t.Any], list[str]], options: t.Any, share: float, data: some.DataObject
) -> None:
    matrix, sources = drawn
    plan = relay_plan(matrix, sources, **options)
    at = plan["predicted_s"] * share
    others = [h for h in matrix["hosts"] if h not in sources]
    lost = data.draw(some.lists(some.sampled_from(others), unique=True, max_size=2)) if others else []
    again = relay_replan(plan, matrix, {"at_s": at, "lost_hosts": lost})
    check.staged(matrix, again, at=at)
    served = {m["to"] for m in check.transfers(again)} | set(again["sources"])
    assert served | set(again["unreachable"]) | set(lost) == set(matrix["hosts"])
    assert not set(lost) & served
    # What ran and was not touched goes on to the same end.
    was = {m["to"]: m for m in check.transfers(plan)}
    for move in check.transfers(again):
        old = was.get(move["to"])
        if old and old["from"] not in lost and old["start_s"] < at - 1e-6 and at + 1e-6 < old["end_s"]:
            assert (move["from"], move["start_s"]) == (old["from"], old["start_s"])
            assert move["end_s"] == pytest.approx(old["end_s"])


def test_cut_through_replanning_changes_no_more_than_it_must() -> None:
    hosts = ["S", "a", "b", "c", "d", "e"]
    seconds = [[0 if i == j else 100 + 7 * ((3 * i + 5 * j) % 11) for j in range(6)] for i in range(6)]
    matrix = {"format": 1, "hosts": hosts, "seconds": seconds}
    options = {"mode": "cut_through", "size_bytes": 2**28, "chunk_bytes": 2**20}
    plan = relay_plan(matrix, ["S"], targets=["a", "b", "c", "d"], **options)
    parents = {h: [c[0] for c in choices] for h, choices in plan["parents"].items()}
    some_host = next(h for h in parents if h not in {p for list_ in parents.values() for p in list_})
    progress = {h: {"bytes": 2**27, "from": parents[h][0]} for h in parents}
    again = relay_replan(plan, matrix, {"at_s": 60, "progress": progress})
    assert [tree["edges"] for tree in again["trees"]] == [tree["edges"] for tree in plan["trees"]]
    assert again["predicted_s"] < plan["predicted_s"] * 1.3
    lost = relay_replan(plan, matrix, {"at_s": 60, "progress": progress, "lost_hosts": [some_host], "new_targets": ["e"]})
    after = {h: [c[0] for c in choices] for h, choices in lost["parents"].items()}
    assert set(after) == (set(parents) - {some_host}) | {"e"}
    assert all(some_host not in choices for stripes in lost["parents"].values() for choices in stripes)
    check.check_parents(lost)
    relays = [h for h in parents if h in {p for list_ in parents.values() for p in list_}]
    if relays:
        gone = relay_replan(plan, matrix, {"at_s": 60, "progress": progress, "lost_hosts": relays[:1]})
        assert set(gone["parents"]) == set(parents) - {relays[0]}
        check.check_parents(gone)


@pytest.mark.parametrize("name", ["wan-n10-s2", "loguni-n16-s1", "nic-n16-s1", "worked-n4-s2"])
def test_instances(name: str) -> None:
    instance = json.loads((PLAN_TESTS / "instances" / f"{name}.json").read_text())
    matrix = {"format": 1, "hosts": instance["hosts"], "seconds": instance["matrix_s"]}
    plan = relay_plan(matrix, [instance["source"]])
    assert check.staged(matrix, plan) == pytest.approx(plan["predicted_s"])
    assert plan["predicted_s"] <= instance["staged"]["best_makespan_s"] * 1.02
    assert plan["lower_bound_s"] <= instance["staged"]["best_makespan_s"] * (1 + 1e-9)


@pytest.mark.parametrize(("plan_change", "message"), [
    (lambda p: p["stages"][0][0].update(end_s=1.0), "takes"),
    (lambda p: p["stages"][-1].pop(), "never served"),
    (lambda p: p["stages"][-1][0].update(start_s=0.0, end_s=900.0), "before it has"),
    (lambda p: p["parents"].update({"2": [["3", "S"]]}), "starts with"),
])  # fmt: skip
def test_the_checker_finds_faults(plan_change: t.Any, message: str) -> None:
    matrix = {"format": 1, "hosts": ["S", "1", "2"], "seconds": [[0, 600, 900], [None, 0, 600], [None, 300, 0]]}
    plan = relay_plan({**matrix, "seconds": [[0, 600, None], [None, 0, 600], [None, 300, 0]]}, ["S"])
    plan_change(plan)
    with pytest.raises(check.BadPlan, match=message):
        check.staged(matrix, plan)
