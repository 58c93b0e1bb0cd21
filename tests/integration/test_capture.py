# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""basecast.fleet.capture and clone on lab hosts, and machines made from what was captured. The tests build on each other."""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, Outcome, bases, deploy, give, nothing_changed_by
from ansible_collections.basecast.fleet.tests.integration.variants import few
from ansible_collections.basecast.fleet.tests.lab import Lab

ROLE: dict[str, t.Any] = {"memory_mib": 96, "networks": [], "cloud_init": {}}
SHOP: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
    "machines": [{**ROLE, "name": "web", "hosts": ["kvm1"], "disks": [{"name": "root", "base": "tiny", "size_gib": 1}]}],
}
ROOT = f"{POOL}/machines/shop/web-1/root.qcow2"


def from_base(service: str, base: str, version: str, *hosts: str) -> dict[str, t.Any]:
    """A manifest of machines made from a base that is somewhere in the fleet."""
    return {
        "format": 1,
        "service": service,
        "bases": [{"name": base, "version": version}],
        "machines": [{**ROLE, "name": "copy", "hosts": list(hosts), "disks": [{"name": "root", "base": base, "size_gib": 1}]}],
    }


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=2, rate_mbps=200, libvirt=True)
    give(made.hosts["kvm1"])
    done = deploy(made, SHOP)
    assert done.code == 0, done
    return made


def capture(lab: Lab, *options: str, **named: str) -> Outcome:
    wanted = {"service": "shop", "machine": "web-1", "base": "golden", "version": "1", **named}
    names = [word for key, value in wanted.items() for word in ("-e", f"{key}={value}")]
    return Outcome(lab.playbook(["basecast.fleet.capture", *names, *options], timeout=240), lab.state / "none.json")


def chain(lab: Lab, host: str, path: str) -> list[str]:
    told = json.loads(lab.hosts[host].run(["qemu-img", "info", "-U", "--backing-chain", "--output=json", path]).stdout)
    return [os.path.normpath(one["filename"]) for one in told]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("options", "words"),
    few(
        [
            ({"machine": "web-9"}, "machine: web-9 is on no host that could be asked; the machines of shop are: web-1"),
            ({"machine": "../x"}, "machine: invalid value '../x'"),
            ({"version": ""}, "version: none given; expected a name (-e version=NAME)"),
            ({"base": "tiny"}, "tiny 1 is a base disk already"),
            ({"disk": "data"}, "kvm1: capture the disk: disk: 'data' is not accepted"),
        ],
        1,
    ),
)
def test_what_cannot_be_captured_changes_nothing(lab: Lab, options: dict[str, str], words: str) -> None:
    done = nothing_changed_by(lab, lambda: capture(lab, **options))
    assert done.code != 0 and words in done.out and "Traceback" not in done.out, done


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_check_mode_tells_what_would_be_captured(lab: Lab) -> None:
    done = nothing_changed_by(lab, lambda: capture(lab, "--check", "--diff"))
    assert done.code == 0 and "golden 1 would be captured from disk root of web-1 on kvm1." in done.out, done


@pytest.mark.timeout(400)
def test_a_running_machine_becomes_a_base_and_goes_on(lab: Lab) -> None:
    kvm1 = lab.hosts["kvm1"]
    pid = kvm1.run("pgrep -f guest=shop-web-1").stdout.split()
    before = kvm1.run(["virsh", "dumpxml", "--inactive", "shop-web-1"]).stdout
    done = capture(lab)
    assert done.code == 0 and "golden 1 was captured from disk root of web-1 on kvm1." in done.out, done
    assert "it has no guest agent" in done.out
    assert (
        kvm1.run("pgrep -f guest=shop-web-1").stdout.split() == pid
        and kvm1.run(["virsh", "dumpxml", "--inactive", "shop-web-1"]).stdout == before
    )
    assert not [path.name for path in kvm1.path(f"{POOL}/machines/shop/web-1").iterdir() if "capture" in path.name]
    assert len(bases(kvm1)) == 2
    again = nothing_changed_by(lab, lambda: capture(lab))
    assert again.code == 0 and "golden 1 is a base disk already" in again.out and again.changed["kvm1"] == 0, again


@pytest.mark.timeout(600)
def test_machines_of_a_captured_base_come_up_on_other_hosts(lab: Lab) -> None:
    """The base and its parent cross the network once; kvm2 had neither."""
    done = deploy(lab, from_base("fork", "golden", "1", "kvm1", "kvm2"))
    assert done.code == 0 and set(done.states.values()) == {"deployed"}, done
    assert bases(lab.hosts["kvm2"]) == bases(lab.hosts["kvm1"])
    (name,) = [machine["machine"] for machine in done.report["machines"] if machine["host"] == "kvm2"]
    found = chain(lab, "kvm2", f"{POOL}/machines/fork/{name}/root.qcow2")
    assert len(found) == 3 and all("/bases/" in path for path in found[1:])


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_a_stopped_machine_gives_a_base_without_parent(lab: Lab) -> None:
    kvm1 = lab.hosts["kvm1"]
    kvm1.run(["virsh", "destroy", "shop-web-1"])
    done = capture(lab, "-e", "flatten=true", version="whole")
    assert (
        done.code == 0 and "without a parent" in done.out and kvm1.run(["virsh", "domstate", "shop-web-1"]).stdout.strip() == "shut off"
    ), done
    done = deploy(lab, from_base("whole", "golden", "whole", "kvm1"))
    assert done.code == 0 and len(chain(lab, "kvm1", f"{POOL}/machines/whole/copy-1/root.qcow2")) == 2, done


@pytest.mark.variant
@pytest.mark.timeout(900)
def test_chains_grow_deep(lab: Lab) -> None:
    """Each machine is captured, and the next one made of that; the last machine comes up."""
    base, version, layers, last = "golden", "1", 8, "last"
    for depth in range(3, layers):
        service = f"deep-{depth}"
        made = deploy(lab, from_base(service, base, version, "kvm1"))
        assert made.code == 0, made
        base, version = "deep", str(depth)
        done = capture(lab, base=base, version=version, machine="copy-1", service=service)
        assert done.code == 0, done
    made = deploy(lab, from_base(last, base, version, "kvm2"))
    assert made.code == 0 and len(chain(lab, "kvm2", f"{POOL}/machines/{last}/copy-1/root.qcow2")) == layers, made
    taken = capture(lab, base="deep", version="3", machine="copy-1", service=last)
    assert taken.code != 0 and "base: deep 3 is a base disk on kvm1" in taken.out and "give another version" in taken.out, taken


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_an_overlay_is_imported_over_its_parent(lab: Lab) -> None:
    """A file made elsewhere over the same parent, in a manifest that names both."""
    kvm1 = lab.hosts["kvm1"]
    patch = f"{POOL}/images/patch.qcow2"
    kvm1.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", f"{POOL}/images/tiny.qcow2", patch])
    service: dict[str, t.Any] = from_base("patched", "patch", "1", "kvm2")
    service["bases"] = [
        {"name": "tiny", "version": "1"},
        {
            "name": "patch",
            "version": "1",
            "parent": {"name": "tiny", "version": "1"},
            "source": {"host": "kvm1", "path": "images/patch.qcow2"},
        },
    ]
    done = deploy(lab, service)
    assert done.code == 0 and len(chain(lab, "kvm2", f"{POOL}/machines/patched/copy-1/root.qcow2")) == 3, done
    again = deploy(lab, service)
    assert again.code == 0 and set(again.changed.values()) == {0}, again


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_copies_of_a_machine_on_other_hosts_are_one_manifest(lab: Lab) -> None:
    """The base is captured where the machine is, and relayed; a second run captures nothing."""
    service = from_base("twins", "twin", "1", "kvm2")
    service["bases"] = [{"name": "twin", "version": "1", "source": {"machine": "web-1", "service": "shop"}}]
    planned = nothing_changed_by(lab, lambda: deploy(lab, service, "--check"))
    assert planned.code == 0 and "from machine web-1 of service shop" in planned.out, planned
    done = deploy(lab, service)
    assert done.code == 0 and set(done.states.values()) == {"deployed"}, done
    assert len(chain(lab, "kvm2", f"{POOL}/machines/twins/copy-1/root.qcow2")) == 3
    again = deploy(lab, service)
    assert again.code == 0 and set(again.changed.values()) == {0}, again


@pytest.mark.timeout(600)
def test_three_lines_copy_a_machine_with_its_hardware(lab: Lab) -> None:
    """A second run makes nothing, and finds the template although its machine is not asked."""
    source = {"machine": "web-1", "service": "shop", "template": "whole"}
    trio = {"format": 1, "service": "trio", "machines": [{"name": "twin", "hosts": ["kvm1", "kvm2"], "source": source}]}
    done = deploy(lab, trio)
    assert done.code == 0 and done.states == {"twin-1": "deployed", "twin-2": "deployed"}, done
    xml = {
        name: lab.hosts[host].run(["virsh", "dumpxml", name]).stdout for name, host in (("trio-twin-1", "kvm1"), ("trio-twin-2", "kvm2"))
    }
    memory = f"<memory unit='KiB'>{ROLE['memory_mib'] * 1024}</memory>"
    assert all(memory in one for one in xml.values()) and "came up as twin-2" in done.out, done
    again = nothing_changed_by(lab, lambda: deploy(lab, trio))
    assert again.code == 0 and set(again.changed.values()) == {0}, again


# --- clones ------------------------------------------------------------------------------------


def clone(lab: Lab, *options: str, machine: str = "copy-1", service: str = "fork") -> Outcome:
    names = ["-e", f"service={service}", "-e", f"machine={machine}"]
    return Outcome(lab.playbook(["basecast.fleet.clone", *names, *options], timeout=240), lab.state / "none.json")


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("options", "words"),
    few(
        [
            (["-e", "name=copy-2"], "name: copy-2 is a machine on kvm2; choose another name, the next one is copy-3"),
            (["-e", "name=other"], "name: invalid value 'other'; a clone of copy-1 is called copy-NUMBER"),
            (["-e", "name=../x"], "name: invalid value '../x'"),
        ],
        1,
    ),
)
def test_a_clone_that_cannot_be_changes_nothing(lab: Lab, options: list[str], words: str) -> None:
    done = nothing_changed_by(lab, lambda: clone(lab, *options))
    assert done.code != 0 and words in done.out and "Traceback" not in done.out, done


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_check_mode_tells_what_the_clone_would_be(lab: Lab) -> None:
    done = nothing_changed_by(lab, lambda: clone(lab, "--check", "--diff"))
    assert done.code == 0 and "copy-3, the clone of copy-1, would be there on kvm1." in done.out, done


@pytest.mark.timeout(600)
def test_a_running_machine_is_cloned_and_goes_on(lab: Lab) -> None:
    kvm1 = lab.hosts["kvm1"]
    pid = kvm1.run("pgrep -f guest=fork-copy-1").stdout.split()
    done = clone(lab, "-e", "name=copy-9")
    assert done.code == 0 and "copy-9, the clone of copy-1, is there on kvm1, came up as copy-9" in done.out, done
    assert kvm1.run("pgrep -f guest=fork-copy-1").stdout.split() == pid and len(pid) == 1
    mine, theirs = (chain(lab, "kvm1", f"{POOL}/machines/fork/{name}/root.qcow2")[1:] for name in ("copy-9", "copy-1"))
    assert mine == theirs
    again = nothing_changed_by(lab, lambda: clone(lab, "-e", "name=copy-9"))
    assert again.code == 0 and set(again.changed.values()) == {0}, again
    seen = deploy(lab, from_base("fork", "golden", "1", "kvm1", "kvm2"))
    assert seen.code == 0 and "surplus: copy-9" in seen.out and set(seen.changed.values()) == {0}, seen


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_a_clone_leaves_with_its_machine_staying(lab: Lab) -> None:
    done = lab.playbook(
        ["basecast.fleet.remove", "-e", "service=fork", "-e", "machines=copy-9", "-e", "basecast_shutdown_timeout_s=1"], timeout=240
    )
    assert done.returncode == 0, done.stdout
    kvm1 = lab.hosts["kvm1"]
    assert not kvm1.path(f"{POOL}/machines/fork/copy-9").exists()
    assert kvm1.run(["virsh", "domstate", "fork-copy-1"]).stdout.strip() == "running"
