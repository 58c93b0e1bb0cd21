# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: place_machines
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Choose the host, the pools and the number of every machine of a manifest
description:
  - Machines that exist keep their host and their number; new ones get the lowest numbers that were never given.
  - New machines go where they fit - memory, processors, space, labels, and the rules of C(placement) in the manifest - and among
    such hosts by what the manifest prefers. By default a group is spread, so that no two hosts differ by more than one machine while
    both have room; of hosts with as many machines, one that holds the base wins, then one that holds more of its chain.
  - Hosts and storages are decided as pairs. What does not fit is a problem that names the limits that bind, host by host.
  - The same input always gives the same answer.
positional: hosts
extends_documentation_fragment:
  - basecast.fleet._observed
  - basecast.fleet._placement
options:
  quotas:
    description:
      - What each tenant may have altogether, by tenant. C(machines), C(cpus), C(memory_mib), C(disk_gib); what is not given is not
        limited. Usually the variable C(basecast_quotas).
    type: dict
    default: {}
  matrix:
    description:
      - A deployment-time matrix as P(basecast.fleet.deployment_matrix#filter) returns it, or the path of a JSON file with one. It stands
        over O(bring).
      - First a base takes as long as its shortest way from a holder. Then the relay for the hosts that were chosen is planned, and
        everything is decided once more with the times at which each of them would have the base.
    type: raw
"""

EXAMPLES = r"""
- name: Show where machines would go
  ansible.builtin.debug:
    msg: "{{ item.machine }} on {{ item.host }}"
  loop: "{{ (manifest | basecast.fleet.place_machines(observed)).assignments }}"
  loop_control:
    label: "{{ item.machine }}"
  vars:
    manifest: "{{ lookup('ansible.builtin.file', 'shop.yml') | basecast.fleet.service_manifest('shop.yml') }}"
    observed:
      kvm1:
        reachable: true
        site: room-1
        labels: [ssd]
        capacity:
          cpus: 32
          memory_mib: 131072
          pools:
            default: {exists: true, writable: true, free_bytes: 812345671680, promised_bytes: 214748364800}
      kvm2:
        reachable: true
        capacity: {cpus: 16, memory_mib: 65536}
"""

RETURN = r"""
_value:
  description:
    - "C(assignments): each machine with its host, and the pool of each disk. C(ratings): for one new machine of each group, the hosts
      best first with reasons; C(fits) tells whether a host can take it, C(lost_by) its first difference to the best
      one. C(group_ratings): the same for sites and shared storages.
      C(unplaced): machines without a place, with reasons, and by host what stands in the way. C(binds): limits whose removal alone
      would place more machines. C(surplus): machines that are no longer asked for. C(problems): sentences; while there is one,
      nothing should be changed."
  type: dict
  sample:
    assignments: [{"machine": "web-1", "group": "web", "number": 1, "host": "kvm1", "pools": {"root": "default"}, "exists": false,
      "place": "shop.yml:8"}]
    ratings: {"web-1": [{"host": "kvm1", "pool": "default", "rating": 0.5, "fits": true, "reasons": ["has 0 of this group",
      "needs 1.2 GB of base (10 s)", "memory: 131072 of 131072 MiB free", "pool default: 756.6 GiB free, 200 GiB promised"],
      "lost_by": ""}]}
    group_ratings: [{"kind": "site", "name": "room-1", "hosts": ["kvm1"], "rating": 0.5, "reasons": ["1 of 1 hosts have room for one
      more machine", "0 need no base brought"]}]
    unplaced: []
    binds: []
    surplus: []
    problems: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.placement import Settings
from ..plugin_utils._plan.placement import place_machines as place
from ..plugin_utils._plan.placement.request_schema import FLAG, check_request
from ..plugin_utils._plan.schemas import MANIFEST
from ..plugin_utils._plan.service.manifest import plain


@door("place_machines", manifest=MANIFEST, base_beside_disk=FLAG)
def place_machines(
    manifest: object,
    hosts: object,
    groups: object = None,
    bring: object = None,
    quotas: object = None,
    memory_overcommit: float | None = None,
    base_beside_disk: bool = False,
    matrix: object = None,
) -> dict[str, t.Any]:
    try:
        observed, known, seconds, limits = plain(hosts), plain(groups or {}), plain(bring), plain(quotas or {})
        check_request(observed, known, seconds, limits, memory_overcommit)
        wanted = plain(manifest)
        settings = Settings(known, memory_overcommit, seconds, limits, bool(base_beside_disk), matrix=plain(matrix))
        return place(wanted, observed, settings=settings)
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"place_machines": place_machines}
