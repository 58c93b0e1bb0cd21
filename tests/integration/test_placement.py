# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Placement on lab hosts: manifests that name no host, the playbook place, rules, quotas, and two deployments at once."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import MANIFEST, Outcome, deploy, give, nothing_changed_by
from ansible_collections.basecast.fleet.tests.lab import Host, Lab

pytestmark = pytest.mark.timeout(400)


def manifest(count: int, **more: t.Any) -> dict[str, t.Any]:
    """A manifest that names no host."""
    made = copy.deepcopy(MANIFEST)
    for key in ("hosts", "cloud_init"):
        del made["machines"][0][key]
    made["machines"][0].update({"count": count, "cpus": 1, **more.pop("group", {})})
    return {**made, **more}


def domains(host: Host) -> list[str]:
    return host.run(["virsh", "-q", "list", "--all", "--name"]).stdout.split()


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=3, rate_mbps=200, libvirt=True)
    give(made.hosts["kvm1"])
    return made


@pytest.mark.variant
class TestManifestWithoutHosts:
    @pytest.fixture(scope="class")
    def deployed(self, lab: Lab) -> Outcome:
        done = deploy(lab, manifest(2))
        assert done.code == 0, done
        return done

    def test_each_machine_gets_a_host(self, lab: Lab, deployed: Outcome) -> None:
        assert deployed.states == {"web-1": "deployed", "web-2": "deployed"}
        where = {name: len(domains(host)) for name, host in lab.hosts.items()}
        assert where["kvm1"] == 1, "the host that imports the base needs no copy"
        assert sorted(where.values()) == [0, 1, 1]

    def test_repeating_changes_nothing(self, lab: Lab, deployed: Outcome) -> None:
        again = nothing_changed_by(lab, lambda: deploy(lab, manifest(2)))
        assert again.code == 0 and set(again.changed.values()) == {0}, again

    def test_place_answers_for_machine_clone_and_migration(self, lab: Lab, deployed: Outcome) -> None:
        file = lab.state / "places.json"
        told = nothing_changed_by(lab, lambda: deploy(lab, manifest(2), "-e", f"basecast_place_file={file}", playbook="place"))
        assert told.code == 0, told
        assert "web: one more machine (web-3), or a clone, would go to kvm3, pool default" in told.out
        place = json.loads(file.read_text())["web"]
        assert place["host"] == "kvm3"
        assert {move["machine"]: (move["from"], move["to"]) for move in place["moves"]} == {
            "web-1": ("kvm1", "kvm3"),
            "web-2": ("kvm2", "kvm3"),
        }

    def test_place_fails_where_no_host_has_room(self, lab: Lab, deployed: Outcome) -> None:
        told = nothing_changed_by(lab, lambda: deploy(lab, manifest(2), "-e", "basecast_memory_overcommit=0.000001", playbook="place"))
        assert told.code != 0
        assert "No host has room for another machine of web" in told.out
        assert "MiB are free, 128 are needed" in told.out


def of_tenant(lab: Lab, tenant: str, count: int, *options: str) -> tuple[list[str], str]:
    """The command line of a deployment of a tenant's own service, and its report's path."""
    file, report = lab.state / f"{tenant}.json", lab.state / f"{tenant}-report.json"
    file.write_text(json.dumps(manifest(count, tenant=tenant, service=f"of-{tenant}")))
    report.unlink(missing_ok=True)
    given = ["-e", f"manifest={file}", "-e", f"basecast_report_file={report}", *options]
    return ["basecast.fleet.deploy", *given], str(report)


def at_once(lab: Lab, commands: dict[str, list[str]]) -> dict[str, subprocess.CompletedProcess[str]]:
    done: dict[str, subprocess.CompletedProcess[str]] = {}

    def run(name: str) -> None:
        done[name] = lab.playbook(commands[name], timeout=400)

    threads = [threading.Thread(target=run, args=(name,)) for name in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


class TestTwoTenantsAtOnce:
    """A fleet with room for one of two machines."""

    @pytest.fixture(scope="class")
    def fleet(self, lab_factory: t.Callable[..., Lab]) -> Lab:
        made = lab_factory(hosts=1, rate_mbps=200, libvirt=True)
        give(made.hosts["kvm1"])
        return made

    def test_exactly_one_wins(self, fleet: Lab) -> None:
        cpus = len(os.sched_getaffinity(0))
        limit = ("-e", json.dumps({"basecast_cpu_overcommit": 1 / cpus}))
        commands = {tenant: of_tenant(fleet, tenant, 1, *limit)[0] for tenant in ("red", "blue")}
        done = at_once(fleet, commands)
        codes = {name: one.returncode for name, one in done.items()}
        out = "\n".join(one.stdout[-5000:] for one in done.values())
        assert sorted(code == 0 for code in codes.values()) == [False, True], out
        loser = next(name for name, code in codes.items() if code)
        winner = next(name for name, code in codes.items() if not code)
        host = fleet.hosts["kvm1"]
        assert "0 of 1 virtual processors are free, 1 are needed" in done[loser].stdout
        assert [name for name in domains(host) if winner in name] and not [name for name in domains(host) if loser in name]
        assert not host.path(f"/var/lib/libvirt/images/machines/of-{loser}").exists(), "nothing of the loser was begun"
        assert not re.search(rf"\b{winner}\b", done[loser].stdout), "nothing is told of the other tenant"
        assert json.loads(host.path("/var/lib/basecast/claims.json").read_text())["claims"] == []


@pytest.mark.variant
def test_three_services_share_a_quota_on_different_hosts(lab: Lab) -> None:
    """There is room for two machines; none uses a host of another one, and all three claim at once."""
    commands = {}
    for service, host in (("east", "kvm1"), ("west", "kvm3"), ("eastern", "kvm1")):
        file = lab.state / f"{service}.json"
        file.write_text(json.dumps(manifest(1, tenant="green", service=service, group={"hosts": [host]})))
        quota = json.dumps({"basecast_quotas": {"green": {"machines": 2}}})
        commands[service] = ["basecast.fleet.deploy", "-e", f"manifest={file}", "-e", quota]
    done = at_once(lab, commands)
    out = "\n".join(one.stdout[-4000:] for one in done.values())
    assert sorted(one.returncode == 0 for one in done.values()) == [False, True, True], out
    loser = next(one for one in done.values() if one.returncode)
    assert "would pass the quota of tenant green: 2 of 2 machines are used, 1 are needed" in " ".join(loser.stdout.split()), out
    assert len([name for host in lab.hosts.values() for name in domains(host) if name.startswith(("east", "west"))]) == 2


# What is said of each host: kvm2 is in maintenance, kvm1 and kvm2 are one site.
SAID = {
    "basecast_maintenance": "{{ inventory_hostname == 'kvm2' }}",
    "basecast_site": "{{ 'south' if inventory_hostname == 'kvm3' else 'north' }}",
    "basecast_labels": "{{ ['ssd'] if inventory_hostname == 'kvm3' else [] }}",
}


def planned(lab: Lab, asked: dict[str, t.Any], more: dict[str, t.Any] | None = None) -> tuple[Outcome, dict[str, t.Any]]:
    """What the playbook plan says, and the plan that it wrote."""
    file = lab.state / "plan.json"
    file.unlink(missing_ok=True)
    told = json.dumps({**SAID, **(more or {}), "basecast_plan_file": str(file)})
    done = deploy(lab, asked, "-e", told, playbook="plan")
    return done, json.loads(file.read_text())["service"] if file.exists() else {}


class TestRules:
    """Rules of the manifest and facts of hosts, from variables to the plan."""

    @staticmethod
    def groups(asked: list[tuple[str, int, dict[str, t.Any]]]) -> dict[str, t.Any]:
        """One service with a group for each rule."""
        made = manifest(1, service="ruled")
        (group,) = made["machines"]
        made["machines"] = [{**copy.deepcopy(group), "name": name, "count": count, "placement": rules} for name, count, rules in asked]
        return made

    def test_where_machines_go(self, lab: Lab) -> None:
        expected = {"any": ["kvm1", "kvm3"], "fast": ["kvm3"], "slow": ["kvm1"], "apart": ["kvm1", "kvm3"], "sites": ["kvm1", "kvm3"]}
        done, plan = planned(lab, self.groups([
            ("any", 2, {}), ("fast", 1, {"labels": ["ssd"]}), ("slow", 1, {"avoid": ["ssd"]}), ("apart", 2, {"anti_affinity": True}),
            ("sites", 2, {"spread": {"by": "site", "at_most": 1}}),
        ]))  # fmt: skip
        assert done.code == 0, done
        where = {name: sorted(m["host"] for m in plan["machines"] if m["group"] == name) for name in expected}
        assert where == expected

    def test_what_does_not_fit_is_refused_with_the_rule_that_binds(self, lab: Lab) -> None:
        asked = self.groups([
            ("apart", 3, {"anti_affinity": True}), ("sites", 3, {"spread": {"by": "site", "at_most": 1}}), ("gpu", 1, {"labels": ["gpu"]}),
        ])  # fmt: skip
        done, _plan = nothing_changed_by(lab, lambda: planned(lab, asked))
        assert done.code != 0
        told = " ".join(done.out.replace('",', "").replace('"', "").split())
        for group, limits in {"apart": "maintenance, anti_affinity", "sites": "spread", "gpu": "labels"}.items():
            assert re.search(rf"1 machine of {group} does not fit; what binds: [\w, ]*{limits}", told), done

    def test_what_would_pass_a_quota_is_refused(self, lab: Lab) -> None:
        asked = manifest(2, service="ruled")
        done, _plan = nothing_changed_by(
            lab, lambda: planned(lab, asked, {"basecast_quotas": {"default": {"machines": 0, "memory_mib": 0}}})
        )
        assert done.code != 0
        told = " ".join(done.out.split())
        assert "2 machines of web would pass the quota of tenant default" in told and "MiB of memory are used, 128 are needed" in told, done


@pytest.mark.variant
class TestPartial:
    """Two of three machines fit, as kvm2 is in maintenance: they are placed, and the exit code says that it was not all."""

    ASKED: t.ClassVar = {"service": "part", "placement": {"anti_affinity": True, "partial": True}}

    def test_plan_places_what_fits_and_fails(self, lab: Lab) -> None:
        done, plan = nothing_changed_by(lab, lambda: planned(lab, manifest(3, **self.ASKED)))
        assert done.code != 0 and "Not placed: web-3." in done.out
        assert [machine["host"] for machine in plan["machines"]] == ["kvm1", "kvm3"]
        told = " ".join(done.out.replace('",', "").replace('"', "").split())
        assert (
            "not placed: web-3: 1 machine of web does not fit; what binds: maintenance, anti_affinity. " in told
            and "kvm2: it is in maintenance" in told
        )

    def test_check_mode_fails_as_well(self, lab: Lab) -> None:
        done = nothing_changed_by(lab, lambda: deploy(lab, manifest(3, **self.ASKED), "-e", json.dumps(SAID), "--check"))
        assert done.code != 0, done

    def test_deploy_makes_what_fits_and_fails(self, lab: Lab) -> None:
        done = deploy(lab, manifest(3, **self.ASKED), "-e", json.dumps(SAID))
        assert done.code != 0, done
        assert done.states == {"web-1": "deployed", "web-2": "deployed", "web-3": "unplaced"}
        assert [name for host in lab.hosts.values() for name in domains(host) if name.startswith("part-")] == ["part-web-1", "part-web-2"]

    def test_place_fails_where_one_group_has_no_room(self, lab: Lab) -> None:
        asked = manifest(1, **self.ASKED)
        asked["machines"].append({**copy.deepcopy(asked["machines"][0]), "name": "gpu", "placement": {"labels": ["gpu"]}})
        told = nothing_changed_by(lab, lambda: deploy(lab, asked, "-e", json.dumps(SAID), playbook="place"))
        assert told.code != 0 and re.search(r"No host has room for another machine of (web, )?gpu\.", told.out), told
