# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""basecast.fleet.status on lab hosts, and the inventory of machines made of it."""

from __future__ import annotations

import copy
import json
import re
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, Outcome, deploy, give, nothing_changed_by
from ansible_collections.basecast.fleet.tests.lab import Lab

SHOP: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
    "machines": [
        {
            "name": "web",
            "hosts": ["kvm1", "kvm2"],
            "memory_mib": 96,
            "disks": [{"name": "root", "base": "tiny", "size_gib": 1}],
            "cloud_init": {"user_data": {"runcmd": ["echo secret-of-web"]}},
        }
    ],
}
HIDDEN: dict[str, t.Any] = {**SHOP, "service": "hidden", "tenant": "other"}


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=2, rate_mbps=200, libvirt=True)
    give(made.hosts["kvm1"])
    for service in (SHOP, HIDDEN):
        done = deploy(made, service)
        assert done.code == 0, done
    return made


def status(lab: Lab, *options: str) -> Outcome:
    report = lab.state / "status.json"
    report.unlink(missing_ok=True)
    return Outcome(lab.playbook(["basecast.fleet.status", "-e", f"basecast_status_file={report}", *options], timeout=240), report)


def write(lab: Lab, name: str, manifest: dict[str, t.Any]) -> str:
    file = lab.state / name
    file.write_text(json.dumps(manifest))
    return str(file)


@pytest.mark.timeout(400)
def test_one_look_tells_of_machines_and_hides_tenants(lab: Lab) -> None:
    done = nothing_changed_by(lab, lambda: status(lab, "-vvv"))
    assert done.code == 0 and set(done.changed.values()) == {0}, done
    found = {one["machine"]: one for one in done.report["machines"]}
    assert {name: (one["host"], one["state"], one["bases"]) for name, one in found.items()} == {
        "web-1": ("kvm1", "running", ["tiny 1"]),
        "web-2": ("kvm2", "running", ["tiny 1"]),
    }
    for name, one in found.items():
        assert re.search(rf"{name} +{one['host']}", done.out)
        # From the neighbour table or the lease of libvirt's network, else what the guest itself has said.
        assert one["address"] and one["host_address"] == lab.hosts[one["host"]].address
    assert done.report["orphans"] == [] and not done.report["unknown"]
    for name in ("hidden", "secret-of-web"):
        assert name not in json.dumps(done.report)
    assert done.report["hosts"]["kvm1"]["others"]["domains"] == 1
    for host in lab.hosts.values():
        runs = len(
            re.findall(rf"^<{re.escape(host.address)}> ANSIBALLZ: |^<{re.escape(host.address)}> SSH: EXEC .*python3", done.out, re.M)
        )
        assert runs == 1
    every = status(lab, "-e", "basecast_status_all_tenants=true")
    assert {one["tenant"] for one in every.report["machines"]} == {"default", "other"}


@pytest.mark.timeout(400)
def test_a_manifest_shows_drift(lab: Lab) -> None:
    same = status(lab, "-e", f"manifest={write(lab, 'shop.json', SHOP)}")
    assert same.code == 0 and "as the manifest wants it" in same.out, same
    edited = copy.deepcopy(SHOP)
    edited["machines"][0].update(memory_mib=112, per_host=2)
    changed = write(lab, "edited.json", edited)
    done = status(lab, "-e", f"manifest={changed}")
    assert done.code == 0 and "drift: web-1…2: memory 96 → 112 MiB" in done.out and "missing: 2 machines of web" in done.out, done
    assert status(lab, "-e", f"manifest={changed}", "-e", "basecast_fail_on_drift=true").code != 0
    planned = lab.playbook(["basecast.fleet.plan", "-e", f"manifest={changed}", "-e", "basecast_fail_on_drift=true"], timeout=240)
    assert planned.returncode != 0
    assert "Drift (basecast_fail_on_drift): web-1, web-2. The plan above says why." in planned.stdout


@pytest.mark.timeout(400)
def test_what_has_lost_its_owner_is_told(lab: Lab) -> None:
    host = lab.hosts["kvm1"]
    lost = f"{POOL}/machines/shop/web-7"
    partial = f"{POOL}/bases/.partial/{'5' * 64}"
    host.run(["mkdir", "-p", lost, partial])
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{lost}/root.qcow2", "1M"])
    host.run(["touch", f"{partial}/disk"])
    try:
        # Of a transfer that nobody has referred to, no tenant is known.
        done = status(lab, "-e", "basecast_status_all_tenants=true")
        own = status(lab)
    finally:
        host.run(["rm", "-r", lost, partial])
    assert [one["kind"] for one in own.report["orphans"]] == ["disk"]
    assert done.code == 0 and sorted(one["kind"] for one in done.report["orphans"]) == ["disk", "partial"], done
    assert "shop has no" in done.out


@pytest.mark.timeout(400)
def test_hosts_that_cannot_be_asked_are_told(lab: Lab) -> None:
    lab.hosts["kvm2"].cut_link()
    try:
        done = status(lab)
    finally:
        lab.hosts["kvm2"].restore_link()
    assert done.code != 0 and "kvm2 cannot be known: cannot be reached" in done.out, done
    states = {one["machine"]: one["state"] for one in done.report["machines"]}
    assert states == {"web-1": "running", "web-2": "unknown"}


@pytest.mark.variant
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-e", "tenant=../x"], "tenant: '../x' is not accepted"),
        (["-e", "tenant=other", "-e", "basecast_status_all_tenants=true"], "tenant: other is given together with"),
        (["--skip-tags", "all"], "Nothing was done, or not all of it"),
    ],
    ids=["tenant", "both", "tags"],
)
def test_what_cannot_be_meant_is_refused(lab: Lab, options: list[str], words: str) -> None:
    done = status(lab, *options)
    assert done.code != 0 and words in done.out and "Traceback" not in done.out, done


CONFIGURE = """
- name: The machines answer where they are said to be
  hosts: service_shop
  gather_facts: false
  tasks:
    - name: Reach the machine from its host, where a closed port is an answer
      ansible.builtin.command:
        argv: [python3, -c, "import errno, socket; s = socket.socket(); s.settimeout(20); assert s.connect_ex(('{{ ansible_host }}', 9)) == errno.ECONNREFUSED"]
      delegate_to: "{{ machine_host }}"
      changed_when: false
    - name: Tell of it
      ansible.builtin.debug:
        msg: "{{ inventory_hostname }} is {{ machine_role }} {{ machine_number }} on {{ machine_host }}"
"""


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_deploy_then_configure_in_one_run(lab: Lab) -> None:
    play = lab.state / "site.yml"
    parts = "\n".join(f"- import_playbook: basecast.fleet.{name}" for name in ("deploy", "status"))
    play.write_text(f"{parts}\n{CONFIGURE}")
    done = lab.playbook([play, "-e", f"manifest={write(lab, 'shop.json', SHOP)}", "-e", "basecast_status_add_hosts=true"], timeout=400)
    out = done.stdout + done.stderr
    assert done.returncode == 0, out[-5000:]
    assert "shop-web-1 is web 1 on kvm1" in out and "shop-web-2 is web 2 on kvm2" in out


@pytest.mark.timeout(600)
def test_the_inventory_plugin_asks_the_hosts_itself(lab: Lab) -> None:
    file, play = lab.state / "machines.yml", lab.state / "configure.yml"
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(lab.state / "cache")}
    file.write_text(json.dumps({"plugin": "basecast.fleet.machines", "inventory": ["inventory.yml"], **cache}))
    play.write_text(CONFIGURE)
    done = lab.playbook(["-i", lab.inventory, "-i", file, play], timeout=300)
    out = done.stdout + done.stderr
    assert done.returncode == 0 and "shop-web-2 is web 2 on kvm2" in out, out[-5000:]
    # From the cache now, since no host can be asked; and machines in the same inventory are no hosts of the fleet.
    for host in lab.hosts.values():
        host.cut_link()
    try:
        listed = lab.exec_in_controller(["ansible-inventory", "-i", str(file), "--list"])
    finally:
        for host in lab.hosts.values():
            host.restore_link()
    assert json.loads(listed.stdout)["service_shop"]["hosts"] == ["shop-web-1", "shop-web-2"], listed
    again = status(lab, "-i", str(lab.inventory), "-i", str(file))
    assert again.code == 0 and list(again.report["hosts"]) == ["kvm1", "kvm2"], again
