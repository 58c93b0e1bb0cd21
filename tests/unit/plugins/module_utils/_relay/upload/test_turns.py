# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.turns import Order


def test_a_child_that_takes_nothing_does_not_hold_the_others_up() -> None:
    now = [0.0]
    order = Order(lambda: now[0])
    assert order.may_send("x")
    order.set(["a", "b"])
    assert order.may_send("a")
    assert not order.may_send("b")
    assert not order.may_send("x")
    now[0] += 0.9
    order.sent("a")
    now[0] += 0.9
    assert not order.may_send("b")
    now[0] += 0.2
    assert order.may_send("b")
    assert order.may_send("a")
    order.sent("a")
    assert not order.may_send("b")
    assert order.satisfied("a")
    assert not order.satisfied("a")
    assert order.may_send("b")
    assert not order.may_send("x")
