# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cannot be known of a host is neither there nor missing, and a problem of that host's machines only."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import deploy, give, manifest, nothing_changed_by
from ansible_collections.basecast.fleet.tests.integration.variants import few
from ansible_collections.basecast.fleet.tests.lab import Host, Lab

RECORD = "/var/lib/basecast/services/default/shop.json"


def _stop_libvirt(host: Host) -> None:
    host.run("kill $(cat /run/libvirtd.pid) && while [ -e /proc/$(cat /run/libvirtd.pid 2>/dev/null || echo 0) ]; do sleep 0.1; done")


def _start_libvirt(host: Host) -> None:
    host.run("setsid /usr/sbin/libvirtd >/dev/null 2>&1 </dev/null & until virsh list >/dev/null 2>&1; do sleep 0.1; done")


WAYS: dict[str, tuple[t.Callable[[Host], t.Any], t.Callable[[Host], t.Any], str]] = {
    "libvirtd is down": (_stop_libvirt, _start_libvirt, "Cannot connect to libvirt at qemu:///system"),
    "the record is damaged": (
        lambda host: host.run(f"cp {RECORD} /root/record; printf '%060000d' 0 | tr 0 [ >{RECORD}"),
        lambda host: host.run(f"cp /root/record {RECORD}"),
        f"The record {RECORD} cannot be used",
    ),
    "the record is a pipe": (
        lambda host: host.run(f"mv {RECORD} /root/record; mkfifo {RECORD}"),
        lambda host: host.run(f"mv /root/record {RECORD}"),
        f"{RECORD} is a pipe",
    ),
    "a definition is damaged": (
        lambda host: host.run(
            "virsh dumpxml --inactive shop-web-2 >/root/good.xml; sed 's/service=.shop./service=\"..\"/' /root/good.xml >/root/bad.xml;"
            " virsh define /root/bad.xml"
        ),
        lambda host: host.run("virsh define /root/good.xml"),
        "the domain shop-web-2 cannot be read: its metadata",
    ),
}


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=2, libvirt=True)
    give(made.hosts["kvm1"])
    done = deploy(made, manifest(hosts=["kvm1", "kvm2"]))
    assert done.code == 0, done
    return made


@pytest.mark.timeout(400)
@pytest.mark.parametrize("way", few(WAYS))
def test_nothing_is_made_where_it_cannot_be_known(lab: Lab, way: str) -> None:
    spoil, mend, told = WAYS[way]
    wanted = manifest(hosts=["kvm1", "kvm2"])
    spoil(lab.hosts["kvm2"])
    try:
        file = lab.state / "plan.json"
        plan = deploy(lab, wanted, "-e", f"basecast_plan_file={file}", playbook="plan")
        assert "web-2 on kvm2: there or not, which cannot be known (" in plan.out, plan
        planned = {machine["machine"]: machine for machine in json.loads(file.read_text())["service"]["machines"]}
        assert [planned[name]["state"] for name in ("web-1", "web-2")] == ["exists", "unknown"]
        assert told in planned["web-2"]["reason"]
        done = nothing_changed_by(lab, lambda: deploy(lab, wanted))
        assert done.code != 0
        assert done.states == {"web-1": "present", "web-2": "unknown"}
        assert done.report["missing"] == ["web-2"]
    finally:
        mend(lab.hosts["kvm2"])
    again = deploy(lab, wanted)
    assert again.states == {"web-1": "present", "web-2": "present"}, again


@pytest.mark.timeout(400)
def test_states_are_told_as_they_are(lab: Lab) -> None:
    lab.hosts["kvm2"].run("virsh destroy shop-web-2")
    done = deploy(lab, manifest(hosts=["kvm1", "kvm2"]))
    assert done.states == {"web-1": "present", "web-2": "started"}, done
    assert "2 of 2 machines are there (0 deployed, 1 started by this run, 1 before)" in done.out


@pytest.mark.timeout(400)
def test_one_failed_machine_hides_no_other(lab: Lab) -> None:
    host = lab.hosts["kvm2"]
    host.run("virsh destroy shop-web-2; cd /var/lib/libvirt/images/machines/shop/web-2 && rm console.log && ln -s /root/victim console.log")
    done = deploy(lab, manifest(hosts=["kvm1", "kvm2"], per_host=2))
    assert done.code != 0
    assert done.states["web-2"] == "failed", done
    assert [done.states[name] for name in ("web-1", "web-3", "web-4")] == ["present", "deployed", "deployed"], done
    assert "console.log is a symbolic link" in done.report["machines"][1]["reason"]
    host.run("! test -e /root/victim; rm /var/lib/libvirt/images/machines/shop/web-2/console.log")
    healed = deploy(lab, manifest(hosts=["kvm1", "kvm2"], per_host=2))
    assert healed.code == 0 and healed.states["web-2"] == "started", healed


@pytest.mark.timeout(400)
def test_a_machine_that_exists_twice_is_an_error(lab: Lab) -> None:
    xml = lab.hosts["kvm1"].run("virsh dumpxml --inactive shop-web-1").stdout
    other = lab.hosts["kvm2"]
    other.run("cat >/root/twin.xml && virsh define /root/twin.xml", stdin=xml.encode())
    try:
        for playbook in ("plan", "deploy"):
            done = deploy(lab, manifest(hosts=["kvm1", "kvm2"], per_host=2), playbook=playbook)
            assert done.code != 0
            assert "machine web-1 exists on kvm1 and kvm2 with the same UUID" in " ".join(done.out.split()), done
    finally:
        other.run("virsh undefine shop-web-1")


@pytest.mark.timeout(400)
def test_a_network_that_is_missing_is_foreseen(lab: Lab) -> None:
    networks = [{"network": "none"}, {"bridge": "br9"}]
    done = nothing_changed_by(lab, lambda: deploy(lab, manifest(hosts=["kvm1", "kvm2"], per_host=3, networks=networks)))
    text = " ".join(done.out.split())
    assert done.code != 0 and "kvm1 has no network 'none'; active are: default" in text and "kvm2 has no bridge 'br9'" in text, done
