# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_text import plan_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import A, B, held, host, manifest

URL: dict[str, t.Any] = {"url": "http://x/tiny.qcow2?sig=x"}
HOSTS: dict[str, t.Any] = {"a": host(held()), "b": host(), "c": host()}
FILE = {"sha256": A, "path": "/srv/x", "size_bytes": 1000}
SEEN = {"tiny": {"isreg": True, "size": 1000}}
THREE: dict[str, t.Any] = {"hosts": ["a", "b", "c"]}


def wanted(sha256: str = A, size: int = 1000, image_format: str | None = "qcow2") -> list[dict[str, t.Any]]:
    return [{"sha256": sha256, "size_bytes": size, "format": image_format}]


WANTED = [
    ("held elsewhere", manifest(**THREE), HOSTS, {}, {"b": wanted(), "c": wanted()}),
    ("held everywhere", manifest(), {"a": host(held()), "b": host(held())}, {}, {}),
    ("no digest", manifest(URL), {"a": host(), "b": host()}, SEEN, {}),
    ("no size", manifest(URL, A), {"a": host(), "b": host()}, {}, {}),
    ("a digest, at a URL", manifest(URL, A), {"a": host(), "b": host()}, SEEN, {"a": wanted(), "b": wanted()}),
    ("a digest, of a host", manifest(None, A), {"a": host(), "b": host()}, SEEN, {"a": wanted(), "b": wanted()}),
    ("a digest, of the only host", manifest(None, A, hosts=["a"]), {"a": host()}, SEEN, {}),
    ("a digest and a format", manifest({**URL, "format": "raw"}, A), {"a": host(), "b": host()}, SEEN,
     dict.fromkeys("ab", wanted(A, 1000, "raw"))),
    ("held, converted", manifest(None, B), {"a": host(held(source_sha256=B)), "b": host()}, {}, {"b": wanted()}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "hosts", "files", "expected"), [row[1:] for row in WANTED], ids=[row[0] for row in WANTED])
def test_what_is_looked_for(asked: t.Any, hosts: t.Any, files: t.Any, expected: dict[str, t.Any]) -> None:
    assert service_plan(asked, hosts, files=files)["wanted_files"] == expected


def test_of_a_chain_only_what_has_no_parent_is_looked_for() -> None:
    root, child = held(B, names=[]), held(A, parent=B, chain=[B, A])
    hosts = {"a": host(root, child), "b": host()}
    plan = service_plan(manifest(), hosts)
    assert plan["wanted_files"] == {"b": wanted(B)}
    plan = service_plan(manifest(), hosts, candidates={"b": [{**FILE, "sha256": B}]})
    assert [relay["sha256"] for relay in plan["relays"]] == [A]
    (item,) = plan["adoptions"]["b"]
    assert (item["sha256"], item["base"], item["pool"]) == (B, None, "default")
    assert f"base tiny 1 (parent {B[:12]}): would be adopted from /srv/x on b" in "\n".join(plan_text(plan))


def test_a_host_that_adopts_fetches_nothing_and_serves() -> None:
    plan = service_plan(manifest(**THREE), HOSTS, candidates={"b": [FILE]})
    (relay,) = plan["relays"]
    assert (relay["sources"], relay["targets"]) == ({"a": "default", "b": "default"}, {"c": "default"})
    assert plan["hosts"]["b"]["fetch"] == [] and plan["hosts"]["b"]["disks"][0]["base"] == A
    (item,) = plan["adoptions"]["b"]
    assert (item["path"], item["base"], item["format"]) == ("/srv/x", {"name": "tiny", "version": "1"}, "qcow2")
    assert item["metadata"]["chunks_sha256"] == "c" * 64
    text = "\n".join(plan_text(plan))
    assert "would be adopted from /srv/x on b" in text and "held by a (pool default);" in text
    json.dumps(plan)


def test_what_nobody_holds_is_adopted_instead_of_imported() -> None:
    hosts = {"a": host(), "b": host(), "c": host()}
    plan = service_plan(manifest(URL, A, **THREE), hosts, files=SEEN, candidates={"b": [FILE]})
    assert plan["problems"] == []
    assert plan["bases"]["tiny"]["import_on"] is None
    (relay,) = plan["relays"]
    assert (relay["sources"], sorted(relay["targets"])) == ({"b": "default"}, ["a", "c"])
    assert (relay["size_bytes"], relay["estimated"], relay["sha256"]) == (1000, True, A)
    assert "held by no host" in "\n".join(plan_text(plan))
    assert plan["adoptions"]["b"][0]["metadata"] is None


@pytest.mark.parametrize(
    ("finders", "import_on", "sources"),
    [(["a"], "a", ["a"]), (["a", "b"], None, ["a", "b"]), (["b"], None, ["b"])],
)
def test_a_host_with_the_source_fetches_nothing(finders: list[str], import_on: str | None, sources: list[str]) -> None:
    hosts = {"a": host(), "b": host(), "c": host()}
    plan = service_plan(manifest(None, A, **THREE), hosts, files=SEEN, candidates={name: [FILE] for name in finders})
    assert plan["bases"]["tiny"]["import_on"] == import_on
    assert bool(plan["adoptions"]) is (import_on is None)
    (relay,) = plan["relays"]
    assert sorted(relay["sources"]) == sources and "c" in relay["targets"]


def test_after_an_adoption_the_host_holds_the_base() -> None:
    hosts = {"a": host(), "b": host(), "c": host()}
    adopted = {"b": [{**held(), "pool": "default"}]}
    plan = service_plan(manifest(URL, A, **THREE), hosts, files=SEEN, adopted=adopted)
    assert plan["adoptions"] == {}
    (relay,) = plan["relays"]
    assert (relay["sources"], relay["estimated"]) == ({"b": "default"}, False)


@pytest.mark.parametrize("candidates", [{}, {"b": []}, {"b": [{**FILE, "sha256": B}]}, {"z": [FILE]}])
def test_a_file_that_is_gone_is_fetched(candidates: dict[str, t.Any]) -> None:
    plan = service_plan(manifest(**THREE), HOSTS, candidates=candidates)
    assert sorted(plan["relays"][0]["targets"]) == ["b", "c"]
    assert plan["adoptions"] == {}


@pytest.mark.parametrize("files", [5, {}, [5], [{}], [{**FILE, "sha256": 5}], [{**FILE, "size_bytes": "x"}], [{**FILE, "path": []}]])
def test_nonsense_about_files_is_no_end_of_the_plan(files: t.Any) -> None:
    plan = service_plan(manifest(**THREE), HOSTS, candidates={"b": files, "c": [FILE]})
    assert list(plan["relays"][0]["targets"]) == ["b"] and list(plan["adoptions"]) == ["c"]
    assert any(note.startswith("what b tells of files that it could adopt") for note in plan["notes"])


def test_the_files_of_whole_copies_need_room() -> None:
    pools = {"default": {"path": "/default", "exists": True, "writable": True, "free_bytes": 500}}
    small = host(capacity={"memory_mib": 4096, "pools": pools})
    plan = service_plan(manifest(), {"a": host(held()), "b": small}, candidates={"b": [FILE]}, skip_bad_hosts=False)
    assert any("b: the pool 'default'" in problem for problem in plan["problems"])


def test_where_machines_go_does_not_depend_on_what_is_found() -> None:
    asked = manifest(hosts=["a", "b", "c"], count=2)
    before = service_plan(asked, HOSTS)
    after = service_plan(asked, HOSTS, candidates={host: [FILE] for host in ("b", "c")})
    assert [machine["host"] for machine in before["machines"]] == [machine["host"] for machine in after["machines"]]
