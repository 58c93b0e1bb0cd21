# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._move.journal import (
    Entry,
    JournalUnreadable,
    MoveJournal,
    services_with_moves,
)

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
