# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: shared_storage
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Tell which pools are one storage
description:
  - Adds C(storage) to every pool that hosts share, by the marks that they have seen of each other (M(basecast.fleet.storage_probe)).
    Pools whose C(storage) is equal get a base disk once, and their room counts once.
  - Two pools are one if each of both hosts has seen the other's mark. Where this is not proved, each pool is a storage of its own.
positional: probes
options:
  _input:
    description: Observations by host, as M(basecast.fleet.survey_info) returns them.
    type: dict
    required: true
  probes:
    description: What M(basecast.fleet.storage_probe) returned for O(ignore:state=seen), by host. Hosts may be missing.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Who shares the pool default
  ansible.builtin.debug:
    msg: "{{ (seen | basecast.fleet.shared_storage(probes)).kvm2.pools.default.storage }}" # kvm1:default
  vars:
    seen:
      kvm1: {reachable: true, pools: {default: {bases: []}}}
      kvm2: {reachable: true, pools: {default: {bases: []}}}
    probes:
      kvm1: {marks: {default: 19aa}, seen: {default: [19aa, 7c2f]}}
      kvm2: {marks: {default: 7c2f}, seen: {default: [19aa, 7c2f]}}
"""

RETURN = r"""
_value:
  description: The observations, with C(storage) in pools that hosts share, which names the first of them in the inventory.
  type: dict
  sample:
    kvm1: {reachable: true, pools: {default: {bases: [], storage: "kvm1:default"}}}
"""

import typing as t

from ..plugin_utils._door import door
from ..plugin_utils._plan import placement
from ..plugin_utils._plan.schemas import LOOKS
from ..plugin_utils._plan.service.manifest import plain


@door("shared_storage", hosts=LOOKS, probes=LOOKS)
def shared_storage(hosts: object, probes: object) -> dict[str, dict[str, t.Any]]:
    return placement.shared_storage(plain(hosts), plain(probes))


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"shared_storage": shared_storage}
