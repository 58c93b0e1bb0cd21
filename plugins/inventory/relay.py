# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relay
short_description: Groups hosts by the stage in which a relay serves them
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
description:
  - Computes from saved measurements in which order a base would be relayed, and puts hosts into the groups
    C(relay_stage_1) to C(relay_stage_n), the holders into C(relay_sources), and hosts that no path leads to into
    C(relay_unreachable). A host that has the same pool as another one (C(shared_pools) of the matrix) is where that is.
  - It contacts nobody. Measurements are made by the playbook C(basecast.fleet.probe).
  - The file's name must end in V(relay.yml) or V(relay.yaml).
options:
  plugin:
    description: Must be V(basecast.fleet.relay).
    type: str
    required: true
    choices: [basecast.fleet.relay]
  measurements:
    description:
      - A JSON file with a deployment-time matrix, as P(basecast.fleet.deployment_matrix#filter) returns it.
      - A relative path is relative to the inventory file.
    type: str
    required: true
  sources:
    description: The hosts that hold the base.
    type: list
    elements: str
    required: true
  targets:
    description:
      - The hosts that are to get it.
      - By default those hosts of the matrix that the inventory knows from its other sources, or all hosts of the matrix
        if it knows none of them.
    type: list
    elements: str
  size_bytes:
    description: Size of the base. By default the one that the matrix was made for.
    type: int
  strategy:
    description: As in P(basecast.fleet.relay_plan#filter).
    type: str
    choices: [best, preferred_paths]
    default: best
  contention:
    description: As in P(basecast.fleet.relay_plan#filter).
    type: str
    choices: [port, independent]
    default: port
  group_prefix:
    description: What the names of the stages' groups start with.
    type: str
    default: relay_stage_
"""

EXAMPLES = r"""
# fleet.relay.yml; use it beside the fleet's own inventory: ansible-inventory -i hosts.yml -i fleet.relay.yml --graph
plugin: basecast.fleet.relay
measurements: matrix.json
sources: [kvm1]
"""

import pathlib
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

from ..module_utils._errors import FleetError
from ..plugin_utils._plan.network.matrix import parse, plain
from ..plugin_utils._plan.relay.planner import relay_plan


class InventoryModule(BaseInventoryPlugin):
    """Inventory plugin."""

    NAME = "basecast.fleet.relay"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("relay.yml", "relay.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            self._group(pathlib.Path(path).parent)
        except FleetError as error:
            raise AnsibleParserError(f"{path}: {error}") from error

    def _group(self, folder: pathlib.Path) -> None:
        matrix = parse(str(folder / self.get_option("measurements")), "measurements")
        sources, targets = plain(self.get_option("sources")), plain(self.get_option("targets"))
        if targets is None:
            known = [h for h in matrix.hosts if h in self.inventory.hosts]
            targets = known or matrix.hosts
        plan = relay_plan(
            matrix,
            sources,
            targets,
            size_bytes=self.get_option("size_bytes"),
            strategy=self.get_option("strategy"),
            contention=self.get_option("contention"),
        )
        shares = plan.get("shares", {})
        mates = {move["to"]: [h for h, first in shares.items() if first == move["to"]] for stage in plan["stages"] for move in stage}
        self._add("relay_sources", plan["sources"])
        self._add("relay_unreachable", plan["unreachable"])
        for number, stage in enumerate(plan["stages"], 1):
            for move in stage:
                hosts = [move["to"], *mates[move["to"]]]
                self._add(f"{self.get_option('group_prefix')}{number}", hosts)
                for host in hosts:
                    self.inventory.set_variable(host, "relay_stage", number)
                    self.inventory.set_variable(host, "relay_parents", plan["parents"][host][0])
                    self.inventory.set_variable(host, "relay_ready_s", move["end_s"])

    def _add(self, group: str, hosts: t.Iterable[str]) -> None:
        self.inventory.add_group(group)
        for host in hosts:
            self.inventory.add_host(host, group=group)
