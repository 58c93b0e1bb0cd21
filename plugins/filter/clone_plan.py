# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: clone_plan
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Plan the clone of a machine
description:
  - Finds the host of the machine and gives the clone its name. The host's own part of the manifest says how the clone is customised.
positional: request
options:
  _input:
    description:
      - "What M(basecast.fleet.survey_info) returned of each host, by inventory name. Empty to see whether the request can be meant."
    type: dict
    required: true
  request:
    description:
      - "C(service), C(tenant) and C(machine). C(name) is the clone's; without it the clone gets the next number of its role.
        C(flatten) says whether its disks have no base; with C(background) they lose it while the clone runs, at C(flatten_mbps) at
        most. C(predicted) says that nothing will be made, as in check mode."
    type: dict
    required: true
  memory_overcommit:
    description: How much of a host's memory may be promised, where the host's C(overcommit) does not say.
    type: float
    default: 1.0
  quotas:
    description: What tenants may have, as P(basecast.fleet.service_plan#filter) takes it.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Say what the clone will be
  ansible.builtin.debug:
    msg: "{{ (hosts | basecast.fleet.clone_plan({'service': 'shop', 'tenant': 'default', 'machine': 'web-1'})).text }}"
  vars:
    hosts: # as survey_info returns them
      kvm1:
        reachable: true
        known: true
        capacity: {memory_mib: 4096, pools: {}}
        machines: [{machine: web-1, domain: shop-web-1, running: true, group: web, number: 1, cpus: 1, memory_mib: 512, spec: {}}]
        record:
          generation: 1
          assignments: {}
          manifest:
            bases: []
            machines:
              - name: web
                networks: []
                disks: [{name: root, base: null, pool: default, size_bytes: 1073741824, differencing: false, backend: qcow2}]
                cloud_init: null
"""

RETURN = r"""
_value:
  description:
    - C(host) has the machine, C(name) is the clone's, and C(hosts) is the work of that host as M(basecast.fleet.host_job) takes it.
      C(claims) is what M(basecast.fleet.host_claim) takes. C(exists) says that the clone is there already. C(unknown) are hosts that
      could not be asked, each with the reason. C(problems) are sentences; while there is one, nothing should be changed. C(text) says
      what would become of it.
  type: dict
  sample: {service: shop, machine: web-1, name: web-9, host: kvm1, exists: false, unknown: {}, problems: []}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, LOOKS, NUMBER
from ..plugin_utils._plan.service.clone_plan import Limits
from ..plugin_utils._plan.service.clone_plan import clone_plan as plan
from ..plugin_utils._plan.service.manifest import plain


@door("clone_plan", hosts=LOOKS, request=ANY_MAPPING, memory_overcommit=NUMBER, quotas=ANY_MAPPING)
def clone_plan(hosts: object, request: object, memory_overcommit: float = 1.0, quotas: object = None) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        made = plan(plain(hosts), plain(request), Limits(float(memory_overcommit), plain(quotas or {})))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error
    # The work goes to its host as it is; what people read is made fit for a terminal.
    return {**made, "problems": clean_data(made["problems"]), "text": clean_data(made["text"])}


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"clone_plan": clone_plan}
