# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.callback.progress import fleet_of, is_live


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


TERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("mode", "out", "environment", "no_colour", "stdout_callback", "live"),
    [
        ("auto", Terminal(), TERM, False, "ansible.builtin.default", True),
        ("auto", io.StringIO(), TERM, False, "default", False),
        ("auto", Terminal(), TERM, True, "default", False),
        ("auto", Terminal(), {"TERM": "dumb"}, False, "default", False),
        ("auto", Terminal(), {}, False, "default", False),
        ("auto", Terminal(), {**TERM, "CI": "true"}, False, "default", False),
        ("auto", Terminal(), {**TERM, "CI": ""}, False, "default", True),
        ("auto", Terminal(), {**TERM, "AWX_ISOLATED_DATA_DIR": "/runner"}, False, "default", False),
        ("auto", Terminal(), TERM, False, "awx_display", False),
        ("log", Terminal(), TERM, False, "default", False),
        ("live", Terminal(), {**TERM, "CI": "true"}, True, "default", True),
        ("live", io.StringIO(), TERM, False, "default", False),
    ],
)
def test_it_draws_only_where_somebody_looks_at_a_terminal(
    mode: str, out: t.Any, environment: dict[str, str], no_colour: bool, stdout_callback: str, live: bool
) -> None:
    assert is_live(mode, out, environment, no_colour, stdout_callback) is live


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"fleet": {}, "node": {}},
        {"fleet": [], "fleet_settled": True, "node": {}},
        {"fleet": {}, "fleet_settled": "yes", "node": {}},
        {"fleet": {}, "fleet_settled": True},
    ],
    ids=str,
)
def test_other_results_are_none_of_its_business(result: dict[str, t.Any]) -> None:
    assert fleet_of(result) is None


def test_results_that_carry_a_fleet() -> None:
    found = fleet_of({"changed": False, "fleet": {"a": {}}, "fleet_settled": False, "node": {"run": "nightly"}})
    assert found == ("nightly", {"a": {}}, False)
