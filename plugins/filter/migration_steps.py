# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_steps
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Tell which machines of which host go through the next step of a migration
description:
  - Each step takes the machines that have gone through the earlier ones. The steps that lead back take those that have not, as long
    as it is certain which host has them.
positional: results, step
options:
  _input:
    description: A plan as P(basecast.fleet.migration_plan#filter) or P(basecast.fleet.migration_recovery#filter) returns it.
    type: dict
    required: true
  results:
    description:
      - "What became of the steps so far, by host and step; C(machines) and C(port) as M(basecast.fleet.migration_source) and
        M(basecast.fleet.migration_target) returned them. If there is none, C(msg) says why, and C(asked) which machines were meant."
    type: dict
    required: true
  step:
    description: The step.
    type: str
    required: true
    choices:
      - prepared
      - sent
      - received
      - handed_over
      - finished
      - removed
      - undone_there
      - undone_here
      - recorded
"""

EXAMPLES = r"""
- name: Show what has to be prepared
  ansible.builtin.debug:
    msg: "{{ {'moves': [], 'records': [], 'addresses': {}} | basecast.fleet.migration_steps({}, 'prepared') }}"
"""

RETURN = r"""
_value:
  description: "The machines of each host, as the module of the step takes them."
  type: dict
  sample: {kvm2: [{tenant: default, service: shop, machine: web-1}]}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import LOOKS, MIGRATION, TEXT
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.migration_steps import migration_steps as steps


@door("migration_steps", plan=MIGRATION, results=LOOKS, step=TEXT)
def migration_steps(plan: object, results: object, step: str) -> dict[str, t.Any]:
    try:
        return t.cast("dict[str, t.Any]", steps(plain(plan), plain(results), str(step)))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"migration_steps": migration_steps}
