# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.user_options import (
    empty_mistakes,
    flag,
    flag_mistakes,
)


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ((True, "true", "True", "YES", "on", "y", 1, "1"), True),
        ((False, "false", "no", "Off", "n", 0, "0"), False),
        (("ture", "maybe", "2", 2, [], [True], {}, "", None, "\u00e9"), None),
    ],
)
def test_a_flag_is_true_false_or_a_mistake(values: tuple[t.Any, ...], meant: bool | None) -> None:
    assert [flag(value) for value in values] == [meant] * len(values)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("ture", "keep_disks: invalid value 'ture'; expected true or false"),
        ([], "keep_disks: invalid value []; expected true or false"),
        ("", ""),
        (None, ""),
        (False, ""),
        ("yes", ""),
    ],
)
def test_a_misspelt_flag_is_not_taken_for_false(value: t.Any, words: str) -> None:
    assert "".join(flag_mistakes({"keep_disks": value}, ["keep_disks"])) == words


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        ({}, 0),
        ({"machines": None, "role": ""}, 0),
        ({"machines": [], "given": ["machines"]}, 1),
        ({"machines": "", "role": "", "given": ["machines", "role"]}, 2),
        ({"machines": "", "role": "web", "given": ["machines", "role"]}, 0),
        ({"machines": ["web-1"], "given": ["machines"]}, 0),
    ],
)
def test_what_was_given_empty_does_not_mean_all(request_: dict[str, t.Any], count: int) -> None:
    found = list(empty_mistakes(request_, ["machines", "role"], "all would go"))
    assert len(found) == count
    assert all("given and empty; without it, all would go. Expected a value, or leave it out" in one for one in found)
