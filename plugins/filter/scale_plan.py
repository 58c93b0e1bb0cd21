# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: scale_plan
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Decide how many machines the groups of a service are to have
description:
  - Decides by the scale rules of the manifest from readings, or takes a number that a user gives.
  - What is not known leads to no decision. A reading that is missing is not a load of zero, and a host that cannot be asked is not a
    host without machines.
positional: hosts, request
options:
  _input:
    description: The manifest, as P(basecast.fleet.service_manifest#filter) reads it.
    type: dict
    required: true
  hosts:
    description: What M(basecast.fleet.survey_info) returned of each host, by inventory name.
    type: dict
    required: true
  request:
    description:
      - "C(role) is a group of the manifest, C(count) how many machines it is to have. Without a count, C(readings) are the loads by
        metric, null where one is not known, and the rules decide. C(given) has the names of those that were given at all."
    type: dict
    required: true
  now:
    description: The time in seconds since 1970.
    type: float
    required: true
  groups:
    description: The groups of the inventory. Manifests name hosts by them.
    type: dict
  fleet:
    description: All hosts that may have machines of the service. By default those that were observed.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show what the rules say
  ansible.builtin.debug:
    msg: "{{ (manifest | basecast.fleet.scale_plan({'kvm1': host}, {'readings': {'requests': 250}}, now=1764418800)).text }}"
  vars:
    manifest: "{{ text | basecast.fleet.service_manifest }}"
    text: |
      format: 1
      service: shop
      machines:
        - name: web
          hosts: [kvm1]
          count: 1
          scale: {metric: requests, of: service, target: 100, step: 2, max: 8}
          disks: [{name: data, size_gib: 1}]
    host: # as basecast.fleet.survey_info returns it
      reachable: true
      machines: [{machine: web-1, group: web, number: 1}]
      record: {service: shop, generation: 1}
"""

RETURN = r"""
_value:
  description:
    - The plan. C(decisions) has an entry for each group that is meant. Its C(action) is V(up), V(down), V(keep), or V(unknown) where
      nothing can be decided. C(count) is the number from now on, C(present) how many exist, C(leaving) are the machines that go.
    - C(scaled) is what hosts are to remember, as M(basecast.fleet.service_counts) takes it, C(expected) the generation of what they
      remember, C(drains) what M(basecast.fleet.machine_drain) is to do on each host, C(keepers) the hosts that have a record of the
      service.
    - C(problems) are sentences; while there is one, nothing should be changed. C(text) shows all of it.
  type: dict
  sample:
    format: 1
    service: shop
    tenant: default
    decisions:
      - group: web
        action: up
        before: 1
        count: 3
        present: 1
        reasons: ["requests is 250 for each machine, target 100"]
        leaving: []
    expected: 0
    scaled: {generation: 1, groups: {web: {count: 3, of: 1, at: 1764418800}}}
    drains: {}
    keepers: [kvm1]
    problems: []
    text:
      - "Service shop (tenant default): scale"
      - "  web: count from 1 to 3: requests is 250 for each machine, target 100"
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, GROUPS, HOST_NAMES, LOOKS, MANIFEST, NUMBER, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.scale_plan import Fleet
from ..plugin_utils._plan.service.scale_plan import scale_plan as plan


@door("scale_plan", manifest=MANIFEST, hosts=LOOKS, request=ANY_MAPPING, now=NUMBER, groups=GROUPS, fleet=or_null(HOST_NAMES))
def scale_plan(
    manifest: object, hosts: object, request: object, now: float, groups: object = None, fleet: object = None
) -> dict[str, t.Any]:
    try:
        observed = plain(hosts)
        known = Fleet(observed, plain(groups) or {}, plain(fleet) or list(observed))
        return t.cast("dict[str, t.Any]", clean_data(plan(plain(manifest), known, plain(request), float(now))))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"scale_plan": scale_plan}
