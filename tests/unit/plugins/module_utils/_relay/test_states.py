# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.states import MAX_PATH, MAX_PATHS, is_tellable
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.offer import View
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import messages, protocol

USUAL = "kvm-0123.rack-17.example.org"


@pytest.mark.parametrize(
    ("path", "tellable"),
    [
        ((), True),
        ((USUAL,) * (MAX_PATH - 1), True),
        ((USUAL,) * MAX_PATH, False),
        (("x" * 255,) * 40, True),
        (("x" * 255,) * 120, False),
        (("ü" * 255,) * 40, False),
        (("\U0001f600" * 255,) * 10, False),
        (("\U0001f600" * 40,) * 100, False),
        (('"' * 255,) * 60, False),
    ],
)
def test_what_is_told_on_is_accepted(path: tuple[str, ...], tellable: bool) -> None:
    """A peer that tells long paths must not make its listener break the rules towards others."""
    assert is_tellable(path) is tellable
    if tellable:
        view = View("fetching", "rooted", tuple((USUAL, *path) for _nth in range(MAX_PATHS)), "\U0001f600" * 9000)
        frame = protocol.encode_message(protocol.STATE, view.message(True, "zlib"))
        said = messages.read_state(frame[protocol.HEADER_BYTES :], "b")
        assert said.paths == view.paths
        assert json.dumps(said.paths)
