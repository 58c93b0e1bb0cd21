# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: removal_plan
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Decide which machines of a service are to be removed
description:
  - Finds the machines that are meant among those that the hosts have. Without a role, machines or C(remove), the whole service
    is meant.
positional: request, manifest, groups
options:
  _input:
    description:
      - "What each host has of the service, by inventory name; C(removal) is what M(basecast.fleet.host_removal) returned in check
        mode, or C(msg) says why the host could not be asked. Empty to see whether the request can be meant."
    type: dict
    required: true
  request:
    description:
      - "What is to go. C(service) and C(tenant) name the service; C(role) is a role of it, C(machines) are names of machines;
        C(remove=surplus) are the machines that the manifest no longer asks for. At most one of the three is given; one that C(given)
        names and that is empty is a problem. C(keep_disks) says whether disks stay, C(stop) that machines are only powered off."
    type: dict
    required: true
  manifest:
    description: The service's manifest, as P(basecast.fleet.service_manifest#filter) reads it. It may stand for C(service).
    type: dict
  groups:
    description: The groups of the inventory. Manifests name hosts by them.
    type: dict
  skip_bad_hosts:
    description: Whether other hosts are worked on if one could not be asked.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Show what would go
  ansible.builtin.debug:
    msg: "{{ ({'kvm1': {'removal': removal}} | basecast.fleet.removal_plan({'service': 'shop', 'machines': ['web-2']})).text }}"
  vars:
    removal: # as basecast.fleet.host_removal returns it in check mode
      recorded: true
      jobs: []
      machines:
        - {machine: web-2, group: web, number: 2, running: true, disks: [], left: [], problem: null}
"""

RETURN = r"""
_value:
  description:
    - The plan. C(hosts) has the names for each host that has something to do, or V(null) for all of the service. C(absent) are
      names that no host knows, C(unknown) hosts that could not be asked. C(problems) are sentences; while there is one, nothing
      should be removed. C(text) shows all of it.
  type: dict
  sample:
    format: 1
    service: shop
    tenant: default
    whole: false
    hosts: {kvm1: [web-2]}
    machines: [{machine: web-2, host: kvm1, running: true, disks: 1, bytes: 20480, left: [], problem: null}]
    absent: []
    unknown: {}
    problems: []
    text: ["Service shop (tenant default): 1 machine to be removed"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, GROUPS, LOOKS, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.removal_plan import removal_plan as plan


@door("removal_plan", looks=LOOKS, request=ANY_MAPPING, manifest=or_null(ANY_MAPPING), groups=GROUPS)
def removal_plan(
    looks: object, request: object, manifest: object = None, groups: object = None, skip_bad_hosts: bool = True
) -> dict[str, t.Any]:
    try:
        made = plan(plain(looks), plain(request), plain(manifest) or None, plain(groups), bool(skip_bad_hosts))
        return t.cast("dict[str, t.Any]", clean_data(made))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"removal_plan": removal_plan}
