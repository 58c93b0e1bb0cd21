# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clones that lose their bases in the background, with libvirt's own user. The tests build on each other."""

from __future__ import annotations

import re
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_capture import SHOP, capture, chain
from ansible_collections.basecast.fleet.tests.integration.test_capture import clone as clone_of
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, Outcome, deploy, give, nothing_changed_by
from ansible_collections.basecast.fleet.tests.lab import Lab

# It counts until it ends, on the console that the host keeps.
COUNTING = {"user_data": {"runcmd": ["(n=0; while true; do n=$((n+1)); echo count-$n > /dev/ttyS0; sleep 1; done) &"]}}


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=1, libvirt="debian")
    give(made.hosts["kvm1"])
    (role,) = SHOP["machines"]
    done = deploy(made, {**SHOP, "machines": [{**role, "cloud_init": COUNTING}]})
    assert done.code == 0, done
    return made


def clone(lab: Lab, *options: str, name: str = "web-9") -> Outcome:
    return clone_of(lab, "-e", f"clone_name={name}", "-e", "flatten=background", *options, machine="web-1", service="shop")


def root_of(name: str) -> str:
    return f"{POOL}/machines/shop/{name}/root.qcow2"


def count(lab: Lab, name: str) -> int:
    """How far the guest has counted."""
    text = lab.hosts["kvm1"].path(f"{POOL}/machines/shop/{name}/console.log").read_text(encoding="utf-8", errors="replace")
    return max((int(number) for number in re.findall(r"count-(\d+)", text)), default=0)


def work(lab: Lab, name: str) -> str:
    """What QEMU does with its disk."""
    return lab.hosts["kvm1"].run(f"virsh blockjob shop-{name} vda 2>&1 || true").stdout


def await_end(lab: Lab, name: str) -> None:
    deadline = time.monotonic() + 60
    while "No current block job" not in work(lab, name):
        assert time.monotonic() < deadline, work(lab, name)
        time.sleep(0.5)


def status(lab: Lab) -> str:
    return " ".join(lab.playbook(["basecast.fleet.status"]).stdout.split())


@pytest.mark.timeout(500)
def test_a_clone_counts_on_while_it_loses_its_base(lab: Lab) -> None:
    kvm1 = lab.hosts["kvm1"]
    done = clone(lab, "-e", "flatten_mbps=1")
    assert done.code == 0 and "came up as web-9" in done.out and "lose their bases in the background" in done.out, done
    assert "Block Pull" in work(lab, "web-9") and len(chain(lab, "kvm1", root_of("web-9"))) == 2
    assert "web-9: its disks are being flattened" in status(lab)
    captured = capture(lab, machine="web-9")
    assert captured.code != 0 and "its disks are still being flattened" in " ".join(captured.out.split()), captured
    again = clone(lab)
    assert again.code == 0 and set(again.changed.values()) == {0}, again
    before = count(lab, "web-9")
    faster = clone(lab, "-e", "flatten_mbps=0")
    assert faster.code == 0 and faster.changed["kvm1"], faster
    await_end(lab, "web-9")
    assert chain(lab, "kvm1", root_of("web-9")) == [root_of("web-9")]
    assert "/bases/" not in kvm1.run("virsh dumpxml --inactive shop-web-9; virsh dumpxml shop-web-9").stdout
    time.sleep(2)
    assert count(lab, "web-9") > before > 0
    assert len(chain(lab, "kvm1", root_of("web-1"))) == 2 and count(lab, "web-1") > 0
    assert "flatten" not in status(lab)
    ended = clone(lab)
    assert ended.code == 0, ended
    last = nothing_changed_by(lab, lambda: clone(lab))
    assert last.code == 0 and set(last.changed.values()) == {0} and not kvm1.path(f"{POOL}/machines/shop/web-9/.root.flatten.json").exists()


@pytest.mark.variant
@pytest.mark.timeout(500)
def test_what_a_power_off_has_stopped_goes_on(lab: Lab) -> None:
    """The one that is off is flattened by verify at once; it starts without its base."""
    kvm1 = lab.hosts["kvm1"]
    done = clone(lab, "-e", "flatten_mbps=1", name="web-8")
    assert done.code == 0, done
    kvm1.run("virsh destroy shop-web-8")
    assert "the flattening of its disks waits for a run" in status(lab) and len(chain(lab, "kvm1", root_of("web-8"))) == 2
    kvm1.run("virsh start shop-web-8")
    resumed = lab.playbook(["basecast.fleet.verify", "-e", "basecast_repair=true"])
    assert resumed.returncode == 0 and "Block Pull" in work(lab, "web-8"), resumed.stdout[-3000:]
    kvm1.run("virsh destroy shop-web-8")
    mended = lab.playbook(["basecast.fleet.verify", "-e", "basecast_repair=true"])
    assert mended.returncode == 0 and chain(lab, "kvm1", root_of("web-8")) == [root_of("web-8")], mended.stdout[-3000:]
    assert "/bases/" not in kvm1.run("virsh dumpxml --inactive shop-web-8").stdout
    kvm1.run("virsh start shop-web-8")
    again = lab.playbook(["basecast.fleet.verify", "-e", "basecast_repair=true"])
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout[-3000:]
    deadline = time.monotonic() + 60
    while not count(lab, "web-8"):
        assert time.monotonic() < deadline
        time.sleep(1)


@pytest.mark.variant
@pytest.mark.timeout(500)
def test_a_guest_that_a_killed_run_left_standing_goes_on(lab: Lab) -> None:
    """Noted as a run does it before it suspends a machine of several disks; one that its operator has suspended has no such note."""
    kvm1 = lab.hosts["kvm1"]
    kvm1.run("virsh suspend shop-web-1")
    assert "stands still" not in status(lab)
    note = "--uri urn:basecast:fleet:standing --key basecast-standing --set '<standing by=\"suspended\"/>'"
    kvm1.run(f"virsh metadata shop-web-1 --live {note}")
    assert "web-1: its guest stands still since a clone or a capture of it was interrupted" in status(lab)
    captured = capture(lab, machine="web-1")
    assert captured.code == 0 and "running" in kvm1.run("virsh domstate shop-web-1").stdout, captured
    assert "basecast-standing" not in kvm1.run("virsh dumpxml shop-web-1").stdout and "stands still" not in status(lab)
    kvm1.run("virsh suspend shop-web-1")
    assert clone(lab, name="web-7").code == 0 and "paused" in kvm1.run("virsh domstate shop-web-1").stdout
    kvm1.run("virsh resume shop-web-1")
