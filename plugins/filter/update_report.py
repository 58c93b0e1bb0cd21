# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: update_report
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Sum up an update, machine by machine
description:
  - Compares what was to be updated with what became of it; C(ok) is true only if all of it is as the manifest says.
positional: outcomes
options:
  _input:
    description: A plan as P(basecast.fleet.update_plan#filter) returns it.
    type: dict
    required: true
  outcomes:
    description:
      - "By machine C(job) as M(basecast.fleet.host_job) returned it, C(grown) as M(basecast.fleet.machine_resize) did, or C(msg),
        why there is none or what is wrong with the machine all the same. Machines that are not named were not reached."
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
    msg: "{{ (plan | basecast.fleet.update_report({'web-1': {'msg': 'port 80 does not answer'}})).text }}"
  vars:
    plan: {service: shop, machines: [{machine: web-1, host: kvm1}], left: {}} # as basecast.fleet.update_plan returns it
"""

RETURN = r"""
_value:
  description:
    - C(ok), C(machines) with C(machine), C(host), C(state) and C(reason), and C(text) with lines for people. C(state) is V(updated),
      V(failed), or V(waiting) for a machine that was left alone since another had failed.
  type: dict
  sample:
    ok: false
    machines: [{machine: web-1, host: kvm1, state: failed, reason: port 80 does not answer}]
    text: ["Service shop: 0 of 1 machines are updated."]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, LOOKS
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import checked_outcome
from ..plugin_utils._plan.service.update_plan import update_report as report


@door("update_report", plan=ANY_MAPPING, outcomes=LOOKS)
def update_report(plan: object, outcomes: object, predicted: bool = False) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        told = {
            name: {**one, "job": checked_outcome(one.get("job") or {}, name)}
            for name, one in t.cast("dict[str, dict[str, t.Any]]", plain(outcomes)).items()
        }
        return t.cast("dict[str, t.Any]", clean_data(report(plain(plan), told, bool(predicted))))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(f"basecast.fleet.update_report: not a plan of update_plan and its outcomes: {error}") from error


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"update_report": update_report}
