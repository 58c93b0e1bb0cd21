# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks that were there before the machine, on a lab host: a block device (a loop device) and a file of a pool. The steps build on each other."""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, Outcome, deploy, give, nothing_changed_by
from ansible_collections.basecast.fleet.tests.lab import Lab

# On a loop device two files are seen as one disk is elsewhere.
WRITE = "printf from-{{ machine.name }} >/dev/vdb && printf from-{{ machine.name }} >/dev/vdc && sync && echo WRITTEN >/dev/ttyS0"
VOLUME = f"{POOL}/kept/web-1.raw"


def shop(device: str | None, service: str = "shop") -> dict[str, t.Any]:
    given = [{"name": "archive", "volume": {"path": "kept/web-1.raw"}}]
    given += [{"name": "data", "block": device, "cache": "none"}] if device else []
    return {
        "format": 1,
        "service": service,
        "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
        "machines": [
            {
                "name": "web",
                "hosts": ["kvm1"],
                "memory_mib": 96,
                "disks": [{"name": "root", "base": "tiny", "size_gib": 1}, *given],
                "cloud_init": {"templates": True, "user_data": {"runcmd": [WRITE]}},
            }
        ],
    }


@pytest.mark.timeout(500)
def test_what_was_there_is_used_in_place_and_never_removed(lab_factory: t.Callable[..., Lab]) -> None:
    lab = lab_factory(hosts=1, libvirt=True)
    host = lab.hosts["kvm1"]
    give(host)
    host.run(f"mkdir -p {POOL}/kept && truncate -s 8M {VOLUME} /var/lib/device.img")
    image = host.path("/var/lib/device.img")
    # Devices are the machine's, and hosts have nodes of their own for them.
    loop = subprocess.run(["losetup", "-f", "--show", str(image)], check=True, capture_output=True, text=True).stdout.strip()
    permits = ["-e", f'{{"basecast_volumes": ["{POOL}/kept/*.raw"], "basecast_block_devices": ["/dev/giv*"]}}']
    try:
        host.run(f"mknod /dev/given b 7 {loop[len('/dev/loop') :]}")
        _walk(lab, "/dev/given", permits)
    finally:
        host.run("virsh destroy shop-web-1", check=False)
        subprocess.run(["losetup", "-d", loop], check=True)


def _walk(lab: Lab, device: str, permits: list[str]) -> None:
    host = lab.hosts["kvm1"]
    refused = nothing_changed_by(lab, lambda: deploy(lab, shop(device)))
    assert refused.code != 0 and "and permit it (basecast_block_devices)" in refused.out, refused
    assert "and permit it (basecast_volumes)" in refused.out

    done = deploy(lab, shop(device), *permits)
    assert done.code == 0 and done.states == {"web-1": "deployed"}, done
    host.run(f"for _ in $(seq 60); do grep -q WRITTEN {POOL}/machines/shop/web-1/console.log && break; sleep 0.5; done")
    assert host.run(f"head -c 10 {VOLUME}; head -c 10 {device}").stdout == "from-web-1" * 2
    again = deploy(lab, shop(device), *permits)
    assert again.code == 0 and again.states == {"web-1": "present"} and not any(again.changed.values()), again

    other = nothing_changed_by(lab, lambda: deploy(lab, shop(device, "crm"), *permits))
    assert other.code != 0 and "is in use by another machine or program" in " ".join(other.out.split()), other
    clone = lab.playbook(["basecast.fleet.clone", "-e", "service=shop", "-e", "machine=web-1"], timeout=240)
    assert clone.returncode != 0 and "which a clone would share with it" in " ".join(clone.stdout.split()), clone.stdout

    removed = Outcome(
        lab.playbook(["basecast.fleet.remove", "-e", "service=shop", "-e", "basecast_shutdown_timeout_s=1"], timeout=240),
        lab.state / "none.json",
    )
    assert removed.code == 0 and VOLUME in removed.out and device in removed.out, removed
    assert host.run(f"head -c 10 {VOLUME}; head -c 10 {device}").stdout == "from-web-1" * 2
    assert host.run("virsh -q list --all --name").stdout.strip() == ""
