# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks beside deploy: probe and verify."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.lab import Lab, images

POOL = "/var/lib/libvirt/images"


@pytest.mark.timeout(300)
def test_probe_measures_every_link_and_what_it_writes_can_be_used(lab_factory: t.Callable[..., Lab]) -> None:
    lab = lab_factory(hosts=3, rate_mbps={"kvm1": 200, "kvm2": 200, "kvm3": 50})
    links, matrix = lab.state / "links.json", lab.state / "matrix.json"
    done = lab.playbook(
        ["basecast.fleet.probe", "-e", f"basecast_links_file={links}", "-e", f"basecast_matrix_file={matrix}", "--forks", "1"]
    )
    assert done.returncode == 0, done.stdout[-5000:]
    measured = {(link["from"], link["to"]): link["mbps"] for link in json.loads(links.read_text())["basecast_links"]}
    assert set(measured) == {(a, b) for a in lab.hosts for b in lab.hosts if a != b}
    assert measured["kvm1", "kvm2"] > 2 * measured["kvm1", "kvm3"]
    assert measured["kvm1", "kvm2"] > 2 * measured["kvm3", "kvm1"]
    for host in lab.hosts.values():
        assert not host.run("find /run/basecast -mindepth 1 2>/dev/null || true").stdout
    relay = lab.state / "fleet.relay.yml"
    relay.write_text(json.dumps({"plugin": "basecast.fleet.relay", "measurements": "matrix.json", "sources": ["kvm1"]}))
    shown = lab.exec_in_controller(["ansible-inventory", "-i", str(lab.inventory), "-i", str(relay), "--list"])
    groups = json.loads(shown.stdout)
    # The slow host is served after the quick one, or beside it by the source; never in its place.
    assert "kvm2" in groups["relay_stage_1"]["hosts"]

    lab.hosts["kvm3"].power_cut()
    part = lab.playbook(["basecast.fleet.probe", "-e", f"basecast_links_file={links}"])
    assert part.returncode != 0 and "Not measured: kvm3" in part.stdout, part.stdout[-5000:]
    assert {(link["from"], link["to"]) for link in json.loads(links.read_text())["basecast_links"]} >= {("kvm1", "kvm2"), ("kvm2", "kvm1")}


@pytest.mark.variant
@pytest.mark.timeout(300)
def test_verify_finds_a_damaged_base_and_names_it(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=2)
    for host in lab.hosts.values():
        host.put(images.tiny(), f"{POOL}/tiny.qcow2")
    imported = lab.exec_in_controller(
        ["ansible", "lab", "-m", "basecast.fleet.base_disk_import", "-a", "src=tiny.qcow2 name=tiny version=1"]
    )
    assert imported.returncode == 0, imported.stdout
    sound = lab.playbook(["basecast.fleet.verify"])
    assert sound.returncode == 0, sound.stdout[-3000:]
    damaged = lab.hosts["kvm2"]
    damaged.run(
        f"cd {POOL}/bases/[0-9a-f]*/ && chattr -i disk && chmod u+w disk && printf x | dd of=disk bs=1 seek=300000 conv=notrunc status=none"
    )
    found = lab.playbook(["basecast.fleet.verify"])
    assert found.returncode != 0
    assert "Damaged base disks on kvm2" in found.stdout
    assert "Damaged base disks on kvm1" not in found.stdout
