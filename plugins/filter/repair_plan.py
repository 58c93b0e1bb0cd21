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
positional: repair
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
      has a sound copy. C(text) shows all of it.
  type: dict
  sample:
    format: 1
    relays: []
    relay_hosts: []
    resumable: {kvm2: {default: [3f0a]}}
    lost: []
    text: ["kvm2: the base disk 3f0a in pool default is damaged: chunks is missing."]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.repair_plan import repair_plan as plan


def repair_plan(looks: object, repair: bool = True) -> dict[str, t.Any]:
    try:
        return t.cast("dict[str, t.Any]", clean_data(plan(plain(looks), repair)))
    except (FleetError, KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"repair_plan: the hosts' base disks are not as base_disk_info returns them: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"repair_plan": repair_plan}
