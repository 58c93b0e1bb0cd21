# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: preferred_paths
short_description: Table of preferred paths from the holders of a base
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0

description:
  - Tells for every link whether it lies on a path of least total deployment time from a present holder.
  - Of paths that take equally long those with the fewest links come first, then those that start earlier; all of them are marked.
positional: sources
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
  size_bytes:
    description: Size of the base in bytes. By default the one that the matrix was made for.
    type: int
"""

EXAMPLES = r"""
- name: Show which links lie on the fastest paths from kvm1
  ansible.builtin.debug:
    msg: "{{ item.link | join(' to ') }}: {{ 'preferred' if item.preferred else 'not preferred' }}, {{ item.seconds }} s"
  loop: "{{ links | basecast.fleet.deployment_matrix(4 * 1024 ** 3) | basecast.fleet.preferred_paths(['kvm1']) }}"
  loop_control:
    label: "{{ item.link }}"
  vars:
    links:
      - {from: kvm1, to: kvm2, mbps: 940}
      - {from: kvm1, to: kvm3, mbps: 100}
      - {from: kvm2, to: kvm3, mbps: 940}
"""

RETURN = r"""
_value:
  description:
    - One row per link. C(precondition) is the host that must have the base first, C(null) for a host that holds it.
      C(tie) tells whether another preferred link leads to the same host.
    - C(estimated) is there and V(true) for a link that was not measured, or not lately.
  type: list
  elements: dict
  sample:
    - {link: [kvm1, kvm2], seconds: 36.5, preferred: true, tie: false, precondition: null}
    - {link: [kvm2, kvm3], seconds: 36.5, preferred: true, tie: false, precondition: kvm2}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._plan.network.preferred_paths import preferred_paths


def preferred_paths_filter(matrix: object, *args: object, **options: object) -> t.Any:
    """The filter: see the documentation above."""
    if not isinstance(matrix, (dict, str)):
        found = type(matrix).__name__
        raise AnsibleFilterError(f"basecast.fleet.preferred_paths: the input must be a matrix or the path of one, not {found}")
    try:
        return preferred_paths(matrix, *args, **options)
    except (FleetError, ValueError, TypeError) as error:
        raise AnsibleFilterError(f"basecast.fleet.preferred_paths: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Any]:
        return {"preferred_paths": preferred_paths_filter}
