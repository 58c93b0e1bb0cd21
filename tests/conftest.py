# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all tests share: time limits that follow what the machine can do, and names of a length that can be read."""

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.tests.lab import limit_s


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        own = item.get_closest_marker("timeout")
        if own is not None:
            item.add_marker(pytest.mark.timeout(limit_s(own.args[0])), append=False)


# Of a case's text or bytes; without ids of their own, pytest names cases by the whole of them, up to 16 MB.
LONGEST_NAME = 100


def pytest_make_parametrize_id(val: object) -> str | None:
    if isinstance(val, (str, bytes)) and len(val) > LONGEST_NAME:
        return f"{val[:40]!a} and more, {len(val)} in all"
    return None
