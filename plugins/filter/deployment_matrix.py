# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: deployment_matrix
short_description: Deployment-time matrix from measured links
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0

description:
  - Computes how many seconds the whole image takes over each link, from what was measured or is known of the links.
  - A link that was not measured is missing (V(null)), unless O(sites) or O(previous) allow an estimate.
positional: size_bytes
options:
  _input:
    description:
      - "A list of links, each with C(from), C(to) and C(mbps) (10^6 bits per second), or C(seconds) with C(bytes) of the probe,
        or C(seconds) alone for the whole image; optionally C(latency_s)."
      - "Or a dictionary of such lists by host, or of results of M(basecast.fleet.link_probe) by host: C(links),
        C(disk_read_mbps), C(disk_write_mbps), C(disks_age_s), C(cpus), C(load_1m), C(memory_available_mib)."
      - Or the path of a JSON file with one of them.
    type: raw
    required: true
  size_bytes:
    description: Size of the image (all its disks) in bytes.
    type: int
    required: true
  hosts:
    description: The hosts of the matrix, in this order. By default all hosts that occur, sorted.
    type: list
    elements: str
  limits:
    description: "Limits to be kept with the matrix: C(hosts) by name with C(up_mbps) and C(down_mbps), C(links) as [from, to, mbps]."
    type: dict
  sites:
    description: The site of each host. Unmeasured links get the median of their pair of sites and are listed as C(uncertain).
    type: dict
  previous:
    description: An earlier matrix that fills what was not measured this time.
    type: raw
  measured_at:
    description: When it was measured; kept as it is.
    type: str
  hierarchical:
    description: Whether the result has the hierarchical form. By default it has from 257 hosts on, if O(sites) is given. It lists in
      C(measured) which links beside its C(exceptions) were measured; all others are uncertain.
    type: bool
  estimate:
    description: Whether a link that was not measured is estimated from what else leaves the one and reaches the other end. It is
      listed as uncertain. With O(sites) that is done anyway.
    type: bool
    default: false
  max_age_s:
    description: Links whose C(age_s) is greater are listed as uncertain.
    type: float
  shared_pools:
    description:
      - Lists of hosts whose pool is the same storage, kept with the matrix. Plans bring the base to one host of each list, and
        to none where one of them holds it.
    type: list
    elements: list
"""

EXAMPLES = r"""
- name: Make the matrix of a 4 GiB image over three known links
  ansible.builtin.set_fact:
    matrix: "{{ links | basecast.fleet.deployment_matrix(4 * 1024 ** 3) }}"
  vars:
    links:
      - {from: kvm1, to: kvm2, mbps: 940}
      - {from: kvm2, to: kvm3, mbps: 940}
      - {from: kvm3, to: kvm2, mbps: 450}

- name: Take new measurements, and what was known before for the rest
  ansible.builtin.set_fact:
    matrix: "{{ measured | basecast.fleet.deployment_matrix(4 * 1024 ** 3, previous=matrix) }}"
  vars:
    measured:
      - {from: kvm1, to: kvm2, mbps: 310}
"""

RETURN = r"""
_value:
  description: The matrix; rows are senders, V(null) is no link, 0 stands on the diagonal.
  type: dict
  sample:
    format: 1
    hosts: [kvm1, kvm2]
    seconds: [[0, 36.5], [null, 0]]
    uncertain: []
    size_bytes: 4294967296
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._plan.network.estimate import deployment_matrix


def deployment_matrix_filter(probes: object, *args: t.Any, **options: t.Any) -> t.Any:
    """The filter: see the documentation above."""
    if not isinstance(probes, (list, tuple, dict, str)):
        found = type(probes).__name__
        raise AnsibleFilterError(f"basecast.fleet.deployment_matrix: the input must be a list, a dictionary or a path, not {found}")
    try:
        return deployment_matrix(probes, *args, **options)
    except (FleetError, ValueError, TypeError) as error:
        raise AnsibleFilterError(f"basecast.fleet.deployment_matrix: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Any]:
        return {"deployment_matrix": deployment_matrix_filter}
