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
    Source(here.host).undo(OWNER, "r1", certain)
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
        Source(here.host).undo(OWNER, "r1")
    assert here.entry() == kept and (domain is None or domain.calls == [])


@pytest.mark.parametrize("power", ["running", "paused"])
def test_a_machine_that_somebody_started_is_not_handed_over(known: Make, power: str) -> None:
    here = known(FakeDomain(power), entry())
    with pytest.raises(MoveFailed, match="somebody has started it"):
        Source(here.host).hand_over(OWNER, "r1")
    assert here.entry() == entry()


def test_what_was_handed_over_is_removed_and_nothing_else(known: Make) -> None:
    here = known(FakeDomain("off"), entry())
    source, numbers = Source(here.host), Numbers(5, {})
    with pytest.raises(MoveFailed, match="was not handed over; nothing was removed"):
        source.finish(OWNER, "r1", numbers)
    assert here.removed == []
    source.hand_over(OWNER, "r1")
    source.finish(OWNER, "r1", numbers)
    source.finish(OWNER, "r1", numbers)
    assert here.removed == [OWNER] and here.entry() is None


@pytest.mark.parametrize("step", ["undo", "hand_over", "finish"])
def test_another_run_s_migration_is_not_touched(known: Make, step: str) -> None:
    """It has undone this one's meanwhile, and begun its own."""
    kept = entry("handed over" if step == "finish" else "leaving")
    here = known(FakeDomain("off"), kept)
    source = Source(here.host)
    steps: dict[str, t.Callable[[], t.Any]] = {
        "undo": lambda: source.undo(OWNER, "r2", True),
        "hand_over": lambda: source.hand_over(OWNER, "r2"),
        "finish": lambda: source.finish(OWNER, "r2", Numbers(2, {})),
    }
    with pytest.raises(MoveFailed, match="the run r1 migrates it by now, not r2"):
        steps[step]()
    assert here.entry() == kept and here.removed == []
