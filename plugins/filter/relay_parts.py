# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relay_parts
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Split relay plans into each host's part
description:
  - Says for each host which bases its relay node serves or fetches, and from whom, and in which stage it is waited for.
positional: plans
options:
  _input:
    description: The C(relays) of a plan as P(basecast.fleet.service_plan#filter) returns it.
    type: list
    elements: dict
    required: true
  plans:
    description: One plan of P(basecast.fleet.relay_plan#filter) for each of them, in the same order.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Show which bases each host fetches, and from whom
  ansible.builtin.debug:
    msg: "{{ (relays | basecast.fleet.relay_parts(relay_plans)).parts }}"
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    relays: "{{ (lookup('ansible.builtin.file', 'plan.json') | from_json).service.relays }}"
    relay_plans: "{{ relays | basecast.fleet.relay_plans([{'from': 'kvm1', 'to': 'kvm2', 'mbps': 940}]) }}"
"""

RETURN = r"""
_value:
  description: The parts by host, and the stage of each target.
  type: dict
  sample:
    parts:
      kvm2:
        - {"metadata": {}, "pool": "default", "parents": [["kvm1"]], "weights": [1.0], "expected_mbps": 940.0, "children": []}
    stages: {"kvm2": 1}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.relay.parts import relay_parts as parts_of
from ..plugin_utils._plan.relay.parts import relay_stages
from ..plugin_utils._plan.schemas import PLANS, RELAYS
from ..plugin_utils._plan.service.manifest import plain


@door("relay_parts", relays=RELAYS, plans=PLANS)
def relay_parts(relays: object, plans: object) -> dict[str, t.Any]:
    try:
        return {"parts": parts_of(plain(relays), plain(plans)), "stages": relay_stages(plain(plans))}
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"relay_parts": relay_parts}
