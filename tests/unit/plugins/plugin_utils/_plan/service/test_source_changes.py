# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import A, B, held, host, manifest

PATH: dict[str, t.Any] = {"host": "a", "path": "tiny.qcow2"}
URL: dict[str, t.Any] = {"url": "http://x/y.qcow2?sig=secret"}
CONTROLLER: dict[str, t.Any] = {"controller": "tiny.qcow2"}
FROM_URL: dict[str, t.Any] = {"imported_from": {"kind": "url", "name": "http://x/y.qcow2", "etag": '"1"', "size_bytes": 1000}}
CONVERTED: dict[str, t.Any] = {"source_sha256": B, "imported_from": {"kind": "path", "name": "t.vmdk", "size_bytes": 700}}
# Another tenant has imported the base, from a file of its own.
HIDDEN: dict[str, t.Any] = {"imported_from": {"kind": "hidden", "name": "", "image_format": "raw"}}


def plan_of(source: dict[str, t.Any], base: dict[str, t.Any], file: dict[str, t.Any], sha256: str | None = None) -> dict[str, t.Any]:
    return service_plan(manifest(source, sha256), {"a": host(base), "b": host()}, files={"tiny": {"isreg": True, **file}})


SAME = [
    (PATH, held(), {"size": 1000}),
    (PATH, held(), {"size": 1000, "sha256": A}),
    (PATH, held(), {"isreg": False}),
    (PATH, held(), {"size": None, "problem": "src: it lies outside"}),
    (CONTROLLER, held(), {"size": 1000, "checksum": A}),
    (PATH, held(**CONVERTED), {"size": 700, "sha256": B}),
    (PATH, held(**CONVERTED), {"size": 1000, "sha256": A}),
    (PATH, held(**CONVERTED, sources=["c" * 64]), {"size": 1234, "sha256": "c" * 64}),
    (PATH, held(source_sha256=B), {"size": 1234}),  # of a converted source nothing but its digest was recorded
    (URL, held(**FROM_URL), {"size": 1000, "etag": '"1"', "last_modified": "today"}),
    (URL, held(**FROM_URL), {"size": None, "note": "no answer"}),
    (URL, held(), {"size": 1000, "etag": '"2"'}),
    ({"url": "http://mirror/y.qcow2"}, held(**FROM_URL), {"size": 1000, "etag": '"2"'}),
    (PATH, held(**HIDDEN), {"size": 700}),
    (PATH, held(**HIDDEN), {"size": 1000, "sha256": A}),
    ({**PATH, "path": "tiny.qcow2.xz"}, held(**HIDDEN), {"size": 300, "sha256": B}),
    ({**URL, "url": "http://x/y.qcow2.xz", "checksum": f"sha256:{B}"}, held(**HIDDEN), {"size": 300}),
    ({**URL, "checksum": "http://x/SHA256SUMS"}, held(**HIDDEN), {"size": 1000, "listed": f"sha256:{B}"}),
]


@pytest.mark.parametrize(("source", "base", "file"), SAME)
def test_a_source_that_is_not_known_to_differ(source: dict[str, t.Any], base: dict[str, t.Any], file: dict[str, t.Any]) -> None:
    plan = plan_of(source, base, file)
    assert (plan["problems"], plan["notes"]) == ([], []) if "size" in file and file["size"] == 1000 else plan["problems"] == []


OTHER = [
    (PATH, held(), {"size": 1001}, ["bases[0].source.path: tiny.qcow2 on a has 1001 bytes", "imported from a file of 1000 bytes"]),
    (PATH, held(), {"size": 1000, "sha256": B}, [f"tiny.qcow2 on a is {B}", f"imported from {A}"]),
    (CONTROLLER, held(), {"size": 1}, ["bases[0].source.controller: tiny.qcow2 of the controller has 1 bytes"]),
    (CONTROLLER, held(), {"size": 1000, "checksum": B}, [B, A]),
    (URL, held(), {"size": 999}, ["bases[0].source.url: http://x/y.qcow2 has 999 bytes"]),
    (PATH, held(**CONVERTED), {"size": 701}, ["701 bytes", "700 bytes"]),
    (PATH, held(**CONVERTED), {"size": 700, "sha256": "c" * 64}, ["c" * 64, B]),
    (PATH, held(source_sha256=B), {"size": 5, "sha256": "c" * 64}, ["c" * 64, B]),
    (PATH, held(**HIDDEN), {"size": 1000, "sha256": B}, [B, A]),
]


@pytest.mark.parametrize(("source", "base", "file", "words"), OTHER)
def test_another_content_under_the_old_version(
    source: dict[str, t.Any], base: dict[str, t.Any], file: dict[str, t.Any], words: list[str]
) -> None:
    (problem,) = plan_of(source, base, file)["problems"]
    assert all(word in problem for word in [*words, "tiny 1", "another content needs another version"])
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ({"etag": '"1"'}, {"etag": '"2"'}, ['ETag of http://x/y.qcow2 was "1"', 'is "2" now']),
        ({"last_modified": "Mon"}, {"last_modified": "Tue"}, ["Last-Modified", "Mon", "Tue"]),
    ],
)
def test_a_server_that_only_hints_at_a_change_is_a_note(then: dict[str, str], now: dict[str, str], words: list[str]) -> None:
    base = held(imported_from={"kind": "url", "name": "http://x/y.qcow2", "size_bytes": 1000, **then})
    plan = plan_of(URL, base, {"size": 1000, **now})
    assert plan["problems"] == []
    (note,) = plan["notes"]
    assert all(word in note for word in words)


def test_a_digest_in_the_manifest_decides_alone() -> None:
    assert plan_of(PATH, held(), {"size": 1001}, sha256=A)["problems"] == []
    assert plan_of(PATH, held(), {"size": 1000}, sha256=B)["problems"] != []


LOOKS = [
    (PATH, {"a": host(held()), "b": host()}, {"on": "a", "pool": "default", "digest": True, "size_bytes": 1000}),
    (CONTROLLER, {"a": host(held()), "b": host()}, {"on": None, "pool": "default", "digest": True, "size_bytes": 1000}),
    (URL, {"a": host(), "b": host(held())}, {"on": "b", "pool": "default", "digest": False, "size_bytes": 1000}),
    ({"host": "c", "path": "x"}, {"a": host(held()), "b": host()}, None),
    ({"host": "b", "path": "x"}, {"a": host(held()), "b": {"reachable": False}}, None),
    (PATH, {"a": host(), "b": host()}, {"on": "a", "pool": "default", "digest": False, "size_bytes": None}),
    (CONTROLLER, {"a": host(), "b": host()}, {"on": None, "pool": "default", "digest": False, "size_bytes": None}),
]


@pytest.mark.parametrize(("source", "hosts", "look"), LOOKS)
def test_where_a_source_is_looked_at(source: dict[str, t.Any], hosts: dict[str, t.Any], look: dict[str, t.Any] | None) -> None:
    assert service_plan(manifest(source), hosts)["bases"]["tiny"]["look"] == look


def test_what_the_run_itself_has_imported_is_not_compared() -> None:
    hosts = {"a": host(), "b": host()}
    plan = service_plan(
        manifest(PATH), hosts, imported={"tiny": {**held(), "host": "a", "pool": "default"}}, files={"tiny": {"isreg": True, "size": 5}}
    )
    assert plan["problems"] == []


LIST: dict[str, t.Any] = {"url": "http://x/y.raw.xz?sig=secret", "checksum": "http://x/SUMS?sig=secret"}
FROM_LIST = held(
    source_sha256=B, imported_from={"kind": "url", "name": "http://x/y.raw.xz", "checksum": f"sha256:{'c' * 64}", "size_bytes": 700}
)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"size": 700, "listed": f"sha256:{'c' * 64}"}, []),
        ({"size": 700, "listed": None, "note": "no answer"}, []),
        (
            {"size": 800, "listed": f"sha256:{'d' * 64}", "etag": "x"},
            [f"http://x/SUMS tells sha256:{'d' * 64} now", "c" * 64, "of its own"],
        ),
    ],
)
def test_what_a_list_tells_now_is_a_note(now: dict[str, t.Any], words: list[str]) -> None:
    """The base stays what it was at its first use; deployments go on."""
    plan = plan_of(LIST, FROM_LIST, now)
    assert plan["problems"] == []
    assert len(plan["notes"]) == bool(words)
    assert all(word in plan["notes"][0] for word in words)
    assert "sig=" not in str(plan)


CHECKSUMS = [
    ("c" * 64, True),
    (f"sha256:{'c' * 64}", True),
    (f"SHA256:{'C' * 64}".lower(), True),
    (f"sha512:{'d' * 128}", True),  # another kind tells nothing
    (f"sha256:{'d' * 64}", False),
    ("d" * 64, False),
]


@pytest.mark.parametrize(("checksum", "fits"), CHECKSUMS)
def test_a_checksum_of_the_manifest_is_compared(checksum: str, fits: bool) -> None:
    plan = plan_of({"url": "http://x/y.raw.xz", "checksum": checksum}, FROM_LIST, {"size": 700})
    assert (plan["problems"] == []) is fits
    if not fits:
        assert plan["problems"][0].startswith("shop.yml: bases[0].source: the manifest says sha256:" + "d" * 64)


@pytest.mark.parametrize(
    "source", [{"host": "a", "path": "x.raw.gz"}, {"controller": "x.raw.gz"}, {"url": "http://x/y", "compression": "xz"}]
)
def test_the_size_of_a_packed_file_says_nothing(source: dict[str, t.Any]) -> None:
    """It is neither planned with nor looked for, and its digest is not compared with the image's."""
    hosts = {"a": host(), "b": host()}
    file = {"isreg": True, "size": 700, "checksum": B, "problem": ""}
    plan = service_plan(manifest(source, A), hosts, files={"tiny": file})
    assert plan["problems"] == []
    assert plan["bases"]["tiny"]["source_bytes"] is None
    assert plan["wanted_files"] == {}
    assert plan["bases"]["tiny"]["look"]["digest"] is False


@pytest.mark.parametrize("hidden", [False, True])
def test_a_plan_has_no_secrets(hidden: bool) -> None:
    path = "/0123456789abcdef" if hidden else ""
    source = {
        "url": f"http://x{path}/y.qcow2?sig=secret",
        "mirrors": [f"http://y{path}/y.qcow2?sig=secret"],
        "checksum": f"sha256:http://x{path}/SUMS?sig=secret",
        "secret": hidden,
    }
    plan = service_plan(manifest(source), {"a": host(), "b": host()}, files={"tiny": {"isreg": True, "size": 5}})
    assert "secret=" not in str(plan) and "sig=" not in str(plan) and "0123456789abcdef" not in str(plan)
    shown = plan["bases"]["tiny"]["source"]
    assert shown["url"] == ("http://x/….qcow2" if hidden else "http://x/y.qcow2")
    assert shown["checksum"] == ("sha256:http://x/…" if hidden else "sha256:http://x/SUMS")


IMAGE = held(
    source_sha256=B, imported_from={"kind": "url", "name": "oci://h/a:t@sha256:x", "checksum": f"sha256:{'c' * 64}", "size_bytes": 7}
)


@pytest.mark.parametrize(
    ("url", "listed", "problem", "note"),
    [
        ("oci://h/a:t", "c", "", ""),
        ("oci://h/a:t", "d", "", f"oci://h/a:t tells sha256:{'d' * 64} now, but tiny 1 was imported from sha256:{'c' * 64}"),
        (f"oci://h/a:t@sha256:{'c' * 64}", "c", "", ""),
        (f"oci://h/a@sha256:{'d' * 64}", "d", f"the manifest says sha256:{'d' * 64}, but tiny 1 was imported from a file with", ""),
    ],
)
def test_what_a_registry_tells_now(url: str, listed: str, problem: str, note: str) -> None:
    plan = plan_of({"url": url}, IMAGE, {"size": None, "listed": f"sha256:{listed * 64}"})
    for wanted, found in ((problem, plan["problems"]), (note, plan["notes"])):
        assert len(found) == bool(wanted) and (not wanted or wanted in found[0])
