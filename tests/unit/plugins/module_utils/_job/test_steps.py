# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import references as store_references
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job import steps
from ansible_collections.basecast.fleet.plugins.module_utils._job.work import Copy
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

from .conftest import Site

GONE = "cd" * 32


def reference(sha256: str, **changes: t.Any) -> dict[str, t.Any]:
    return {"sha256": sha256, "name": None, "version": None, "pin": None, "pool": "one", **changes}


@pytest.mark.parametrize("check", [True, False])
def test_each_step_changes_something_once(check: bool, site: Site) -> None:
    base = put_base(site.stores["one"]).sha256
    work = site.work(
        base, record={"generation": 1}, references=[reference(base, name="tiny", version="1")], clones=[{"pool": "two", "bases": [base]}]
    )
    context = site.context(work, check)

    def every() -> list[steps.StepResult]:
        return [
            steps.keep_record(context),
            steps.refer(context, work.references[0]),
            steps.copy_base(context, work.copies[0]),
            steps.make_disks(context, work.machines),
            steps.make_seeds(context, work.machines),
        ]

    first, second = every(), every()
    assert [result.changed for result in first] == [True] * 5 and all(result.after for result in first)
    assert [result.changed for result in second] == [check] * 5
    assert not any(result.failed for result in [*first, *second])


@pytest.mark.parametrize("digest", [GONE, "0" * 64], ids=["known", "not yet known"])
@pytest.mark.parametrize("waits", [True, False])
def test_check_mode_warns_of_no_base_that_the_job_brings(waits: bool, digest: str, site: Site) -> None:
    work = site.work(digest, references=[reference(digest, name="tiny", version="1")] if waits else [])
    result = steps.make_disks(site.context(work, True), work.machines)
    assert result.changed and not result.failed
    assert len(result.warnings) == (1 if digest == GONE and not waits else 0)


def test_a_disk_that_fails_hides_no_other(site: Site) -> None:
    base = put_base(site.stores["one"]).sha256
    work = site.work(base, GONE, base)
    result = steps.make_disks(site.context(work), work.machines)
    assert list(result.failed) == ["m-2"] and result.failed["m-2"].reason == "base_missing"
    assert [len(result.values[name]) for name in ("m-1", "m-3")] == [1, 1]
    assert result.changed and len(result.after["disks"]) == 2


def test_a_seed_that_fails_hides_no_other(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    work = site.work(GONE, GONE)
    ensure = steps.SeedImages.ensure

    def fail(self: t.Any, wish: t.Any) -> t.Any:
        if wish.owner.machine == "m-1":
            raise OSError(28, "No space left on device", "/pool/x")
        return ensure(self, wish)

    monkeypatch.setattr(steps.SeedImages, "ensure", fail)
    result = steps.make_seeds(site.context(work), work.machines)
    assert result.failed["m-1"] == ("make the seed", "system", "/pool/x: No space left on device")
    assert list(result.values) == ["m-2"]


def test_references_to_what_did_not_come_are_dropped(site: Site) -> None:
    base = put_base(site.stores["one"]).sha256
    for sha256, left in ((GONE, 0), (base, 2)):
        work = site.work(base, references=[reference(sha256, name="tiny", version=sha256[:4])])
        context = site.context(work)
        made = steps.refer(context, work.references[0])
        assert len(site.stores["one"].references(sha256)) == 2
        steps.drop_references(context, made.values[sha256])
        assert len(site.stores["one"].references(sha256)) == left


def test_a_name_that_stands_for_other_bytes_fails_its_base(site: Site) -> None:
    put_base(site.stores["one"], refer=[store_references.name_of("default", "tiny", "1")])
    work = site.work(GONE, references=[reference(GONE, name="tiny", version="1")])
    failed = steps.refer(site.context(work), work.references[0]).failed
    assert failed[GONE].reason == "name_taken" and failed[GONE].step == "reference the base"


def test_a_base_that_is_nowhere_cannot_be_copied(site: Site) -> None:
    result = steps.copy_base(site.context(site.work()), Copy("two", GONE))
    assert result.failed[GONE].reason == "base_missing" and result.failed[GONE].step == "copy the base to pool two"


def test_a_record_that_cannot_be_read_is_told(site: Site) -> None:
    work = site.work(record={"generation": 1})
    context = site.context(work)
    steps.keep_record(context)
    with open(os.path.join(context.state_dir, "services", "default", "shop.json"), "w", encoding="utf-8") as file:
        file.write("no json")
    assert steps.keep_record(context).failed["shop"].reason == "record_unreadable"


@pytest.mark.parametrize(
    "error, reason, msg",
    [
        (FleetError("Full.", kind="no_space"), "no_space", "Full."),
        (OSError(5, "Input/output error", "/p"), "system", "/p: Input/output error"),
        (KeyError("x"), "unexpected", "Unexpected KeyError: 'x'. This is a defect."),
    ],
)
def test_errors_become_failures(error: Exception, reason: str, msg: str) -> None:
    assert steps.failure_of("try", error) == ("try", reason, msg)


def test_results_are_joined() -> None:
    one = steps.StepResult(False, {"a": 1}, before={"disks": {"x": 1}}, warnings=["w"])
    two = steps.StepResult(True, {"b": 2}, before={"disks": {"y": 2}}, after={"seeds": {}}, warnings=["w", "v"])
    joined = one.join(two)
    assert joined.changed and joined.values == {"a": 1, "b": 2} and joined.warnings == ["w", "v"]
    assert joined.before == {"disks": {"x": 1, "y": 2}} and joined.after == {"seeds": {}}
