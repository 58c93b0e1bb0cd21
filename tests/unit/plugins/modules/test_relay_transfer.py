# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.basecast.fleet.plugins.modules import relay_transfer


def test_a_failure_names_each_attempt_once() -> None:
    base = {"pool": "p", "msg": "No living parent.", "attempts": [{"error": "a is gone."}, {"error": "b is gone."}]}
    assert relay_transfer.told("1", base) == ("Base 1 did not arrive in the pool p: No living parent. Attempts: a is gone.; b is gone.")
