# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.basecast.fleet.plugins.module_utils._disk.reference_options import reference_arguments
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._job import bases, boot
from ansible_collections.basecast.fleet.plugins.module_utils._job.journal import Journal
from ansible_collections.basecast.fleet.plugins.module_utils._machine import libvirt_host
from ansible_collections.basecast.fleet.plugins.modules import base_disk_reference, diff_disk, host_job, seed_image
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

GONE = "ab" * 32
SECRET = "verysecret-user-data"


@pytest.fixture
def run(run_on_pools: t.Any, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    monkeypatch.setattr(libvirt_host, "libvirt", None)
    monkeypatch.setattr(bases, "NODE_S", 0.1)
    monkeypatch.setattr(boot, "RETURN_S", 0.1)
    call = run_on_pools(host_job)
    places = {"state_dir": str(tmp_path / "state"), "runtime_dir": str(tmp_path / "run")}
    return lambda **options: call(**{"service": "shop", "run": "run-1", **places, **options})


def machines(base: str) -> dict[str, t.Any]:
    return {
        "machines": [{"machine": "m-1", "pool": "one", "new": True, "seeded": True}],
        "disks": [{"machine": "m-1", "name": "root", "pool": "one", "base": base}],
        "seeds": [{"machine": "m-1", "pool": "one", "user_data": f"#cloud-config\n# {SECRET}\n"}],
        "record": {"generation": 1, "x": SECRET},
    }


def test_nothing_to_do_is_done(run: t.Any, tmp_path: t.Any) -> None:
    result = run()
    assert (result["changed"], result["job"]["state"], result["job"]["machines"]) == (False, "done", [])
    assert (Journal(str(tmp_path / "run"), "default", "shop").read("run-1") or {})["state"] == "done"


def test_a_failed_machine_fails_the_module_with_all_data(run: t.Any) -> None:
    result = run(**machines(GONE))
    assert result["failed"] and result["failure"]["kind"] == "job_failed" and GONE in result["msg"]
    assert result["job"]["machines"][0]["state"] == "failed" and SECRET not in str(result)


def test_firmware_variables_and_templates_are_not_logged() -> None:
    assert host_job.variables_argument()["content"]["no_log"] is True
    assert reference_arguments(template=True)["options"]["template"]["no_log"] is True


def test_a_host_without_libvirt_makes_disks_and_says_so(run: t.Any, disk_pools: dict[str, str]) -> None:
    base = put_base(Store(disk_pools["one"], pool="one")).sha256
    result = run(**machines(base))
    machine = result["job"]["machines"][0]
    assert (machine["state"], machine["reason"]) == ("unknown", "libvirt_missing") and machine["disks_at"]
    assert "python3-libvirt" in result["msg"] and result["changed"] and "disks" in result["diff"]["after"]


def test_check_mode_changes_nothing(run: t.Any, tmp_path: t.Any, disk_pools: dict[str, str]) -> None:
    result = run(check_mode=True, **machines(GONE))
    assert result["job"]["machines"][0]["reason"] == "libvirt_missing" and SECRET not in str(result)
    assert not (tmp_path / "run").exists() and not (tmp_path / "state").exists()
    assert run(check_mode=True, record={"generation": 3})["diff"]["after"]["record"] == {"generation": 3}


@pytest.mark.parametrize(
    "options, option",
    [
        ({"run": "../x"}, "run"),
        ({"service": "a b"}, "service"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"boot_timeout_s": "nan"}, "boot_timeout_s"),
        ({"machines": [{"machine": "X", "pool": "one"}]}, "machines[0].machine"),
        ({"disks": [{"machine": "m", "name": "root", "pool": "one"}]}, "disks[].machine"),
        ({"clones": [{"pool": "none", "bases": [GONE]}]}, "clones[].pool"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, t.Any], option: str, run: t.Any, tmp_path: t.Any) -> None:
    result = run(**options)
    assert result["failed"] and result["failure"]["option"] == option, result
    assert not (tmp_path / "run").exists()


def test_a_plans_work_is_taken_as_it_is(run: t.Any, disk_pools: dict[str, str]) -> None:
    base = put_base(Store(disk_pools["one"], pool="one"), image_format="raw")
    space = {"exists": True, "writable": True, "free_bytes": 1 << 40}
    seen = {
        "reachable": True,
        "capacity": {"memory_mib": 4096, "pools": {name: {"path": path, **space} for name, path in disk_pools.items()}},
        "missing": [],
        "pools": {
            "one": {"bases": [{**base.as_dict(), "names": [{"tenant": "default", "name": "tiny", "version": "1"}]}]},
            "two": {"bases": []},
        },
        "machines": [],
        "domains": [],
        "networks": {"default": True},
        "record": None,
    }
    asked = {
        "format": 1,
        "service": "shop",
        "bases": [{"name": "tiny", "version": "1", "source": {"host": "a", "path": "tiny.qcow2"}}],
        "machines": [
            {
                "name": "web",
                "hosts": ["a"],
                "memory_mib": 64,
                "networks": [{"network": "default"}],
                "cloud_init": {"user_data": f"#!/bin/sh\n: {SECRET}\n"},
                "disks": [
                    {"name": "root", "base": "tiny", "pool": "one"},
                    {"name": "copy", "base": "tiny", "pool": "two", "differencing": False},
                    {"name": "data", "pool": "two", "size_gib": 1},
                ],
            }
        ],
    }
    plan = service_plan(parse_manifest(asked, "shop.yml"), {"a": seen})
    work = plan["hosts"]["a"]
    names = ("clones", "references", "disks", "seeds", "machines")
    given = {name: work[name] for name in names} | {"record": work.get("record") or plan.get("record")}
    assert all(given.values())
    predicted = run(check_mode=True, **given)
    # Everything but libvirt, which this host does not have.
    assert predicted["failure"]["kind"] == "job_failed" and predicted["job"]["machines"][0]["reason"] == "libvirt_missing", predicted
    assert set(predicted["diff"]["after"]) == {"record", "references", "bases", "disks", "seeds"}
    made = run(**given)
    assert made["job"]["machines"][0]["disks_at"] and SECRET not in str(made)
    assert Store(disk_pools["two"]).find(base.sha256) is not None


# Ansible merges fragments of documentation one level deep, so these stand in both modules.
SAME = {"disks": diff_disk, "seeds": seed_image, "references": base_disk_reference}


def suboptions(module: t.Any, option: str) -> dict[str, dict[str, t.Any]]:
    found = yaml.safe_load(module.DOCUMENTATION)["options"][option]["suboptions"]
    return t.cast("dict[str, dict[str, t.Any]]", found)


def without(entry: dict[str, t.Any], keys: set[str]) -> dict[str, t.Any]:
    return {key: value for key, value in entry.items() if key not in keys}


@pytest.mark.parametrize("option", sorted(SAME))
def test_what_a_job_takes_is_what_the_small_modules_take(option: str) -> None:
    job, small = suboptions(host_job, option), suboptions(SAME[option], option)
    both = job.keys() & small.keys()
    assert len(both) >= 4
    told = {"description"}  # a job tells of them more shortly
    differ = {name: (one, small[name]) for name, one in job.items() if name in both and without(one, told) != without(small[name], told)}
    assert not differ
