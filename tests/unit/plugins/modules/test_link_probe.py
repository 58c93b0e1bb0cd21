# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.modules.link_probe import checked_rounds


def test_rounds_are_pairs() -> None:
    assert checked_rounds([[["a", "b"], ["c", "d"]], []]) == [[("a", "b"), ("c", "d")], []]


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        ([[["a"]]], r"rounds\[0\]: \['a'\] is not accepted; a pair is a list of two hosts"),
        ([[], ["ab"]], r"rounds\[1\]: 'ab' is not accepted"),
        ([[["a", "b"], ["b", "c"]]], "a host has at most one partner in a round"),
        ([[["a", "a"]]], "a host has at most one partner in a round"),
    ],
    ids=["one", "text", "twice", "itself"],
)
def test_other_rounds_are_refused(rounds: t.Any, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        checked_rounds(rounds)


def test_nothing_of_the_node_travels_to_a_host_that_only_asks_it() -> None:
    """What the module imports is packed, sent and compiled for each host and task."""
    name = "ansible_collections.basecast.fleet.plugins.modules.link_probe"
    told = subprocess.run(
        [sys.executable, "-c", f"import sys, {name}; print(*sys.modules)"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()
    ours = [module.partition(".module_utils.")[2] for module in told if "basecast.fleet.plugins.module_utils." in module]
    assert "_relay.node.run_directory" in ours
    assert not {"_relay.node.process", "_relay.node.node", "_relay.download.fetcher", "_relay.wire.transport", "_disk.store"} & set(ours)
    assert "ssl" not in told
