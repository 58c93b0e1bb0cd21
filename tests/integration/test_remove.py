# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""basecast.fleet.remove on lab hosts, with guests that run. The tests build on each other, from one service to none."""

from __future__ import annotations

import copy
import json
import re
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, Outcome, bases, deploy, give, nothing_changed_by
from ansible_collections.basecast.fleet.tests.lab import Lab

ROLE: dict[str, t.Any] = {
    "memory_mib": 96,
    "hosts": ["kvm1", "kvm2"],
    "disks": [{"name": "root", "base": "tiny", "size_gib": 1}],
    "networks": [],
}
SHOP: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
    "machines": [
        {**ROLE, "name": "web", "per_host": 2, "cloud_init": {"user_data": {"runcmd": ["echo secret-of-web"]}}},
        {**ROLE, "name": "db", "cloud_init": {"user_data": {"runcmd": ["echo secret-of-db"]}}},
    ],
}
BLOG: dict[str, t.Any] = {**SHOP, "service": "blog", "machines": [{**ROLE, "name": "page", "cloud_init": {}}]}
QUICK = ["-e", "basecast_shutdown_timeout_s=1"]


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=2, rate_mbps=200, libvirt=True)
    give(made.hosts["kvm1"])
    for service in (SHOP, BLOG):
        done = deploy(made, service)
        assert done.code == 0, done
    return made


def remove(lab: Lab, *options: str) -> Outcome:
    report = lab.state / "removal.json"
    report.unlink(missing_ok=True)
    return Outcome(lab.playbook(["basecast.fleet.remove", "-e", f"basecast_report_file={report}", *QUICK, *options], timeout=240), report)


def domains(lab: Lab) -> dict[str, list[str]]:
    return {name: sorted(host.run("virsh -q list --all --name").stdout.split()) for name, host in lab.hosts.items()}


def traces(lab: Lab, service: str) -> list[str]:
    """Paths of the host that tell of the service, those that end with the host's run apart."""
    found: list[str] = []
    for host in lab.hosts.values():
        found += host.run(f"find {POOL} /var/lib/basecast /etc/libvirt -path '*{service}*' 2>/dev/null || true").stdout.split()
    return found


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "service: none given; expected the name of a service"),
        (["-e", "service=../shop"], "service: invalid value '../shop'; expected a name"),
        (["-e", "service=shop", "-e", "remove=all"], "remove: invalid value 'all'; expected surplus, or nothing"),
        (["-e", "service=shop", "-e", "remove=surplus"], "remove: surplus needs the manifest"),
        (["-e", "service=shop", "-e", "role=web", "-e", "machines=db-1"], "role: given together with machines; expected one of them"),
        (["-e", "service=shop", "-e", "machines=web-1,WEB"], "machines: invalid value 'WEB'; a machine's name has lower-case letters"),
        (["-e", "service=shop", "-e", "basecast_shutdown_timeout_s=soon"], "basecast_shutdown_timeout_s: invalid value 'soon'"),
        (["-e", "service=shop", "--skip-tags", "all"], "Nothing was done, or not all of it"),
    ],
    ids=["nothing", "path", "remove", "no-manifest", "two-at-once", "name", "setting", "tags"],
)
def test_what_cannot_be_meant_removes_nothing(lab: Lab, options: list[str], words: str) -> None:
    before = domains(lab)
    done = nothing_changed_by(lab, lambda: remove(lab, *options))
    assert done.code != 0 and words in done.out, done
    assert "Traceback" not in done.out and domains(lab) == before


@pytest.mark.timeout(400)
def test_check_mode_shows_what_would_go(lab: Lab) -> None:
    before = domains(lab)
    done = nothing_changed_by(lab, lambda: remove(lab, "-e", "service=shop", "--check", "--diff"))
    assert done.code == 0 and domains(lab) == before, done
    assert "6 of 6 machines would be removed" in done.out and "root.qcow2" in done.out


@pytest.mark.timeout(400)
def test_surplus_machines_of_an_edited_manifest_leave(lab: Lab) -> None:
    edited = copy.deepcopy(SHOP)
    edited["machines"][0]["per_host"] = 1
    file = lab.state / "edited.json"
    file.write_text(json.dumps(edited))
    assert "surplus: web-2" in deploy(lab, edited).out
    done = remove(lab, "-e", f"manifest={file}", "-e", "remove=surplus")
    assert done.code == 0, done
    gone = {machine["machine"] for machine in done.report["machines"]}
    assert len(gone) == 2 and all(machine["state"] == "removed" for machine in done.report["machines"])
    assert not [path for name in gone for path in traces(lab, f"shop/{name}")]
    again = deploy(lab, edited)
    assert again.code == 0 and "surplus" not in again.out and set(again.states.values()) == {"present"}, again
    nothing = nothing_changed_by(lab, lambda: remove(lab, "-e", f"manifest={file}", "-e", "remove=surplus"))
    assert nothing.code == 0 and set(nothing.changed.values()) == {0}, nothing


@pytest.mark.timeout(400)
def test_a_role_leaves_with_its_user_data(lab: Lab) -> None:
    done = remove(lab, "-e", "service=shop", "-e", "role=db")
    assert done.code == 0 and {one["machine"] for one in done.report["machines"]} == {"db-1", "db-2"}, done
    for one in done.report["machines"]:
        kept = lab.hosts[one["host"]].run("cat /var/lib/basecast/services/default/shop.json").stdout
        assert "secret-of-web" in kept and "secret-of-db" not in kept and f'"{one["machine"]}"' not in kept


@pytest.mark.timeout(400)
def test_a_parent_of_another_disk_stays_and_is_named(lab: Lab) -> None:
    host = lab.hosts["kvm1"]
    (domain,) = [name for name in domains(lab)["kvm1"] if name.startswith("shop-web")]
    name = domain.removeprefix("shop-")
    root, child = f"{POOL}/machines/shop/{name}/root.qcow2", f"{POOL}/child.qcow2"
    host.run(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", root, child, "1G"])
    done = remove(lab, "-e", "service=shop", "-e", f"machines={name}")
    assert done.code != 0 and f"is the parent of {child}, so {name} was not touched" in done.out, done
    assert host.run(["virsh", "domstate", domain]).stdout.strip() == "running"
    host.run(["rm", child])


@pytest.mark.timeout(600)
def test_a_service_leaves_beside_a_deployment_of_another(lab: Lab) -> None:
    """Two module runs per host; nothing of the service is left, its base and the other service are."""
    grown = copy.deepcopy(BLOG)
    grown["machines"][0]["per_host"] = 2
    file = lab.state / "grown.json"
    file.write_text(json.dumps(grown))
    kept = {name: bases(host) for name, host in lab.hosts.items()}
    other = lab.popen_playbook(["basecast.fleet.deploy", "-e", f"manifest={file}"])
    done = remove(lab, "-e", "service=shop", "-vvv")
    other.communicate(timeout=240)
    assert done.code == 0 and other.returncode == 0, done
    assert traces(lab, "shop") == []
    assert {name: bases(host) for name, host in lab.hosts.items()} == kept
    assert domains(lab) == {"kvm1": ["blog-page-1", "blog-page-3"], "kvm2": ["blog-page-2", "blog-page-4"]}
    for address in (host.address for host in lab.hosts.values()):
        runs = len(re.findall(rf"^<{re.escape(address)}> ANSIBALLZ: |^<{re.escape(address)}> SSH: EXEC .*python3", done.out, re.M))
        assert 0 < runs <= 2, runs
    again = nothing_changed_by(lab, lambda: remove(lab, "-e", "service=shop"))
    assert again.code == 0 and set(again.changed.values()) == {0}, again


@pytest.mark.timeout(600)
def test_an_unreachable_host_is_told_and_its_machines_stay(lab: Lab) -> None:
    lab.hosts["kvm2"].cut_link()
    try:
        refused = remove(lab, "-e", "service=blog", "-e", "basecast_skip_bad_hosts=false")
        assert refused.code != 0 and "kvm2: cannot be reached" in refused.out, refused
        assert len(lab.hosts["kvm1"].run("virsh -q list --all --name").stdout.split()) == 2
        done = remove(lab, "-e", "service=blog")
    finally:
        lab.hosts["kvm2"].restore_link()
    assert done.code != 0 and "kvm2 could not be asked: cannot be reached" in done.out, done
    assert domains(lab) == {"kvm1": [], "kvm2": ["blog-page-2", "blog-page-4"]}
    rest = remove(lab, "-e", "service=blog", "-e", "keep_disks=true")
    assert rest.code == 0 and domains(lab)["kvm2"] == [], rest
    left = [path for path in traces(lab, "blog") if path.endswith("root.qcow2")]
    assert len(left) == 2
    assert deploy(lab, BLOG).code == 0
