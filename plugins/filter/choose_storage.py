# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: choose_storage
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Choose the storage for one machine
description:
  - The first of two requests; P(basecast.fleet.choose_host#filter) is the second. Each can be used alone, by a tool that knows the
    capacity of its hosts from elsewhere.
  - A storage comes into question when a host that is connected to it has room for the machine. Among those the one wins to which least
    has to be brought, by bytes and seconds, then the one that would have most room left, by its share, then the one whose hosts are
    emptiest, then the inventory's order.
  - All pools of a host count, unless the request names a pool of each disk, or some with C(pools) of its C(placement).
  - A deployment prefers the pool V(default) of a host to its others, whichever has more room. With O(prefer_default) both choose
    alike.
  - Free space, what disks there may still grow by, and the explicit over-commitment bound it.
positional: hosts
extends_documentation_fragment:
  - basecast.fleet._observed
  - basecast.fleet._placement
options:
  _input:
    description:
      - A manifest as P(basecast.fleet.service_manifest#filter) returns it, whose first group of machines is the machine in question;
        its C(hosts) and C(placement) hold, its number does not matter.
      - Or one machine as a mapping; C(cpus), C(memory_mib), C(disks) and C(placement) as in a manifest's group of machines, and
        C(bases), a list of C(name), C(version) and, where no host holds it, C(size_bytes) and C(virtual_size_bytes).
    type: dict
    required: true
  prefer_default:
    description:
      - Whether the pool V(default) of a host goes before its other pools while it has room, as in a deployment. Pools that the request
        names go by their room all the same.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Ask for the storage
  ansible.builtin.set_fact:
    chosen: "{{ request | basecast.fleet.choose_storage(observed) }}"
  vars:
    request:
      cpus: 2
      memory_mib: 4096
      disks: [{name: root, base: debian}]
      bases: [{name: debian, version: "12"}]
    observed:
      kvm1:
        reachable: true
        capacity:
          cpus: 32
          memory_mib: 131072
          pools: {default: {exists: true, writable: true, free_bytes: 812345671680, promised_bytes: 0}}

- name: Then for a host that is connected to it
  ansible.builtin.debug:
    msg: "{{ (request | basecast.fleet.choose_host(observed, chosen.storage)).host }}"
  vars:
    request:
      cpus: 2
      memory_mib: 4096
      disks: [{name: root, base: debian}]
      bases: [{name: debian, version: "12"}]
    observed:
      kvm1:
        reachable: true
        capacity:
          cpus: 32
          memory_mib: 131072
          pools: {default: {exists: true, writable: true, free_bytes: 812345671680, promised_bytes: 0}}
"""

RETURN = r"""
_value:
  description:
    - "C(storage): its identity, V(null) if there is none; a pool that no other host shares is C(host:pool). C(ratings): all storages, best
      first, with reasons and the hosts that may take the machine. C(problems): sentences if none can."
  type: dict
  sample:
    storage: "kvm1:default"
    ratings: [{"storage": "kvm1:default", "pools": ["default"], "hosts": ["kvm1"], "rating": 0.5, "fits": true,
      "reasons": ["holds debian", "pool default: 756.6 GiB free, 0 GiB promised"]}]
    problems: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.placement import Settings
from ..plugin_utils._plan.placement import choose_storage as choose
from ..plugin_utils._plan.placement.request_schema import FLAG, check_request
from ..plugin_utils._plan.schemas import ANY_MAPPING
from ..plugin_utils._plan.service.manifest import parse_request, plain


@door("choose_storage", request=ANY_MAPPING, base_beside_disk=FLAG, prefer_default=FLAG)
def choose_storage(
    request: object,
    hosts: object,
    groups: object = None,
    bring: object = None,
    memory_overcommit: float | None = None,
    base_beside_disk: bool = False,
    prefer_default: bool = False,
) -> dict[str, t.Any]:
    try:
        observed, known, seconds = plain(hosts), plain(groups or {}), plain(bring)
        check_request(observed, known, seconds, memory_overcommit=memory_overcommit)
        settings = Settings(known, memory_overcommit, seconds, beside=bool(base_beside_disk))
        return choose(parse_request(plain(request)), observed, settings, bool(prefer_default))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"choose_storage": choose_storage}
