# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relay_plan_text
short_description: A relay plan as text
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0

description: Shows per link its bytes and time, per host when it has the base and from whom, and how good the plan is.
positional: matrix
options:
  _input:
    description: A plan, or the path of a JSON file with one.
    type: raw
    required: true
  matrix:
    description:
      - The matrix (or its path); with it the table of preferred paths is shown too. A plan that has C(paths) shows those.
    type: raw
"""

EXAMPLES = r"""
- name: Show how a 4 GiB image gets from kvm1 to all others
  ansible.builtin.debug:
    msg: "{{ matrix | basecast.fleet.relay_plan(['kvm1']) | basecast.fleet.relay_plan_text(matrix) | split('\n') }}"
  vars:
    matrix: "{{ links | basecast.fleet.deployment_matrix(4 * 1024 ** 3) }}"
    links:
      - {from: kvm1, to: kvm2, mbps: 940}
      - {from: kvm2, to: kvm3, mbps: 450}
"""

RETURN = r"""
_value:
  description: Text of several lines.
  type: str
  sample: |
    Relay plan: staged, strategy best, contention port
      from kvm1 to 2 hosts, base of 4.0 GiB
      predicted finish 112.9 s, lower bound 112.9 s, gap 0.0 s (0.0%), proven optimal

    Links:
      link         bytes    time
      kvm1 > kvm2  4.0 GiB  36.6 s
      kvm2 > kvm3  4.0 GiB  76.4 s

    Hosts:
      host  stage  from  starts  has the base
      kvm2  1      kvm1  0.0 s   36.6 s
      kvm3  2      kvm2  36.6 s  112.9 s
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._plan.relay.text import relay_plan_text


def relay_plan_text_filter(plan: object, *args: object, **options: object) -> t.Any:
    """The filter: see the documentation above."""
    if not isinstance(plan, (dict, str)):
        found = type(plan).__name__
        raise AnsibleFilterError(f"basecast.fleet.relay_plan_text: the input must be a plan or the path of one, not {found}")
    try:
        return relay_plan_text(plan, *args, **options)
    except (FleetError, ValueError, TypeError) as error:
        raise AnsibleFilterError(f"basecast.fleet.relay_plan_text: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Any]:
        return {"relay_plan_text": relay_plan_text_filter}
