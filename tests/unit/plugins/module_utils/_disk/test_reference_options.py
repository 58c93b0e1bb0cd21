# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.reference_options import checked_reference, reference_arguments
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption

SHA = "ab" * 32


def entry(**changes: t.Any) -> dict[str, t.Any]:
    return {**dict.fromkeys(reference_arguments()["options"]), **changes}


def test_a_reference_is_taken_as_it_is() -> None:
    wish = checked_reference(entry(sha256=SHA, name="tiny", version="1", pool="default"), {"default": "/p"})
    assert tuple(wish) == (SHA, "tiny", "1", None, "default", None, None)


@pytest.mark.parametrize(
    "changes, option",
    [
        ({}, "references"),
        ({"sha256": "x"}, "references[].sha256"),
        ({"name": "a b", "version": "1"}, "references[].name"),
        ({"name": "a", "version": "/"}, "references[].version"),
        ({"pin": ""}, "references[].pin"),
        ({"sha256": SHA, "pool": "none"}, "references[].pool"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, t.Any], option: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        checked_reference(entry(**changes), {"default": "/p"})
    assert caught.value.fields["option"] == option
