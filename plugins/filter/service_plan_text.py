# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: service_plan_text
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Show the plan of a deployment to people
description:
  - Machines with their hosts and reasons, bases with their holders and ways, problems and drift, as lines of text.
positional: updated
options:
  _input:
    description: A plan as P(basecast.fleet.service_plan#filter) returns it.
    type: dict
    required: true
  updated:
    description: Names of machines that an update makes anew or grows. They are shown as to be updated.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show a plan that basecast.fleet.plan wrote, with basecast_plan_file=plan.json
  ansible.builtin.debug:
    msg: "{{ plan.service | basecast.fleet.service_plan_text }}"
  vars:
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
  sample: ["Service shop (tenant default): 1 machine, 1 to be made"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import SERVICE_PLAN
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.plan_text import plan_text


@door("service_plan_text", plan=SERVICE_PLAN)
def service_plan_text(plan: object, updated: t.Iterable[str] | None = None) -> list[str]:
    try:
        return t.cast("list[str]", clean_data(plan_text(plain(plan), [str(name) for name in updated or ()])))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"service_plan_text": service_plan_text}
