# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.account import Account


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_busy_time_is_only_the_time_in_which_chunks_are_owed() -> None:
    clock = Time()
    account = Account(clock)
    for at, owes in ((1.0, True), (3.0, True), (4.0, False), (9.0, True)):
        clock.now = at
        account.note_owes(owes)
    assert account.busy_s(11.0) == 5.0
    assert account.owed_since == 9.0


def test_a_chunk_starts_the_wait_for_the_next_one() -> None:
    clock = Time()
    account = Account(clock)
    account.note_owes(True)
    account.note_change()
    clock.now = 5.0
    account.note_chunk()
    assert (account.owed_since, account.idle_since, account.changes) == (5.0, 5.0, 0)


def test_nothing_is_owed_after_the_last_chunk() -> None:
    clock = Time()
    account = Account(clock)
    account.note_owes(True)
    account.note_owes(False)
    clock.now = 5.0
    account.note_chunk()
    assert account.owed_since is None


def test_the_wait_for_the_list_counts_from_its_last_part() -> None:
    clock = Time()
    account = Account(clock)
    account.expect_list(True)
    clock.now = 2.0
    account.expect_list(True)
    assert account.list_since == 0.0
    account.expect_list(False)
    assert account.list_since is None
