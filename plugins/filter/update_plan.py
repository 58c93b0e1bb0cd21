# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: update_plan
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Plan the update of a service's machines
description:
  - Finds the machines that differ from the manifest, and says which of their disks are made anew and which machines are updated together.
positional: hosts, request, groups
options:
  _input:
    description: A manifest as P(basecast.fleet.service_manifest#filter) returns it.
    type: dict
    required: true
  hosts:
    description: What M(basecast.fleet.survey_info) returned of each host, by inventory name.
    type: dict
    required: true
  request:
    description:
      - "C(role) or C(machines) are those that are meant, all by default. C(serial) is the number of machines that are updated at a time,
        or a share of them such as V(25%); V(1) by default."
    type: dict
    required: true
  groups:
    description: The groups of the inventory.
    type: dict
"""

EXAMPLES = r"""
- name: Say what an update would do
  ansible.builtin.debug:
    msg: "{{ (manifest | basecast.fleet.update_plan(hosts, {'serial': '25%'})).text }}"
  vars:
    manifest: "{{ lookup('ansible.builtin.file', 'shop.yml') | basecast.fleet.service_manifest('shop.yml') }}"
    hosts: {kvm1: {reachable: false, msg: timed out}} # as survey_info returns them
"""

RETURN = r"""
_value:
  description:
    - C(machines) are those that are updated, each with its C(host), C(text), C(disks), the names of those that are made anew, and
      C(grow), the sizes in bytes to which disks grow while it runs, where nothing else has to be done.
      C(batches) are the names of those that are updated together, in order. C(left) are machines of hosts that could not be asked, each
      with the reason. C(seen) are the hosts as they are without the machines that are updated, so that
      P(basecast.fleet.service_plan#filter) says what has to be done. C(problems) are sentences; while there is one, nothing should be
      changed. C(text) says what would be done.
  type: dict
  sample:
    service: shop
    machines: [{machine: web-1, host: kvm1, disks: [root], grow: {}, text: []}]
    batches: [[web-1]]
    left: {}
    problems: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, GROUPS, LOOKS, MANIFEST
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.update_plan import update_plan as plan


@door("update_plan", manifest=MANIFEST, hosts=LOOKS, request=ANY_MAPPING, groups=GROUPS)
def update_plan(manifest: object, hosts: object, request: object, groups: object = None) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        made = plan(plain(manifest), plain(hosts), plain(request), plain(groups))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error
    return {**made, "problems": clean_data(made["problems"]), "text": clean_data(made["text"])}


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"update_plan": update_plan}
