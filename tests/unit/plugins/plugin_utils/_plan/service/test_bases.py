# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.host_work import UNKNOWN_DIGEST
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import A, B, held, host, manifest, problems


def test_a_base_that_nobody_holds_is_imported_where_its_source_says_even_on_a_host_without_machines() -> None:
    hosts = {"a": host(), "b": host(), "c": host()}
    plan = service_plan(manifest(source={"host": "c", "path": "x"}), hosts)
    assert (plan["bases"]["tiny"]["import_on"], plan["bases"]["tiny"]["import_pool"]) == ("c", "default")
    assert plan["hosts"]["a"]["disks"][0]["base"] == UNKNOWN_DIGEST
    after = service_plan(manifest(source={"host": "c", "path": "x"}), hosts, imported={"tiny": {**held(), "host": "c", "pool": "default"}})
    assert after["relays"][0]["sources"] == {"c": "default"}
    assert set(after["relays"][0]["targets"]) == {"a", "b"}
    assert after["hosts"]["a"]["disks"][0]["base"] == A


def test_a_url_and_a_file_of_the_controller_go_to_the_first_host_that_needs_them() -> None:
    for source in ({"url": "http://x/y"}, {"controller": "y.qcow2"}):
        assert service_plan(manifest(source=source), {"a": host(), "b": host()})["bases"]["tiny"]["import_on"] == "a"


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ({"isreg": True, "checksum": A}, ""),
        ({"isreg": True, "checksum": B}, f"bases[0].sha256: the manifest says {A}, but y.qcow2 of the controller has {B}"),
        ({"exists": False}, "bases[0].source.controller: there is no file y.qcow2 on the controller"),
    ],
    ids=["right", "another", "missing"],
)
def test_a_file_of_the_controller_is_looked_at_before_anything_is_changed(file: dict[str, t.Any], problem: str) -> None:
    plan = service_plan(manifest(source={"controller": "y.qcow2"}, sha256=A, hosts=["a"]), {"a": host()}, files={"tiny": file})
    assert problem in problems(plan)
    assert bool(problems(plan)) is bool(problem)


def test_a_file_of_a_host_is_looked_at_before_anything_is_changed() -> None:
    for seen in ({"exists": False}, {"exists": True, "isreg": False, "isdir": True, "size": 4096}):
        plan = service_plan(manifest(hosts=["a", "b"]), {"a": host(), "b": host()}, files={"tiny": seen})
        assert "bases[0].source.path: there is no file tiny.qcow2 on a" in problems(plan)
        assert plan["relays"][0]["size_bytes"] is None


def test_a_dead_source_host_ends_the_plan_unless_somebody_else_holds_the_base() -> None:
    dead = {"reachable": False, "msg": "no route"}
    assert "cannot be reached (no route)" in problems(service_plan(manifest(), {"a": dead, "b": host()}))
    assert problems(service_plan(manifest(), {"a": dead, "b": host(held())})) == ""


def test_one_name_for_different_bytes_names_both_digests() -> None:
    text = problems(service_plan(manifest(), {"a": host(held(A)), "b": host(held(B))}))
    assert A in text
    assert B in text
    assert text.startswith("shop.yml")


def test_a_held_base_of_another_digest_than_the_manifests_is_a_problem() -> None:
    text = problems(service_plan(manifest(sha256=B), {"a": host(held(A)), "b": host()}))
    assert text.startswith("shop.yml: bases[0].sha256")
    assert A in text
    assert B in text
    assert problems(service_plan(manifest(sha256=B), {"a": host(held(A, source_sha256=B)), "b": host()})) == ""


@pytest.mark.parametrize("source", [{"host": "a", "path": "/etc/shadow"}, {"url": "http://169.254.169.254/"}])
def test_a_source_that_the_host_refuses_is_told_before_anything(source: dict[str, str]) -> None:
    seen = {"isreg": True, "size": None, "problem": "it lies outside of\nwhat is allowed", "note": ""}
    plan = service_plan(manifest(source=source), {"a": host(), "b": host()}, files={"tiny": seen})
    assert plan["problems"] == ["shop.yml: bases[0].source: a: it lies outside of what is allowed"]
