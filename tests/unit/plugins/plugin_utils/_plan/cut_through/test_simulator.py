# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import jit
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.cut_through import simulator
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.cut_through.model import Net

CHUNKS = 100


@pytest.mark.parametrize("events", [0, 1, 7, 1000])
def test_a_slow_receiver_takes_what_its_port_takes(events: int) -> None:
    """All chunks are on their way long before they are in: more events at a time than there is room for at first."""
    f, i = jit.floats, jit.ints
    seconds = f([0.0, 1.0, 1.0, 0.0])
    net = Net(2, 1, seconds, seconds, f([0.0, 50.0, 50.0, 0.0]), i([0, 2]), i([0, 1]), 1, 0, i([0, 0]), f([0.0]), i([0]), 0, 0)
    edges = simulator.Edges(CHUNKS, 1, i([CHUNKS]), i([0, 1, 1]), i([0]), i([1]), i([0]), 1, f([1.0]), f([1.0]), f([50.0]))
    finish, room = simulator.finish_of(net, edges, events)
    assert finish == pytest.approx(50.0)
    assert list(room.done) == [0.0, pytest.approx(50.0)]
