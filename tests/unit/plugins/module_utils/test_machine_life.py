# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines of two services on one host are deployed, cloned, moved between pools, removed and pruned in any order, and whatever works
on them may be killed at any change of a file or a domain. At no time a base goes that something needs, or a disk of a machine that was
not to go; and when all machines have gone, nothing refers to a base any more.
"""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
import typing as t
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import disk_records, file_trees, users
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job.cloning import Cloning
from ansible_collections.basecast.fleet.plugins.module_utils._job.cloning import Request as CloneRequest
from ansible_collections.basecast.fleet.plugins.module_utils._job.prune import Prune
from ansible_collections.basecast.fleet.plugins.module_utils._job.prune import Request as PruneRequest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import describe
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain_disks import domain_disks
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import MoveJournal
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import Host
from ansible_collections.basecast.fleet.plugins.module_utils._move.within import Wish, Within
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.conftest import Site, run_command
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.test_capture import real_base, write
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.test_removal import deploy, remove
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._machine.conftest import FakeDomain, FakeHost
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

OF_FILES = ("rename", "replace", "unlink", "rmdir", "mkdir", "link")
OF_DOMAINS = ("start", "destroy", "undefine", "begin_copy", "go_over", "end_copy")
MACHINES = [("shop", "web-1"), ("shop", "web-2"), ("lab", "web-1")]
OFFSET = 128 * 1024


class Killed(BaseException):
    """From here on the process does nothing more."""


def holds(path: str, value: int) -> bool:
    done = subprocess.run(["qemu-io", "-r", "-f", "qcow2", "-c", f"read -P {value} {OFFSET} 64k", path], capture_output=True, check=False)
    return done.returncode == 0 and b"verification failed" not in done.stdout


class Life:
    """A host, and what must be there."""

    def __init__(self, directory: str) -> None:
        self.site = Site(directory)
        os.makedirs(self.site.runtime_dir, exist_ok=True)
        self.site.libvirt.on_shutdown = lambda domain: domain.destroy()
        self.site.libvirt.on_copy = self._copy
        self.base = real_base(self.site)
        self.sure: dict[Owner, int] = {}
        self.changes_left: int | None = None
        self.dead = False

    def _copy(self, domain: FakeDomain, target: str) -> None:
        """QEMU's part: the copy gets what the disk has above its base."""
        value = next((value for owner, value in self.sure.items() if owner.domain == domain.name), None)
        if value is not None and target == "vda":
            write(domain.mirrors[target], value, OFFSET)

    def tick(self) -> None:
        if self.dead:
            raise Killed
        if self.changes_left is not None:
            self.changes_left -= 1
            if self.changes_left < 0:
                self.dead = True
                raise Killed

    # -- what is done

    def deploy(self, number: int) -> None:
        service, name = MACHINES[number]
        owner = Owner("default", service, name)
        if self.domain(owner) is None and self.site.stores["one"].find(self.base) is not None:
            if any(os.path.isdir(owner.directory(pool)) for pool in self.site.pools.values()):
                return  # what an interrupted removal has left is removed first
            deploy(self.site, name, service=service, base=self.base)
            self.sure[owner] = 0x30 + number
            write(self.disk(owner), self.sure[owner], OFFSET)

    def clone(self, number: int) -> None:
        owner = self.owner(number)
        request = CloneRequest(owner, "web-9", self.site.pools, "x", self.site.state_dir, self.site.runtime_dir)
        Cloning(request, self.site.stores, run_command, connect=t.cast(t.Any, self.site.connect)).perform()

    def move(self, number: int, pool: str = "two") -> None:
        owner = self.owner(number)
        self.end(owner)
        domain = self.domain(owner)
        self.within().move(Wish(owner, "r1", pool, domain is not None and domain.is_running))

    def back(self, number: int) -> None:
        self.move(number, "one")

    def off(self, number: int) -> None:
        domain = self.domain(self.owner(number))
        if domain is not None:
            domain.destroy()

    def remove(self, number: int) -> None:
        owner = self.owner(number)
        if owner in self.sure and MoveJournal(self.site.state_dir, "default", owner.service).read(owner.machine) is None:
            del self.sure[owner]
        remove(self.site, [owner.machine], service=owner.service)

    def prune(self, number: int) -> None:
        bases = {pool: store.ids() for pool, store in self.site.stores.items()}
        request = PruneRequest(self.site.pools, "x", self.site.state_dir, self.site.runtime_dir, bases, {}, 0.0)
        ask = functools.partial(domain_disks, connect=t.cast(t.Any, self.site.connect))
        Prune(request, self.site.stores, ask).perform()

    def end(self, owner: Owner) -> None:
        self.within().end(owner)

    # -- what is there

    def within(self) -> Within:
        site = self.site
        return Within(Host(site.pools, run_command, "x", site.state_dir, site.runtime_dir, 1.0, t.cast(t.Any, site.connect)))

    def owner(self, number: int) -> Owner:
        return Owner("default", *MACHINES[number])

    def domain(self, owner: Owner) -> FakeDomain | None:
        return self.site.libvirt.domain(owner.domain_uuid)

    def disk(self, owner: Owner) -> str:
        domain = self.domain(owner)
        assert domain is not None, f"{owner} has gone"
        return next(path for path, _kind in describe(domain.xml()).files if path.endswith("root.qcow2"))

    def check(self) -> None:
        for disk in users.scan(self.site.stores):
            if disk.backing_path:
                pool = next(store for store in self.site.stores.values() if disk.backing_path.startswith(os.path.realpath(store.directory)))
                assert pool.find(disk.backing_path.split("/")[-2]) is not None, f"{disk.path} has lost its base"
        for domain in self.site.libvirt.known:
            assert all(os.path.exists(path) for path, kind in describe(domain.xml()).files if kind == "qcow2"), domain.xml()
        for owner, value in self.sure.items():
            assert holds(self.disk(owner), value), f"{owner} has lost what it wrote"

    def close(self) -> None:
        """Everything is ended and removed: nothing is left, and nothing refers to anything."""
        for number in range(len(MACHINES)):
            self.end(self.owner(number))
        self.check()
        for service in ("shop", "lab"):
            told = remove(self.site, service=service)
            assert not [one["problem"] for one in told["machines"] if one["problem"]], told
        for pool, store in self.site.stores.items():
            assert users.scan(self.site.stores) == []
            for sha256 in store.referred_ids():
                assert disk_records.in_force(store, sha256) == [], (pool, sha256)


@pytest.fixture
def killable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Life]]:
    """Each change asks the one that is alive whether it may still happen."""
    current: list[Life] = []

    def asked(function: Callable[..., t.Any]) -> Callable[..., t.Any]:
        @functools.wraps(function)
        def ask(*arguments: t.Any, **more: t.Any) -> t.Any:
            locks = any("lock" in str(one) or "/run" in str(one) or "lease" in str(one) for one in arguments)
            if current and not locks:
                current[0].tick()
            return function(*arguments, **more)

        return ask

    for name in OF_FILES:
        monkeypatch.setattr(os, name, asked(getattr(os, name)))
    for name in OF_DOMAINS:
        monkeypatch.setattr(FakeDomain, name, asked(getattr(FakeDomain, name)))
    monkeypatch.setattr(FakeHost, "define", asked(FakeHost.define))
    yield current


ACTIONS = st.sampled_from(["deploy", "clone", "move", "back", "off", "remove", "prune"])
STEPS = st.lists(st.tuples(ACTIONS, st.integers(0, 2), st.one_of(st.none(), st.integers(0, 25))), min_size=4, max_size=10)


@pytest.mark.timeout(300)
@settings(max_examples=10, phases=[Phase.generate], deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
@given(steps=STEPS)
def test_no_interleaving_loses_a_base_or_a_disk(killable: list[Life], steps: list[tuple[str, int, int | None]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        life = Life(directory)
        killable[:] = [life]
        try:
            for number in range(2):
                life.deploy(number)
            for action, number, kill_after in steps:
                life.changes_left = kill_after if action != "deploy" else None
                try:
                    getattr(life, action)(number)
                except (Killed, FleetError):
                    pass  # refused, or killed
                finally:
                    life.changes_left, life.dead = None, False
                life.check()
            life.close()
        finally:
            killable.clear()
            for pool in ("one", "two"):
                file_trees.remove_tree(os.path.join(directory, pool))
