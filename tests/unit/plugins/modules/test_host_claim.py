# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_trees, holds
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.modules import host_claim
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

USE = {"name": "web-1", "cpus": 1, "memory_mib": 64, "pools": {"default": {"growth_bytes": 10}}}


@pytest.fixture
def run(capsys: t.Any, tmp_path: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    def run_(**args: t.Any) -> dict[str, t.Any]:
        given = {"state_dir": str(tmp_path / "state"), "run": "r1", "service": "shop", "pools": {"one": str(tmp_path / "one")}, **args}
        with patch_module_args(given), pytest.raises(SystemExit):
            host_claim.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


def test_a_claim_is_taken_renewed_and_given_back(run: t.Any) -> None:
    first, second = run(uses=[USE], seen=0), run(uses=[USE], seen=0)
    assert [(one["claimed"], one["changed"]) for one in (first, second)] == [(True, True), (True, False)]
    back, again = run(state="absent"), run(state="absent")
    assert [one["changed"] for one in (back, again)] == [True, False]


def test_whoever_is_late_is_told_what_to_do(run: t.Any) -> None:
    run(uses=[USE], seen=0)
    late = run(tenant="blue", run="r2", uses=[USE], seen=0)
    assert not late["claimed"] and not late["changed"]
    assert "Survey the host and plan again" in late["refused"]


def test_without_a_service_all_of_a_run_is_given_back(run: t.Any) -> None:
    for service in ("shop", "mail"):
        run(service=service, uses=[USE])
    run(service="blog", run="r2", uses=[USE])
    assert run(state="absent", service=None, _ansible_check_mode=True)["changed"]
    assert [run(state="absent", service=None)["changed"] for _again in range(2)] == [True, False]
    assert not run(service="news", tenant="blue", seen=0)["claimed"], "that of another run stands"


def test_another_run_of_the_service_is_told_the_machine(run: t.Any) -> None:
    place = {"host": "a", "group": "web", "number": 1, "pools": {"root": "default"}}
    run(uses=[USE], places={"web-1": place})
    late = run(run="r2", uses=[USE], places={"web-1": {**place, "host": "b"}})
    assert not late["claimed"] and "The run r1 of this service is about to make web-1 on a (pool default)" in late["refused"]
    assert run(run="r2", uses=[USE], places={"web-1": place})["claimed"]


def test_check_mode_writes_nothing(run: t.Any, tmp_path: t.Any) -> None:
    told = run(uses=[USE], seen=0, _ansible_check_mode=True, _ansible_diff=True)
    assert told["claimed"] and told["changed"] and told["diff"]["after"]["uses"][0]["name"] == "web-1"
    assert not (tmp_path / "state").exists()
    run(uses=[USE])
    assert not run(tenant="blue", seen=0, _ansible_check_mode=True)["claimed"]
    assert run(state="absent", _ansible_check_mode=True)["changed"] and run(uses=[USE])["claimed"]


@pytest.fixture
def base(tmp_path: t.Any) -> t.Iterator[tuple[Store, str]]:
    (tmp_path / "one").mkdir()
    store = Store(str(tmp_path / "one"), pool="one")
    yield store, put_base(store).sha256
    file_trees.remove_tree(store.pool_path)


def test_bases_are_held_and_given_back(run: t.Any, base: tuple[Store, str]) -> None:
    store, sha256 = base
    assert run(uses=[USE], seen=0, bases=[sha256])["claimed"]
    assert [hold.bases for hold in holds.standing(store)] == [(sha256,)]
    # Who only reads a base takes no room, so nobody is late by it.
    assert run(tenant="blue", run="r2", bases=[sha256], seen=0)["claimed"]
    assert run(tenant="red", run="r3", uses=[USE], seen=1)["claimed"]
    for name in ("r1", "r2"):
        assert run(state="absent", run=name)["changed"]
    assert holds.standing(store) == []


@pytest.mark.parametrize("check", [True, False])
def test_a_base_that_has_gone_refuses_the_claim(run: t.Any, base: tuple[Store, str], check: bool) -> None:
    store, sha256 = base
    told = run(uses=[USE], seen=0, bases=[sha256, "5" * 64], _ansible_check_mode=check)
    assert not told["claimed"] and not told["changed"] and f"{'5' * 64} has been removed" in told["refused"]
    assert holds.standing(store) == [] and not run(state="absent")["changed"]


@pytest.mark.parametrize(
    "args, message",
    [
        ({"bases": ["x"]}, "bases: 'x' is not accepted"),
        ({"pools": {"one": "here"}}, "pools.one: 'here' is not accepted"),
        ({"ttl_s": 0}, "ttl_s: 0.0 is not accepted; a number of seconds from 1 to 1000000 is needed"),
        ({"state_dir": "state"}, "state_dir: 'state' is not accepted; an absolute path is needed"),
        ({"service": "../x"}, "service: '../x' is not accepted; a name has"),
        ({"service": None}, "service: none given; the name of a service is needed"),
        ({"places": {"web-1": "kvm1"}}, "places: web-1: 'kvm1' is not accepted; expected a mapping"),
        ({"places": {"web-1": {"host": "a"}}}, "places: web-1: group: missing; expected a line of at most 1024 characters"),
        ({"uses": [{**USE, "cpus": -1}]}, "uses.cpus: -1 is not accepted"),
        ({"uses": [{**USE, "pools": {"default": 7}}]}, "uses.pools.default: 7 is not accepted"),
        ({"uses": [{**USE, "pools": {"default": {"size": 7}}}]}, "bytes and growth_bytes are needed"),
        ({"uses": [{**USE, "pools": {"default": {"bytes": -7}}}]}, "whole numbers of at least 0"),
    ],
)
def test_wrong_options(run: t.Any, args: dict[str, t.Any], message: str) -> None:
    result = run(**args)
    assert result["failed"] and message in result["msg"]
