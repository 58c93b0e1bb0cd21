# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.chunk_picker import ChunkPicker, everything
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.stripes import PERIOD, Stripes
from hypothesis import given
from hypothesis import strategies as st

WEIGHTS = st.lists(st.floats(0.001, 1000), min_size=1, max_size=12)


@given(weights=WEIGHTS, scale=st.floats(0.01, 100))
def test_each_stripe_gets_its_share_everywhere_in_the_file(weights: list[float], scale: float) -> None:
    stripes = Stripes(weights)
    assert len(stripes.pattern) in (1, PERIOD)
    for chunks in (PERIOD, 10 * PERIOD, 3 * PERIOD + 217):
        for size, weight in zip(stripes.sizes(chunks), stripes.weights, strict=True):
            # One place of a period from rounding, and one for the place at which the file ends.
            assert abs(size - weight * chunks) <= chunks / PERIOD + 2
    assert stripes.sizes(777) == [sum(stripes.of(i) == s for i in range(777)) for s in range(stripes.count)]


def test_the_pattern_is_the_same_on_every_host() -> None:
    assert Stripes([3, 1]).pattern[:8] == bytes((0, 0, 1, 0, 0, 0, 1, 0))
    assert Stripes([0.75, 0.25]).pattern == Stripes([3, 1]).pattern
    assert Stripes([1, 1, 1]).pattern[:6] == bytes((0, 1, 2, 0, 1, 2))
    assert Stripes([1, 0]).sizes(50) == [50, 0]


@pytest.mark.parametrize("weights", [[], [0.0], [1, -1], [1.0] * 256], ids=len)
def test_weights_that_make_no_stripes(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="make stripes"):
        Stripes(weights)


@given(
    marks=st.lists(st.sampled_from([0, 1]), min_size=1, max_size=60),
    have=st.lists(st.booleans(), min_size=60, max_size=60),
    weights=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    lots=st.lists(st.tuples(st.integers(1, 7), st.booleans()), min_size=1, max_size=40),
)
def test_a_ledger_gives_each_missing_chunk_once(
    marks: list[int], have: list[bool], weights: list[int], lots: list[tuple[int, bool]]
) -> None:
    """Whatever several connections take, from the begin or from the end: no chunk twice, none of another stripe, none lost."""
    stripes = Stripes([float(weight) for weight in weights])
    ledger = ChunkPicker(bytearray(marks), stripes)
    here = bytearray(have[: len(marks)])
    wanted = {i for i, mark in enumerate(marks) if not mark and here[i]}
    first = {i for i in wanted if stripes.of(i) == 0}
    ranges, below = everything(len(marks)), len(marks)
    got: list[int] = []
    order: list[int] = []
    for most, own in lots:
        if own:
            taken = ledger.take(here, ranges, most, {0})
            assert set(taken) <= first
            order += taken
        else:
            taken, below = ledger.take_last(here, below, most, set(range(stripes.count)))
        assert len(taken) <= most
        got += taken
    assert order == sorted(order)
    got += ledger.take(here, ranges, 100, {0})
    assert first <= set(got)
    got += ledger.take(here, everything(len(marks)), 100, set(range(stripes.count)))
    assert sorted(got) == sorted(wanted)
    assert ledger.give_back(got) == bool(got)
    assert not ledger.give_back(got)
    taken, below = ledger.take_last(here, len(marks), 100, set(range(stripes.count)))
    assert taken == sorted(wanted, reverse=True)
    assert below == 0
    for index in wanted:
        ledger.done(index)
        ledger.done(index)
        assert ledger.is_done(index)
    assert ledger.undone == marks.count(0) - len(wanted) == sum(ledger.left)
    ledger.restripe(Stripes([1, 2]))
    assert ledger.undone == sum(ledger.left)
