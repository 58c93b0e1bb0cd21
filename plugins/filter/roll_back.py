# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: roll_back
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: What a run takes back when its service did not come up as a whole
description:
  - A manifest with C(on_failure=roll_back) asks for all of its machines or for nothing new. If one is missing, everything that the run has
    made is removed again, the machines that start last first.
positional: outcomes, removals
options:
  _input:
    description: A plan as P(basecast.fleet.service_plan#filter) returns it.
    type: dict
    required: true
  outcomes:
    description: By host what became of it, as P(basecast.fleet.deploy_report#filter) takes it.
    type: dict
    required: true
  removals:
    description:
      - By host a list of what M(basecast.fleet.host_removal) returned, each as C(removal), or C(msg), why it failed.
    type: dict
"""

EXAMPLES = r"""
- name: Decide
  ansible.builtin.debug:
    msg: "{{ (plan | basecast.fleet.roll_back({'kvm1': {'state': 'unreachable', 'msg': 'lost'}})).steps }}"
  vars:
    # as basecast.fleet.service_plan returns it
    plan:
      service: shop
      problems: []
      surplus: []
      machines: [{machine: db-1, group: db, host: kvm1, state: create, reason: "", drift: []}]
      order: {on_failure: roll_back, stages: []}
"""

RETURN = r"""
_value:
  description:
    - C(needed), C(missing) with the names of machines that are not there, C(steps), each with the machines of each host that are asked
      for at once, and C(outcomes) for P(basecast.fleet.deploy_report#filter).
  type: dict
  sample: {needed: true, missing: [web-1], steps: [{kvm2: [web-1]}, {kvm1: [db-1]}], outcomes: {}}
"""

import typing as t

from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import MACHINES, OUTCOMES, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import checked_outcome
from ..plugin_utils._plan.service.roll_back import roll_back as decide


@door("roll_back", plan=MACHINES, outcomes=or_null(OUTCOMES))
def roll_back(plan: object, outcomes: object, removals: object = None) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    given = t.cast("t.Mapping[str, t.Any]", outcomes or {})
    of_hosts = {str(host): plain(checked_outcome(outcome, str(host))) for host, outcome in given.items()}
    return t.cast("dict[str, t.Any]", clean_data(decide(plain(plan), of_hosts, plain(removals))))


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"roll_back": roll_back}
