# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Of cases of one kind make test tries a few, make test-all every one."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

import pytest


def few(cases: Iterable[t.Any], count: int = 1) -> list[t.Any]:
    """The cases as parametrize takes them; all but the first ones are variants."""
    made = []
    for at, case in enumerate(cases):
        values = case if isinstance(case, tuple) else (case,)
        made.append(case if at < count else pytest.param(*values, marks=pytest.mark.variant))
    return made
