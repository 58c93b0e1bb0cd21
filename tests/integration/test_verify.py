# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""basecast.fleet.verify mends, under a running machine, what another host has whole. The tests build on each other."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import CHUNK_BYTES, hash_file
from ansible_collections.basecast.fleet.plugins.module_utils._disk import attributes, file_trees
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, deploy, give
from ansible_collections.basecast.fleet.tests.integration.test_relay_digest import flip
from ansible_collections.basecast.fleet.tests.lab import Host, Lab

SHOP: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
    "machines": [
        {
            "name": "web",
            "hosts": ["kvm1", "kvm2"],
            "per_host": 1,
            "memory_mib": 96,
            "networks": [],
            "disks": [{"name": "root", "base": "tiny"}],
        }
    ],
}


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=2, libvirt="debian")
    give(made.hosts["kvm1"])
    done = deploy(made, SHOP)
    assert done.code == 0, done
    return made


def disk(host: Host) -> Path:
    (found,) = host.path(f"{POOL}/bases").glob("[0-9a-f]*/disk")
    return found


def damage(host: Host, *offsets: int) -> None:
    """The storage loses some bytes; nothing tells of it."""
    path = disk(host)
    attributes.set_immutable(str(path), False)
    os.chmod(path, 0o600)
    for offset in offsets:
        flip(path, offset)
    attributes.protect(str(path))


def verify(lab: Lab, *options: str) -> subprocess.CompletedProcess[str]:
    done = lab.playbook(["basecast.fleet.verify", *options])
    assert "Traceback" not in done.stdout + done.stderr
    return done


def received(lab: Lab, name: str) -> int:
    return int(lab.hosts[name].run("cat /sys/class/net/eth0/statistics/rx_bytes").stdout)


def machines(host: Host) -> list[str]:
    return host.run("virsh -q list --name").stdout.split()


@pytest.mark.timeout(300)
def test_what_is_wrong_comes_from_another_host_under_a_running_machine(lab: Lab) -> None:
    kvm2 = lab.hosts["kvm2"]
    size, digest = disk(kvm2).stat().st_size, disk(kvm2).parent.name
    assert size > 30 * CHUNK_BYTES
    inode = disk(kvm2).stat().st_ino
    damage(kvm2, 3 * CHUNK_BYTES + 5, 20 * CHUNK_BYTES)
    told = verify(lab)
    assert told.returncode != 0 and f"kvm2: the base disk {digest} in pool default is damaged" in told.stdout, told.stdout[-4000:]
    assert "Sound on kvm1." in told.stdout and f"{POOL}/machines/shop/web-2/root.qcow2" in told.stdout
    predicted = verify(lab, "-e", "basecast_repair=true", "--check")
    assert "kvm2 would fetch tiny 1" in predicted.stdout and hash_file(str(disk(kvm2)))[0] != digest, predicted.stdout[-4000:]
    before = received(lab, "kvm2")
    done = verify(lab, "-e", "basecast_repair=true")
    assert done.returncode == 0, done.stdout[-5000:]
    assert hash_file(str(disk(kvm2)))[0] == digest
    # The file that the machine has open is the one that is right now.
    assert disk(kvm2).stat().st_ino == inode and machines(kvm2) == ["shop-web-2"]
    assert received(lab, "kvm2") - before < size // 2
    again = verify(lab, "-e", "basecast_repair=true")
    assert again.returncode == 0 and "changed=0" in again.stdout and "is damaged:" not in again.stdout, again.stdout[-3000:]
    assert set(deploy(lab, SHOP).states.values()) == {"present"}


@pytest.mark.timeout(300)
def test_what_stands_beside_disks_is_mended(lab: Lab) -> None:
    """Records of disks over another pool's base, and a directory that QEMU's user cannot enter."""
    kvm1 = lab.hosts["kvm1"]
    if "fast" not in kvm1.pools:
        kvm1.add_pool("fast", "dir")
    digest = disk(kvm1).parent.name
    made = [{"machine": name, "name": "data", "pool": "fast", "base": digest, "base_pool": "default"} for name in ("db-1", "db-2")]
    args = json.dumps({"pools": kvm1.pools, "service": "side", "disks": made})
    done = lab.exec_in_controller(["ansible", "kvm1", "-m", "basecast.fleet.diff_disk", "-a", args])
    assert done.returncode == 0, done.stdout + done.stderr
    records = {json.loads(path.read_text())["path"]: path for path in kvm1.path(f"{POOL}/bases/.refs/{digest}").glob("disk*")}
    kept, gone = (f"{kvm1.pools['fast']}/machines/side/{name}/data.qcow2" for name in ("db-1", "db-2"))
    records[kept].unlink()
    kvm1.path(gone).unlink()
    kvm1.run(["chmod", "0700", f"{POOL}/machines/shop"])
    told = verify(lab)
    words = " ".join(told.stdout.split())
    assert told.returncode != 0 and f"has no record that {kept} needs its base disk" in words, told.stdout[-4000:]
    assert f"a record of {gone}, which does not need its base disk" in words and "which cannot enter" in words
    assert not records[kept].exists() and records[gone].exists()
    mended = verify(lab, "-e", "basecast_repair=true")
    assert mended.returncode == 0, mended.stdout[-5000:]
    assert records[kept].exists() and not records[gone].exists()
    assert kvm1.path(f"{POOL}/machines/shop").stat().st_mode & 0o777 == 0o701
    again = verify(lab, "-e", "basecast_repair=true")
    assert again.returncode == 0 and "changed=0" in again.stdout, again.stdout[-3000:]


@pytest.mark.variant
@pytest.mark.timeout(300)
def test_what_nobody_has_whole_is_told_and_kept(lab: Lab) -> None:
    for host in lab.hosts.values():
        damage(host, 7 * CHUNK_BYTES)
    done = verify(lab, "-e", "basecast_repair=true")
    assert done.returncode != 0, done.stdout[-4000:]
    for name in lab.hosts:
        assert f"Damaged base disks on {name}" in done.stdout
        assert machines(lab.hosts[name])
    assert "No host of this run has a sound copy" in done.stdout
    # It is set aside until one comes back: here the bytes of one host are as they were.
    damage(lab.hosts["kvm1"], 7 * CHUNK_BYTES)
    done = verify(lab, "-e", "basecast_repair=true")
    assert done.returncode == 0, done.stdout[-5000:]
    assert deploy(lab, SHOP).states == {"web-1": "present", "web-2": "present"}


@pytest.mark.variant
@pytest.mark.timeout(300)
def test_a_base_that_is_gone_comes_back_to_the_disks_on_it(lab: Lab) -> None:
    kvm2 = lab.hosts["kvm2"]
    base, digest = disk(kvm2).parent, disk(kvm2).parent.name
    file_trees.remove_tree(str(base))
    kvm2.run(f"qemu-img create -q -f qcow2 {POOL}/machines/shop/web-9.qcow2 1M && mkdir {POOL}/machines/shop/web-9")
    kvm2.run(f"mv {POOL}/machines/shop/web-9.qcow2 {POOL}/machines/shop/web-9/root.qcow2")
    told = verify(lab)
    assert told.returncode != 0, told.stdout[-4000:]
    assert f"kvm2: the base disk {digest} is missing in pool default" in told.stdout, told.stdout[-4000:]
    assert "shop has no machine web-9" in told.stdout and "Nothing fails because of it: deploy the service again" in told.stdout
    done = verify(lab, "-e", "basecast_repair=true")
    assert done.returncode == 0, done.stdout[-5000:]
    assert hash_file(str(disk(kvm2)))[0] == digest
    again = verify(lab)
    assert again.returncode == 0 and f"{digest} is missing" not in again.stdout, again.stdout[-4000:]
