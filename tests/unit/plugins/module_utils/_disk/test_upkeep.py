# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import shutil
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import access, filesystem, layout, upkeep
from ansible_collections.basecast.fleet.plugins.module_utils._disk.access import User
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import StoreBusy
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

from .conftest import put_base, qcow2
from .test_disk_records import Host, hosts, sha256

__all__ = ["hosts", "sha256"]
Hosts = dict[str, Host]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU's user is not known, so that the modes of directories are no matter."""
    monkeypatch.setattr(access, "qemu_user", lambda: None)


def kinds(host: Host) -> list[tuple[str, bool]]:
    host.act()
    return [(one.kind, one.mends) for one in upkeep.look(host.stores)]


def mended(host: Host) -> list[str]:
    host.act()
    return done(host.stores, upkeep.look(host.stores))


def done(stores: dict[str, Store], faults: t.Iterable[upkeep.Fault]) -> list[str]:
    return [fault.kind for fault, was_mended in upkeep.mend(stores, faults) if was_mended]


def recorded(store: Store, sha256: str) -> list[str]:
    return [one.name for one in store.references(sha256) if one.kind == "disk"]


def test_what_is_as_it_must_be_is_no_fault(hosts: Hosts, sha256: str) -> None:
    path = hosts["a"].make(sha256)
    assert kinds(hosts["a"]) == kinds(hosts["b"]) == [] and recorded(hosts["a"].stores["two"], sha256) == [path]


def test_a_missing_record_is_written_again(hosts: Hosts, sha256: str) -> None:
    store, path = hosts["a"].stores["two"], hosts["a"].make(sha256)
    store.unrefer(sha256, store.references(sha256))
    assert kinds(hosts["b"]) == [] and kinds(hosts["a"]) == [(upkeep.RECORD_MISSING, True)]
    (fault,) = upkeep.look(hosts["a"].stores)
    assert fault.is_wrong and fault.place == path and recorded(store, sha256) == []
    assert mended(hosts["a"]) == [upkeep.RECORD_MISSING] and recorded(store, sha256) == [path]
    assert mended(hosts["a"]) == []


@pytest.mark.parametrize("case", ["nobody's directory", "read-only"])
def test_a_record_that_a_person_has_to_see_to(case: str, hosts: Hosts, sha256: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path = hosts["a"].stores["two"], hosts["a"].make(sha256)
    store.unrefer(sha256, store.references(sha256))
    if case == "read-only":
        monkeypatch.setattr(filesystem, "is_writable", lambda _path: False)
    else:
        os.unlink(os.path.join(os.path.dirname(os.path.dirname(path)), ".owner.json"))
    assert kinds(hosts["a"]) == [(upkeep.RECORD_MISSING, False)] and mended(hosts["a"]) == []
    assert recorded(store, sha256) == []


def test_a_disk_outside_of_machines_needs_no_record(hosts: Hosts, sha256: str) -> None:
    base = os.path.join(hosts["a"].stores["two"].base_directory(sha256), "disk")
    with open(os.path.join(hosts["a"].own, "mine.qcow2"), "wb") as file:
        file.write(qcow2(backing=base, backing_format="raw"))
    assert kinds(hosts["a"]) == []


def test_a_record_that_another_host_wrote_is_enough(hosts: Hosts, sha256: str) -> None:
    """Both see the pool in which the disk is."""
    hosts["a"].make(sha256)
    hosts["b"].stores["one"] = Store(hosts["a"].own, pool="one")
    assert kinds(hosts["b"]) == []


@pytest.mark.parametrize("case", ["gone", "not mounted", "made again"])
def test_a_stale_record_is_dropped(case: str, hosts: Hosts, sha256: str) -> None:
    store, path = hosts["a"].stores["two"], hosts["a"].make(sha256)
    os.unlink(path)
    if case == "not mounted":
        shutil.rmtree(os.path.join(hosts["a"].own, "machines"))
    assert kinds(hosts["b"]) == []  # only the host of the disk knows
    assert kinds(hosts["a"]) == ([] if case == "not mounted" else [(upkeep.RECORD_STALE, True)])
    faults = upkeep.look(hosts["a"].stores)
    if case == "made again":
        hosts["a"].make(sha256)
    assert done(hosts["a"].stores, faults) == ([upkeep.RECORD_STALE] if case == "gone" else [])
    assert recorded(store, sha256) == ([] if case == "gone" else [path])


def test_a_disk_made_beside_keeps_its_record(hosts: Hosts, sha256: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record is there from an earlier disk, and is dropped while the run that makes it waits for the lock."""
    store, path = hosts["a"].stores["two"], hosts["a"].make(sha256)
    os.unlink(path)
    disks = hosts["a"].disks()
    hold = type(disks)._hold_bases

    def meanwhile(self: t.Any, pool: str) -> t.Any:
        mended(hosts["a"])
        return hold(self, pool)

    monkeypatch.setattr(type(disks), "_hold_bases", meanwhile)
    hosts["a"].make(sha256)
    assert recorded(store, sha256) == [path]


def test_a_parent_of_another_format_is_told(hosts: Hosts, sha256: str) -> None:
    path = hosts["a"].make(sha256)
    backing = os.path.join(os.path.realpath(hosts["a"].stores["two"].directory), sha256, "disk")
    with open(path, "wb") as file:
        file.write(qcow2(backing=backing, backing_format="qcow2"))
    (fault,) = upkeep.look(hosts["a"].stores)
    assert (fault.kind, fault.mends, fault.is_wrong) == (upkeep.PARENT_FORMAT, False, True)
    assert f"qemu-img rebase -u -F raw -b {backing} {path}" in fault.repair


def test_a_pool_that_cannot_be_listed_has_no_fault(hosts: Hosts, sha256: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hosts["a"].make(sha256)
    os.unlink(path)
    monkeypatch.setattr(upkeep, "listable", lambda stores: {})
    assert kinds(hosts["a"]) == []


@pytest.fixture
def narrow(pools: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> dict[str, Store]:
    """A user of QEMU that reaches the pools as long as nothing in them is closed."""
    user = User("libvirt-qemu", 64055, frozenset({64055}))
    monkeypatch.setattr(access, "qemu_user", lambda: user)
    monkeypatch.setattr(access, "problem", lambda _path, _user: "")
    return {"one": pools["one"]}


@pytest.mark.parametrize("place", ["bases", "base", "service", "machine"])
def test_a_closed_directory_is_opened_by_one_bit(place: str, narrow: dict[str, Store]) -> None:
    store = narrow["one"]
    base = put_base(store)
    directory = layout.machine_directory(store.pool_path, "shop", "web-1")
    os.makedirs(directory)
    with open(os.path.join(directory, "root.qcow2"), "wb") as file:
        file.write(qcow2(backing=f"../../../bases/{base.sha256}/disk", backing_format="raw"))
    assert upkeep.look(narrow) == []
    closed = {"bases": store.directory, "base": store.base_directory(base.sha256), "service": os.path.dirname(directory)}.get(
        place, directory
    )
    os.chmod(closed, 0o700)
    (fault,) = upkeep.look(narrow)
    assert (fault.kind, fault.place, fault.mends, fault.is_wrong) == (upkeep.DIRECTORY_CLOSED, closed, True, True)
    assert fault.found == f"QEMU runs as libvirt-qemu, which cannot enter {closed} (mode 0700)"
    assert list(upkeep.mend(narrow, [fault])) == [(fault, True)] and os.stat(closed).st_mode & 0o777 == 0o701
    assert upkeep.look(narrow) == []


def test_what_is_above_the_pool_is_a_person_s(narrow: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    told = "QEMU runs as x on this host, which cannot enter /srv (mode 0700); allow it with: setfacl -m u:x:x /srv"
    monkeypatch.setattr(access, "problem", lambda _path, _user: told)
    (fault,) = upkeep.look(narrow)
    assert (fault.mends, fault.repair) == (False, "setfacl -m u:x:x /srv") and fault.found.endswith("cannot enter /srv (mode 0700)")


def test_another_s_directory_is_a_person_s(narrow: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    put_base(narrow["one"])
    os.chmod(narrow["one"].directory, 0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    (fault,) = upkeep.look(narrow)
    assert (fault.mends, fault.repair) == (False, f"setfacl -m u:libvirt-qemu:x {narrow['one'].directory}")


def test_what_another_run_has_mended_is_no_fault(narrow: dict[str, Store]) -> None:
    put_base(narrow["one"])
    os.chmod(narrow["one"].directory, 0o700)
    faults = upkeep.look(narrow)
    os.chmod(narrow["one"].directory, 0o755)
    assert list(upkeep.mend(narrow, faults)) == []


@pytest.mark.parametrize("error", [OSError(errno.EROFS, os.strerror(errno.EROFS)), StoreBusy("The store", "lock", 7)])
def test_what_cannot_be_mended_hinders_no_other(narrow: dict[str, Store], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    base = put_base(narrow["one"])
    places = [narrow["one"].directory, narrow["one"].base_directory(base.sha256)]
    for place in places:
        os.chmod(place, 0o700)
    faults = upkeep.look(narrow)
    let_pass = access.let_pass

    def fails_once(path: str) -> bool:
        if path == places[0]:
            raise error
        return let_pass(path)

    monkeypatch.setattr(access, "let_pass", fails_once)
    (failed, was_mended), second = upkeep.mend(narrow, faults)
    assert second == (faults[1], True) and (failed.place, failed.mends, was_mended) == (places[0], False, False)
    reason = f"{places[0]}: Read-only file system" if isinstance(error, OSError) else str(error).rstrip(".")
    assert failed.repair == f"repeat the command; this run could not let that user pass, by one bit of its mode: {reason}"
