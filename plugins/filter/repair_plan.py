# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: repair_plan
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Decide from which hosts damaged base disks come again
description:
  - A base disk that is damaged on one host, and sound on another, is brought by the relay.
  - References, records, domains and disks are compared with each other, and what is found is told with what would mend it.
positional: repair, statuses, upkeep
options:
  _input:
    description:
      - "What each host has, by inventory name: C(pools) is what M(basecast.fleet.base_disk_info) returned with its option C(verify)."
    type: dict
    required: true
  repair:
    description: Whether anything is to be brought. If not, the plan only tells what is damaged.
    type: bool
    default: true
  statuses:
    description:
      - "By host C(status), as M(basecast.fleet.host_status_info) returned it for all tenants, or C(msg), why there is none. Without
        it only base disks are looked at."
    type: dict
  upkeep:
    description: "What M(basecast.fleet.pool_upkeep) returned, by host."
    type: dict
"""

EXAMPLES = r"""
- name: Show what is damaged on the hosts
  ansible.builtin.debug:
    msg: "{{ ({'kvm1': {'pools': seen}} | basecast.fleet.repair_plan).text }}"
  vars:
    seen: {default: {bases: [], damaged: []}} # as basecast.fleet.base_disk_info returns it
"""

RETURN = r"""
_value:
  description:
    - The plan. C(relays) and C(relay_hosts) are as in P(basecast.fleet.service_plan#filter). C(resumable) are the damaged base disks
      that come again, by host and pool, as M(basecast.fleet.base_disk) takes them. C(lost) has a sentence for each of which no host
      has a sound copy.
    - C(findings) are what else does not belong together, each with C(host), C(kind), C(place), C(found), C(repair), C(is_wrong), which
      says that something cannot work as it is, C(mends), which says that C(repair) is done with repair, and C(mended), which says that
      it was done. C(stale_references) says whether there are names of bases that are not there.
    - C(wrong) has a sentence for each thing because of which a host is not as it should be, by host. C(text) shows all of it.
  type: dict
  sample:
    format: 1
    relays: []
    relay_hosts: []
    resumable: {kvm2: {default: [3f0a]}}
    lost: []
    wrong: {kvm2: ["kvm2: the base disk 3f0a in pool default is damaged: chunks is missing"]}
    findings: []
    stale_references: false
    text: ["kvm2: the base disk 3f0a in pool default is damaged: chunks is missing."]
"""

import typing as t

from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import LOOKS, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import unpacked
from ..plugin_utils._plan.service.repair_plan import repair_plan as plan


@door("repair_plan", looks=LOOKS, statuses=or_null(LOOKS), upkeep=or_null(LOOKS))
def repair_plan(looks: object, repair: bool = True, statuses: object = None, upkeep: object = None) -> dict[str, t.Any]:
    told = None if statuses is None else {host: unpacked(look) for host, look in plain(statuses).items()}
    beside = None if upkeep is None else {host: look["faults"] for host, look in plain(upkeep).items()}
    return t.cast("dict[str, t.Any]", clean_data(plan(plain(looks), repair, told, beside)))


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"repair_plan": repair_plan}
