# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of all pages that no test types as a whole, one after another on one fleet."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.documented import WALK
from ansible_collections.basecast.fleet.tests.integration.test_deploy import bases, give
from ansible_collections.basecast.fleet.tests.lab import Lab

MANIFEST = """\
format: 1
service: shop
bases:
  - {name: tiny, version: "1", source: {host: kvm1, path: images/tiny.qcow2}}
machines:
  - name: web
    hosts: [kvm1, kvm2, kvm3]
    count: 3
    memory_mib: 96
    disks: [{name: root, base: tiny, size_gib: 1}]
    networks: [{network: default}]
    scale: {metric: requests, of: service, target: 100, min: 2, max: 8, step: 2}
    cloud_init: {user_data: {runcmd: ["mkdir -p /www && httpd -h /www -p 443"]}}
"""
MACHINES = """\
plugin: basecast.fleet.machines
inventory: [inventory.yml]
"""
CONFIGURE = """\
- name: Configure the machines
  hosts: service_shop
  gather_facts: false
  tasks:
    - name: Say where each is
      ansible.builtin.debug:
        msg: "{{ inventory_hostname }} is on {{ machine_host }}"
"""


@pytest.mark.variant
@pytest.mark.timeout(3000)
def test_what_the_pages_tell_to_type_does_what_they_say(lab_factory: t.Callable[..., Lab], tmp_path: Path) -> None:
    lab = lab_factory(hosts=3, libvirt="debian", pools={"default": "dir", "fast": "dir"})
    give(lab.hosts["kvm1"])
    for name, text in {"shop.yml": MANIFEST, "machines.yml": MACHINES, "configure.yml": CONFIGURE}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "inventory.yml").symlink_to(lab.inventory)
    wrong = []
    for line, words in WALK:
        if "health_port" in line:  # something to update
            (tmp_path / "shop.yml").write_text(MANIFEST.replace("memory_mib: 96", "memory_mib: 112"))
        done = lab.exec_in_controller(["bash", "-c", line], cwd=tmp_path, timeout=500)
        print(f"$ {line}\n{done.stdout}{done.stderr}")
        if done.returncode or words not in " ".join(done.stdout.split()):
            wrong.append(line)
    assert not wrong
    assert {"plan.html", "plan.json", "run.html", "status.json"} <= {path.name for path in tmp_path.iterdir()}
    for host in lab.hosts.values():
        assert host.run("virsh -q list --all").stdout.split() == []
    assert bases(lab.hosts["kvm1"])
