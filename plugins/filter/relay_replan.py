# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relay_replan
short_description: Plan what is left of a relay after something changed
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0

description:
  - Makes a new plan from what was observed. Running transfers that the change does not touch go on.
  - Times are seconds since the start of the run, as in the first plan.
  - Options that are not given are those of the first plan, its limits included; O(effort), O(certify) and O(copies) are not
    taken over.
positional: matrix, observed
options:
  _input:
    description: The plan that was running, as P(basecast.fleet.relay_plan#filter) returns it, or the path of a JSON file with it.
    type: raw
    required: true
  matrix:
    description: The deployment-time matrix as it is now, or the path of a JSON file with it.
    type: raw
    required: true
  observed:
    description:
      - "C(at_s): seconds since the start. C(holders): hosts that have the whole base; by default those that the plan had served by now.
        C(progress): by host, C(bytes) received and C(from) whom; by default what the plan says.
        C(lost_hosts): names. C(lost_links): [from, to] pairs. C(links): [from, to, seconds] that differ from the matrix.
        C(new_targets): names."
    type: dict
    required: true
extends_documentation_fragment:
  - basecast.fleet.relay_options
"""

EXAMPLES = r"""
- name: Keep the matrix and plan
  ansible.builtin.set_fact:
    matrix: "{{ matrix }}"
    plan: "{{ matrix | basecast.fleet.relay_plan(['kvm1']) }}"
  vars:
    matrix: "{{ links | basecast.fleet.deployment_matrix(4 * 1024 ** 3) }}"
    links:
      - {from: kvm1, to: kvm2, mbps: 940}
      - {from: kvm1, to: kvm3, mbps: 940}
      - {from: kvm2, to: kvm3, mbps: 450}

- name: Plan again, since after 20 seconds the link from kvm1 to kvm3 was lost
  ansible.builtin.set_fact:
    plan: "{{ plan | basecast.fleet.relay_replan(matrix, seen) }}"
  vars:
    seen:
      at_s: 20
      holders: [kvm1]
      lost_links: [[kvm1, kvm3]]
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
from ..plugin_utils._plan.relay.replan import relay_replan


def relay_replan_filter(plan: object, *args: object, **options: object) -> t.Any:
    """The filter: see the documentation above."""
    if not isinstance(plan, (dict, str)):
        found = type(plan).__name__
        raise AnsibleFilterError(f"basecast.fleet.relay_replan: the input must be a plan or the path of one, not {found}")
    try:
        return relay_replan(plan, *args, **options)
    except (FleetError, ValueError, TypeError) as error:
        raise AnsibleFilterError(f"basecast.fleet.relay_replan: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Any]:
        return {"relay_replan": relay_replan_filter}
