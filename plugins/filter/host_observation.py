# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: host_observation
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Validate a host's survey before planning with it
description:
  - Returns what M(basecast.fleet.survey_info) told of a host, unchanged, if all of it is of the right kind and in its range.
  - Fails if it is not. A host whose root is hostile can tell anything of itself; that is this host's failure, not the end
    of the plan for all others.
options:
  _input:
    description: See RV(basecast.fleet.survey_info#module:observation).
    type: dict
    required: true
  host:
    description: Name of the host, for the message.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Keep the host's survey
  ansible.builtin.set_fact:
    seen: "{{ survey.observation | basecast.fleet.host_observation(inventory_hostname) }}"
  vars:
    survey: # as basecast.fleet.survey_info returns it
      observation: {format: 1, reachable: true, known: true, pools: {}}
"""

RETURN = r"""
_value:
  description: The input.
  type: dict
  sample: {format: 1, reachable: true, known: true, pools: {}}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import TEXT
from ..plugin_utils._plan.service.answer_checks import bounded
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import checked


@door("host_observation", host=TEXT)
def host_observation(observation: object, host: str) -> dict[str, t.Any]:
    try:
        return checked(plain(bounded(observation, host)), host)
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"host_observation": host_observation}
