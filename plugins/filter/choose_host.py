# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: choose_host
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Choose the host for one machine whose storage is known
description:
  - The second of two requests; P(basecast.fleet.choose_storage#filter) is the first. Each can be used alone.
  - "Of the hosts that are connected to the storage and have room, by the rules of C(placement): fewest machines of the group and of the
    service (or with C(prefer=pack) most), then those that have the base, then the emptiest and least busy, then the inventory's order."
positional: hosts, storage
extends_documentation_fragment:
  - basecast.fleet._observed
  - basecast.fleet._placement
options:
  storage:
    description: The identity of the storage, as P(basecast.fleet.choose_storage#filter) tells it.
    type: str
    required: true
  _input:
    description:
      - A manifest as P(basecast.fleet.service_manifest#filter) returns it, whose first group of machines is the machine in question;
        its C(hosts) and C(placement) hold, its number does not matter.
      - Or one machine as a mapping; C(cpus), C(memory_mib), C(disks) and C(placement) as in a manifest's group of machines, and
        C(bases), a list of C(name), C(version) and, where no host holds it, C(size_bytes) and C(virtual_size_bytes).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ask for a host that is connected to the storage
  ansible.builtin.debug:
    msg: "{{ (request | basecast.fleet.choose_host(observed, 'kvm1:default')).host }}"
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
    - "C(host): its name, V(null) if none has room. C(pools): the pool of each disk there. C(ratings): those with room, best
      first, then the other hosts, each with reasons. C(problems): sentences if none has room."
  type: dict
  sample:
    host: kvm1
    pools: {"root": "default"}
    ratings: [{"host": "kvm1", "pool": "default", "rating": 0.5, "fits": true, "reasons": ["has 0 of this group", "holds debian"]}]
    problems: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.placement import Settings
from ..plugin_utils._plan.placement import choose_host as choose
from ..plugin_utils._plan.placement.request_schema import FLAG, check_request
from ..plugin_utils._plan.schemas import ANY_MAPPING, TEXT
from ..plugin_utils._plan.service.manifest import parse_request, plain


@door("choose_host", request=ANY_MAPPING, storage=TEXT, base_beside_disk=FLAG)
def choose_host(
    request: object,
    hosts: object,
    storage: str,
    groups: object = None,
    bring: object = None,
    memory_overcommit: float | None = None,
    base_beside_disk: bool = False,
) -> dict[str, t.Any]:
    try:
        observed, known, seconds = plain(hosts), plain(groups or {}), plain(bring)
        check_request(observed, known, seconds, memory_overcommit=memory_overcommit)
        settings = Settings(known, memory_overcommit, seconds, beside=bool(base_beside_disk))
        return choose(parse_request(plain(request)), observed, str(storage), settings)
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"choose_host": choose_host}
