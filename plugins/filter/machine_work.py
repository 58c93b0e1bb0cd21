# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: machine_work
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Join a host's machines with their disks and seeds
description:
  - Makes the option C(machines) of M(basecast.fleet.machine) from a host's work and what the earlier modules returned.
positional: disks, seeds
options:
  _input:
    description: The work of one host, from C(hosts) of a plan as P(basecast.fleet.service_plan#filter) returns it.
    type: dict
    required: true
  disks:
    description: What M(basecast.fleet.diff_disk) returned as C(disks).
    type: list
    elements: dict
    required: true
  seeds:
    description: What M(basecast.fleet.seed_image) returned as C(seeds).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
# plan.json was written by basecast.fleet.plan, with basecast_plan_file=plan.json.
- name: Take this host's work from the plan
  ansible.builtin.set_fact:
    work: "{{ plan.service.hosts[inventory_hostname] }}"
  vars:
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"

- name: Make disks
  basecast.fleet.diff_disk:
    pools: "{{ basecast_pools }}"
    service: shop
    disks: "{{ work.disks }}"
  register: made_disks

- name: Make seeds
  basecast.fleet.seed_image:
    pools: "{{ basecast_pools }}"
    service: shop
    seeds: "{{ work.seeds }}"
  no_log: true
  register: made_seeds

- name: Make the machines of them
  basecast.fleet.machine:
    pools: "{{ basecast_pools }}"
    service: shop
    state: started
    machines: "{{ work | basecast.fleet.machine_work(made_disks.disks, made_seeds.seeds) }}"
"""

RETURN = r"""
_value:
  description: One entry for each machine.
  type: list
  elements: dict
  sample: [{"machine": "web-1", "number": 1, "group": "web", "disks": [{"name": "root", "path": "/…/root.qcow2", "image_format": "qcow2"}]}]
"""

import typing as t

from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import MADE, WORK
from ..plugin_utils._plan.service.host_work import machine_work as joined
from ..plugin_utils._plan.service.manifest import plain


@door("machine_work", work=WORK, disks=MADE, seeds=MADE)
def machine_work(work: object, disks: object, seeds: object) -> list[dict[str, t.Any]]:
    return joined(plain(work), plain(disks), plain(seeds))


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"machine_work": machine_work}
