# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.status.eta import Eta


def test_a_steady_arrival() -> None:
    arrival = Eta()
    assert arrival.bytes_per_s == 0.0
    assert arrival.remaining_s(10) is None
    for second in range(1, 20):
        arrival.note(second, 1000 * second)
    assert arrival.bytes_per_s == pytest.approx(1000)
    assert arrival.remaining_s(5000) == pytest.approx(5.0)


def test_what_was_there_before_is_no_rate() -> None:
    arrival = Eta()
    arrival.note(0.0, 0)
    arrival.note(1.0, 900_000)
    assert arrival.bytes_per_s == 0.0
    arrival.note(2.0, 900_500)
    assert arrival.bytes_per_s == pytest.approx(500)


def test_a_stall_is_seen_after_the_window_and_a_rate_soon_again() -> None:
    arrival = Eta(window_s=5.0)
    for second in range(10):
        arrival.note(second, 1 + 100 * second)
    for second in range(10, 16):
        arrival.note(second, 901)
    assert arrival.bytes_per_s == 0.0
    assert arrival.remaining_s(1) is None
    arrival.note(16, 1001)
    assert arrival.bytes_per_s > 0


def test_a_fetch_that_began_anew_has_no_negative_rate() -> None:
    arrival = Eta()
    arrival.note(0.0, 500)
    arrival.note(1.0, 100)
    arrival.note(2.0, 150)
    assert arrival.bytes_per_s == pytest.approx(50)


def test_two_looks_at_one_moment() -> None:
    arrival = Eta()
    arrival.note(1.0, 5)
    arrival.note(1.0, 9)
    assert arrival.bytes_per_s == 0.0
