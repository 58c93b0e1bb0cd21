# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.filter.shown import shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("No route to host", "No route to host"),
        ("a\x1b]0;owned\x07b\nc", "a\\x1b]0;owned\\x07b\nc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        (["\x1b[2J", 5], ["\\x1b[2J", 5]),
        ({"kvm1": "\x9b2J"}, {"kvm1": "\\x9b2J"}),
        (None, None),
    ],
)
def test_text_of_others_is_fit_for_a_terminal(value: t.Any, expected: t.Any) -> None:
    assert shown(value) == expected
