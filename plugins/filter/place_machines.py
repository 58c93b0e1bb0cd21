# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: place_machines
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Choose the host and the number of every machine of a manifest
description:
  - Machines that exist keep their host and their number; new ones get the lowest numbers that were never given.
  - A group of machines with C(count) in the manifest is spread evenly; of hosts with as many machines one that holds the base wins.
positional: hosts
extends_documentation_fragment:
  - basecast.fleet._observed
"""

EXAMPLES = r"""
- name: Show where machines would go
  ansible.builtin.debug:
    msg: "{{ item.machine }} on {{ item.host }}"
  loop: "{{ (manifest | basecast.fleet.place_machines(observed)).assignments }}"
  loop_control:
    label: "{{ item.machine }}"
  vars:
    manifest: "{{ lookup('ansible.builtin.file', 'shop.yml') | basecast.fleet.service_manifest('shop.yml') }}"
    observed:
      kvm1: {reachable: true, pools: {}, machines: [], domains: []}
      kvm2: {reachable: true, pools: {}, machines: [], domains: []}
"""

RETURN = r"""
_value:
  description:
    - "C(assignments): each machine with its host. C(ratings): by machine, the hosts that came into question, best first, with reasons.
      C(surplus): machines that are no longer asked for. C(problems): sentences; while there is one, nothing should be changed."
  type: dict
  sample:
    assignments: [{"machine": "web-1", "group": "web", "number": 1, "host": "kvm1", "exists": false, "place": "shop.yml:8"}]
    ratings: {"web-1": [{"host": "kvm1", "pool": "default", "rating": 1.0, "reasons": ["the manifest names this host"]}]}
    surplus: []
    problems: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._plan.placement import place_machines as place
from ..plugin_utils._plan.service.manifest import plain


def place_machines(manifest: t.Any, hosts: t.Any, groups: t.Any = None) -> dict[str, t.Any]:
    try:
        return place(plain(manifest), plain(hosts), plain(groups or {}))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"place_machines": place_machines}
