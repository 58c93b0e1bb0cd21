# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.basecast.fleet.plugins.filter.collect_facts import collect_facts

HOSTVARS: dict[str, dict[str, t.Any]] = {"a": {"x": {"k": 1}}, "b": {"x": {}}, "c": {}, "d": {"x": {"k": None}}, "e": {"x": "text"}}


def test_only_hosts_that_have_it() -> None:
    assert collect_facts(["e", "a", "b", "c", "nobody"], HOSTVARS, "x") == {"e": "text", "a": {"k": 1}}


def test_an_item_of_it() -> None:
    assert collect_facts(list(HOSTVARS), HOSTVARS, "x", "k") == {"a": 1}
