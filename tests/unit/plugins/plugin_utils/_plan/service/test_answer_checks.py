# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Malformed, Value
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.answer_checks import (
    MAX_TEXT,
    MAX_VALUES,
    Check,
    all_of,
    bounded,
    by_name,
    count,
    digest,
    fields,
    flag,
    has,
    line,
    list_of,
    mapping,
    moment,
    name,
    path,
    rate,
)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**64, -(2**70), "x" * (MAX_TEXT + 1), {5: 1}, [[]] * (MAX_VALUES + 1)])
def test_what_is_no_json_of_a_sane_size_is_named(value: t.Any) -> None:
    with pytest.raises(Malformed, match=r"^what kvm1 tells: "):
        bounded({"packages": value}, "kvm1")


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (line, "one line", 5),
        (name, "kvm1", "x" * 256),
        (path, "/srv/x", 5),
        (count, 7, -1),
        (flag, True, 1),
        (mapping, {}, []),
        (digest, "a" * 64, "A" * 64),
        (rate, 0.5, -0.5),
        (moment, 1.7e9, 1e13),
        (list_of(count), [1, 2], [1, "x"]),
        (list_of(count, 2), [1, 2], [1, 2, 3]),
        (by_name(count), {"a": 1}, {"a": "x"}),
        (by_name(count, 1), {"a": 1}, {"a": 1, "b": 2}),
        (fields(a=count), {"a": None, "other": "x"}, {"a": "x"}),
        (has(a=count), {"a": 1}, {"other": 1}),
        (all_of(has(a=count), fields(b=flag)), {"a": 1}, {"a": 1, "b": "x"}),
    ],
)
def test_each_check_takes_what_is_right_alone(check: Check, good: t.Any, bad: t.Any) -> None:
    check(Value(good, "what kvm1 tells"))
    with pytest.raises(Malformed, match=r"^what kvm1 tells"):
        check(Value(bad, "what kvm1 tells"))
