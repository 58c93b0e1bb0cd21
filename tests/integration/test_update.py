# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""basecast.fleet.update on lab hosts, with guests that run. The tests build on each other."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, Outcome, deploy, give, nothing_changed_by
from ansible_collections.basecast.fleet.tests.integration.variants import few
from ansible_collections.basecast.fleet.tests.lab import Lab

ADDRESSES = "192.0.2.11-192.0.2.12/24"
GREETING = "echo {{ machine.name }} was made on {{ host }} for {{ tenant }}, not {% raw %}{{ you }}{% endraw %} >/dev/ttyS0"


def shop(
    version: str = "1", memory_mib: int = 96, serial: str | None = None, addresses: t.Any = ADDRESSES, **hardware: t.Any
) -> dict[str, t.Any]:
    data = {"name": "data", "size_gib": 1, **({"serial": serial} if serial else {})}
    files = {"1": "tiny.qcow2", "2": "second.qcow2", "broken": "broken.raw"}
    return {
        "format": 1,
        "service": "shop",
        "bases": [{"name": "tiny", "version": version, "source": {"host": "kvm1", "path": f"images/{files[version]}"}}],
        "machines": [
            {
                "name": "web",
                "hosts": ["kvm1", "kvm2"],
                "memory_mib": memory_mib,
                "networks": [{"bridge": "br9", "address": addresses, "gateway": "192.0.2.1"}],
                "disks": [{"name": "root", "base": "tiny", "size_gib": 1}, data],
                "cloud_init": {"user_data": {"runcmd": [GREETING]}},
                **hardware,
            }
        ],
    }


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=2, rate_mbps=200, libvirt=True)
    give(made.hosts["kvm1"])
    give(made.hosts["kvm1"], version="v2", name="second.qcow2")
    for host in made.hosts.values():
        host.run("ip link add br9 type bridge && ip link set br9 up")
    made.hosts["kvm1"].run(["truncate", "-s", "1M", f"{POOL}/images/broken.raw"])
    done = deploy(made, shop())
    assert done.code == 0, done
    return made


def update(lab: Lab, manifest: dict[str, t.Any], *options: str) -> Outcome:
    file, report = lab.state / "update.yml", lab.state / "update.json"
    file.write_text(json.dumps(manifest))
    report.unlink(missing_ok=True)
    given = ["-e", f"manifest={file}", "-e", f"basecast_report_file={report}", "-e", "basecast_shutdown_timeout_s=1"]
    return Outcome(lab.playbook(["basecast.fleet.update", *given, *options], timeout=300), report)


def base_of(lab: Lab, host: str, machine: str) -> str:
    told = lab.hosts[host].run(["qemu-img", "info", "-U", "--output=json", f"{POOL}/machines/shop/{machine}/root.qcow2"]).stdout
    return str(json.loads(told)["backing-filename"]).split("/")[-2]


def data_of(lab: Lab) -> dict[str, int]:
    """Which file each machine's data disk is."""
    return {f"web-{n}": lab.hosts[f"kvm{n}"].path(f"{POOL}/machines/shop/web-{n}/data.qcow2").stat().st_ino for n in (1, 2)}


def memory_of(lab: Lab, number: int) -> str:
    return lab.hosts[f"kvm{number}"].run(f"virsh dominfo shop-web-{number} | grep 'Max memory'").stdout.split()[2]


def console_of(lab: Lab, number: int) -> str:
    return lab.hosts[f"kvm{number}"].run(f"cat {POOL}/machines/shop/web-{number}/console.log").stdout


def states(done: Outcome) -> dict[str, str]:
    return {one["machine"]: one["state"] for one in done.report["machines"]}


@pytest.mark.timeout(400)
def test_guests_come_up_with_values_of_their_own(lab: Lab) -> None:
    for number in (1, 2):
        console = console_of(lab, number)
        assert f"web-{number} was made on kvm{number} for default, not {{{{ you }}}}" in console, console
        assert f"TINY done addresses=192.0.2.1{number}/24" in console, console


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("options", "words"),
    few(
        [
            (["-e", "serial=none"], "serial: invalid value 'none'; expected a number of machines, or a share of them such as 25%"),
            (["-e", "role=db"], "role: 'db' is not a role of the manifest; these are: web"),
        ],
        1,
    ),
)
def test_what_cannot_be_meant_updates_nothing(lab: Lab, options: list[str], words: str) -> None:
    done = nothing_changed_by(lab, lambda: update(lab, shop("2"), *options))
    assert done.code != 0 and words in done.out and "Traceback" not in done.out, done


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_host_that_cannot_make_it_keeps_all_machines(lab: Lab) -> None:
    other = lab.hosts["kvm2"]
    other.run("echo '<network><name>second</name></network>' >/root/second.xml; virsh net-define /root/second.xml; virsh net-start second")
    wanted = shop("2")
    wanted["machines"][0]["networks"] = [{"network": "second"}]
    done = nothing_changed_by(lab, lambda: update(lab, wanted))
    other.run("virsh net-destroy second; virsh net-undefine second")
    assert done.code != 0 and "kvm1 has no network 'second'" in done.out and "No machine was touched." in done.out, done


@pytest.mark.timeout(400)
def test_check_mode_says_what_an_update_would_do(lab: Lab) -> None:
    done = nothing_changed_by(lab, lambda: update(lab, shop("2"), "--check", "--diff"))
    assert done.code == 0 and "disk root: base tiny 1 → tiny 2" in done.out and "2 of 2 machines would be updated" in done.out, done
    assert "changed=1 " in done.out, done


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_disk_with_a_child_keeps_its_machine(lab: Lab) -> None:
    """The child may be a snapshot's or somebody's copy: without its parent its data are lost."""
    host, root, child = lab.hosts["kvm1"], f"{POOL}/machines/shop/web-1/root.qcow2", f"{POOL}/child.qcow2"
    inode = host.path(root).stat().st_ino
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", root, child, "1G"])
    try:
        done = update(lab, shop("2"), "-e", "machines=web-1")
        assert done.code != 0 and child in done.out and "Traceback" not in done.out, done
        assert host.path(root).stat().st_ino == inode and host.run(["virsh", "domstate", "shop-web-1"]).stdout.strip() == "shut off"
    finally:
        host.run(["rm", child])
    again = deploy(lab, shop())
    assert again.code == 0 and again.states["web-1"] == "started", again


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_one_machine_gets_other_hardware_and_keeps_its_disks(lab: Lab) -> None:
    before, base = data_of(lab), base_of(lab, "kvm1", "web-1")
    root = lab.hosts["kvm1"].path(f"{POOL}/machines/shop/web-1/root.qcow2").stat().st_ino
    hardware: dict[str, t.Any] = {"tpm": 2.0, "watchdog": {}, "cpus": "2", "cpu": {"topology": {"cores": "2"}}, "console": "terminal"}
    hardware["addresses"] = ["192.0.2.77/24", "192.0.2.12/24"]
    hardware["xml"] = [{"path": "devices", "add": "<sound model='ich9'/>"}]
    refused = nothing_changed_by(lab, lambda: update(lab, shop(**hardware), "-e", "machines=web-1"))
    assert refused.code != 0 and "kvm1 takes no XML of a manifest; an administrator may allow it" in refused.out, refused
    allowed = ["-e", "machines=web-1", "-e", "basecast_machine_xml=true"]
    wrong = {**hardware, "xml": [{"path": "devices", "add": "<sund model='ich9'/>"}]}
    refused = nothing_changed_by(lab, lambda: update(lab, shop(**wrong), *allowed))
    assert refused.code != 0 and "kvm1: libvirt's schema does not accept the machine with its xml" in refused.out, refused
    done = update(lab, shop(memory_mib=112, serial="data-1", **hardware), *allowed)
    assert "TINY done addresses=192.0.2.77/24" in console_of(lab, 1)
    assert done.code == 0 and states(done) == {"web-1": "updated"}, done
    assert "disk data: serial not set → data-1" in done.out and "tpm none → 2.0" in done.out, done
    xml = lab.hosts["kvm1"].run("virsh dumpxml --inactive shop-web-1").stdout
    for part in (
        "<serial>data-1</serial>",
        "<tpm model='tpm-crb'>",
        "<watchdog model='i6300esb'",
        "cores='2'",
        "<serial type='pty'>",
        "<sound model='ich9'>",
    ):
        assert part in xml, part
    assert "nothing to update" in update(lab, shop(memory_mib=112, serial="data-1", **hardware), *allowed).out
    assert (memory_of(lab, 1), memory_of(lab, 2)) == (str(112 * 1024), str(96 * 1024))
    assert data_of(lab) == before and base_of(lab, "kvm1", "web-1") == base
    assert lab.hosts["kvm1"].path(f"{POOL}/machines/shop/web-1/root.qcow2").stat().st_ino == root


@pytest.mark.timeout(600)
def test_a_new_version_rolls_over_the_machines(lab: Lab) -> None:
    """The base crosses to kvm2 first; then one machine after the other gets a new root disk and keeps its data disk."""
    before, old = data_of(lab), base_of(lab, "kvm2", "web-2")
    done = update(lab, shop("2", 112))
    assert done.code == 0 and states(done) == {"web-1": "updated", "web-2": "updated"}, done
    assert data_of(lab) == before
    assert base_of(lab, "kvm1", "web-1") == base_of(lab, "kvm2", "web-2") != old
    again = nothing_changed_by(lab, lambda: update(lab, shop("2", 112)))
    assert again.code == 0 and "nothing to update" in again.out and set(again.changed.values()) == {0}, again
    assert deploy(lab, shop("2", 112)).states == {"web-1": "present", "web-2": "present"}


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_a_failed_machine_stops_the_update(lab: Lab) -> None:
    """The next machine runs on, over the old base; the manifest of before brings the first one back."""
    old = base_of(lab, "kvm2", "web-2")
    done = update(lab, shop("broken", 112), "-e", "basecast_boot_timeout_s=5")
    assert done.code != 0 and states(done) == {"web-1": "failed", "web-2": "waiting"}, done
    assert "not touched, since another failed before" in done.out and "run it with the manifest of before" in done.out
    assert base_of(lab, "kvm2", "web-2") == old and lab.hosts["kvm2"].run(["virsh", "domstate", "shop-web-2"]).stdout.strip() == "running"
    back = update(lab, shop("2", 112))
    assert back.code == 0 and states(back) == {"web-1": "updated"} and base_of(lab, "kvm1", "web-1") == old, back


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_several_machines_at_a_time_go_back_together(lab: Lab) -> None:
    done = update(lab, shop("1", 112), "-e", "serial=100%")
    assert done.code == 0 and states(done) == {"web-1": "updated", "web-2": "updated"} and "step 1: web-1, web-2" in done.out, done


def id_of(lab: Lab, number: int) -> str:
    """Of the running QEMU: it changes when the machine is stopped."""
    return lab.hosts[f"kvm{number}"].run(f"virsh domid shop-web-{number}").stdout.strip()


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_a_disk_grows_while_its_machine_runs(lab: Lab) -> None:
    larger = shop("1", 112)
    larger["machines"][0]["disks"][1]["size_gib"] = 2
    before = [id_of(lab, 1), id_of(lab, 2)]
    predicted = nothing_changed_by(lab, lambda: update(lab, larger, "--check", "--diff"))
    assert predicted.code == 0 and "web-1: goes on running while data grows" in predicted.out, predicted
    done = update(lab, larger)
    assert done.code == 0 and states(done) == {"web-1": "updated", "web-2": "updated"}, done
    assert [id_of(lab, 1), id_of(lab, 2)] == before
    for number in (1, 2):
        told = lab.hosts[f"kvm{number}"].run(f"virsh domblkinfo shop-web-{number} vdb").stdout
        assert f"{2 * 2**30}" in told, told
    again = nothing_changed_by(lab, lambda: update(lab, larger))
    assert again.code == 0 and "nothing to update" in again.out, again
    assert deploy(lab, larger).states == {"web-1": "present", "web-2": "present"}
