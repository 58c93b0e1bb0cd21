# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: deploy_report
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Sum up a deployment, machine by machine
description:
  - Compares what was asked for with what each host came to; C(ok) is true only if every machine is there.
positional: outcomes
options:
  _input:
    description: A plan as P(basecast.fleet.service_plan#filter) returns it.
    type: dict
    required: true
  outcomes:
    description:
      - "What each host came to, by inventory name: C(state) is V(done), V(failed) or V(unreachable); C(step) and C(msg) say
        where and why it failed; C(machines) is what M(basecast.fleet.machine) returned, or where it failed C(failure), with its
        C(machines). A machine of which nothing is said is not there."
    type: dict
    required: true
  relay:
    description: The relay plans that were run, as P(basecast.fleet.relay_plans#filter) returns them. Kept in the report.
    type: list
    elements: dict
  predicted:
    description: Whether the run was in check mode. Machines that it would have deployed then count as deployed.
    type: bool
    default: false
  fail_on_drift:
    description: Whether a machine that differs from the manifest makes C(ok) false.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Sum up
  ansible.builtin.debug:
    msg: "{{ (plan.service | basecast.fleet.deploy_report(outcomes)).text }}"
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    outcomes:
      kvm1: {state: done, machines: [{machine: web-1, running: true, problem: null, actions: [defined, started]}]}
      kvm2: {state: unreachable, step: Make disks, msg: Connection timed out}
"""

RETURN = r"""
_value:
  description:
    - The report; C(text) holds it as lines for people.
    - The C(state) of a machine is V(deployed) or V(started) (by this run), V(present) (before it); V(failed), V(unreachable), V(unknown)
      (whether it exists), V(unfit) (its host, for a new machine) or V(outside) (of this run). The names of the latter are in C(missing).
    - C(failures) says in sentences why C(ok) is false.
  type: dict
  sample:
    format: 1
    service: shop
    ok: false
    machines: [{"machine": "web-1", "host": "kvm1", "state": "unreachable", "reason": "…", "report": null, "drift": []}]
    text: ["Service shop: 0 of 1 machines are there (0 deployed, 0 started by this run, 0 before)."]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.report import deploy_report as report


def deploy_report(
    plan: object, outcomes: object, relay: object = None, predicted: bool = False, fail_on_drift: bool = False
) -> dict[str, t.Any]:
    try:
        told = report(plain(plan), plain(outcomes), plain(relay), bool(predicted), bool(fail_on_drift))
        return t.cast("dict[str, t.Any]", clean_data(told))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"deploy_report": deploy_report}
