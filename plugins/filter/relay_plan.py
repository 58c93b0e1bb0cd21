# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relay_plan
short_description: Plan who copies a base from whom, and when
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0

description:
  - Plans how a base disk reaches all targets soonest, from a deployment-time matrix.
positional: sources, targets
options:
  _input:
    description:
      - A deployment-time matrix as P(basecast.fleet.deployment_matrix#filter) returns it, or the path of a JSON file with one.
      - The path is better for large fleets, as walking a large matrix through templates takes seconds.
    type: raw
    required: true

  sources:
    description: The hosts that hold the base.
    type: list
    elements: str
    required: true
  targets:
    description: The hosts that are to get it. By default all others. Only holders and targets relay.
    type: list
    elements: str
  base:
    description: What the plan is for; kept as it is.
    type: raw
extends_documentation_fragment:
  - basecast.fleet.relay_options
"""

EXAMPLES = r"""
- name: Make the matrix
  ansible.builtin.set_fact:
    matrix: "{{ links | basecast.fleet.deployment_matrix(4 * 1024 ** 3) }}"
  vars:
    links:
      - {from: kvm1, to: kvm2, mbps: 940}
      - {from: kvm1, to: kvm3, mbps: 940}
      - {from: kvm2, to: kvm3, mbps: 450}

- name: Plan how the image gets from kvm1 to all others
  ansible.builtin.set_fact:
    plan: "{{ matrix | basecast.fleet.relay_plan(['kvm1']) }}"

- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ plan | basecast.fleet.relay_plan_text(matrix) }}"

- name: Plan for some targets, from a saved matrix, where transfers do not slow each other
  ansible.builtin.set_fact:
    plan: "{{ file | basecast.fleet.relay_plan(['kvm1'], ['kvm3'], contention='independent', mode='cut_through') }}"
  vars:
    file: "{{ playbook_dir }}/matrix.json"
"""

RETURN = r"""
_value:
  description:
    - "The plan. C(stages): transfers by the depth of their receiver. C(trees): who gets which share from whom.
      C(parents): for each host and stripe whom to ask, best first. C(unreachable): targets that no path leads to.
      C(shares), if there are any: hosts that have the same pool as another, and which. C(local): copies that stay on a host."
    - "How good it is: C(predicted_s), C(lower_bound_s), C(bound_by) (what proves the bound), C(gap), C(proven_optimal);
      C(estimated_links), if there are any: links of the plan that were not measured, or not lately, so that nothing is proven;
      of a cut-through plan also C(depth), the links to the last host, and C(relays), on how many others a host depends on
      average. The options are kept for a new plan."
  type: dict
  sample:
    format: 1
    mode: staged
    strategy: best
    contention: port
    streams: 1
    relay_risk: 0.0001
    recovery_s: 5.0
    size_bytes: 4294967296
    chunk_bytes: 262144
    limits: null
    predicted_s: 73.1
    lower_bound_s: 73.1
    bound_by: paths and growth
    gap: 0.0
    proven_optimal: true
    base: null
    sources: [kvm1]
    targets: [kvm2, kvm3]
    stages:
      - [{from: kvm1, to: kvm2, start_s: 0.0, end_s: 36.5}]
      - [{from: kvm2, to: kvm3, start_s: 36.5, end_s: 73.1}]
    trees:
      - weight: 1.0
        edges: [{from: kvm1, to: kvm2}, {from: kvm2, to: kvm3}]
    parents: {kvm2: [[kvm1, kvm3]], kvm3: [[kvm2, kvm1]]}
    unreachable: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._plan.relay.planner import relay_plan


def relay_plan_filter(matrix: object, *args: object, **options: object) -> t.Any:
    """The filter: see the documentation above."""
    if not isinstance(matrix, (dict, str)):
        found = type(matrix).__name__
        raise AnsibleFilterError(f"basecast.fleet.relay_plan: the input must be a matrix or the path of one, not {found}")
    try:
        return relay_plan(matrix, *args, **options)
    except (FleetError, ValueError, TypeError) as error:
        raise AnsibleFilterError(f"basecast.fleet.relay_plan: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Any]:
        return {"relay_plan": relay_plan_filter}
