# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: removal_report
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Sum up a removal, machine by machine
description:
  - Compares what was to be removed with what became of it on each host; C(ok) is true only if all of it is gone and every host
    could be asked.
positional: outcomes
options:
  _input:
    description: A plan as P(basecast.fleet.removal_plan#filter) returns it.
    type: dict
    required: true
  outcomes:
    description:
      - "What became of it on each host; C(removal) as M(basecast.fleet.host_removal) returned it, also where it failed; without
        it C(msg) says why there is none."
    type: dict
    required: true
  predicted:
    description: Whether the run was in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Sum up
  ansible.builtin.debug:
    msg: "{{ (plan | basecast.fleet.removal_report({'kvm1': {'msg': 'Connection timed out'}})).failures }}"
  vars:
    plan: # as basecast.fleet.removal_plan returns it
      service: shop
      tenant: default
      hosts: {kvm1: [web-2]}
      machines: [{machine: web-2, host: kvm1}]
      absent: []
      unknown: {}
"""

RETURN = r"""
_value:
  description:
    - The report; C(text) holds it as lines for people. The C(state) of a machine is V(removed), V(failed) or V(unknown).
    - C(failures) says in sentences why C(ok) is false.
  type: dict
  sample:
    format: 1
    service: shop
    tenant: default
    predicted: false
    ok: true
    machines: [{machine: web-2, host: kvm1, state: removed, actions: [stopped, removed], disks: [], bytes: 0, left: [], reason: ""}]
    absent: []
    failures: []
    text: ["Service shop: 1 of 1 machines are removed, 196 KiB of disks."]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import OUTCOMES, REMOVAL
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.removal_plan import removal_report as report


@door("removal_report", plan=REMOVAL, outcomes=OUTCOMES)
def removal_report(plan: object, outcomes: object, predicted: bool = False) -> dict[str, t.Any]:
    try:
        return t.cast("dict[str, t.Any]", clean_data(report(plain(plan), plain(outcomes), bool(predicted))))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"removal_report": removal_report}
