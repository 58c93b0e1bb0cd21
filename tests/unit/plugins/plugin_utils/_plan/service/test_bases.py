# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.host_work import UNKNOWN_DIGEST
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_text import plan_text
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


def test_what_a_lost_host_has_imported_another_one_imports_again() -> None:
    wanted = manifest(source={"url": "http://x/y"}, hosts=["a", "b", "c"])
    hosts = {name: host() for name in ("a", "b", "c")}
    assert service_plan(wanted, hosts)["bases"]["tiny"]["import_on"] == "a"
    lost = {**hosts, "a": {"reachable": False, "msg": "bases[0]: Import the base on a: no answer"}}
    plan = service_plan(wanted, lost, imported={"tiny": {**held(), "host": "a", "pool": "default"}}, fleet=list(hosts))
    assert (plan["problems"], plan["bases"]["tiny"]["import_on"], plan["bases"]["tiny"]["sha256"]) == ([], "b", None)
    assert {machine["host"]: machine["state"] for machine in plan["machines"]} == {"a": "unreachable", "b": "create", "c": "create"}
    after = service_plan(wanted, lost, imported={"tiny": {**held(), "host": "b", "pool": "default"}}, fleet=list(hosts))
    assert [(relay["sources"], list(relay["targets"])) for relay in after["relays"]] == [({"b": "default"}, ["c"])]


def test_what_a_host_failed_to_import_another_one_imports() -> None:
    why = "bases[0]: Import the base on a: no space left in /p."
    hosts = {**{name: host() for name in ("a", "b", "c")}, "a": host(import_failed=why)}
    plan = service_plan(manifest(source={"url": "http://x/y"}, hosts=["a", "b", "c"]), hosts)
    assert (plan["problems"], plan["bases"]["tiny"]["import_on"], plan["bad_hosts"]) == ([], "b", {"a": [why]})
    assert {machine["host"]: (machine["state"], machine["reason"]) for machine in plan["machines"]} == {
        "a": ("unfit", why), "b": ("create", ""), "c": ("create", ""),
    }  # fmt: skip
    # What it holds it serves all the same, and where no host is left that is a problem.
    assert service_plan(manifest(hosts=["a", "b"]), {**hosts, "a": host(held(), import_failed=why)})["relays"][0]["sources"] == {
        "a": "default"
    }
    assert service_plan(manifest(source={"url": "http://x/y"}, hosts=["a"]), hosts)["problems"] == [why]


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
    assert "cannot be used (no route)" in problems(service_plan(manifest(), {"a": dead, "b": host()}))
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


@pytest.mark.parametrize(
    "file",
    [5, [], {"isreg": "yes"}, {"isreg": True, "size": "many"}, {"isreg": True, "size": []}, {"isreg": True, "size": -1}, {"isreg": True, "size": "-1"}]
    + [{"isreg": True, "sha256": []}, {"isreg": True, "listed": {}}, {"isreg": True, "problem": ["x"]}, {"isreg": True, "size": 2**70}],
)  # fmt: skip
def test_nonsense_about_a_source_is_that_bases_problem(file: t.Any) -> None:
    other = {"a base that nobody asked for": {"isreg": True}}
    plan = service_plan(manifest(), {"a": host(), "b": host()}, files={"tiny": file, **other})
    assert problems(plan).startswith("shop.yml: bases[0].source: what a tells: ")
    plan = service_plan(manifest(), {"a": host(held()), "b": host()}, files={"tiny": file, **other})
    assert problems(plan) == "" and "bases[0].source: what a tells: " in " ".join(plan["notes"])
    assert plan["relays"]


@pytest.mark.parametrize("source", [{"host": "a", "path": "/etc/shadow"}, {"url": "http://169.254.169.254/"}])
def test_a_source_that_the_host_refuses_is_told_before_anything(source: dict[str, str]) -> None:
    seen = {"isreg": True, "size": None, "problem": "it lies outside of\nwhat is allowed", "note": ""}
    plan = service_plan(manifest(source=source), {"a": host(), "b": host()}, files={"tiny": seen})
    assert plan["problems"] == ["shop.yml: bases[0].source: a: it lies outside of what is allowed"]


@pytest.mark.parametrize("source", [{"url": "http://x/y"}, {"controller": "y"}])
def test_a_host_without_room_is_not_the_one_that_imports(source: dict[str, str]) -> None:
    def of_pool(free: int) -> dict[str, t.Any]:
        pool = {"path": "/p", "exists": True, "writable": True, "free_bytes": free}
        return host(capacity={"memory_mib": 4096, "pools": {"default": pool}})

    for free, on in (({"a": 10, "b": 10**9}, "b"), ({"a": 10**9, "b": 10}, "a"), ({"a": 10, "b": 10}, "a")):
        hosts = {name: of_pool(count) for name, count in free.items()}
        plan = service_plan(manifest(source=source), hosts, files={"tiny": {"isreg": True, "size": 3000}})
        assert plan["bases"]["tiny"]["import_on"] == on
        assert plan["problems"] == []


def test_a_server_that_does_not_answer_is_told_before_anything() -> None:
    said = "http://x/y: the server answers 404 Not Found."
    seen = {"isreg": True, "size": None, "problem": "", "note": said}
    plan = service_plan(manifest(source={"url": "http://x/y"}), {"a": host(), "b": host()}, files={"tiny": seen})
    assert problems(plan) == "" and f"shop.yml: bases[0].source: a: {said}" in plan["notes"]


# --- parents -----------------------------------------------------------------------------------

APP = {"name": "app", "version": "7"}
PARENT = {"name": "tiny", "version": "1"}


def chain(child: dict[str, t.Any] | None = None, parents: t.Sequence[dict[str, t.Any]] = ()) -> t.Any:
    base = {**APP, "source": {"controller": "app.qcow2"}, "parent": PARENT, **(child or {})}
    group = {"name": "web", "hosts": ["a", "b"], "memory_mib": 512, "disks": [{"name": "root", "base": "app"}]}
    text = {"format": 1, "service": "shop", "bases": [*parents, base], "machines": [group]}
    return parse_manifest(text, "shop.yml")


FILES = {name: {"exists": True, "isreg": True, "size": 1000} for name in ("tiny", "app")}
ONLY_APP = {"app": FILES["app"]}
TINY = {**PARENT, "source": {"controller": "tiny.qcow2"}}


@pytest.mark.parametrize("listed", [True, False])
def test_a_child_is_imported_where_its_parent_is(listed: bool) -> None:
    hosts = {"a": host(), "b": host(), "c": host(held(), pools=("fast", "default"))}
    plan = service_plan(chain(parents=[TINY] if listed else []), hosts, files=FILES if listed else ONLY_APP)
    app = plan["bases"]["app"]
    assert (app["import_on"], app["import_pool"], app["parent_sha256"], plan["problems"]) == ("c", "fast", A, [])
    here = service_plan(chain(), {"a": host(held()), "b": host()}, files=ONLY_APP)
    assert here["bases"]["app"]["import_on"] == "a"


@pytest.mark.parametrize("listed", [True, False])
def test_a_child_is_not_imported_on_a_host_that_was_lost(listed: bool) -> None:
    lost = {**host(held()), "reachable": False, "msg": "Connection timed out"}
    hosts = {"a": host(), "b": host(), "c": lost, "d": host(held())}
    plan = service_plan(chain(parents=[TINY] if listed else []), hosts, files=FILES if listed else ONLY_APP)
    assert plan["bases"]["app"]["import_on"] == "d"


def test_a_parent_that_nobody_holds_is_imported_before_its_child() -> None:
    plan = service_plan(chain(parents=[TINY]), {"a": host(), "b": host()}, files=FILES)
    assert {name: (base["import_on"], base["import_pool"]) for name, base in plan["bases"].items()} == {
        "tiny": ("a", "default"),
        "app": ("a", "default"),
    }
    assert list(plan["bases"]) == ["tiny", "app"] and plan["bases"]["app"]["parent_sha256"] is None and plan["problems"] == []


@pytest.mark.parametrize(
    ("child", "parents", "holders", "words"),
    [
        ({}, [], [], "bases[0].parent: no host of this run holds tiny 1; list it under bases with its source, or import it first"),
        ({"source": {"host": "b", "path": "x"}}, [], ["a"], "b does not hold tiny 1, the parent of app 7, which is on a; import it on one"),
        ({"pool": "fast"}, [], ["a"], "bases[0].pool: 'fast' is not where its parent is on a; expected default"),
        ({"source": None, "parent": None}, [], ["a"], "bases[0]: no host of this run holds app 7, and it has no source; give one"),
        ({}, [{**PARENT}], [], "bases[0]: no host of this run holds tiny 1, and it has no source"),
        ({}, [{**PARENT, "source": {"host": "x", "path": "y"}}], [], "bases[0].source.host: 'x' is not a host of this run"),
    ],
)
def test_what_stands_in_the_way_of_a_child(
    child: dict[str, t.Any], parents: list[dict[str, t.Any]], holders: list[str], words: str
) -> None:
    wanted = {key: value for key, value in {"source": {"controller": "x"}, "parent": PARENT, **child}.items() if value}
    base = {**APP, **wanted}
    group = {"name": "web", "hosts": ["a", "b"], "memory_mib": 512, "disks": [{"name": "root", "base": "app"}]}
    text = parse_manifest({"format": 1, "service": "shop", "bases": [*parents, base], "machines": [group]}, "shop.yml")
    hosts = {name: host(*([held()] if name in holders else []), pools=("default", "fast")) for name in ("a", "b")}
    problems = service_plan(text, hosts, files={base["name"]: FILES[base["name"]] for base in text["bases"] if base["source"]["path"]})[
        "problems"
    ]
    assert len([problem for problem in problems if words in problem]) == 1, problems


def test_a_base_without_source_is_relayed_from_its_holder() -> None:
    text = {"format": 1, "service": "shop", "bases": [{**PARENT}], "machines": [
        {"name": "web", "hosts": ["a", "b"], "memory_mib": 512, "disks": [{"name": "root", "base": "tiny"}]}]}  # fmt: skip
    plan = service_plan(parse_manifest(text), {"a": host(held()), "b": host()})
    assert plan["problems"] == [] and plan["relays"][0]["targets"] == {"b": "default"}


def test_parents_stand_before_their_children() -> None:
    with pytest.raises(
        ManifestError, match=r"bases\[0\].parent: tiny 1 stands at its child or after it; list a parent before its children"
    ):
        parse_manifest({**TEXT, "bases": [{**APP, "source": {"controller": "x"}, "parent": PARENT}, TINY]})
    with pytest.raises(ManifestError, match="app 7 stands at its child or after it"):
        parse_manifest({**TEXT, "bases": [{**APP, "source": {"controller": "x"}, "parent": APP}]})


TEXT = {"format": 1, "service": "shop", "machines": [{"name": "web", "hosts": ["a"], "disks": [{"name": "root", "base": "app"}]}]}


# --- machines as sources -----------------------------------------------------------------------

GOLDEN = {"name": "golden", "version": "1", "source": {"machine": "web-1", "service": "shop"}}
WEB_1 = {"domain": "shop-web-1", "tenant": "default", "service": "shop", "machine": "web-1", "memory_mib": 512, "cpus": 1}


def copies() -> t.Any:
    machines = [{"name": "copy", "hosts": ["a", "b"], "memory_mib": 512, "disks": [{"name": "root", "base": "golden"}]}]
    return parse_manifest({"format": 1, "service": "twins", "bases": [GOLDEN], "machines": machines}, "twins.yml")


def test_a_machine_is_captured_on_its_own_host() -> None:
    hosts = {"a": host(), "b": host(), "c": host(domains=[WEB_1])}
    plan = service_plan(copies(), hosts)
    base = plan["bases"]["golden"]
    assert (plan["problems"], base["import_on"], base["look"]) == ([], "c", None)
    assert "would be imported on c, pool default, from machine web-1 of service shop" in "\n".join(plan_text(plan))
    after = service_plan(copies(), hosts, imported={"golden": {**held(), "host": "c", "pool": "default"}})
    assert after["relays"][0]["sources"] == {"c": "default"} and set(after["relays"][0]["targets"]) == {"a", "b"}


@pytest.mark.parametrize(
    ("domains", "c", "words"),
    [
        ([], {}, "bases[0].source.machine: web-1 of service shop is on no host that could be asked"),
        ([], {"reachable": False, "msg": "timed out"}, "not asked: c"),
        ([WEB_1], {"domains": [WEB_1]}, "web-1 of service shop is on a and on c; remove the wrong one first"),
        (
            [WEB_1],
            {"reachable": False, "msg": "timed out"},
            "the base golden 1 would be captured, but hosts that could not be asked may have",
        ),
        ([{**WEB_1, "tenant": None, "service": None, "machine": None}], {}, "is on no host that could be asked"),
    ],
)
def test_a_machine_that_cannot_be_captured_is_a_problem(domains: list[dict[str, t.Any]], c: dict[str, t.Any], words: str) -> None:
    plan = service_plan(copies(), {"a": host(domains=domains), "b": host(), "c": {**host(), **c}})
    assert any(words in problem for problem in plan["problems"]), plan["problems"]


def test_a_captured_base_is_not_captured_again() -> None:
    golden = held(B, names=[{"tenant": "default", "name": "golden", "version": "1"}])
    plan = service_plan(copies(), {"a": host(golden), "b": host(), "c": host(domains=[WEB_1])})
    assert (plan["problems"], plan["bases"]["golden"]["import_on"]) == ([], None) and plan["relays"][0]["sources"] == {"a": "default"}


def test_parents_of_what_was_imported_travel_too() -> None:
    """The survey was before the import, so only the import tells of the chain."""
    child = held(B, parent=A, chain=[A, B], names=[{"tenant": "default", "name": "golden", "version": "1"}])
    hosts = {"a": host(), "b": host(), "c": host(held(), domains=[WEB_1])}
    after = service_plan(copies(), hosts, imported={"golden": {**child, "host": "c", "pool": "default"}})
    assert [(relay["sha256"], relay["sources"], sorted(relay["targets"])) for relay in after["relays"]] == [
        (A, {"c": "default"}, ["a", "b"]),
        (B, {"c": "default"}, ["a", "b"]),
    ]
