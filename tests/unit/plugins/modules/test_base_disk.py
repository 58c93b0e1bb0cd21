# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_io, file_trees, repair
from ansible_collections.basecast.fleet.plugins.module_utils._disk.references import name_of
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.modules import base_disk
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.test_repair import flip

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(base_disk)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(base_disk.AnsibleModule, "warn", lambda _self, text: found.append(text))
    return found


def test_from_pool_to_pool_and_away(run: Run, disk_pools: dict[str, str]) -> None:
    one, two = Store(disk_pools["one"], pool="one"), Store(disk_pools["two"], pool="two")
    base = put_base(one, refer=[name_of("default", "a", "1"), name_of("blue", "b", "1")])
    wanted = {"pool": "two", "bases": [base.sha256]}
    predicted, real, again = run(True, **wanted), run(**wanted), run(**wanted)
    assert (predicted["actions"], predicted["diff"]) == (real["actions"], real["diff"])
    assert (real["changed"], again["changed"]) == (True, False)
    copied = two.find(base.sha256)
    assert copied is not None
    assert copied.names() == [{"tenant": "default", "name": "a", "version": "1"}]

    refused = run(state="absent", **wanted)
    assert refused["failure"]["kind"] == "base_in_use"
    two.unrefer(base.sha256, two.references(base.sha256))
    assert run(True, state="absent", **wanted)["changed"]
    assert two.find(base.sha256) is not None
    assert run(state="absent", **wanted)["changed"]
    assert two.find(base.sha256) is None
    assert not run(state="absent", **wanted)["changed"]
    assert one.find(base.sha256) is not None


def test_a_base_that_is_nowhere(run: Run) -> None:
    assert run(pool="one", bases=["a" * 64])["failure"]["kind"] == "base_missing"
    assert run(pool="one", from_pool="three", bases=["a" * 64])["failure"]["kind"] == "invalid_option"


def test_what_was_set_aside_already_is_no_change(run: Run, disk_pools: dict[str, str], warnings: list[str]) -> None:
    base = put_base(Store(disk_pools["one"], pool="one"), refer=[name_of("default", "a", "1")])
    flip(base)
    told = [run(check, pool="one", bases=[], state="repaired") for check in (True, False, False)]
    assert [one["changed"] for one in told] == [True, True, False]
    assert len(warnings) == 3 and all("is damaged and needed" in one for one in warnings)


def test_one_that_cannot_be_mended_keeps_no_other_from_it(
    run: Run, disk_pools: dict[str, str], warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(disk_pools["one"], pool="one")
    bases = [put_base(store, text.ljust(4096, b"\0"), refer=[name_of("default", text.decode(), "1")]) for text in (b"a", b"b", b"c")]
    for base in bases:
        file_io.remove_file(base.chunks_path)
    whole = repair._complete

    def complete(stores: t.Any, store: t.Any, sha256: str, *rest: t.Any) -> None:
        if sha256 == sorted(base.sha256 for base in bases)[0]:
            raise OSError(5, "Input/output error")
        whole(stores, store, sha256, *rest)

    monkeypatch.setattr(repair, "_complete", complete)
    told = run(pool="one", bases=[], state="repaired")
    assert len(told["actions"]) == 2
    (warning,) = warnings
    assert "is not mended: Input/output error" in warning


def test_a_child_whose_parent_is_mended_later_gives_no_warning(run: Run, disk_pools: dict[str, str], warnings: list[str]) -> None:
    store = Store(disk_pools["one"], pool="one")
    parent = put_base(store, refer=[name_of("default", "a", "1")])
    child = put_base(store, b"child".ljust(4096, b"\0"), parent=parent.sha256, refer=[name_of("default", "b", "1")])
    file_io.remove_file(parent.chunks_path)
    told = run(pool="one", bases=[child.sha256, parent.sha256], state="repaired")
    assert len(told["actions"]) == 1 and warnings == []
    file_trees.remove_tree(parent.directory)
    told = run(pool="one", bases=[], state="repaired")
    assert not told["changed"] and "its parent" in warnings[0]
