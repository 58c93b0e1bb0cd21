# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._machine.records import ServiceRecords
from ansible_collections.basecast.fleet.plugins.modules import service_counts

GROUPS = {"web": {"count": 5, "of": 2, "at": 1764418800}}


@pytest.fixture
def records(tmp_path: t.Any) -> ServiceRecords:
    found = ServiceRecords(str(tmp_path), "default")
    found.write("shop", {"service": "shop", "generation": 3})
    return found


@pytest.fixture
def run(capsys: t.Any, tmp_path: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    def run_(**args: t.Any) -> dict[str, t.Any]:
        given = {"state_dir": str(tmp_path), "service": "shop", "expected": 0, "generation": 1, "groups": GROUPS, **args}
        with patch_module_args(given), pytest.raises(SystemExit):
            service_counts.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


def test_numbers_are_remembered_once(run: t.Any, records: ServiceRecords) -> None:
    told = [run(_ansible_check_mode=True), run(), run()]
    assert [(one["changed"], one["refused"]) for one in told] == [(True, ""), (True, ""), (False, "")]
    assert records.read("shop") == {"service": "shop", "generation": 3, "scaled": {"generation": 1, "groups": GROUPS}}


def test_of_two_that_have_seen_the_same_one_is_refused(run: t.Any, records: ServiceRecords) -> None:
    other = {"web": {**GROUPS["web"], "count": 1}}
    first, second = run(), run(groups=other)
    assert (first["changed"], second["changed"]) == (True, False)
    assert "have been changed since they were looked at (generation 1, expected 0). Nothing was changed; run it again." in second["refused"]
    assert (records.read("shop") or {})["scaled"]["groups"] == GROUPS
    assert run(groups=other, expected=1, generation=2)["changed"]
    # Who only removes takes a generation, with the numbers as they were.
    assert run(groups=other, expected=2, generation=3)["changed"]


def test_there_may_be_a_generation_without_a_number(run: t.Any, records: ServiceRecords) -> None:
    assert run(groups={})["changed"]
    assert (records.read("shop") or {})["scaled"] == {"generation": 1, "groups": {}}


def test_a_host_that_was_away_catches_up(run: t.Any, records: ServiceRecords) -> None:
    run()
    assert run(expected=4, generation=5, groups={"web": {**GROUPS["web"], "count": 1}})["changed"]
    assert (records.read("shop") or {})["scaled"]["generation"] == 5


def test_a_host_without_the_service_remembers_nothing(run: t.Any) -> None:
    assert run(service="blog")["refused"] == "There is no record of blog on this host; deploy it first."


def test_a_record_that_is_removed_meanwhile_is_not_made_again(records: ServiceRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    took = records._locked

    def removed_before() -> t.Any:
        monkeypatch.setattr(records, "_locked", took)
        records.remove("shop")
        return took()

    monkeypatch.setattr(records, "_locked", removed_before)
    assert records.remember("shop", 0, {"generation": 1, "groups": GROUPS}).refused
    assert records.read("shop") is None


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"generation": 0}, "generation: 0 is not accepted; a whole number above expected, 0, is needed"),
        ({"expected": -1}, "a whole number above expected"),
        ({"groups": {"web": {"count": 1}}}, "count, of and at are needed, of a group of the service"),
        ({"groups": {"../x": GROUPS["web"]}}, "groups.../x: "),
        ({"groups": {"web": {**GROUPS["web"], "count": "5"}}}, "groups.web.count: '5' is not accepted; a whole number from 1 to 10000"),
        ({"groups": {"web": {**GROUPS["web"], "at": 0}}}, "groups.web.at: 0"),
        ({"service": "../shop"}, "service: "),
    ],
)
def test_what_nobody_can_mean_is_refused(run: t.Any, records: ServiceRecords, args: dict[str, t.Any], words: str) -> None:
    told = run(**args)
    assert told["failed"] and words in told["msg"], told["msg"]
    assert records.read("shop") == {"service": "shop", "generation": 3}


def test_a_record_that_was_planned_before_does_not_take_newer_numbers_back(run: t.Any, records: ServiceRecords) -> None:
    run()
    records.write("shop", {"generation": 4, "scaled": {"generation": 0, "groups": {}}})
    assert (records.read("shop") or {})["scaled"] == {"generation": 1, "groups": GROUPS}
    records.write("shop", {"generation": 5, "scaled": {"generation": 2, "groups": {}}})
    assert (records.read("shop") or {})["scaled"] == {"generation": 2, "groups": {}}
