# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pool two is shared by hosts a and b; each has a pool one of its own."""

from __future__ import annotations

import os
import shutil
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import disk_records, ownership, references, removal, survey
from ansible_collections.basecast.fleet.plugins.module_utils._disk.disk_decisions import Wish
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import BaseInUse
from ansible_collections.basecast.fleet.plugins.module_utils._disk.new_disks import NewDisks
from ansible_collections.basecast.fleet.plugins.module_utils._disk.overlay import Disks
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

from .conftest import FakeQemu, put_base


class Host:
    """A host with the shared pool and one of its own."""

    def __init__(self, name: str, shared: Store, own: str, qemu: FakeQemu, monkeypatch: pytest.MonkeyPatch) -> None:
        os.makedirs(own, exist_ok=True)
        self.name, self.own, self._monkeypatch, self._qemu = name, own, monkeypatch, qemu
        self.stores = {"one": Store(own, pool="one"), "two": shared}

    def act(self) -> None:
        self._monkeypatch.setattr(disk_records, "this_host", lambda: (self.name, self.name * 32))

    def disks(self, tenant: str = "default") -> Disks:
        self.act()
        return Disks(self.stores, QemuImg(self._qemu), tenant, f"shop-{tenant}")

    def make(self, sha256: str, tenant: str = "default") -> str:
        (made,) = self.disks(tenant).present([Wish("web-1", "root", "one", sha256)])
        return t.cast(str, made["path"])

    def remove_base(self, sha256: str, check_mode: bool = False, tenant: str = "default") -> list[str]:
        self.act()
        return removal.remove_bases(self.stores, "two", [sha256], check_mode, tenant)


@pytest.fixture
def hosts(pools: dict[str, Store], tmp_path: t.Any, qemu_runner: FakeQemu, monkeypatch: pytest.MonkeyPatch) -> dict[str, Host]:
    return {name: Host(name, pools["two"], str(tmp_path / f"own-{name}"), qemu_runner, monkeypatch) for name in "ab"}


@pytest.fixture
def sha256(pools: dict[str, Store]) -> str:
    return put_base(pools["two"]).sha256


def test_another_host_keeps_a_base_that_it_needs(hosts: dict[str, Host], sha256: str) -> None:
    path = hosts["a"].make(sha256)
    for check_mode in (True, False):
        for host in hosts.values():
            with pytest.raises(BaseInUse, match="differencing disks"):
                host.remove_base(sha256, check_mode)
    with pytest.raises(BaseInUse, match=f"{path} on a"):
        hosts["b"].remove_base(sha256)
    hosts["a"].disks().absent([Wish("web-1", None, None)])
    assert hosts["b"].remove_base(sha256) == [sha256]


def test_a_disk_in_the_base_s_own_pool_needs_no_record(hosts: dict[str, Host], pools: dict[str, Store], sha256: str) -> None:
    hosts["a"].disks().present([Wish("web-1", "root", "two", sha256)])
    assert pools["two"].references(sha256) == []
    with pytest.raises(BaseInUse):
        hosts["b"].remove_base(sha256)


def test_a_record_that_was_lost_is_written_again(hosts: dict[str, Host], pools: dict[str, Store], sha256: str) -> None:
    hosts["a"].make(sha256)
    pools["two"].unrefer(sha256, pools["two"].references(sha256))
    hosts["a"].make(sha256)
    assert [one.kind for one in pools["two"].references(sha256)] == ["disk"]


@pytest.mark.parametrize(
    "case, who, goes",
    [("gone", "a", True), ("gone", "b", False), ("not mounted", "a", False), ("other base", "a", True), ("unreadable", "a", False)],
)
def test_who_may_call_a_record_out_of_date(
    hosts: dict[str, Host], pools: dict[str, Store], sha256: str, case: str, who: str, goes: bool
) -> None:
    path = hosts["a"].make(sha256)
    if case == "gone":
        os.unlink(path)
    elif case == "not mounted":
        shutil.rmtree(os.path.join(hosts["a"].own, "machines"))
    elif case == "other base":
        os.unlink(path)
        hosts["a"].make(put_base(pools["two"], b"another".ljust(4096)).sha256)
    else:
        with open(path, "wb") as file:
            file.write(b"no header")
    if goes:
        assert hosts[who].remove_base(sha256) == [sha256]
        return
    with pytest.raises(BaseInUse):
        hosts[who].remove_base(sha256)


def test_tenants_see_their_own_records_only(hosts: dict[str, Host], sha256: str) -> None:
    path = hosts["a"].make(sha256, "red")
    hosts["b"].act()

    def told(tenant: str) -> list[t.Any]:
        found = survey.survey(hosts["b"].stores, tenant=tenant)["pools"]["two"]["bases"]
        return [base["users"] for base in found]

    assert (told("red"), told("blue")) == ([[f"{path} on a"]], [])
    with pytest.raises(BaseInUse) as error:
        hosts["b"].remove_base(sha256, tenant="blue")
    assert "other tenants: 1 references and disks" in error.value.message and path not in error.value.message


def test_dropping_a_tenant_keeps_records_of_its_disks(hosts: dict[str, Host], pools: dict[str, Store], sha256: str) -> None:
    hosts["a"].make(sha256)
    pools["two"].refer(sha256, [references.tenant_of("default")])
    for changes in (
        ownership.plan_absent_tenant(pools, "default"),
        ownership.plan_absent(pools, "default", [ownership.Wish(sha256)]),
    ):
        assert [change.reference.kind for change in changes] == ["tenant"]


def test_a_host_that_is_gone_for_good_is_forgotten_on_request(hosts: dict[str, Host], pools: dict[str, Store], sha256: str) -> None:
    hosts["a"].make(sha256)
    wish = ownership.Wish(lost_host="a")
    hosts["a"].act()
    assert ownership.plan_absent(pools, "default", [wish]) == [], "it is this host, and not gone"
    hosts["b"].act()
    assert ownership.plan_absent(pools, "other", [wish]) == []
    ownership.apply(pools, ownership.plan_absent(pools, "default", [wish]))
    assert hosts["b"].remove_base(sha256) == [sha256]


def test_a_record_stands_before_its_disk(
    hosts: dict[str, Host], pools: dict[str, Store], sha256: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_args: t.Any) -> t.NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(NewDisks, "_create_overlays", crash)
    with pytest.raises(KeyboardInterrupt):
        hosts["a"].make(sha256)
    assert [one.kind for one in pools["two"].references(sha256)] == ["disk"]
    with pytest.raises(BaseInUse):
        hosts["b"].remove_base(sha256)
