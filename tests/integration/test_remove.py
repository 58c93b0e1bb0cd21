# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""basecast.fleet.remove on lab hosts, with guests that run."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, Outcome, deploy, give, nothing_changed_by
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
QUICK = ["-e", "basecast_shutdown_timeout_s=1"]


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=2, rate_mbps=200, libvirt=True)
    give(made.hosts["kvm1"])
    done = deploy(made, SHOP)
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
