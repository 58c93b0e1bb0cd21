# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.basecast.fleet.plugins.filter.host_observation import host_observation

SOUND: dict[str, t.Any] = {"reachable": True, "pools": {"default": {"bases": [], "path": "/srv"}}, "machines": []}


def test_what_is_sound_comes_back() -> None:
    assert host_observation(SOUND, "kvm1") == SOUND


def deep() -> t.Any:
    value: t.Any = []
    for _level in range(2000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "bad", [5, None, [], "x", {"pools": 5}, {"record": deep()}, {"record": {"assignments": {"web-1": {}}}}, deep(), {"machines": [5]}]
)
def test_what_is_not_is_this_hosts_failure(bad: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match=r"what kvm1 tells"):
        host_observation(bad, "kvm1")
