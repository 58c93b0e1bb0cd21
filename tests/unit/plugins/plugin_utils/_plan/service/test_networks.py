# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import drift_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.networks import networks_of
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import held, host, manifest

NETWORK = {"network": "default", "model": "virtio"}


def test_each_machine_has_the_address_that_is_given_to_it() -> None:
    group = {"networks": [{**NETWORK, "macs": {"web-1": "52:54:00:00:00:0A"}}, {"bridge": "br0"}]}
    assert networks_of(group, "web-1") == [{**NETWORK, "mac": "52:54:00:00:00:0a"}, {"bridge": "br0"}]
    assert networks_of(group, "web-2") == [NETWORK, {"bridge": "br0"}]


def test_an_address_of_one_machine_changes_no_other() -> None:
    asked = manifest(networks=[{"network": "default", "macs": {"web-1": "52:54:00:00:00:01"}}])
    hosts = {"a": host(held()), "b": host(held())}
    first = service_plan(manifest(), hosts)
    for name, work in first["hosts"].items():
        hosts[name] = host(held(), machines=[{**one, "running": True} for one in work["machines"]])
    again = service_plan(asked, hosts)
    one, two = again["machines"]
    assert drift_text([one]) == ["drift: web-1: networks default → default (mac 52:54:00:00:00:01)"] and two["drift"] == []
    work = [machine["networks"] for part in again["hosts"].values() for machine in part["machines"]]
    assert work == [[{**NETWORK, "mac": "52:54:00:00:00:01"}], [NETWORK]]
