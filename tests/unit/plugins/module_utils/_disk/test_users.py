# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import time

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import (
    attributes,
    capacity,
    file_io,
    layout,
    ownership,
    references,
    removal,
    survey,
    transfer,
    users,
)
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import BaseInUse, DigestMismatch
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base, qcow2


def put_disk(store: Store, machine: str, backing: str | None, name: str = "root.qcow2", size: int = 1 << 30) -> str:
    layout.make_directories(store.pool_path, "machines", "shop", machine)
    path = os.path.join(layout.machine_directory(store.pool_path, "shop", machine), name)
    with open(path, "wb") as file:
        file.write(qcow2(size, backing=backing, backing_format="raw"))
    return path


@pytest.mark.parametrize(
    ("backing", "wanted"),
    [
        ("../b", "/p/b"),
        ("/abs/b", "/abs/b"),
        ("file:/abs/b", "/abs/b"),
        ("nbd:h:1", None),
        ('json:{"driver":"raw"}', None),
        ("a/b:c", "/p/m/a/b:c"),
    ],
)
def test_backing_names(backing: str, wanted: str | None) -> None:
    assert users.resolve_backing("/p/m/disk", backing) == wanted


def test_users_in_any_pool_by_any_way_of_naming(pools: dict[str, Store]) -> None:
    base = put_base(pools["one"])
    relative = put_disk(pools["one"], "web-1", f"../../../bases/{base.sha256}/disk")
    absolute = put_disk(pools["two"], "web-2", base.path)
    snapshot = put_disk(pools["one"], "web-1", "root.qcow2", "root.snap1")
    loose = os.path.join(pools["two"].pool_path, "loose.qcow2")
    with open(loose, "wb") as file:
        file.write(qcow2(backing=base.path))
    disks = users.scan(pools)
    assert users.users_of_bases(pools, disks) == {("one", base.sha256): [relative, absolute, loose]}
    assert users.children_of(relative, disks) == [snapshot]
    with pytest.raises(BaseInUse) as error:
        removal.remove_bases(pools, "one", [base.sha256], False)
    assert relative in error.value.message
    for path in (relative, absolute, loose):
        os.unlink(path)
    assert removal.remove_bases(pools, "one", [base.sha256], True) == [base.sha256]
    assert removal.remove_bases(pools, "one", [base.sha256], False) == [base.sha256]
    assert removal.remove_bases(pools, "one", [base.sha256], False) == []


def test_a_guests_raw_disk_cannot_pose_as_a_user(pools: dict[str, Store]) -> None:
    base = put_base(pools["one"])
    put_disk(pools["one"], "web-1", base.path, "root.raw")
    put_disk(pools["one"], "web-1", base.path, "seed.iso")
    assert users.users_of_bases(pools, users.scan(pools)) == {}


def test_a_disk_that_was_moved_and_linked_still_counts(pools: dict[str, Store], tmp_path: pathlib.Path) -> None:
    base = put_base(pools["one"])
    for name, link in (("file.img", "machines/shop/web-1/root.img"), ("directory/disk", "machines/linked")):
        place = tmp_path / "elsewhere" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(qcow2(backing=base.path))
        link_path = pathlib.Path(pools["one"].pool_path, link)
        link_path.parent.mkdir(parents=True, exist_ok=True)
        link_path.symlink_to(place if "." in name else place.parent)
    assert len(users.users_of_bases(pools, users.scan(pools))["one", base.sha256]) == 2


def test_a_pool_under_two_names_is_scanned_once(pools: dict[str, Store]) -> None:
    put_disk(pools["one"], "web-1", None)
    twice = {"one": pools["one"], "again": Store(pools["one"].pool_path, pool="again")}
    assert len(users.scan(twice)) == 1


def test_two_hundred_headers_are_read_quickly(pools: dict[str, Store]) -> None:
    base = put_base(pools["one"])
    for number in range(200):
        put_disk(pools["one"], f"web-{number}", f"../../../bases/{base.sha256}/disk")
    took = []
    for _attempt in range(5):
        start = time.process_time()
        assert len(users.scan(pools)) == 200
        took.append(time.process_time() - start)
    assert min(took) < 0.1


@pytest.mark.parametrize("need", ["name", "tenant", "pin", "child"])
def test_a_base_that_anything_needs_is_not_removed(pools: dict[str, Store], need: str) -> None:
    store = pools["one"]
    base = put_base(store)
    other = base.sha256
    if need == "child":
        other = put_base(store, b"child".ljust(512), "qcow2", base.sha256).sha256
    else:
        reference = {
            "name": references.name_of("blue", "a", "1"),
            "tenant": references.tenant_of("blue"),
            "pin": references.pin_of("keep"),
        }[need]
        store.refer(base.sha256, [reference])
    for check_mode in (True, False):
        with pytest.raises(BaseInUse):
            removal.remove_bases(pools, "one", [base.sha256], check_mode)
    assert store.find(base.sha256) is not None
    if need == "child":
        assert removal.remove_bases(pools, "one", [base.sha256, other], False) == [other, base.sha256]


def test_one_that_is_needed_keeps_all(pools: dict[str, Store]) -> None:
    free, needed = put_base(pools["one"]), put_base(pools["one"], b"b".ljust(512), refer=[references.pin_of("x")])
    with pytest.raises(BaseInUse):
        removal.remove_bases(pools, "one", [free.sha256, needed.sha256], False)
    assert pools["one"].find(free.sha256) is not None


def test_dropping_a_tenant_hurts_no_other(pools: dict[str, Store]) -> None:
    kept = [references.tenant_of("red"), references.name_of("red", "a", "1"), references.pin_of("x")]
    base = put_base(pools["one"], refer=[*kept, references.tenant_of("blue"), references.name_of("blue", "a", "1")])
    changes = ownership.plan_absent_tenant(pools, "blue")
    assert len(changes) == 2
    ownership.apply(pools, changes)
    assert sorted(pools["one"].references(base.sha256)) == sorted(kept)


def test_survey_and_verification(pools: dict[str, Store]) -> None:
    base = put_base(pools["one"], bytes(300 * 1024) + b"x".ljust(512, b"\0"))
    user = put_disk(pools["one"], "web-1", f"../../../bases/{base.sha256}/disk")
    found = survey.survey(pools, verify=True)["pools"]
    assert found["one"]["bases"][0]["users"] == [user]
    assert found["one"]["bases"][0]["damaged"] is False
    assert found["two"]["bases"] == []
    attributes.set_immutable(base.path, False)
    os.chmod(base.path, 0o600)
    before = os.stat(base.path)
    with open(base.path, "r+b") as file:
        file.write(b"!")
    os.utime(base.path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    noticed = survey.survey(pools)["pools"]["one"]
    assert noticed["bases"] == []
    assert "was changed at" in noticed["damaged"][0]["damage"]
    os.utime(base.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert survey.survey(pools)["pools"]["one"]["damaged"] == []
    found = survey.survey(pools, verify=True)["pools"]["one"]
    assert found["bases"][0]["damaged"] is True
    assert found["damaged"][0]["sha256"] == base.sha256
    with pytest.raises(DigestMismatch):
        transfer.clone_base(base, pools["one"], pools["two"], [references.tenant_of("default")], 1.0)
    assert pools["two"].ids() == pools["two"].referred_ids() == []
    assert survey.survey(pools, only=["0" * 64])["pools"]["one"]["bases"] == []


def test_a_chain_is_cloned_root_first(pools: dict[str, Store]) -> None:
    root = put_base(pools["one"])
    leaf = put_base(pools["one"], b"leaf".ljust(512), "qcow2", root.sha256)
    copied = transfer.clone_base(leaf, pools["one"], pools["two"], [references.tenant_of("default")], 1.0)
    assert copied.chain == leaf.chain
    assert copied.metadata == leaf.metadata
    assert transfer.verify(copied) == ""


def test_promised_space(pools: dict[str, Store]) -> None:
    put_disk(pools["one"], "web-1", None, size=1 << 30)
    partial = pools["one"].partial("a" * 64)
    with open(partial.disk, "wb") as file:
        file.truncate(1 << 20)
    found = capacity.pool_capacity(pools["one"], users.scan(pools))
    allocated = users.scan(pools)[0].allocated_bytes
    assert found["promised_bytes"] == (1 << 30) - allocated + (1 << 20)
    assert capacity.pool_capacity(pools["two"], users.scan(pools))["promised_bytes"] == 0
    partial.discard()


def test_a_tenant_is_told_of_its_own(pools: dict[str, Store]) -> None:
    names = [references.name_of("red", "a", "1"), references.name_of("blue", "b", "1")]
    base = put_base(pools["one"], refer=names)
    user = put_disk(pools["one"], "web-1", f"../../../bases/{base.sha256}/disk")
    owner = layout.owner_path(pools["one"].pool_path, "shop")
    file_io.replace_file(owner, file_io.json_bytes({"format": 1, "tenant": "blue"}), 0o644)
    (red,), (blue,), (everybody,) = (survey.survey(pools, tenant=tenant)["pools"]["one"]["bases"] for tenant in ("red", "blue", None))
    assert (red["tenants"], red["users"]) == (["red"], [])
    assert (blue["names"], blue["users"]) == ([{"tenant": "blue", "name": "b", "version": "1"}], [user])
    assert (everybody["tenants"], everybody["users"]) == (["blue", "red"], [user])
