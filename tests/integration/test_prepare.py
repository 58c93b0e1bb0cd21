# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook that prepares hosts, on hosts that lack what can be taken from them here: a network and a pool."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.documented import typed
from ansible_collections.basecast.fleet.tests.lab import Lab


def counts(output: str, host: str) -> dict[str, int]:
    line = next(line for line in output.splitlines() if re.match(rf"{host}\s+:", line))
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}


@pytest.mark.timeout(300)
def test_prepare_makes_what_is_missing_once(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=2, libvirt="debian")
    bare = lab.hosts["kvm1"]
    bare.run("virsh net-destroy default; virsh net-undefine default")
    pools = json.dumps({"basecast_pools": {"default": "/var/lib/libvirt/images", "fast": "/srv/fast/images"}})
    checked = lab.playbook(["basecast.fleet.prepare", "-e", pools, "--check"])
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert bare.run("virsh net-list --all --name").stdout.split() == []
    done = lab.playbook(["basecast.fleet.prepare", "-e", pools])
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts(done.stdout, "kvm1")["changed"] == 4
    assert "kvm1: the network default would be defined, started, set to start with the host" in checked.stdout
    assert [counts(checked.stdout, name)["changed"] for name in ("kvm1", "kvm2")] == [2, counts(done.stdout, "kvm2")["changed"]]
    info = bare.run("LC_ALL=C virsh net-info default").stdout
    assert re.search(r"Active:\s+yes", info)
    assert re.search(r"Autostart:\s+yes", info)
    assert "192.168.122.1" in bare.run("virsh net-dumpxml default").stdout
    assert bare.run("stat -c %a /srv/fast/images").stdout.strip() == "711"
    again = lab.playbook(["basecast.fleet.prepare", "-e", pools])
    assert [counts(again.stdout, name)["changed"] for name in ("kvm1", "kvm2")] == [0, 0]


@pytest.mark.timeout(120)
def test_the_readme_prepares_a_host_by_hand(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    host = fresh_lab_factory(hosts=1, libvirt="debian").hosts["kvm1"]
    host.run("virsh net-destroy default; virsh net-autostart default --disable")
    # The packages are there already: that they exist is seen, and nothing is fetched.
    host.run("""echo 'APT::Get::Simulate "true";' >/root/apt.conf""")
    for line in typed("README.md", "# apt install"):
        host.run(f"export APT_CONFIG=/root/apt.conf; {line}")
    assert re.findall(r"(?:Active|Autostart):\s+(\w+)", host.run("LC_ALL=C virsh net-info default").stdout) == ["yes", "yes"]


@pytest.mark.variant
@pytest.mark.timeout(120)
def test_prepare_says_that_libvirt_does_not_answer(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=1)
    done = lab.playbook(["basecast.fleet.prepare"])
    assert done.returncode != 0
    assert "kvm1: libvirt does not answer at qemu:///system" in done.stdout
