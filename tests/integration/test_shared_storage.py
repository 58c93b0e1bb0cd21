# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts that work in one pool at the same time, each with a mount of its own that knows no lock of the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.filter.shared_storage import shared_storage
from ansible_collections.basecast.fleet.tests.integration.test_deploy import (
    POOL,
    Outcome,
    bases,
    deploy,
    give,
    manifest,
    nothing_changed_by,
)
from ansible_collections.basecast.fleet.tests.lab import Host, Lab, images

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
CODE = "ansible_collections/basecast/fleet/plugins"
STORE = "from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store\n"
HOLD = STORE + (
    "import sys, time\n"
    "with Store(sys.argv[1], pool='default').partial(sys.argv[2]) as partial:\n"
    "    open(partial.disk, 'wb').write(b'half')\n"
    "    time.sleep(300)\n"
)
WAIT = STORE + "import sys\nStore(sys.argv[1], pool='default').partial(sys.argv[2], wait_s=20)\n"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def lab(fresh_lab_factory: t.Callable[..., Lab]) -> Lab:
    made = fresh_lab_factory(hosts=3, libvirt=True)
    made.share_pool("default", ["kvm2", "kvm3"], apart=True)
    return made


def script(host: Host, code: str, sha256: str) -> str:
    """A command for the host that runs the code with the collection."""
    if not host.path(f"/opt/code/{CODE}").exists():
        shutil.copytree(PLUGINS, host.path(f"/opt/code/{CODE}"), ignore=shutil.ignore_patterns("__pycache__"))
    host.path("/opt/code/run.py").write_text(code)
    return f"PYTHONPATH=/opt/code python3 /opt/code/run.py {POOL} {sha256}"


def hold(host: Host, sha256: str) -> Path:
    """The host's lease on a base that it has begun to write."""
    host.run(["mkdir", "-p", f"{POOL}/bases"])
    host.run(f"{script(host, HOLD, sha256)} > /opt/code/out 2>&1 & echo begun")
    lease = host.path(f"{POOL}/bases/.partial/{sha256}/lock.lease")
    until = time.monotonic() + 30
    while not (lease.exists() and lease.stat().st_size):
        assert time.monotonic() < until, host.path("/opt/code/out").read_text()
        time.sleep(0.1)
    return lease


def modules(lab: Lab, *tasks: dict[str, t.Any], hosts: str) -> subprocess.Popen[str]:
    """A play of modules, each host for itself."""
    play = [{"hosts": hosts, "gather_facts": False, "strategy": "free", "tasks": list(tasks)}]
    file = lab.state / f"play-{time.monotonic_ns()}.json"
    file.write_text(json.dumps(play))
    return lab.popen_playbook([str(file)])


def importing(path: str) -> dict[str, t.Any]:
    options = {"pools": {"default": POOL}, "src": path, "name": "tiny", "version": "1"}
    return {"basecast.fleet.base_disk_import": options}


def leftovers(host: Host) -> list[str]:
    """Locks, leases and parts of bases that nobody works on any more."""
    return sorted(
        str(path.relative_to(host.path(POOL)))
        for path in host.path(f"{POOL}/bases").rglob("*")
        if path.name.endswith((".lease", ".tmp", ".broken"))
        or ".shared." in path.name
        or path.name.startswith((".removed-", ".discarded-"))
        or path.parent.name == ".partial"
    )


def test_two_hosts_import_into_one_pool_and_deploy_from_it(lab: Lab) -> None:
    image = images.tiny(version="v1", pad_mib=16)
    runs = []
    for service, host in (("shop", "kvm2"), ("blog", "kvm3")):
        wanted = manifest(hosts=[host])
        wanted["service"] = service
        wanted["bases"][0]["source"] = {"controller": str(image)}
        file = lab.state / f"{service}.json"
        file.write_text(json.dumps(wanted))
        report = f"basecast_report_file={lab.state}/{service}-report.json"
        runs.append(
            lab.popen_playbook(["basecast.fleet.deploy", "-e", f"manifest={file}", "-e", report, "-e", "basecast_boot_timeout_s=180"])
        )
    for run in runs:
        said = run.communicate(timeout=350)[0]
        assert run.returncode == 0, said[-5000:]
    for service in ("shop", "blog"):
        told = json.loads((lab.state / f"{service}-report.json").read_text())
        assert [machine["state"] for machine in told["machines"]] == ["deployed"]
    assert len(bases(lab.hosts["kvm2"])) == 1
    assert leftovers(lab.hosts["kvm2"]) == []
    assert lab.hosts["kvm2"].run("virsh -q list --name").stdout.split() == ["shop-web-1"]
    assert lab.hosts["kvm3"].run("virsh -q list --name").stdout.split() == ["blog-web-1"]


def test_two_hosts_import_the_same_bytes_into_one_pool(lab: Lab) -> None:
    """Without a plan that would have them go one after the other."""
    for name in ("kvm2", "kvm3"):
        give(lab.hosts[name], name=f"{name}.qcow2")
    done = modules(lab, importing("images/{{ inventory_hostname }}.qcow2"), hosts="kvm2,kvm3")
    said = done.communicate(timeout=200)[0]
    assert done.returncode == 0, said[-5000:]
    assert len(bases(lab.hosts["kvm2"])) == 1
    assert leftovers(lab.hosts["kvm2"]) == []


def digest(host: Host) -> str:
    return host.run(f"sha256sum {POOL}/images/tiny.qcow2").stdout.split()[0]


def test_a_lease_of_a_living_host_stays_and_one_of_a_dead_host_goes(lab: Lab) -> None:
    one, two = lab.hosts["kvm2"], lab.hosts["kvm3"]
    give(two)
    sha256 = digest(two)
    lease = hold(one, sha256)
    # Older than its holder lets it become: the next beat makes it new again before it is stale.
    os.utime(lease, (time.time() - 75,) * 2)
    refused = two.run(script(two, WAIT, sha256), check=False, timeout=60)
    assert refused.rc != 0
    assert f"is being written by process {json.loads(lease.read_text())['pid']} of kvm2" in refused.stderr
    one.crash()
    refused = two.run(script(two, WAIT, sha256), check=False, timeout=60)
    assert "of kvm2" in refused.stderr, "nobody can know yet that it is dead"
    os.utime(lease, (time.time() - 95,) * 2)
    done = modules(lab, importing("images/tiny.qcow2"), hosts="kvm3")
    said = done.communicate(timeout=200)[0]
    assert done.returncode == 0, said[-5000:]
    assert bases(two) == [sha256]
    assert leftovers(two) == []


@pytest.mark.variant
def test_a_deployment_goes_on_after_a_host_that_died_with_its_lease(lab: Lab) -> None:
    one, two = lab.hosts["kvm2"], lab.hosts["kvm3"]
    give(lab.hosts["kvm1"])
    sha256 = digest(lab.hosts["kvm1"])
    lease = hold(one, sha256)
    one.crash()
    os.utime(lease, (time.time() - 95,) * 2)
    done = deploy(lab, manifest(hosts=["kvm3"]))
    assert done.code == 0, done
    assert bases(two) == [sha256]
    assert leftovers(two) == []


class TestStorageIsRecognised:
    """kvm1 and kvm2 share a pool through a bind mount; those of kvm3 and kvm4 only look equal."""

    @pytest.fixture(scope="class")
    def fleet(self, lab_factory: t.Callable[..., Lab]) -> Lab:
        made = lab_factory(hosts=4, rate_mbps=400, libvirt=True)
        made.share_pool("default", ["kvm1", "kvm2"])
        made.look_alike("default", ["kvm3", "kvm4"])
        made.look_alike("veil", ["kvm1", "kvm2"], overlay=True)
        give(made.hosts["kvm1"])
        return made

    @pytest.fixture(scope="class")
    def deployed(self, fleet: Lab) -> t.Any:
        wanted = manifest(hosts=list(fleet.hosts))
        del wanted["machines"][0]["cloud_init"]
        file = fleet.state / "plan.json"
        planned = nothing_changed_by(fleet, lambda: deploy(fleet, wanted, "-e", f"basecast_plan_file={file}", playbook="plan"))
        assert planned.code == 0, planned
        done = deploy(fleet, wanted)
        assert done.code == 0, done
        return json.loads(file.read_text())["service"], done

    def test_copies_of_one_file_system_get_a_base_each(self, fleet: Lab, deployed: t.Any) -> None:
        plan, done = deployed
        (relay,) = plan["relays"]
        assert (sorted(relay["targets"]), relay["shared_pools"]) == (["kvm3", "kvm4"], [])
        received = {name: list(host["relay"]["bases"].values()) for name, host in done.report["hosts"].items() if host.get("relay")}
        whole = received["kvm3"][0]["size_bytes"]
        assert all(whole <= received[name][0]["received_bytes"] < 1.02 * whole for name in ("kvm3", "kvm4"))
        assert not [base for name in ("kvm1", "kvm2") for base in received.get(name, []) if base["received_bytes"]]
        assert [host.run(f"ls {POOL}/bases").stdout.split() for host in fleet.hosts.values()] == [bases(fleet.hosts["kvm1"])] * 4

    def test_no_mark_is_left(self, fleet: Lab, deployed: t.Any) -> None:
        for host in fleet.hosts.values():
            assert ".basecast-marks" not in host.run(f"ls -A {POOL}").stdout

    def test_what_is_seen_one_way_only_is_not_shared(self, fleet: Lab) -> None:
        fleet.hosts["kvm1"].run("echo there > /srv/pools/veil/file")
        assert fleet.hosts["kvm2"].run("cat /srv/pools/veil/file").stdout == "there\n"
        probe = {"pools": {"veil": "/srv/pools/veil"}, "run": "r1", "expected": {"veil": 2}}
        mark = {"basecast.fleet.storage_probe": {**probe, "state": "marked"}, "register": "marked", "throttle": 1}
        look = {
            "basecast.fleet.storage_probe": {**probe, "state": "seen", "marks": "{{ marked.marks }}"},
            "register": "looked",
            "throttle": 1,
        }
        file = fleet.state / "veil.json"
        keep = {
            "ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(file)},
            "delegate_to": "localhost",
            "run_once": True,
            "vars": {
                "ansible_connection": "local",
                "found": "{{ ansible_play_hosts_all | basecast.fleet.collect_facts(hostvars, 'looked') }}",
            },
        }
        play = fleet.state / "veil-play.json"
        # The upper host marks last and looks first: it sees all that it can see.
        common = {"hosts": "kvm1,kvm2", "gather_facts": False}
        play.write_text(json.dumps([{**common, "tasks": [mark]}, {**common, "order": "reverse_inventory", "tasks": [look, keep]}]))
        done = fleet.playbook([str(play)], timeout=100)
        assert done.returncode == 0, done.stdout[-3000:]
        found = json.loads(file.read_text())
        # Whether the upper one sees the lower one's mark depends on what its kernel remembers of the directory.
        assert len(found["kvm1"]["seen"]["veil"]) == 1, "nothing of an overlay shows below it"
        hosts = {name: {"reachable": True, "pools": {"veil": {}}} for name in ("kvm1", "kvm2")}
        assert all("storage" not in host["pools"]["veil"] for host in shared_storage(hosts, found).values())

    def test_removal_leaves_machines_of_a_host_that_cannot_be_asked(self, fleet: Lab, deployed: t.Any) -> None:
        """kvm1 sees the files of kvm2's machine, and cannot know whether it has it still."""
        fleet.hosts["kvm2"].crash()
        done = deploy(fleet, manifest(hosts=list(fleet.hosts)), playbook="remove")
        assert done.code != 0, done
        machines = fleet.hosts["kvm1"].path(f"{POOL}/machines/shop")
        assert sorted(one.name for one in machines.iterdir() if one.is_dir()) == ["web-2"], done
        assert (machines / "web-2" / "root.qcow2").exists()
        assert "web-2 stays: no host that was asked has its domain" in done.out
        # A removed file lives on under another name while it is open, so folders empty later than on a local file system.
        assert [fleet.hosts[name].run(f"ls -A {POOL}/machines").stdout for name in ("kvm3", "kvm4")] == ["", ""]


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_a_machine_on_shared_storage_moves_without_its_disks(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    """Live, back while it is off, and after a migration that was killed: what is in the shared pool is touched by nobody.

    As root: libvirt notes owners in extended attributes, which a file system of this kernel has and NFS has not.
    """
    lab = fresh_lab_factory(hosts=3, libvirt="root")
    lab.share_pool("default", ["kvm2", "kvm3"], apart=True)
    give(lab.hosts["kvm2"])
    shop = manifest(count=1)
    shop["bases"][0]["source"]["host"] = "kvm2"
    shop["machines"][0].update(hosts=["kvm2"], networks=[], memory_mib=128)
    assert deploy(lab, shop).code == 0
    disk = lab.hosts["kvm2"].path(f"{POOL}/machines/shop/web-1/root.qcow2")
    before = disk.stat().st_ino
    for target, more in (("kvm3", []), ("kvm2", ["-e", "live=false", "-e", "basecast_shutdown_timeout_s=30"])):
        done = move(lab, target, *more)
        assert done.code == 0, done.report
        assert done.report["machines"][0]["bytes"] < 2**16, done
        assert not done.report["machines"][0]["disk_bytes"], done
        assert lab.hosts[target].run("virsh domstate shop-web-1").stdout.strip() == "running"
        assert disk.stat().st_ino == before
    began = lab.popen_playbook(["basecast.fleet.migrate", "-e", "service=shop", "-e", "machine=web-1", "-e", "to=kvm3"])
    assert began.stdout is not None
    for line in began.stdout:
        if "Let machines leave: sent" in line:
            break
    began.kill()
    began.wait()
    until = time.monotonic() + 120
    while (done := move(lab, "kvm3")).code != 0:
        assert "at work on" in done.out and time.monotonic() < until, done
    names = sorted(path.name for path in disk.parent.iterdir() if not path.name.startswith("."))
    assert names == ["console.log", "report.log", "root.qcow2", "seed.iso", "seed.json"] and disk.stat().st_ino == before
    shop["machines"][0].update(hosts=["kvm2", "kvm3"])
    again = deploy(lab, shop)
    assert again.code == 0 and again.states == {"web-1": "present"} and set(again.changed.values()) == {0}, again


def move(lab: Lab, target: str, *options: str) -> Outcome:
    report = lab.state / "migration.json"
    report.unlink(missing_ok=True)
    asked = ["-e", "service=shop", "-e", "machine=web-1", "-e", f"to={target}", "-e", f"basecast_report_file={report}", *options]
    return Outcome(lab.playbook(["basecast.fleet.migrate", *asked], timeout=300), report)
