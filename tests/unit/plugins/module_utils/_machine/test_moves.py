# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import (
    Entry,
    JournalUnreadable,
    MoveJournal,
    how_to_end,
    services_with_moves,
    unended,
)
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

ENTRY = Entry("source", "leaving", "r1", "web-1", "kvm2", True, True, False, "default")


def test_what_was_written_is_read_until_it_is_removed(tmp_path: Path) -> None:
    journal = MoveJournal(str(tmp_path), "default", "shop")
    assert (journal.read("web-1"), journal.machines(), services_with_moves(str(tmp_path), "default")) == (None, [], [])
    journal.write(ENTRY)
    assert MoveJournal(str(tmp_path), "default", "shop").read("web-1") == ENTRY
    assert (journal.machines(), services_with_moves(str(tmp_path), "default")) == (["web-1"], ["shop"])
    assert MoveJournal(str(tmp_path), "other", "shop").read("web-1") is None
    assert journal.remove("web-1") and not journal.remove("web-1") and journal.read("web-1") is None


@pytest.mark.parametrize(
    "changes",
    [{"phase": "gone"}, {"side": "both"}, {"side": "target"}, {"format": 2}, {"live": "yes"}, {"peer": None}, {"phase": None}],
)
def test_what_cannot_be_understood_is_not_taken_for_nothing(tmp_path: Path, changes: dict[str, object]) -> None:
    journal = MoveJournal(str(tmp_path), "default", "shop")
    journal.write(ENTRY)
    path = tmp_path / "migrations" / "default" / "shop" / "web-1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(JournalUnreadable, match="See on both hosts which of them has the machine"):
        journal.read("web-1")


def test_half_a_file_is_not_taken_for_nothing(tmp_path: Path) -> None:
    journal = MoveJournal(str(tmp_path), "default", "shop")
    journal.write(ENTRY)
    path = tmp_path / "migrations" / "default" / "shop" / "web-1.json"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(JournalUnreadable):
        journal.read("web-1")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (ENTRY, "web-1: its migration to kvm2 has not ended; wait for the run that does it, or end it"),
        (ENTRY._replace(side="target", phase="arriving"), "web-1: its migration from kvm2 has not ended"),
        (ENTRY._replace(phase="handed over"), "web-1: its migration to kvm2 has not ended"),
        (ENTRY._replace(machine="web-2"), None),
        (None, None),
    ],
)
def test_nobody_else_changes_a_machine_on_its_way(tmp_path: Path, entry: Entry | None, told: str | None) -> None:
    if entry is not None:
        MoveJournal(str(tmp_path), "default", "shop").write(entry)
    found = unended(str(tmp_path), Owner("default", "shop", "web-1"))
    assert (found is None) is (told is None) and (told or "") in (found or "")
    assert unended(str(tmp_path), Owner("acme", "shop", "web-1")) is None


def test_a_file_that_cannot_be_read_may_tell_of_a_move(tmp_path: Path) -> None:
    MoveJournal(str(tmp_path), "default", "shop").write(ENTRY)
    (tmp_path / "migrations" / "default" / "shop" / "web-1.json").write_text("[]")
    assert "cannot be used" in (unended(str(tmp_path), Owner("default", "shop", "web-1")) or "")


@pytest.mark.parametrize(("tenant", "more"), [("default", ""), ("acme", " -e tenant=acme")])
def test_the_command_names_the_machine(tenant: str, more: str) -> None:
    assert how_to_end(Owner(tenant, "shop", "web-1")) == f"basecast.fleet.migrate -e service=shop{more} -e machine=web-1"
