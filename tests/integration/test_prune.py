# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""basecast.fleet.prune on lab hosts, by itself and beside deployments. The tests build on each other."""

from __future__ import annotations

import copy
import json
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, Outcome, bases, deploy, give, nothing_changed_by
from ansible_collections.basecast.fleet.tests.lab import Host, Lab, images

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
            "networks": [],
        }
    ],
}
AT_ONCE = [f"-ebasecast_prune_{name}=0" for name in ("unused_days", "keep_versions", "grace_s", "left_hours")]


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=2, rate_mbps=200, libvirt=True)
    give(made.hosts["kvm1"])
    for version in ("a", "b"):
        made.hosts["kvm1"].put(images.tiny(version=version, pad_mib=1), f"{POOL}/images/{version}.qcow2")
    done = deploy(made, SHOP)
    assert done.code == 0, done
    return made


def prune(lab: Lab, *options: str) -> Outcome:
    report = lab.state / "prune.json"
    report.unlink(missing_ok=True)
    return Outcome(lab.playbook(["basecast.fleet.prune", "-e", f"basecast_report_file={report}", *options], timeout=240), report)


def bring(lab: Lab, host: str, version: str, **options: t.Any) -> str:
    """A base that nothing needs."""
    path = f"{POOL}/images/{version}.qcow2"
    if not lab.hosts[host].path(path).exists():
        lab.hosts[host].run(["mkdir", "-p", f"{POOL}/images"])
        lab.hosts[host].put(images.tiny(version=version, pad_mib=1), path)
    before = set(bases(lab.hosts[host]))
    wanted = {"src": path, "name": "spare", "version": version, "pool": "default", **options}
    done = lab.exec_in_controller(["ansible", host, "-m", "basecast.fleet.base_disk_import", "-a", json.dumps(wanted)])
    assert done.returncode == 0, done.stdout + done.stderr
    (sha256,) = set(bases(lab.hosts[host])) - before
    return sha256


def needed(host: Host) -> str:
    """The base of shop's machine."""
    told = json.loads(host.run(["qemu-img", "info", "-U", "--output=json", *disks(host, "shop")[:1]]).stdout)
    return str(told["full-backing-filename"]).split("/")[-2]


def disks(host: Host, service: str) -> list[str]:
    return host.run(f"find {POOL}/machines/{service} -name root.qcow2").stdout.split()


@pytest.mark.timeout(400)
def test_check_mode_says_why(lab: Lab) -> None:
    spare = bring(lab, "kvm1", "a")
    done = nothing_changed_by(lab, lambda: prune(lab, *AT_ONCE, "--check", "--diff"))
    assert done.code == 0 and "1 of 3 bases and 0 of 0 leftovers would go" in done.out, done
    assert "goes   spare a on kvm1 pool default" in done.out and "stays  tiny 1 on kvm2 pool default" in done.out
    assert "needed by" in done.out and spare in done.out
    usual = nothing_changed_by(lab, lambda: prune(lab, "--check"))
    assert usual.code == 0 and "the newest version of spare" in usual.out, usual


@pytest.mark.timeout(600)
def test_everything_that_needs_a_base_keeps_it(lab: Lab) -> None:
    """The disks of stopped machines, of domains that others have defined, children, pins, records, claims."""
    host = lab.hosts["kvm1"]
    spare = next(one for one in bases(host) if one != needed(host))
    disk = f"{POOL}/bases/{spare}/disk"
    host.run(["mkdir", "-p", "/srv/elsewhere"])
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", disk, "/srv/elsewhere/x.img"])
    xml = "<domain type='qemu'><name>theirs</name><memory>65536</memory><os><type>hvm</type></os><devices><disk type='file'>"
    xml += "<driver name='qemu' type='qcow2'/><source file='/srv/elsewhere/x.img'/><target dev='vda'/></disk></devices></domain>"
    host.path("/srv/elsewhere/x.xml").write_text(xml)
    host.run("virsh define /srv/elsewhere/x.xml")
    kept = prune(lab, *AT_ONCE)
    assert kept.code == 0 and "needed by the domain theirs" in kept.out and spare in bases(host), kept
    host.run("virsh undefine theirs")
    claim = {"run": "other", "service": "next", "bases": [spare]}
    for state, stays in (("present", True), ("absent", False)):
        done = lab.exec_in_controller(["ansible", "kvm1", "-m", "basecast.fleet.host_claim", "-a", json.dumps({**claim, "state": state})])
        assert done.returncode == 0, done.stdout
        told = prune(lab, *AT_ONCE)
        assert told.code == 0 and (spare in bases(host)) is stays, told
        assert not stays or "the run other is about to use it" in told.out
    assert "1 removed" in told.out and needed(host) in bases(host) and list(told.changed.values()) == [1, 0]
    late = lab.exec_in_controller(["ansible", "kvm1", "-m", "basecast.fleet.host_claim", "-a", json.dumps(claim)])
    assert "has been removed from this host" in late.stdout
    again = prune(lab, *AT_ONCE)
    assert again.code == 0 and set(again.changed.values()) == {0}, again


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_what_cannot_be_known_keeps_everything(lab: Lab) -> None:
    host = lab.hosts["kvm1"]
    spare = bring(lab, "kvm1", "b")
    strange = f"{POOL}/strange.qcow2"
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "nbd:localhost:10809", strange, "1M"])
    done = prune(lab, *AT_ONCE, "--limit", "kvm1")
    host.run(["rm", strange])
    assert done.code != 0 and "what is behind that is not known" in done.out and spare in bases(host), done
    lab.hosts["kvm2"].cut_link()
    try:
        done = prune(lab, *AT_ONCE)
    finally:
        lab.hosts["kvm2"].restore_link()
    # The pool of kvm1 is its own: what kvm2 needs does not matter there. All the same somebody has to look.
    assert done.code != 0 and "kvm2 cannot be known: cannot be reached" in done.out and spare not in bases(host), done
    assert needed(lab.hosts["kvm2"]) in bases(lab.hosts["kvm2"])


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_leftovers_go(lab: Lab) -> None:
    host = lab.hosts["kvm2"]
    partial, upload = f"{POOL}/bases/.partial/{'5' * 64}", f"{POOL}/bases/.incoming/{'6' * 32}"
    host.run(["mkdir", "-p", partial, upload])
    host.run(f"echo x > {partial}/disk; echo y > {upload}/file")
    kept = prune(lab)
    assert kept.code == 0 and host.path(partial).exists() and host.path(upload).exists(), kept
    done = prune(lab, *AT_ONCE)
    assert done.code == 0 and not host.path(partial).exists() and not host.path(upload).exists(), done


@pytest.mark.variant
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-e", "basecast_prune_unused_days=soon"], "basecast_prune_unused_days: invalid value 'soon'"),
        (["--skip-tags", "all"], "Nothing was done, or not all of it"),
    ],
    ids=["days", "tags"],
)
def test_what_cannot_be_meant_is_refused(lab: Lab, options: list[str], words: str) -> None:
    done = nothing_changed_by(lab, lambda: prune(lab, *options))
    assert done.code != 0 and words in done.out and "Traceback" not in done.out, done


@pytest.mark.variant
@pytest.mark.timeout(900)
def test_pruning_beside_deployments_loses_nothing(lab: Lab) -> None:
    """Bases come and go in turns, while everything that is not needed is removed as soon as it may be."""
    stop, problems, rounds = threading.Event(), [], []

    def keep_pruning() -> None:
        while not stop.is_set():
            done = prune(lab, *AT_ONCE[:2], "-e", "basecast_prune_grace_s=5")
            rounds.append(len(done.report.get("report", {}).get("removed", [])))
            if done.code != 0:
                problems.append(done)

    other = copy.deepcopy(SHOP)
    other["service"] = "turns"
    pruning = threading.Thread(target=keep_pruning)
    pruning.start()
    try:
        for version in "aba":
            other["bases"] = [{"name": "turn", "version": version, "source": {"host": "kvm1", "path": f"images/{version}.qcow2"}}]
            other["machines"][0]["disks"][0]["base"] = "turn"
            done = deploy(lab, other)
            assert done.code == 0 and set(done.states.values()) == {"deployed"}, done
            for host in lab.hosts.values():
                host.run(["qemu-img", "check", "-q", "-U", *disks(host, "turns")])
            gone = lab.playbook(["basecast.fleet.remove", "-e", "service=turns", "-e", "basecast_shutdown_timeout_s=0"])
            assert gone.returncode == 0, gone.stdout[-3000:]
    finally:
        stop.set()
        pruning.join()
    assert not problems and len(rounds) >= 3, problems
    for host in lab.hosts.values():
        assert needed(host) in bases(host)
        assert host.run("virsh -q list --name").stdout.split()
    sound = lab.playbook(["basecast.fleet.verify"])
    assert sound.returncode == 0, sound.stdout[-3000:]
