# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.host_work import machine_work
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import A, held, host, manifest


def test_copies_and_reflinks_need_the_base_in_their_own_pool() -> None:
    hosts = {"a": host(held(), pools=("default", "fast")), "b": host(held(), pools=("default", "fast"))}
    assert service_plan(manifest(disk={"pool": "fast"}), hosts)["hosts"]["a"]["clones"] == []
    for disk in ({"pool": "fast", "differencing": False}, {"pool": "fast", "backend": "reflink"}):
        assert service_plan(manifest(disk=disk), hosts)["hosts"]["a"]["clones"] == [{"pool": "fast", "bases": [A]}]


def test_machine_work_joins_in_the_disks_order() -> None:
    work = {"machines": [{"machine": "web-1", "number": 1, "new": True, "seeded": True, "spec": {}}]}
    disks = [{"machine": "web-1", "name": n, "path": f"/{n}", "image_format": "qcow2", "x": 1} for n in ("root", "data")]
    (joined,) = machine_work(work, disks, [{"machine": "web-1", "path": "/seed"}])
    assert [disk["name"] for disk in joined["disks"]] == ["root", "data"]
    assert joined["seed"] == "/seed"
    assert "new" not in joined
