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
from ansible_collections.basecast.fleet.tests.integration.variants import few
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
    few(
        [
            ([], "service: none given; expected the name of a service"),
            (["-e", "service=../shop"], "service: invalid value '../shop'; expected a name"),
            (["-e", "service=shop", "-e", "remove=all"], "remove: invalid value 'all'; expected surplus, or nothing"),
            (["-e", "service=shop", "-e", "remove=surplus"], "remove: surplus needs the manifest"),
            (["-e", "service=shop", "-e", "role=web", "-e", "machines=db-1"], "role: given together with machines; expected one of them"),
            (["-e", "service=shop", "-e", "machine=web-1"], "machine: this playbook has no such option"),
            (["-e", "service=shop", "-e", "machines=web-1,WEB"], "machines: invalid value 'WEB'; a machine's name has lower-case letters"),
            (["-e", "service=shop", "-e", "basecast_shutdown_timeout_s=soon"], "basecast_shutdown_timeout_s: invalid value 'soon'"),
            (["-e", "service=shop", "--skip-tags", "all"], "Nothing was done, or not all of it"),
        ],
        1,
    ),
    ids=["nothing", "path", "remove", "no-manifest", "two-at-once", "other-playbooks", "name", "setting", "tags"],
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


FARM: dict[str, t.Any] = {
    "format": 1,
    "service": "farm",
    "machines": [
        {
            "name": "web",
            "hosts": ["kvm1", "kvm2"],
            "count": 2,
            "memory_mib": 96,
            "disks": [{"name": "data", "size_gib": 0.1}],
            "networks": [],
            "scale": {"metric": "requests", "of": "service", "target": 100, "max": 4, "drain": ["/bin/true"], "drain_timeout_s": 5},
        }
    ],
}


def farm(lab: Lab) -> dict[str, str]:
    return {name.removeprefix("farm-"): host for host, names in domains(lab).items() for name in names if name.startswith("farm-")}


@pytest.mark.variant
@pytest.mark.timeout(900)
def test_a_group_grows_and_shrinks_by_its_rule_and_by_hand(lab: Lab) -> None:
    def scale(*options: str, manifest: dict[str, t.Any] | None = None) -> Outcome:
        file, report = lab.state / "farm.json", lab.state / "scale.json"
        file.write_text(json.dumps(manifest or FARM))
        report.unlink(missing_ok=True)
        command = ["basecast.fleet.scale", "-e", f"manifest={file}", "-e", f"basecast_report_file={report}", *QUICK, *options]
        return Outcome(lab.playbook(command, timeout=300), report)

    busy = ["-e", json.dumps({"readings": {"requests": 290}})]
    first = deploy(lab, FARM)
    assert first.code == 0 and set(farm(lab)) == {"web-1", "web-2"}, first
    would = nothing_changed_by(lab, lambda: scale(*busy, "--check"))
    assert would.code == 0 and "web: count from 2 to 3: requests is 145 for each machine" in would.out, would

    grown = scale(*busy)
    assert grown.code == 0 and grown.states == {"web-1": "present", "web-2": "present", "web-3": "deployed"}, grown
    plain = deploy(lab, FARM)
    assert plain.code == 0 and set(plain.states.values()) == {"present"} and len(plain.states) == 3, plain
    assert "surplus" not in plain.out and "as the playbook scale has set it" in plain.out
    rests = scale(*busy)
    assert rests.code == 0 and "web: stays at 3: the last change was" in rests.out and len(farm(lab)) == 3, rests
    unknown = nothing_changed_by(lab, lambda: scale("-e", json.dumps({"readings": {"requests": None}})))
    assert unknown.code != 0 and "the reading of requests is none" in unknown.out, unknown

    held = scale("-e", "role=web", "-e", "count=2")
    assert held.code != 0 and "or remove the machines without draining them" in held.out and len(farm(lab)) == 3, held
    calm = copy.deepcopy(FARM)
    del calm["machines"][0]["scale"]
    shrunk = scale("-e", "role=web", "-e", "count=2", manifest=calm)
    assert shrunk.code == 0 and set(farm(lab)) == {"web-1", "web-2"}, shrunk
    assert shrunk.states == {"web-1": "present", "web-2": "present"} and "surplus" not in shrunk.out
    least = scale("-e", "role=web", "-e", "count=1", manifest=calm)
    assert least.code == 0 and len(farm(lab)) == 1, least
    left = deploy(lab, FARM)
    assert left.code == 0 and len(farm(lab)) == 1, left
    assert remove(lab, "-e", "service=farm").code == 0 and farm(lab) == {}


@pytest.mark.variant
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


@pytest.mark.variant
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


def stack(service: str, on_failure: str = "keep", port: int = 5432) -> dict[str, t.Any]:
    """An appliance over two hosts: what serves pages starts once the data base answers."""
    role = {"memory_mib": 96, "disks": [{"name": "root", "base": "tiny", "size_gib": 1}], "networks": [{"network": "default"}]}
    serve = "mkdir -p /www && echo well > /www/healthy && httpd -h /www -p"
    return {
        **SHOP,
        "service": service,
        "on_failure": on_failure,
        "machines": [
            {
                **role,
                "name": "page",
                "hosts": ["kvm1"],
                "after": ["db"],
                "cloud_init": {"user_data": {"runcmd": [f"{serve} 80"]}},
                "health": {"http": {"path": "/healthy", "status": 200}, "ports": [80]},
            },
            {
                **role,
                "name": "db",
                "hosts": ["kvm2"],
                "cloud_init": {"user_data": {"runcmd": [f"{serve} 5432"]}},
                "health": {"ports": [port], "timeout_s": 60 if port == 5432 else 4},
            },
        ],
    }


def details(done: Outcome) -> dict[str, t.Any]:
    return {machine["machine"]: machine for machine in done.report["machines"]}


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_an_appliance_starts_in_its_order_and_is_checked(lab: Lab) -> None:
    # One host at a time, the one that waits first.
    done = deploy(lab, stack("stack"), "--forks", "1")
    assert done.code == 0, done
    assert "start order: db; then page" in done.out
    page, db = details(done)["page-1"], details(done)["db-1"]
    assert [(one["check"], one["ok"]) for one in page["health"]] == [("port 80", True), ("http :80/healthy with status 200", True)]
    assert "healthy: port 5432" in done.out and page["times"]["started_s"] > db["times"]["reported_s"]
    again = nothing_changed_by(lab, lambda: deploy(lab, stack("stack")))
    assert again.code == 0 and not any(again.changed.values()), again
    assert [one["ok"] for one in details(again)["db-1"]["health"]] == [True]

    off = Outcome(lab.playbook(["basecast.fleet.power_off", "-e", "service=stack", *QUICK], timeout=240), lab.state / "none.json")
    assert off.code == 0 and "stop order: page-1; then db-1" in off.out and "2 of 2 machines are powered off" in off.out, off
    started = deploy(lab, stack("stack"))
    assert started.code == 0 and started.states == {"page-1": "started", "db-1": "started"}, started
    gone = remove(lab, "-e", "service=stack")
    assert gone.code == 0 and "stop order: page-1; then db-1" in gone.out and "stack" not in str(domains(lab)), gone


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_of_a_failed_appliance_is_kept_or_rolled_back_what_the_run_made(lab: Lab) -> None:
    before, bases_before = domains(lab), bases(lab.hosts["kvm2"])
    kept = deploy(lab, stack("ill", port=5433))
    assert kept.code != 0 and kept.states == {"page-1": "failed", "db-1": "failed"}, kept
    reason = details(kept)["db-1"]["reason"]
    assert "is not healthy within 4 s (port 5433: " in reason and "Connection refused" in reason and "TINY done" in reason, reason
    assert details(kept)["page-1"]["reason"].startswith("page-1 was not started, as it starts after db: db-1 on kvm2: db-1 (accel")
    assert domains(lab) == {"kvm1": before["kvm1"], "kvm2": sorted([*before["kvm2"], "ill-db-1"])}
    assert remove(lab, "-e", "service=ill").code == 0 and domains(lab) == before

    # A disk of an earlier machine is there, and stays.
    folder = lab.hosts["kvm2"].path(f"{POOL}/machines/ill/db-1")
    keep = stack("ill", port=5432)
    keep["machines"] = [{**keep["machines"][1], "disks": [*keep["machines"][1]["disks"], {"name": "data", "size_gib": 1}]}]
    assert deploy(lab, keep).code == 0
    assert remove(lab, "-e", "service=ill", "-e", "keep_disks=true").code == 0
    (folder / "root.qcow2").unlink()
    back = stack("ill", "roll_back", port=5433)
    back["machines"][1]["disks"] = keep["machines"][0]["disks"]
    done = deploy(lab, back)
    assert done.code != 0 and "removed again (on_failure: roll_back): db-1 (accel" in details(done)["db-1"]["reason"], done
    assert "TINY done" in details(done)["db-1"]["reason"]
    assert domains(lab) == before and bases(lab.hosts["kvm2"]) == bases_before
    assert sorted(file.name for file in folder.iterdir() if file.suffix == ".qcow2") == ["data.qcow2"]


@pytest.mark.variant
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
