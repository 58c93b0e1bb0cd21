# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A damaged entry of a store is told of by itself, and hides no other."""

from __future__ import annotations

import json
import os
import shutil
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import attributes, file_io, file_trees, references
from ansible_collections.basecast.fleet.plugins.module_utils._disk.base import Base
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._disk.survey import survey

from .conftest import put_base, qcow2

Damage = t.Callable[[Base], object]


def write(name: str, data: bytes) -> Damage:
    def damage(base: Base) -> None:
        path = os.path.join(base.directory, name)
        file_trees.remove_tree_or_file(path)
        with open(path, "wb") as file:
            file.write(data)

    return damage


def change(**fields: t.Any) -> Damage:
    return lambda base: write("base.json", json.dumps({**base.metadata, **fields}).encode())(base)


def drop(name: str) -> Damage:
    return lambda base: file_trees.remove_tree_or_file(os.path.join(base.directory, name))


def link(name: str) -> Damage:
    def damage(base: Base) -> None:
        drop(name)(base)
        os.symlink("/etc/passwd", os.path.join(base.directory, name))

    return damage


def link_whole(base: Base) -> None:
    file_trees.remove_tree(base.directory)
    os.symlink("/etc", base.directory)


def cut(base: Base) -> None:
    attributes.set_immutable(base.path, False)
    os.truncate(base.path, 10)


ORIGIN = {"kind": "url", "name": "x", "image_format": "raw"}
DAMAGES: dict[str, tuple[Damage, str]] = {
    "deep": (write("base.json", b"[" * 100_000), "nested 100000 deep"),
    "huge": (write("base.json", b" " * (5 << 20)), "5242880 bytes"),
    "no JSON": (write("base.json", b"\0" * 300), "not JSON"),
    "empty": (write("base.json", b""), "not JSON"),
    "a list": (write("base.json", b"[]"), "a list of 0 is not accepted"),
    "UTF-16": (write("base.json", "{}".encode("utf-16")), "not UTF-8"),
    "keys twice": (write("base.json", b'{"format": 1, "format": 1}'), "there twice"),
    "format": (change(format=2), "format: 2 is not accepted"),
    "format of another kind": (change(format=True), "format: true is not accepted"),
    "another's digest": (change(sha256="0" * 64), "expected the name of its directory"),
    "size as text": (change(size_bytes="4096"), "size_bytes: '4096'"),
    "size true": (change(size_bytes=True), "size_bytes: true"),
    "size negative": (change(size_bytes=-1), "size_bytes: -1"),
    "size huge": (change(size_bytes=10**40), "size_bytes: a number of 133 bits"),
    "size infinite": (write("base.json", b'{"size_bytes": 1e999}'), "too large"),
    "virtual size huge": (change(virtual_size_bytes=1 << 61), "virtual_size_bytes"),
    "chunk size 0": (change(chunk_bytes=0), "chunk_bytes: 0"),
    "image format": (change(image_format="json:{}"), "image_format"),
    "parent": (change(parent="../../etc"), "parent"),
    "parent a mapping": (change(parent={}), "parent: a mapping of 0"),
    "digest a list": (change(chunks_sha256=[]), "chunks_sha256"),
    "time with an escape": (change(imported_at="\x1b[2J"), "imported_at"),
    "origin missing": (change(imported_from=None), "imported_from: null"),
    "origin a text": (change(imported_from="x"), "imported_from: 'x'"),
    "origin without name": (change(imported_from={"kind": "url", "image_format": "raw"}), "imported_from: name: missing"),
    "origin of another size": (change(imported_from={**ORIGIN, "size_bytes": "x"}), "imported_from: size_bytes"),
    "origin with a list": (change(imported_from={**ORIGIN, "etag": ["x"]}), "imported_from: etag"),
    "signatures": (change(signatures={}), "signatures"),
    "base.json missing": (drop("base.json"), "base.json is missing"),
    "base.json a link": (link("base.json"), "symbolic link"),
    "base.json a directory": (lambda base: (drop("base.json")(base), os.mkdir(base.directory + "/base.json")), "not a regular file"),
    "base.json a pipe": (lambda base: (drop("base.json")(base), os.mkfifo(base.directory + "/base.json")), "not a regular file"),
    "disk missing": (drop("disk"), "disk is missing"),
    "disk a link": (link("disk"), "disk is not a regular file"),
    "disk cut": (cut, "disk has 10 bytes instead of 4096"),
    "chunks missing": (drop("chunks"), "chunks is missing"),
    "chunks a link": (link("chunks"), "chunks is not a regular file"),
    "chunks cut": (write("chunks", b"BCCHUNK1"), "chunks has 8 bytes instead of 56"),
    "chunks too long": (write("chunks", b"x" * 1000), "chunks has 1000 bytes"),
    "all missing": (lambda base: (file_trees.remove_tree(base.directory), os.mkdir(base.directory)), "base.json is missing"),
    "a file": (lambda base: (file_trees.remove_tree(base.directory), open(base.directory, "wb").close()), "is a symbolic link or a file"),
    "a link": (link_whole, "is a symbolic link or a file"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_that_bases_alone(store: Store, name: str) -> None:
    damage, reason = DAMAGES[name]
    good = put_base(store, b"good".ljust(4096, b"\0"))
    bad = put_base(store, refer=[references.tenant_of("blue")])
    damage(bad)
    assert store.find(bad.sha256) is None
    assert reason in store.problem(bad.sha256)
    pool = survey({"one": store})["pools"]["one"]
    assert [base["sha256"] for base in pool["bases"]] == [good.sha256]
    assert [(item["sha256"], item["path"]) for item in pool["damaged"]] == [(bad.sha256, bad.directory)]
    assert reason in pool["damaged"][0]["damage"]
    assert pool["damaged"][0]["damage"].isprintable()
    assert store.children(good.sha256) == []


@pytest.mark.parametrize("name", ["deep", "size true", "chunks missing", "a link"])
def test_a_damaged_base_makes_way_for_a_whole_one(store: Store, name: str) -> None:
    bad = put_base(store)
    DAMAGES[name][0](bad)
    assert put_base(store).sha256 == bad.sha256
    assert store.problem(bad.sha256) == ""


REFERENCES: dict[str, bytes | None] = {
    "deep": b"[" * 100_000,
    "huge": b" " * 100_000,
    "no JSON": b"\xff",
    "a list": b"[]",
    "kind a list": b'{"kind": ["name"]}',
    "no tenant": b'{"kind": "tenant"}',
    "tenant a number": b'{"kind": "tenant", "tenant": 1}',
    "tenant with an escape": b'{"kind": "tenant", "tenant": "\\u001b[2J"}',
    "a link": None,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_damaged_reference_protects(store: Store, name: str) -> None:
    base = put_base(store, refer=[references.tenant_of("blue")])
    path = os.path.join(store.references_directory(base.sha256), "tenant-x.json")
    data = REFERENCES[name]
    if data is None:
        os.symlink("/etc/passwd", path)
    else:
        with open(path, "wb") as file:
            file.write(data)
    found = survey({"one": store})["pools"]["one"]["bases"][0]
    assert found["tenants"] == ["blue"]
    assert found["pins"] == ["unreadable:tenant-x.json"]


@pytest.mark.parametrize("make", [lambda path: open(path, "wb").close(), lambda path: os.symlink("/etc", path)])
def test_a_directory_of_references_that_is_none_protects(store: Store, make: t.Callable[[str], object]) -> None:
    base = put_base(store, refer=[references.tenant_of("blue")])
    shutil.rmtree(store.references_directory(base.sha256))
    make(store.references_directory(base.sha256))
    assert survey({"one": store})["pools"]["one"]["bases"][0]["pins"] == ["unreadable:not a directory"]


def seen(store: Store, tenant: str | None, *only: str) -> dict[str, dict[str, t.Any]]:
    return {base["sha256"]: base for base in survey({"one": store}, only, tenant=tenant)["pools"]["one"]["bases"]}


@pytest.mark.parametrize(
    ("needed_by", "named", "shown", "origin"),
    [
        ([], False, True, True),
        (["blue"], False, True, True),
        (["blue", "red"], False, True, True),
        (["red"], False, False, False),
        (["red"], True, True, False),
        (["red", "green"], True, True, False),
    ],
    ids=["nobody", "own", "both", "foreign", "foreign-named", "foreigners-named"],
)
def test_bases_of_others_are_told_of_only_if_named(store: Store, needed_by: list[str], named: bool, shown: bool, origin: bool) -> None:
    base = put_base(store, refer=[references.tenant_of(tenant) for tenant in needed_by])
    told = seen(store, "blue", *([base.sha256] if named else []))
    assert (base.sha256 in told) is shown
    if shown:
        expected = base.metadata["imported_from"]
        assert (told[base.sha256]["imported_from"] == expected) is origin
        assert set(told[base.sha256]["tenants"]) == {"blue"} & set(needed_by)
        if not origin:
            assert expected["name"] not in json.dumps(told)
    assert seen(store, None)[base.sha256]["tenants"] == sorted(needed_by)


def pool_seen(store: Store, tenant: str | None, *only: str) -> dict[str, t.Any]:
    return survey({"one": store}, only, tenant=tenant)["pools"]["one"]


def test_parents_of_others_are_told_of_with_their_children(store: Store) -> None:
    parent = put_base(store, refer=[references.tenant_of("red")], data=b"parent".ljust(4096))
    child = put_base(store, refer=[references.tenant_of("blue")], data=b"child".ljust(4096), parent=parent.sha256)
    told = seen(store, "blue")
    assert set(told) == {parent.sha256, child.sha256}
    assert told[parent.sha256]["imported_from"]["kind"] == "hidden"
    assert set(seen(store, "red")) == {parent.sha256}
    assert set(seen(store, "green")) == set()


@pytest.mark.parametrize(("tenant", "told"), [("red", True), ("blue", False), (None, True)])
def test_damage_of_others_is_not_told_of(store: Store, tenant: str | None, told: bool) -> None:
    base = put_base(store, refer=[references.name_of("red", "debian", "12")])
    os.unlink(base.chunks_path)
    assert [one["sha256"] for one in pool_seen(store, tenant)["damaged"]] == [base.sha256] * told
    assert [one["sha256"] for one in pool_seen(store, tenant, base.sha256)["damaged"]] == [base.sha256]


@pytest.mark.parametrize(
    ("needed_by", "named", "told"),
    [("red", False, False), ("red", True, True), ("blue", False, True), ("", False, False), ("", True, True)],
)
def test_transfers_are_told_of_to_those_who_know_them(store: Store, needed_by: str, named: bool, told: bool) -> None:
    sha256 = "ab" * 32
    if needed_by:
        store.refer(sha256, [references.tenant_of(needed_by)])
    with store.partial(sha256):
        assert [one["sha256"] for one in pool_seen(store, None)["partials"]] == [sha256]
        assert [one["sha256"] for one in pool_seen(store, "blue", *([sha256] if named else []))["partials"]] == [sha256] * told


def looked_at(store: Store, verify: bool = True) -> dict[str, t.Any]:
    return survey({"one": store}, verify=verify, remember=True)["pools"]["one"]


def family(store: Store) -> tuple[Base, Base]:
    """A child whose digest comes before its parent's, and that parent."""
    for number in range(64):
        parent = put_base(store, f"parent {number}".encode().ljust(4096, b"\0"))
        child = put_base(store, parent=parent.sha256)
        if child.sha256 < parent.sha256:
            return parent, child
        file_trees.remove_tree(child.directory)
        file_trees.remove_tree(parent.directory)
    raise AssertionError("no digest comes before another")


def test_a_parent_that_was_touched_and_is_right_harms_no_child(tmp_path: t.Any) -> None:
    store = Store(str(tmp_path), pool="one")
    parent, child = family(store)
    attributes.set_immutable(parent.path, False)
    os.utime(parent.path, ns=(1, 1))
    assert {one["sha256"] for one in looked_at(store, verify=False)["damaged"]} == {parent.sha256, child.sha256}
    found = looked_at(store)
    assert found["damaged"] == [] and {one["sha256"] for one in found["bases"]} == {parent.sha256, child.sha256}
    assert looked_at(store, verify=False)["damaged"] == []


@pytest.mark.parametrize("verify", [False, True])
def test_a_base_says_which_parent_it_waits_for(tmp_path: t.Any, verify: bool) -> None:
    store = Store(str(tmp_path), pool="one")
    parent, child = family(store)
    file_trees.remove_tree(parent.directory)
    (told,) = looked_at(store, verify)["damaged"]
    assert (told["sha256"], told["parent"]) == (child.sha256, parent.sha256)


def test_a_damaged_child_of_a_lost_parent_is_damaged_itself(tmp_path: t.Any) -> None:
    store = Store(str(tmp_path), pool="one")
    parent, child = family(store)
    file_trees.remove_tree(parent.directory)
    attributes.set_immutable(child.path, False)
    with open(child.path, "r+b") as file:
        file.seek(4000)
        file.write(b"!")
    (told,) = looked_at(store)["damaged"]
    assert told["parent"] is None and "has the digest" in told["damage"]


def test_disks_on_children_of_a_damaged_base_are_named(tmp_path: t.Any) -> None:
    store = Store(str(tmp_path), pool="one")
    parent, child = family(store)
    disk = tmp_path / "machines" / "shop" / "web-1" / "root.qcow2"
    disk.parent.mkdir(parents=True)
    disk.write_bytes(qcow2(backing=child.path, backing_format="qcow2"))
    file_io.remove_file(parent.chunks_path)
    told = {one["sha256"]: one["users"] for one in looked_at(store)["damaged"]}
    assert told == {parent.sha256: [str(disk)], child.sha256: [str(disk)]}


def test_many_damaged_bases_are_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    bases = [put_base(store, bytes([number]) * 4096) for number in range(12)]
    for base in bases:
        drop("chunks")(base)
    read: list[str] = []
    real = file_io.read_value
    monkeypatch.setattr(file_io, "read_value", lambda path, *rest: read.append(path) or real(path, *rest))
    assert len(survey({"one": store})["pools"]["one"]["damaged"]) == len(bases)
    # A pass over the store for each of them would be a hundred and more.
    assert len(read) <= 3 * len(bases)
