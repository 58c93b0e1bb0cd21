# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import search
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement.bounds import MOST, Finishes, least_finish, least_size
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement.model import Copy, Host, Option, Part, Problem, Role, Storage

GB = 10**9


def problem(seconds: list[int], machines: int, held: int = 0, room: int = 2) -> Problem:
    """Hosts with room for some machines each; on all but the first ``held`` of them the base takes so many seconds."""
    hosts = [Host(f"h{at}", room, 0, room * 1024, 0) for at in range(len(seconds))]
    storages = [Storage(f"s{at}", (at,), 10**6, 0, 100) for at in range(len(seconds))]
    copies = [Copy(0, at, time, GB, 1000) for at, time in enumerate(seconds)]
    parts = [Part(at, 0, 1, () if at < held else (at,)) for at in range(len(seconds))]
    role = Role("web", machines, 1, 1024, [Option(at, (at,), ("default",)) for at in range(len(seconds))])
    return Problem(hosts, storages, [role], ["base"], copies, parts)


def test_finishes_are_sums_of_layers_of_one_storage() -> None:
    found = problem([4, 7], 1)
    found.copies.append(Copy(1, 0, 20, GB, 1000))
    finishes = Finishes(found, 30)
    assert [finishes.up_to(deadline) for deadline in (3, 4, 6, 7, 19, 20, 23, 24, 30)] == [0, 4, 4, 7, 7, 20, 20, 24, 24]
    assert [finishes.not_before(seconds) for seconds in (0, 1, 5, 8, 21, 25)] == [0, 4, 7, 20, 24, 25]


def test_any_finish_is_possible_where_too_many_are() -> None:
    finishes = Finishes(problem([4], 1), MOST + 1)
    assert finishes.up_to(3) == finishes.not_before(3) == 3


def test_finish_waits_for_hosts_with_room_for_all() -> None:
    found = problem([10, 20, 30], 3)
    assert least_finish(found, Finishes(found, 30), 30) == 20
    found = problem([10, 20, 30], 3, held=2)
    assert least_finish(found, Finishes(found, 30), 30) == 0


def test_roles_that_only_fit_the_same_hosts_share_them() -> None:
    found = problem([10, 20, 30], 2)
    found.roles.append(Role("db", 1, 1, 1024, list(found.roles[0].options)))
    assert least_finish(found, Finishes(found, 30), 30) == 20


def test_a_layer_that_all_hosts_lack_is_brought_once_at_least() -> None:
    assert least_size(problem([10, 20], 3)) == GB
    assert least_size(problem([10, 20], 3, held=1)) == 0
    assert least_size(Problem([], [], [Role("web", 1, 1, 1)])) == 0


def test_nothing_is_tried_where_the_bound_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, int]] = []
    monkeypatch.setattr(search._Search, "_before", lambda self, deadline, steps: tried.append((deadline, steps)))
    found = search.solve(problem([20, 20], 3))
    assert found.vector.finish == 20
    assert not tried
