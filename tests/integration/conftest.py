# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Labs for the integration tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.basecast.fleet.tests.lab import Lab

LabFactory = Callable[..., Lab]


@pytest.fixture(scope="module")
def lab_factory() -> Iterator[LabFactory]:
    """Starts labs (the arguments are Lab's) that live until the end of the module."""
    with contextlib.ExitStack() as stack:
        yield lambda **arguments: stack.enter_context(Lab(**arguments))


@pytest.fixture
def fresh_lab_factory() -> Iterator[LabFactory]:
    """Starts labs that live until the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **arguments: stack.enter_context(Lab(**arguments))
