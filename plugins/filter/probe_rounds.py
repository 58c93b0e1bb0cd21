# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: probe_rounds
short_description: Rounds of disjoint pairs in which links are measured
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0

description:
  - Every pair of hosts once, in rounds whose pairs share no host, so that probes do not disturb each other.
  - Large fleets are sampled.
options:
  _input:
    description: Names of the hosts.
    type: list
    elements: str
    required: true
  sites:
    description: "The site of each host. Large fleets are then sampled inside each site and between sites."
    type: dict
  full_up_to:
    description: Up to this many hosts every pair is measured.
    type: int
    default: 64
  sample_rounds:
    description: How many rounds to take beyond that (with O(sites), inside each site).
    type: int
    default: 12
  known:
    description: Links that were measured before, as P(basecast.fleet.deployment_matrix#filter) takes them. Pairs of which
      both directions are among them are left out.
    type: raw
  max_age_s:
    description: With O(known), pairs with a link whose C(age_s) is greater are measured again.
    type: float
"""

EXAMPLES = r"""
- name: Show who measures with whom
  ansible.builtin.debug:
    msg: "{{ ['kvm1', 'kvm2', 'kvm3', 'kvm4'] | basecast.fleet.probe_rounds }}"

- name: Sample a large fleet of two sites
  ansible.builtin.debug:
    msg: "{{ (site_of | list) | basecast.fleet.probe_rounds(sites=site_of, sample_rounds=4) | length }} rounds"
  vars:
    north: "{{ range(1, 51) | map('regex_replace', '^', 'north') }}"
    south: "{{ range(1, 51) | map('regex_replace', '^', 'south') }}"
    site_of: "{{ dict(north | product(['north'])) | combine(dict(south | product(['south']))) }}"
"""

RETURN = r"""
_value:
  description: Rounds; each is a list of pairs. A pair is measured both ways.
  type: list
  elements: list
  sample: [[[kvm1, kvm4], [kvm2, kvm3]], [[kvm1, kvm3], [kvm2, kvm4]], [[kvm1, kvm2], [kvm3, kvm4]]]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._plan.network.estimate import probe_rounds


def probe_rounds_filter(hosts: object, *args: object, **options: object) -> t.Any:
    """The filter: see the documentation above."""
    if not isinstance(hosts, (list, tuple)):
        found = type(hosts).__name__
        raise AnsibleFilterError(f"basecast.fleet.probe_rounds: the input must be a list of host names, not {found}")
    try:
        return probe_rounds(hosts, *args, **options)
    except (FleetError, ValueError, TypeError) as error:
        raise AnsibleFilterError(f"basecast.fleet.probe_rounds: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Any]:
        return {"probe_rounds": probe_rounds_filter}
