# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import os
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_io
from ansible_collections.basecast.fleet.plugins.module_utils._job import boot as boot_module
from ansible_collections.basecast.fleet.plugins.module_utils._job import steps
from ansible_collections.basecast.fleet.plugins.module_utils._job.boot import Boot
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtError, LibvirtMissing
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

from .conftest import Site


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_module, "_PAUSE_S", 0.02)
    monkeypatch.setattr(boot_module, "RETURN_S", 0.3)


def made(site: Site, count: int = 2) -> tuple[steps.Context, list[t.Any]]:
    base = put_base(site.stores["one"]).sha256
    work = site.work(*[base] * count)
    context = site.context(work)
    disks, seeds = steps.make_disks(context, work.machines), steps.make_seeds(context, work.machines)
    return context, steps.wishes_of(work.machines, disks.values, seeds.values)


def test_machines_start_and_report(site: Site) -> None:
    context, wishes = made(site)
    boot = site.boot(context)
    started = boot.start(wishes)
    assert {name: machine.actions for name, machine in started.values.items()} == {
        "m-1": ["defined", "started"],
        "m-2": ["defined", "started"],
    }
    told: list[t.Any] = []
    came_up = boot.await_reports(wishes, told.append)
    assert list(told[0].values) == ["m-1", "m-2"] and not came_up.failed
    assert all(machine.report["status"] == "done" for machine in came_up.values.values())


@pytest.mark.parametrize("error", [LibvirtMissing("Cannot connect."), LibvirtError("client socket is closed")])
def test_a_libvirt_that_does_not_come_back_is_unknown(error: Exception, site: Site) -> None:
    context, wishes = made(site)

    def away(_uri: str) -> t.NoReturn:
        raise error

    boot = Boot(context, 1.0, connect=away)
    assert {failure.msg for failure in boot.start(wishes).failed.values()} == {str(error)}
    failed = boot.await_reports(wishes, lambda found: None).failed
    assert {failure.reason for failure in failed.values()} == {"unknown"}


def test_a_missing_binding_is_not_waited_for(site: Site) -> None:
    context, wishes = made(site)
    tries: list[str] = []

    def connect(uri: str) -> t.NoReturn:
        tries.append(uri)
        raise LibvirtMissing("Install it.", package="python3-libvirt")

    assert Boot(context, 1.0, connect=connect).start(wishes).failed and len(tries) == 1


def test_reports_are_awaited_over_a_restart(site: Site) -> None:
    context, wishes = made(site, 1)
    site.silent = {"shop-m-1"}
    boot = site.boot(context, timeout_s=5.0)
    boot.start(wishes)
    domain = site.libvirt.known[0]
    running, left = domain.running, [2]

    def lost() -> bool:
        left[0] -= 1
        if left[0] == 0:
            raise LibvirtError("client socket is closed")
        return running()

    domain.running = lost  # type: ignore[method-assign]
    site.silent = set()
    timer = threading.Timer(1.5, site.report, [domain])
    timer.start()
    came_up = boot.await_reports(wishes, lambda found: None)
    timer.join()
    assert not came_up.failed and came_up.values["m-1"].report["hostname"] == "m-1" and left[0] < 0
    file_io.remove_file(os.path.join(wishes[0].directory, "report.log"))


def test_a_guest_without_a_word_is_silent(site: Site) -> None:
    context, wishes = made(site)
    site.silent = {"shop-m-2"}
    boot = site.boot(context, timeout_s=0.5)
    boot.start(wishes)
    failed = boot.await_reports(wishes, lambda found: None).failed
    assert {name: (one.step, one.reason) for name, one in failed.items()} == {"m-2": ("wait for its report", "silent")}


def test_health_is_asked_where_the_manifest_says_or_else_the_guest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that reports other addresses does not turn the question elsewhere."""
    context, wishes = made(site, 1)
    boot = site.boot(context)
    found = boot.start(wishes).values["m-1"]
    asked: list[list[str]] = []
    monkeypatch.setattr(boot_module.health, "attempt", lambda check, addresses, guest, begun: asked.append(list(addresses)))
    found.report = {"addresses": ["198.51.100.1"]}
    for addresses in (["192.0.2.1"], ["::1"], None):
        wanted = {"ports": [80], "addresses": addresses}
        assert boot.check_health(dataclasses.replace(context.work.machines[0], options={"health": wanted}), found)[1] is None
    assert asked == [["192.0.2.1"], ["198.51.100.1"], ["198.51.100.1"]]


def test_health_ends_in_time_however_much_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    context, wishes = made(site, 1)
    found = site.boot(context).start(wishes).values["m-1"]
    now = [0.0]

    def silent(*_args: t.Any, begun: object) -> t.NoReturn:
        now[0] += 5.0
        raise boot_module.health.Unhealthy("no answer")

    monkeypatch.setattr(boot_module.health, "attempt", silent)
    boot = Boot(context, 600.0, t.cast(t.Any, site.connect), lambda: now[0], lambda seconds: None)
    asked = {"ports": list(range(1, 65)), "timeout_s": 12, "addresses": ["192.0.2.1"]}
    results, failure = boot.check_health(dataclasses.replace(context.work.machines[0], options={"health": asked}), found)
    assert now[0] == 15.0 and failure is not None and "is not healthy within 12 s" in failure.msg
    assert [one["reason"] for one in results[:4]] == ["no answer"] * 3 + ["it was not asked"]


def test_attempts_of_one_check_know_what_earlier_ones_have_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that hangs is not started again beside itself."""
    context, wishes = made(site, 1)
    found = site.boot(context).start(wishes).values["m-1"]
    now = [0.0]
    left: list[int] = []

    def hanging(check: t.Any, *_args: t.Any, begun: dict[t.Any, int]) -> t.NoReturn:
        now[0] += 5.0
        left.append(len(begun))
        begun[check] = 7
        raise boot_module.health.Unhealthy("it has not ended within 5 s")

    monkeypatch.setattr(boot_module.health, "attempt", hanging)
    boot = Boot(context, 600.0, t.cast(t.Any, site.connect), lambda: now[0], lambda seconds: None)
    for _deployment in range(2):
        boot.check_health(dataclasses.replace(context.work.machines[0], options={"health": {"command": ["hang"], "timeout_s": 12}}), found)
    assert left == [0, 1, 1] * 2
