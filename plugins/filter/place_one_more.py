# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: place_one_more
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Tell where one more machine of each group of a manifest would go
description:
  - Rates the hosts for one more machine of each group, beside all machines that exist, without a deployment. How many machines the
    manifest asks for, and on which of its hosts, does not matter; its C(hosts) are those that come into question.
  - A new machine and a clone go to the best host. A machine that leaves its host goes to the best other one. It is rated while the
    machine still counts on its host.
positional: hosts
extends_documentation_fragment:
  - basecast.fleet._observed
options:
  quotas:
    description: What each tenant may have altogether, see P(basecast.fleet.place_machines#filter).
    type: dict
    default: {}
  links:
    description:
      - Links that are stated, as P(basecast.fleet.deployment_matrix#filter) takes them. By default those count that hosts have measured
        (C(measured) of an observation).
    type: raw
seealso:
  - plugin: basecast.fleet.place_machines
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show where another machine would go
  ansible.builtin.debug:
    msg: "{{ (manifest | basecast.fleet.place_one_more(observed)).web.host }}"
  vars:
    manifest: "{{ lookup('ansible.builtin.file', 'shop.yml') | basecast.fleet.service_manifest('shop.yml') }}"
    observed:
      kvm1: {reachable: true, capacity: {cpus: 16, memory_mib: 65536}}
"""

RETURN = r"""
_value:
  description:
    - "By group: C(machine), the name that it would get; C(host), V(null) where it fits nowhere; C(pools) of its disks; C(ratings) of
      the hosts, best first, see P(basecast.fleet.place_machines#filter); C(problems), why it fits nowhere; C(moves), for each machine
      that exists the host that it is on (C(from)) and the best other one (C(to)), V(null) where there is none."
  type: dict
  sample:
    web:
      machine: web-4
      host: kvm1
      pools: {root: default}
      ratings: []
      problems: []
      moves: [{"machine": "web-1", "from": "kvm1", "to": "kvm2"}]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.placement import Settings
from ..plugin_utils._plan.placement.one_more import place_one_more as place
from ..plugin_utils._plan.placement.request_schema import check_request
from ..plugin_utils._plan.schemas import MANIFEST
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.preflight import unfit_hosts


@door("place_one_more", manifest=MANIFEST)
def place_one_more(manifest: object, hosts: object, groups: object = None, quotas: object = None, links: object = None) -> dict[str, t.Any]:
    try:
        wanted, observed, known, limits = plain(manifest), plain(hosts), plain(groups or {}), plain(quotas or {})
        check_request(observed, known, quotas=limits)
        settings = Settings(known, quotas=limits, links=plain(links), unfit=unfit_hosts(wanted, observed))
        return t.cast("dict[str, t.Any]", clean_data(place(wanted, observed, settings)))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"place_one_more": place_one_more}
