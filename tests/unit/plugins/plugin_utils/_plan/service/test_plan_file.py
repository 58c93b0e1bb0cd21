# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_file import fit_of

PLAN: dict[str, t.Any] = {
    "service": "shop",
    "tenant": "default",
    "machines": [{"machine": "web-1", "host": "kvm1", "state": "create"}],
    "relays": [{"base": "x 1", "sha256": "1" * 64, "size_bytes": 9, "sources": {"kvm1": "a"}, "targets": {"kvm2": "a"}}],
}


def changed(change: t.Callable[[dict[str, t.Any]], t.Any]) -> dict[str, t.Any]:
    plan = copy.deepcopy(PLAN)
    change(plan)
    return plan


def fit(before: dict[str, t.Any], now: t.Any) -> t.Any:
    return fit_of({"service": before, "relay": [{"saved": 1}]}, now)


def test_a_plan_that_nothing_has_changed_for_can_be_run() -> None:
    assert fit(PLAN, PLAN) == ([], [], [{"saved": 1}])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p["machines"][0].update(host="kvm3"), "The machine web-1 was on kvm1, create, and is on kvm3, create now."),
        (lambda p: p["machines"][0].update(state="exists"), "and is on kvm1, exists now"),
        (lambda p: p["relays"][0].update(sources={"kvm3": "a"}), f"was from kvm1 to kvm2 ({'1' * 64}), and is from kvm3 to kvm2 ("),
        (lambda p: p["relays"][0].update(sha256="2" * 64), f"and is from kvm1 to kvm2 ({'2' * 64}) now"),
        (lambda p: p.update(relays=[]), "and is not needed now"),
        (lambda p: p.update(service="blog"), "It is the plan of the service shop, not of blog."),
    ],
    ids=["host", "made", "holder", "content", "served", "service"],
)
@pytest.mark.parametrize("lost", [[], ["kvm9"]], ids=["none lost", "a stranger lost"])
def test_what_is_not_as_it_was_is_named(change: t.Any, words: str, lost: list[str]) -> None:
    (said,) = fit(PLAN, {**changed(change), "silent": lost}).problems
    assert words in said


THREE: dict[str, t.Any] = {
    **PLAN,
    "machines": [{"machine": f"web-{n}", "host": f"kvm{n}", "state": "create"} for n in (1, 2, 3)],
    "relays": [{"base": "x 1", "sha256": None, "size_bytes": 9, "sources": {"kvm1": "a"}, "targets": {"kvm2": "a", "kvm3": "a"}}],
}


def without(host: str, state: str, sources: list[str], targets: list[str]) -> dict[str, t.Any]:
    plan = copy.deepcopy(THREE)
    for machine in plan["machines"]:
        if machine["host"] == host:
            machine["state"] = state
    plan["relays"][0].update(sources=dict.fromkeys(sources, "a"), targets=dict.fromkeys(targets, "a"))
    plan["relays"] = plan["relays"] if targets else []
    return {**plan, **({"silent": [host]} if state == "unreachable" else {"bad_hosts": {host: ["It is full."]}})}


@pytest.mark.parametrize(
    ("now", "notes"),
    [
        (without("kvm1", "unreachable", ["kvm2"], ["kvm3"]), 2),  # it was to import the base; a target does
        (without("kvm1", "unfit", ["kvm2"], ["kvm3"]), 2),
        ({**without("kvm1", "unfit", ["kvm2"], ["kvm3"]), "bad_hosts": {"kvm1": ["It is full."], "kvm2": ["It is full too."]}}, 2),
        (without("kvm3", "unreachable", ["kvm1"], ["kvm2"]), 2),
        (without("kvm3", "unreachable", ["kvm1"], []), 2),
    ],
    ids=["importer lost", "importer full", "two full, one has imported", "target lost", "none is left"],
)
def test_a_lost_host_costs_only_its_own_part(now: dict[str, t.Any], notes: int) -> None:
    found = fit(THREE, now)
    assert (found.problems, len(found.notes), found.relay) == ([], notes, [])


def test_a_lost_host_without_a_part_in_the_relay_leaves_it() -> None:
    before = {**THREE, "machines": [*THREE["machines"], {"machine": "web-4", "host": "kvm4", "state": "create"}]}
    now = {**THREE, "machines": [*THREE["machines"], {"machine": "web-4", "host": "kvm5", "state": "create"}], "silent": ["kvm4"]}
    assert fit(before, now) == ([], ["The machine web-4 was on kvm4, create, and is on kvm5, create now."], [{"saved": 1}])


def test_what_a_lost_host_does_not_explain_is_refused() -> None:
    lost = without("kvm1", "unreachable", ["kvm2"], ["kvm3"])
    lost["machines"][1]["host"] = "kvm3"
    assert fit(THREE, lost).problems == ["The machine web-2 was on kvm2, create, and is on kvm3, create now."]
    lost = without("kvm1", "unreachable", ["kvm7"], ["kvm2", "kvm3"])
    assert fit(THREE, lost).problems == ["The base x 1 was from kvm1 to kvm2, kvm3, and is from kvm7 to kvm2, kvm3 now."]


@pytest.mark.parametrize("saved", [[], {"service": PLAN}, {"relay": []}, "x"])
def test_another_file_is_refused(saved: t.Any) -> None:
    plan: t.Any = PLAN
    with pytest.raises(InvalidOption, match="plan_file"):
        fit_of(saved, plan)
