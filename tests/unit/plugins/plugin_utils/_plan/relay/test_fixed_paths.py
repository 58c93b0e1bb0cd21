# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.fixed_paths import links_of, mistakes, refused

HOSTS = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ("a,b", "list of paths"),
        ({"a": "b"}, "list of paths"),
        (["ab"], "two or more hosts"),
        ([["a"]], "two or more hosts"),
        ([[]], "two or more hosts"),
        ([["a", "b", "a"]], "each once"),
        ([["a", "x"]], "hosts of this run: a, b, c, d"),
        ([["a", "b"], ["c", "b"]], "one sender for each host"),
        ([["a", "b"], ["b", "c"], ["c", "a"]], "wait for each other"),
    ],
)
def test_paths_that_cannot_be_followed_are_named(paths: t.Any, words: str) -> None:
    (sentence,) = mistakes(paths, HOSTS)
    assert sentence.startswith("basecast_paths")
    assert words in sentence


@pytest.mark.parametrize("paths", [[], [["a", "b", "c"]], [["a", "b"], ["a", "c", "d"]], [["a", "b", "c"], ["a", "b", "d"]]])
def test_paths_that_can_be_followed(paths: list[list[str]]) -> None:
    assert mistakes(paths, HOSTS) == []


def test_other_ways_in_are_refused_while_the_chosen_one_lives() -> None:
    fixed = links_of([["a", "b", "c"]])
    assert sorted(refused(fixed, HOSTS)) == [["a", "c", None], ["c", "b", None], ["d", "b", None], ["d", "c", None]]
    assert refused(fixed, ["a", "c", "d"]) == []
    assert refused([("a", "b")], HOSTS, {("a", "b")}) == []
