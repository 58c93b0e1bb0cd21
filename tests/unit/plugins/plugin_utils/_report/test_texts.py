# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service import report
from ansible_collections.basecast.fleet.plugins.plugin_utils._report import texts


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (texts.size(None), "–"),
        (texts.size(0), "0 B"),
        (texts.size(1024), "1.0 KiB"),
        (texts.size(117_374_976), "111.9 MiB"),
        (texts.size(5 * 2**40), "5.0 TiB"),
        (texts.seconds(None), "–"),
        (texts.seconds(119.96), "120.0 s"),
        (texts.seconds(600), "10.0 min"),
        (texts.seconds(9000), "2.5 h"),
        (texts.rate(None), "–"),
        (texts.rate(0.5), "0.5 Mbit/s"),
        (texts.rate(9400), "9.4 Gbit/s"),
        (texts.share(100, 100), "no more"),
        (texts.share(0, 0), "no more"),
        (texts.share(110, 100), "10.0% more"),
        (texts.moment(0), "–"),
        (texts.moment(1_795_856_295), "2026-11-28 08:58:15 UTC"),
        (texts.several(["a"]), "a"),
        (texts.several(list("abcdefgh"), 3), "a, b, c and 5 more"),
        (texts.plural(1, "host"), "1 host"),
        (texts.plural(5000, "machine"), "5,000 machines"),
    ],
)  # fmt: skip
def test_numbers_are_shown_as_people_read_them(told: str, shown: str) -> None:
    assert told == shown


def test_every_state_has_a_sign_and_a_word() -> None:
    states = {value for name, value in vars(report).items() if name.isupper() and isinstance(value, str)}
    assert states == set(texts.MACHINE_STATES)
    shown: t.Any = list(texts.MACHINE_STATES.values())
    assert all(sign and word for _kind, sign, word in shown)


@pytest.mark.parametrize(("predicted", "word"), [(False, "deployed"), (True, "to be deployed")])
def test_what_is_only_foreseen_is_said_so(predicted: bool, word: str) -> None:
    assert texts.machine_state("deployed", predicted)[2] == word


def test_an_unknown_state_is_shown_as_it_is() -> None:
    assert texts.machine_state("odd", False) == ("warn", "?", "odd")


def test_a_sender_that_was_left_is_named_once() -> None:
    attempts = [{"parent": "b", "error": "b has been silent for 7.2 s."}, {"parent": "c", "error": "Connection reset"}]
    assert texts.retries(attempts) == "b has been silent for 7.2 s; c: Connection reset"
    assert texts.retries([]) == ""
