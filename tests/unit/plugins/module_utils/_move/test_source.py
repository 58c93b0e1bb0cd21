# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import MoveFailed, Numbers
from ansible_collections.basecast.fleet.plugins.module_utils._move.source import Source
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._move.conftest import OWNER, FakeDomain, Known

Make = t.Callable[..., Known]


def entry(phase: str = "leaving", live: bool = False, running: bool = True, side: str = "source") -> Entry:
    return Entry(side, phase, "r1", "web-1", "kvm2", live, running, True, "default")


@pytest.mark.parametrize(
    ("live", "running", "power", "certain", "calls"),
    [
        (False, True, "off", False, ["start"]),
        (False, True, "running", False, []),
        (False, False, "off", False, []),
        (True, True, "running", False, []),
        (True, True, "off", True, []),
    ],
)
def test_an_undone_machine_is_as_it_was(known: Make, live: bool, running: bool, power: str, certain: bool, calls: list[str]) -> None:
    domain = FakeDomain(power)
    here = known(domain, entry(live=live, running=running))
    Source(here.host).undo(OWNER, certain)
    assert (domain.calls, domain.autostart(), here.entry()) == (calls, True, None)


@pytest.mark.parametrize(
    ("domain", "kept", "words"),
    [
        (FakeDomain("off"), entry(live=True), "whether kvm2 has it is not known"),
        (FakeDomain("paused"), entry(live=True), "whether kvm2 has it is not known"),
        (None, entry(), "is not defined on this host any more"),
        (FakeDomain("off"), entry("handed over"), "was handed over to kvm2"),
        (FakeDomain("off"), entry("arrived", side="target"), "was handed over to kvm2"),
    ],
)
def test_what_is_not_certain_stays_as_it_is(known: Make, domain: FakeDomain | None, kept: Entry, words: str) -> None:
    here = known(domain, kept)
    with pytest.raises(MoveFailed, match=words):
        Source(here.host).undo(OWNER)
    assert here.entry() == kept and (domain is None or domain.calls == [])


@pytest.mark.parametrize("power", ["running", "paused"])
def test_a_machine_that_somebody_started_is_not_handed_over(known: Make, power: str) -> None:
    here = known(FakeDomain(power), entry())
    with pytest.raises(MoveFailed, match="somebody has started it"):
        Source(here.host).hand_over(OWNER)
    assert here.entry() == entry()


def test_what_was_handed_over_is_removed_and_nothing_else(known: Make) -> None:
    here = known(FakeDomain("off"), entry())
    source, numbers = Source(here.host), Numbers(5, {})
    with pytest.raises(MoveFailed, match="was not handed over; nothing was removed"):
        source.finish(OWNER, numbers)
    assert here.removed == []
    source.hand_over(OWNER)
    source.finish(OWNER, numbers)
    source.finish(OWNER, numbers)
    assert here.removed == [OWNER] and here.entry() is None
