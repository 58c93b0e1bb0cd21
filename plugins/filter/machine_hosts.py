# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: machine_hosts
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Deployed machines as hosts of an inventory
description:
  - Returns names, groups and variables of the running machines of a status, as P(basecast.fleet.machines#inventory) gives them to an
    inventory.
options:
  _input:
    description: A status as P(basecast.fleet.fleet_status#filter) returns it, or its C(json).
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show where machines can be reached
  ansible.builtin.debug:
    msg: "{{ found | map(attribute='variables') | map(attribute='machine_address') }}"
  vars:
    found: "{{ lookup('ansible.builtin.file', 'status.json') | basecast.fleet.machine_hosts }}"
  # written by basecast.fleet.status, with basecast_status_file=status.json
"""

RETURN = r"""
_value:
  description: The machines.
  type: list
  elements: dict
  sample:
    - name: shop-web-1
      groups: [basecast_machines, service_shop, role_shop_web, machines_on_kvm1, tenant_default]
      variables: {ansible_host: 192.168.122.17, machine_service: shop, machine_role: web, machine_host: kvm1}
"""

import json
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.inventory.group import to_safe_group_name

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.service.machine_hosts import machine_hosts as hosts
from ..plugin_utils._plan.service.manifest import plain


@door("machine_hosts")
def machine_hosts(status: object) -> list[dict[str, t.Any]]:
    try:
        found = hosts(json.loads(status) if isinstance(status, str) else plain(status))
    except (FleetError, ValueError, RecursionError) as error:
        raise AnsibleFilterError(str(error)) from error
    return [{**one, "groups": [to_safe_group_name(group, force=True, silent=True) for group in one["groups"]]} for one in found]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"machine_hosts": machine_hosts}
