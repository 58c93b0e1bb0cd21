# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Platform, build, describe
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machine import Machine


def test_the_result_is_complete(machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    xml = build(wish, Platform("qemu", "x86_64"), [wish.owner.mac(0)], {})
    assert set(Machine(wish.owner, wish, None, describe(xml)).result()) == set(Machine(wish.owner).result())
