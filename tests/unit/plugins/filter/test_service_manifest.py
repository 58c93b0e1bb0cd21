# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.basecast.fleet.plugins.filter.service_manifest import service_manifest


def deep(kind: str, levels: int) -> t.Any:
    value: t.Any = 1
    for _level in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return {"format": 1, "service": "shop", "machines": value}


@pytest.mark.parametrize("kind", ["list", "mapping"])
def test_values_that_are_nested_too_deeply_are_refused(kind: str) -> None:
    """A manifest that is given as a value was not read by the reader of files, which bounds them."""
    with pytest.raises(AnsibleFilterError, match="more than 50 levels stand inside one another"):
        service_manifest(deep(kind, 20_000), "shop.yml")
    assert service_manifest(deep(kind, 20_000), "shop.yml", tell=True)["errors"]


def test_errors_are_told_or_raised() -> None:
    (told,) = service_manifest({"format": 1, "service": "shop"}, "shop.yml", tell=True)["errors"]
    with pytest.raises(AnsibleFilterError) as raised:
        service_manifest({"format": 1, "service": "shop"}, "shop.yml")
    assert told == str(raised.value) and "the key machines is missing" in told
