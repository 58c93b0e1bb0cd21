# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_file import saved_plan_changes

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


def test_a_plan_that_nothing_has_changed_for_can_be_run() -> None:
    assert saved_plan_changes({"service": PLAN, "relay": [{}]}, PLAN) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p["machines"][0].update(host="kvm3"), "The machine web-1 was on kvm1, create, and is on kvm3, create now."),
        (lambda p: p["machines"][0].update(state="unreachable"), "and is on kvm1, unreachable now"),
        (lambda p: p["relays"][0].update(sources={"kvm3": "a"}), "was from kvm1 to kvm2, and is from kvm3 to kvm2 now"),
        (lambda p: p.update(relays=[]), "and is not needed now"),
        (lambda p: p.update(service="blog"), "It is the plan of the service shop, not of blog."),
    ],
    ids=["host", "lost", "holder", "served", "service"],
)
def test_what_is_not_as_it_was_is_named(change: t.Any, words: str) -> None:
    (said,) = saved_plan_changes({"service": PLAN, "relay": [{}]}, changed(change))
    assert words in said


@pytest.mark.parametrize("saved", [[], {"service": PLAN}, {"relay": []}, "x"])
def test_another_file_is_refused(saved: t.Any) -> None:
    with pytest.raises(InvalidOption, match="plan_file"):
        saved_plan_changes(saved, PLAN)
