# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: role_turn
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Whether the machines that start after a role get their turn
description:
  - A role is ready if every machine that the manifest asks for is there and healthy, on whichever host.
positional: role, answers
options:
  _input:
    description: A plan as P(basecast.fleet.service_plan#filter) returns it.
    type: dict
    required: true
  role:
    description: The role that others wait for.
    type: str
    required: true
  answers:
    description: By host C(job) as M(basecast.fleet.host_job_info) returned it, or C(msg), why there is none.
    type: dict
    required: true
  outcomes:
    description: By host C(state) and C(msg) of those that were lost, or that have failed before their job began.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Decide
  ansible.builtin.debug:
    msg: "{{ plan | basecast.fleet.role_turn('db', {'kvm1': {'msg': 'cannot be reached'}}) }}"
  vars:
    # as basecast.fleet.service_plan returns it
    plan: {machines: [{machine: db-1, group: db, host: kvm1, state: create, reason: ""}], hosts: {}}
"""

RETURN = r"""
_value:
  description: C(state), which is V(ready) or V(failed), C(msg) with the reason, and C(hosts), those whose machines wait for the role.
  type: dict
  sample: {state: failed, msg: "db-1 on kvm1: cannot be reached", hosts: [kvm2]}
"""

import typing as t

from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import LOOKS, MACHINES, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import checked_outcome
from ..plugin_utils._plan.service.start_order import turn_of


@door("role_turn", plan=MACHINES, answers=or_null(LOOKS))
def role_turn(plan: object, role: str, answers: object, outcomes: object = None) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    told = {
        str(host): {**plain(one), "job": plain(checked_outcome(one.get("job") or {}, str(host)))}
        for host, one in t.cast("dict[str, dict[str, t.Any]]", answers or {}).items()
    }
    return t.cast("dict[str, t.Any]", clean_data(turn_of(plain(plan), str(role), told, plain(outcomes or {}))))


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"role_turn": role_turn}
