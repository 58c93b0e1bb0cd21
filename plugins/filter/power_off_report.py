# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: power_off_report
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Sum up which machines of a service are powered off
description:
  - Compares what was to be powered off with what became of it; C(ok) is true only if all of it is off and every host could be asked.
positional: outcomes
options:
  _input:
    description: A plan as P(basecast.fleet.removal_plan#filter) returns it for a request with C(stop).
    type: dict
    required: true
  outcomes:
    description:
      - By host a list of C(machines), names, with C(msg), why they may run still. It may have C(told), the C(machines) of
        M(basecast.fleet.machine), and C(held), whether they were left on because of others.
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
    msg: "{{ (plan | basecast.fleet.power_off_report({'kvm1': [{'machines': ['web-1'], 'msg': ''}]})).text }}"
  vars:
    # as basecast.fleet.removal_plan returns it
    plan:
      service: shop
      tenant: default
      machines: [{machine: web-1, host: kvm1, running: true, problem: null}]
      unknown: {}
      absent: []
"""

RETURN = r"""
_value:
  description:
    - C(ok), C(machines) with C(machine), C(host), C(state) and C(reason), C(failures), and C(text) with lines for people. C(state) is
      V(off), V(off_before), V(failed), V(unknown) where its host did not say, or V(left) for a machine that is not touched, as while
      it moves, or while a machine that starts after it is not off.
    - C(held) are entries of O(outcomes), each with its C(host), for machines that have to stay on, of those that have no outcome yet.
  type: dict
  sample: {ok: true, machines: [{machine: web-1, host: kvm1, state: "off", reason: ""}], held: [], failures: []}
"""

import typing as t

from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import POWERED_OFF, STOPPING, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.removal_plan import power_off_report as report


@door("power_off_report", plan=STOPPING, outcomes=or_null(POWERED_OFF))
def power_off_report(plan: object, outcomes: object, predicted: bool = False) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    return t.cast("dict[str, t.Any]", clean_data(report(plain(plan), plain(outcomes or {}), bool(predicted))))


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"power_off_report": power_off_report}
