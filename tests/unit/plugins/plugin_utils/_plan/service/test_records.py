# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import A, held, host, manifest


def test_the_record_rises_only_when_assignments_change() -> None:
    hosts = {"a": host(held()), "b": host(held())}
    first = service_plan(manifest(), hosts)["hosts"]["a"]["record"]
    assert first["generation"] == 1
    hosts["a"]["record"] = first
    assert service_plan(manifest(), hosts)["hosts"]["a"]["record"] == first
    assert service_plan(manifest(per_host=2), hosts)["hosts"]["b"]["record"]["generation"] == 2


def test_a_host_keeps_its_own_part_of_the_manifest_only() -> None:
    group = {"memory_mib": 64, "disks": [{"name": "root", "base": "tiny"}]}
    text = {
        "format": 1,
        "service": "shop",
        "bases": [
            {"name": "tiny", "version": "1", "source": {"host": "a", "path": "x"}},
            {"name": "big", "version": "2", "source": {"host": "a", "path": "y"}},
        ],
        "machines": [
            {"name": "web", "hosts": ["a"], "cloud_init": {"user_data": {"runcmd": ["of-web"]}}, **group},
            {"name": "db", "hosts": ["b"], "cloud_init": {"user_data": {"runcmd": ["of-db"]}}, **group},
        ],
    }
    plan = service_plan(parse_manifest(text), {"a": host(held()), "b": host(held())})
    mine, theirs = (plan["hosts"][name]["record"] for name in "ab")
    assert "of-web" in json.dumps(mine) and "of-db" not in json.dumps(mine)
    assert "of-db" in json.dumps(theirs) and "of-web" not in json.dumps(theirs)
    # Enough to clone: the base's digest, although the manifest has none; and the numbers of all machines.
    assert mine["manifest"]["bases"] == [{"name": "tiny", "version": "1", "sha256": A}]
    assert sorted(mine["assignments"]) == ["db-1", "web-1"]
    assert "of-" not in json.dumps({key: value for key, value in plan.items() if key != "hosts"})


def test_the_record_of_a_host_names_the_pool_of_each_disk() -> None:
    plan = service_plan(manifest(hosts=["a"]), {"a": host(held())})
    disks = plan["hosts"]["a"]["record"]["manifest"]["machines"][0]["disks"]
    assert [disk["pool"] for disk in disks] == ["default"] * len(disks)
    assert all("pool_labels" not in disk for disk in disks)
