# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.lookup import cancellable
from ansible_collections.basecast.fleet.plugins.plugin_utils import _cancellation


@pytest.mark.parametrize(
    ("terms", "hosts"), [([], []), (["a", "b"], ["a", "b"]), ([["a", "b"]], ["a", "b"]), ([[], ["a"], "b"], ["a", "b"])]
)
def test_it_gives_the_hosts_that_it_got(terms: list[t.Any], hosts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    armed: list[bool] = []
    monkeypatch.setattr(_cancellation, "arm", lambda: armed.append(True))
    assert cancellable.LookupModule().run(terms) == hosts
    assert armed == [True]
